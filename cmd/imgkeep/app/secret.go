package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// noSecret is the error of a command that lacks a secret, and says what to set. A service's
// unit, not its configuration, names the file of its secret: if there is such a file, the
// error contains the command that reads it.
func (a *app) noSecret(text, command string) error {
	file := a.configFile
	if file == "" {
		file = os.Getenv("IMGKEEP_CONFIG")
	}
	configs := []string{file}
	if file == "" {
		configs = []string{"/etc/imgkeep/imgkeep.yaml"} // the package's
	}
	for _, config := range configs {
		for _, secret := range serviceSecrets(config) {
			if _, err := os.Stat(secret); err == nil {
				return fmt.Errorf("%s; the service's is in %s: sudo env IMGKEEP_SIGN_SECRET_FILES=%s imgkeep %s --config %s …", text, secret, secret, command, config)
			}
		}
	}
	return errors.New(text)
}

// serviceSecrets are the files from which units of contrib/systemd give their secret to the
// service of a configuration: that of an instance, and that of the single service.
func serviceSecrets(config string) []string {
	return []string{
		strings.TrimSuffix(config, filepath.Ext(config)) + ".secret",
		filepath.Join(filepath.Dir(config), "secret"),
	}
}

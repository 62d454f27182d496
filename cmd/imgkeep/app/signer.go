package app

import (
	"fmt"
	"time"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/sign"
)

// newSigner returns the signer that a configuration describes. Without a secret
// the error wraps sign.ErrNoSecret.
func newSigner(c config.Sign) (*sign.Signer, error) {
	location, err := time.LoadLocation(c.Timezone)
	if err != nil {
		return nil, fmt.Errorf("sign.timezone: %w", err)
	}
	secrets := make([]string, 0, len(c.Secrets))
	for _, s := range c.Secrets {
		secrets = append(secrets, string(s))
	}
	return sign.New(sign.Options{
		Secrets:    secrets,
		Weeks:      c.Weeks,
		Location:   location,
		Bucketless: c.Bucketless,
		AllowWeak:  c.AllowWeakSecret,
	})
}

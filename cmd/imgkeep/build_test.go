package main_test

import (
	"debug/buildinfo"
	"debug/elf"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The server that the other tests run was built without a C compiler, and needs
// no library of the system.
func TestServerHasNoC(t *testing.T) {
	t.Parallel()
	path := filepath.Join(programs, "imgkeep")
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cgo := ""
	for _, s := range info.Settings {
		if s.Key == "CGO_ENABLED" {
			cgo = s.Value
		}
	}
	if cgo != "0" {
		t.Errorf("it was built with CGO_ENABLED=%q", cgo)
	}
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Error("it is dynamically linked")
	}
	// Nor does it use C where there is a compiler.
	deps := goList(t, "-deps", "./cmd/imgkeep")
	for _, p := range deps {
		if !p.Standard && (len(p.CgoFiles) > 0 || slices.Contains(p.Imports, "C")) {
			t.Errorf("%s uses C: %v", p.ImportPath, p.CgoFiles)
		}
		if strings.Contains(p.ImportPath, "bimg") || p.ImportPath == module+"/resize/vips" {
			t.Errorf("the server has %s in it", p.ImportPath)
		}
	}
	if !slices.ContainsFunc(deps, func(p listed) bool { return p.ImportPath == module+"/bucket" }) {
		t.Errorf("these are not the packages of the server: %d", len(deps))
	}
}

// The decoder has nothing in it that could talk to a network.
func TestDecoderHasNoNetwork(t *testing.T) {
	t.Parallel()
	deps := goList(t, "-deps", "./cmd/imgkeep-resize")
	for _, p := range deps {
		if p.ImportPath == "net" || strings.HasPrefix(p.ImportPath, "net/") {
			t.Errorf("the decoder has %s in it", p.ImportPath)
		}
	}
	if !slices.ContainsFunc(deps, func(p listed) bool { return p.ImportPath == module+"/resize/vips" }) {
		t.Errorf("these are not the packages of the decoder: %d", len(deps))
	}
}

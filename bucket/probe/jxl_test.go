package probe_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/probetest"
)

// Sizes as cjxl 0.7.0 writes them: short and long, and by their ratio.
func TestJXLSizes(t *testing.T) {
	for _, c := range []struct {
		begins        string
		width, height int
	}{
		{"ff0a4140525c080012080100b0005de5", 8, 8},
		{"ff0ac141525c080012080100b4005de5", 16, 8},
		{"ff0a7f40525c080012080100fc005de5", 256, 256},
		{"ff0a38084e80a4b8100012080100b040", 40, 264},
		{"ff0af8070082a4b8100012080100c040", 257, 256},
		{"ff0a5819901417020012080100dc4003", 300, 300},
		{"ff0a3a1f024971210012080100d80106", 1200, 1000},
		{"ff0a6a17034971210012080100d8c104", 1000, 750},
		{"ff0a784c901417020012080100d8c103", 600, 400},
		{"ff0aba21054971210012080100d80108", 1920, 1080},
		{"ff0afa18064971210012080100d8c104", 1000, 800},
		{"ff0a3a1f074971210012080100d88107", 2000, 1000},
		{"ff0a3a1f087d80a4b8100012080100d8", 1001, 1000},
		{"ff0a0000fe83a4b8100012080100b000", 512, 1},
		{"ff0a08800004488a0b010012080100b0", 513, 2},
		{"ff0a10004f46004971210012080100c0", 9000, 3},
	} {
		data, err := hex.DecodeString(c.begins)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := probe.Read(bytes.NewReader(data), probe.Limits{}); err != nil || info != still(probe.JXL, c.width, c.height) {
			t.Errorf("%s: %+v, %v; want %d x %d", c.begins, info, err, c.width, c.height)
		}
	}
}

// Where a codestream is not in a box of some length, its end is that of the file.
func TestEndless(t *testing.T) {
	for _, s := range samples(t) {
		scanner := probe.NewScanner(probe.Limits{})
		if _, err := scanner.Write(s.data); err != nil {
			t.Fatal(err)
		}
		bare := bytes.HasPrefix(s.data, []byte("\xFF\x0A"))
		if scanner.Endless() != bare {
			t.Errorf("%s: endless is %v", s.name, !bare)
		}
	}
	for _, c := range probetest.Corpus() {
		want := strings.HasSuffix(c.Name, "to-the-end")
		if c.Want != nil || c.Format != probe.JXL || !want && c.Name != "jxl-in-parts" {
			continue
		}
		scanner := probe.NewScanner(probe.Limits{})
		if _, err := scanner.Write(c.Data); err != nil || scanner.Endless() != want {
			t.Errorf("%s: endless is %v, %v", c.Name, !want, err)
		}
	}
}

func TestJXLAnimation(t *testing.T) {
	data, err := os.ReadFile("testdata/moving.jxl")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := probe.Read(bytes.NewReader(data), probe.Limits{}); !errors.Is(err, probe.ErrType) || !strings.Contains(err.Error(), "animation") {
		t.Errorf("%v", err)
	}
}

package config

import (
	"fmt"
	"slices"
	"testing"
)

func TestMerge(t *testing.T) {
	const secret = "sign: {secrets: [a secret that is long enough]}\n"
	for _, tt := range []struct{ old, fresh, changed, restart string }{
		{"", "", "[]", "[]"},
		{"", "sizes: [1]\nfetch: {max_bytes: 1MiB, deny_hosts: [a.example]}\nlog: {level: debug}", "[sizes fetch.max_bytes fetch.deny_hosts log.level]", "[]"},
		{"sizes: [1]", "", "[sizes]", "[]"},
		{"", secret, "[sign.secrets]", "[]"},
		{"", "listen: ':1'\nroot: /x\nsizes: [1]\nresize: {workers: 3, quality: 50}", "[sizes resize.quality]", "[listen root resize.workers]"},
		{"", "sign: {weeks: 3, timezone: Europe/Berlin}\nfetch: {max_pixels: 5, max_side: 6}", "[sign.timezone fetch.max_side]", "[sign.weeks fetch.max_pixels]"},
		{"", "resize: {negotiate: [avif], avif_quality: 50, quality: 70}", "[resize.quality resize.avif_quality]", "[resize.negotiate]"},
		{"", "buckets: [{name: i, hosts: [a.example]}]", "[buckets]", "[]"},
		{"", "buckets: [{name: i}, {name: f}]", "[]", "[buckets]"},
		{"", "formats: [png]", "[formats]", "[]"},
		{"", "formats: [png, avif]", "[]", "[formats]"},
		{"formats: [png, avif]", "formats: [avif, webp]", "[formats]", "[]"},
		{"formats: [png, avif]", "formats: [png]", "[]", "[formats]"},
		{"store: {min_free: 1}", "store: {min_free: 2, max_per_site: 1MiB, scrub_rate: 3}", "[store.min_free store.max_per_site]", "[store.scrub_rate]"},
	} {
		old, _ := mustLoad(t, tt.old)
		fresh, _ := mustLoad(t, tt.fresh)
		merged, changed, restart := Merge(old, fresh)
		if fmt.Sprint(changed) != tt.changed || fmt.Sprint(restart) != tt.restart {
			t.Errorf("%s\nchanged %v, want %s; restart %v, want %s", tt.fresh, changed, tt.changed, restart, tt.restart)
		}
		// Once more nothing changes, and what waits does so still.
		if _, again, waits := Merge(merged, fresh); len(again) > 0 || !slices.Equal(waits, restart) {
			t.Errorf("%s\nagain: changed %v, restart %v", tt.fresh, again, waits)
		}
	}
}

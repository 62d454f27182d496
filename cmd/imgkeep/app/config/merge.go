package config

import (
	"reflect"
	"slices"
	"strings"
)

// live are the settings, or whole sections, that a running server can change.
var live = []string{
	"base_url", "placeholder", "placeholders", "headers", "cors", "access", "sign", "buckets", "sizes", "presets", "formats", "fetch", "approve",
	"resize.quality", "resize.avif_quality", "resize.animation_excess", "resize.eager", "store.min_free", "store.min_free_inodes", "store.max_per_site", "page.reasons", "log.level",
}

// bound are those of them that determine something made at start or by hand: the decoders,
// and the site of nginx.
var bound = []string{"sign.weeks", "fetch.max_pixels"}

// isLive tells whether a running server can change a setting.
func isLive(key string, old, fresh Config) bool {
	if key == "buckets" { // their folders and journals are made at start
		return slices.EqualFunc(old.Buckets, fresh.Buckets, func(a, b Bucket) bool { return a.Name == b.Name })
	}
	section, _, _ := strings.Cut(key, ".")
	if key == "formats" && !slices.Equal(old.ExtraFormats(), fresh.ExtraFormats()) { // decoders read no others
		return false
	}
	return !slices.Contains(bound, key) && (slices.Contains(live, key) || slices.Contains(live, section))
}

// Merge returns the configuration of a server that runs with old and reads fresh: it takes
// over those settings that can change without a restart. The keys are those that changed,
// and those that wait for a restart.
func Merge(old, fresh Config) (merged Config, changed, restart []string) {
	merged = fresh
	was, is := fields(&old), fields(&merged)
	for i := range is {
		if reflect.DeepEqual(was[i].value.Interface(), is[i].value.Interface()) {
			continue
		}
		if isLive(is[i].key, old, fresh) {
			changed = append(changed, is[i].key)
			continue
		}
		restart = append(restart, is[i].key)
		is[i].value.Set(was[i].value)
	}
	return merged, changed, restart
}

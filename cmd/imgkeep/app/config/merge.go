package config

import (
	"reflect"
	"slices"
	"strings"
)

// live are the settings that a running server takes over, or the sections that
// hold nothing else.
var live = []string{
	"base_url", "placeholder", "placeholders", "headers", "cors", "access", "sign", "buckets", "sizes", "presets", "formats", "fetch", "approve",
	"resize.quality", "resize.avif_quality", "resize.animation_excess", "resize.eager", "store.min_free", "store.min_free_inodes", "store.max_per_site", "page.reasons", "log.level",
}

// bound are those among them that something else is bound to, which is made at the
// start or by hand: the decoders, and the site that nginx has.
var bound = []string{"sign.weeks", "fetch.max_pixels"}

// isLive tells whether a server may take over a setting.
func isLive(key string, old, fresh Config) bool {
	if key == "buckets" { // whose folders and journals are made at the start
		return slices.EqualFunc(old.Buckets, fresh.Buckets, func(a, b Bucket) bool { return a.Name == b.Name })
	}
	section, _, _ := strings.Cut(key, ".")
	if key == "formats" && !slices.Equal(old.Besides(), fresh.Besides()) { // decoders read no others
		return false
	}
	return !slices.Contains(bound, key) && (slices.Contains(live, key) || slices.Contains(live, section))
}

// Merge returns what holds in a server that runs with old and reads fresh: of the
// settings that differ, those that it can change without a restart. The keys are
// those that changed, and those that wait for a restart.
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

package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"imgkeep/resize"
)

// The preset that the shipped file shows can be used, and shows every key.
func TestShippedPreset(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "contrib", "imgkeep.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile(`(?m)^# presets:\n(#  .*\n)+`).Find(text)
	example := regexp.MustCompile(`(?m)^# ?`).ReplaceAllString(string(block), "")
	c, _ := mustLoad(t, example)
	if len(c.Presets) != 1 || c.Presets[0].Name != "avatar" {
		t.Fatalf("%s\nis %+v", example, c.Presets)
	}
	d, err := checkFile("", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(example, "\n")
	var walk func(section reflect.Type, path string)
	walk = func(section reflect.Type, path string) {
		for key, kind := range keysOf(section) {
			at := join(path, key)
			if n := d.lines[at]; n == 0 {
				t.Errorf("it does not name %s", at)
			} else if !strings.Contains(lines[n-2], "#") {
				t.Errorf("%s has no comment above it", at)
			}
			if isSection(kind) {
				walk(kind, at)
			}
		}
	}
	walk(reflect.TypeFor[Preset](), "presets[0]")
}

// Every key of a preset reaches the decoder.
func TestDefinition(t *testing.T) {
	c, _ := mustLoad(t, `
presets:
  - {name: a, width: 1, height: 2, fit: contain, gravity: north, enlarge: true, trim: 3, rotate: 90, flip: both, brightness: 4, contrast: -5,
     blur: 1.5, padding: [1, 2, 3, 4], background: "#0a0b0c", watermark: {picture: /x.png, position: west, scale: 6, opacity: 7, margin: 8},
     format: jpeg, quality: {jpeg: 9}, progressive: true, max_bytes: 2KiB, animated: first}
  - {name: b, width: 5, sharpen: 1, padding: [7], quality: {webp: 3}}
  - {name: c, padding: [7, 8], format: webp, watermark: {text: x}}
  - {name: d, format: png, watermark: {text: x, scale: 3}}
  - {name: e, width: 5, negotiate: [webp, avif]}
  - {name: f, width: 5, negotiate: [avif], quality: {avif: 4, jpeg: 5, webp: 6}}
  - {name: g, format: avif, max_bytes: 9KiB}
`)
	for i, want := range []resize.Preset{
		{
			Width: 1, Height: 2, Fit: "contain", Gravity: "north", Enlarge: true, Trim: 3, Rotate: 90, Flip: "both", Brightness: 4, Contrast: -5,
			Blur: 1.5, Padding: resize.Padding{Top: 1, Right: 2, Bottom: 3, Left: 4}, Background: "#0a0b0c",
			Watermark: &resize.Watermark{Position: "west", Scale: 6, Opacity: 7, Margin: 8},
			Format:    "jpeg", JPEGQuality: 9, Progressive: true, MaxBytes: 2048, Animated: "first",
		},
		{Width: 5, Sharpen: 1, Padding: resize.Padding{Top: 7, Right: 7, Bottom: 7, Left: 7}, JPEGQuality: 66, WebPQuality: 3},
		{Padding: resize.Padding{Top: 7, Right: 8, Bottom: 7, Left: 8}, Format: "webp", WebPQuality: 66, Watermark: &resize.Watermark{Scale: 25}},
		{Format: "png", Watermark: &resize.Watermark{Scale: 3}},
		{Width: 5, JPEGQuality: 66, WebPQuality: 66, AVIFQuality: 44},
		{Width: 5, JPEGQuality: 5, WebPQuality: 6, AVIFQuality: 4},
		{Format: "avif", AVIFQuality: 44, MaxBytes: 9 << 10},
	} {
		got := c.Presets[i].Definition(66, 44)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is\n%+v, %+v, want\n%+v, %+v", c.Presets[i].Name, got, got.Watermark, want, want.Watermark)
		}
		if errs := got.Check(); len(errs) > 0 {
			t.Errorf("%s: %v", c.Presets[i].Name, errs)
		}
	}
}

// manySizes are sizes of the default list.
var manySizes = func() (all []string) {
	for _, h := range []string{"150", "200", "250", "500"} {
		all = append(all, h+"x", "x"+h)
		for _, w := range []string{"150", "200", "250", "500"} {
			all = append(all, h+"x"+w)
		}
	}
	return all
}()

// What is wrong is told with the preset, the key, its line and what is allowed.
func TestPresetsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"presets: [{width: 5}]":                                                     `imgkeep.yaml:1: presets[0].name: "" is not the name of a preset: want 1 to 23 of a-z, 0-9, - and _, a letter first`,
		"presets: [{name: Big}]":                                                    `imgkeep.yaml:1: presets[0].name: "Big" is not the name of a preset: want 1 to 23 of a-z, 0-9, - and _, a letter first`,
		"presets: [{name: x200}]":                                                   `imgkeep.yaml:1: presets[0].name: x200 has the form of a size`,
		"presets: [{name: full}]":                                                   `imgkeep.yaml:1: presets[0].name: "full" is taken: neither full nor info can be a preset`,
		"presets: [{name: info}]":                                                   `imgkeep.yaml:1: presets[0].name: "info" is taken: neither full nor info can be a preset`,
		"presets: [{name: a}, {name: a}]":                                           `imgkeep.yaml:1: presets[1].name: "a" is listed twice`,
		"presets: {a: {width: 5}}":                                                  `imgkeep.yaml:1: presets: it must be a list, as in [a, b]`,
		"presets: [{name: a, widths: 5}]":                                           `imgkeep.yaml:1: presets[0].widths: there is no such key; did you mean presets[0].width?`,
		"presets: [{name: a, quality: 5}]":                                          `imgkeep.yaml:1: presets[0].quality: it must hold keys and values, as in {key: value}`,
		"presets: [{name: a, quality: {png: 5}}]":                                   `imgkeep.yaml:1: presets[0].quality.png: there is no such key; want one of avif, jpeg, webp`,
		"presets: [{name: a, blur: much}]":                                          `imgkeep.yaml:1: presets[0].blur: "much" is not a number`,
		"presets: [{name: a, blur: .nan}]":                                          `imgkeep.yaml:1: presets[0].blur: preset "a": NaN is neither 0 nor in the range 0.3 to 20`,
		"presets: [{name: a, negotiate: [png]}]":                                    `imgkeep.yaml:1: presets[0].negotiate[0]: "png" is not one of avif, webp`,
		"presets: [{name: a, negotiate: [webp, avif, webp]}]":                       `imgkeep.yaml:1: presets[0].negotiate[2]: webp is listed twice`,
		"presets: [{name: a, negotiate: [avif], format: webp}]":                     `imgkeep.yaml:1: presets[0].negotiate: preset "a": format is webp: want one of them, a format for all viewers or several to choose from`,
		"presets: [{name: a, negotiate: [webp], quality: {avif: 9}}]":               `imgkeep.yaml:1: presets[0].quality.avif: preset "a": nothing is made in avif: want format: avif, or negotiate: [avif]`,
		"presets: [{name: a, format: webp, quality: {avif: 9}}]":                    `imgkeep.yaml:1: presets[0].quality.avif: preset "a": format is webp`,
		"resize: {negotiate: [avif, gif]}":                                          `imgkeep.yaml:1: resize.negotiate[1]: "gif" is not one of avif, webp`,
		"resize: {negotiate: [avif, avif]}":                                         `imgkeep.yaml:1: resize.negotiate[1]: avif is listed twice`,
		"presets:\n- name: a\n  fit: round":                                         `imgkeep.yaml:3: presets[0].fit: preset "a": "round" is not one of inside, cover, contain, crop`,
		"presets:\n- name: a\n  watermark:\n    text: x\n    scale: 101":            `imgkeep.yaml:5: presets[0].watermark.scale: preset "a": 101 is not in the range 0 to 100`,
		"presets: [{name: a, fit: cover, width: 5}]":                                `imgkeep.yaml:1: presets[0].fit: preset "a": cover needs both width and height`,
		"presets: [{name: a, max_bytes: 5KiB}]":                                     `imgkeep.yaml:1: presets[0].max_bytes: preset "a": it lowers the quality, so format must be jpeg, webp or avif`,
		"presets: [{name: a, padding: [1, 2, 3]}]":                                  `imgkeep.yaml:1: presets[0].padding: preset "a": it has 3 numbers or more than 4; want 1, 2 (top and bottom, left and right) or 4 (top, right, bottom, left)`,
		"presets: [{name: a, padding: [1001]}]":                                     `imgkeep.yaml:1: presets[0].padding: preset "a": 1001 is not in the range 0 to 1000`,
		"presets: [{name: a, watermark: {text: a, picture: b}}]":                    `imgkeep.yaml:1: presets[0].watermark: preset "a": it has both text and picture; want one of them`,
		"presets: [{name: a, watermark: {scale: 5}}]":                               `imgkeep.yaml:1: presets[0].watermark: preset "a": it has neither text nor picture`,
		"presets: [{name: a, watermark: {picture: a, colour: red}}]":                `imgkeep.yaml:1: presets[0].watermark: preset "a": colour is for text; the colours of a picture are its own`,
		"presets: [{name: a, watermark: {text: a, colour: red}}]":                   `imgkeep.yaml:1: presets[0].watermark: preset "a": its colour must be "#rrggbb" in lower case, as in "#ffffff"`,
		`presets: [{name: a, watermark: {text: "a\nb"}}]`:                           `imgkeep.yaml:1: presets[0].watermark: preset "a": its text must be one line of 1 to 100 characters`,
		"presets: [{name: a, watermark: {text: " + strings.Repeat("é", 101) + "}}]": `imgkeep.yaml:1: presets[0].watermark: preset "a": its text must be one line of 1 to 100 characters`,
		"resize: {animation_excess: last}":                                          `imgkeep.yaml:1: resize.animation_excess: "last" is not one of first, original`,
		"resize: {eager: [150x, 151x]}":                                             `imgkeep.yaml:1: resize.eager[1]: "151x" is neither a preset nor height x width of the sizes, as in 250x250, 150x, x200`,
		"resize: {eager: [x151]}":                                                   `imgkeep.yaml:1: resize.eager[0]: "x151" is neither a preset nor height x width of the sizes, as in 250x250, 150x, x200`,
		"resize: {eager: [full]}":                                                   `imgkeep.yaml:1: resize.eager[0]: "full" is neither a preset nor height x width of the sizes, as in 250x250, 150x, x200`,
		"resize: {eager: [avatar]}":                                                 `imgkeep.yaml:1: resize.eager[0]: "avatar" is neither a preset nor height x width of the sizes, as in 250x250, 150x, x200`,
		"resize: {eager: [150x, 150x]}":                                             `imgkeep.yaml:1: resize.eager[1]: 150x is listed twice`,
		"resize: {eager: [" + strings.Join(manySizes[:17], ", ") + "]}":             `imgkeep.yaml:1: resize.eager: it has 17 sizes; want at most 16`,
	} {
		_, _, err := load(t, text)
		if got := strings.Join(messages(err), "|"); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
	mustLoad(t, "presets: [{name: a, watermark: {text: "+strings.Repeat("é", 100)+"}}]")
	mustLoad(t, "resize: {eager: ["+strings.Join(manySizes[:16], ", ")+"]}")
	mustLoad(t, "resize: {eager: [avatar, 500x150]}\npresets: [{name: avatar, width: 5}]")
	t.Setenv("IMGKEEP_PRESETS", `[{"name": "tiny", "width": 5}]`)
	if c, _, err := Load("", nil); err != nil || len(c.Presets) != 1 || c.Presets[0].Width != 5 {
		t.Errorf("from the environment: %+v, %v", c.Presets, err)
	}
}

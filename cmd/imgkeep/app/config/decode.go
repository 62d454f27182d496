package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// assign converts raw, what viper found for a key, to the type of dst. It is strict: a
// number is not a text, a single value is not a list. But text is accepted for any single
// value, because the environment and flags have nothing else.
func (p *problems) assign(key string, dst reflect.Value, raw any) {
	if dst.Kind() == reflect.Slice {
		p.assignList(key, dst, raw)
		return
	}
	if isSection(dst.Type()) {
		p.assignSection(key, dst, raw)
		return
	}
	var err error
	switch d := dst.Addr().Interface().(type) {
	case *string:
		*d, err = toText(raw)
	case *Secret:
		s, ok := raw.(string)
		if !ok {
			// Without the value: it is a secret.
			err = fmt.Errorf("it is not text; write it in quotes")
		}
		*d = Secret(s)
	case *bool:
		*d, err = toBool(raw)
	case *int:
		var n int64
		n, err = toInt(raw, strconv.IntSize)
		*d = int(n)
	case *int64:
		*d, err = toInt(raw, 64)
	case *float64:
		*d, err = toFloat(raw)
	case *time.Duration:
		*d, err = toDuration(raw)
	case *ByteSize:
		*d, err = toByteSize(raw)
	case *netip.Prefix:
		*d, err = toPrefix(raw)
	default:
		panic(fmt.Sprintf("config: %s has the type %s, for which assign has no case", key, dst.Type()))
	}
	if err != nil && strings.HasPrefix(key, "sizes[") {
		err = fmt.Errorf("%s: want a length in pixels, such as 150; with 150 and 250 there are 150x250, 150x, x250 and all others of them", show(raw))
	}
	if err != nil {
		p.add(key, err)
	}
}

func (p *problems) assignList(key string, dst reflect.Value, raw any) {
	items, ok := raw.([]any)
	if !ok {
		p.addf(key, "it must be a list, as in [a, b]")
		return
	}
	list := reflect.MakeSlice(dst.Type(), len(items), len(items))
	for i, item := range items {
		p.assign(fmt.Sprintf("%s[%d]", key, i), list.Index(i), item)
	}
	if len(items) == 0 {
		list = reflect.Zero(dst.Type())
	}
	dst.Set(list)
}

func (p *problems) assignSection(key string, dst reflect.Value, raw any) {
	values, ok := raw.(map[string]any)
	if !ok {
		p.addf(key, "it must hold keys and values, as in {key: value}")
		return
	}
	for i := range dst.NumField() {
		name := keyOf(dst.Type().Field(i))
		if value, ok := values[name]; ok {
			p.assign(join(key, name), dst.Field(i), value)
		}
	}
}

func toText(raw any) (string, error) {
	s, ok := raw.(string)
	if !ok {
		return "", fmt.Errorf("%s is not text; write it in quotes", show(raw))
	}
	return s, nil
}

func toBool(raw any) (bool, error) {
	switch v := raw.(type) {
	case bool:
		return v, nil
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			return b, nil
		}
	}
	return false, fmt.Errorf("%s is neither true nor false", show(raw))
}

func toInt(raw any, bits int) (int64, error) {
	switch v := raw.(type) {
	case int:
		return int64(v), nil
	case string:
		if n, err := strconv.ParseInt(v, 10, bits); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s is not a whole number", show(raw))
}

func toFloat(raw any) (float64, error) {
	switch v := raw.(type) {
	case int:
		return float64(v), nil
	case float64:
		return v, nil
	}
	return 0, fmt.Errorf("%s is not a number", show(raw))
}

func toDuration(raw any) (time.Duration, error) {
	switch v := raw.(type) {
	case string:
		if d, err := time.ParseDuration(v); err == nil {
			return d, nil
		}
	case int:
		if v == 0 {
			return 0, nil
		}
	}
	return 0, fmt.Errorf("%s is not a duration: want a number with a unit, as in 500ms, 30s, 5m, 1h30m", show(raw))
}

func toByteSize(raw any) (ByteSize, error) {
	switch v := raw.(type) {
	case string:
		return ParseByteSize(v)
	case int:
		return ByteSize(v), nil
	}
	return ParseByteSize(fmt.Sprint(raw))
}

func toPrefix(raw any) (netip.Prefix, error) {
	s, _ := raw.(string)
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			return netip.Prefix{}, fmt.Errorf("%q is an address, not a network; did you mean %s/%d?", s, s, a.BitLen())
		}
		return netip.Prefix{}, fmt.Errorf("%s is not a network: want an address and a length, as in 10.0.0.0/8 or fd00::/8", show(raw))
	}
	return p, nil
}

// show writes a value for a message: text in quotes, the rest as it is.
func show(raw any) string {
	if s, ok := raw.(string); ok {
		return strconv.Quote(s)
	}
	return fmt.Sprint(raw)
}

const (
	kibibyte ByteSize = 1 << 10
	mebibyte ByteSize = 1 << 20
	gibibyte ByteSize = 1 << 30
	tebibyte ByteSize = 1 << 40
)

// ByteSize is a number of bytes. In text it is a plain number of bytes, or a
// number with a unit of 1024 (KiB, MiB, GiB, TiB) or of 1000 (kB, MB, GB, TB).
type ByteSize int64

// "16M" is refused: nginx would read 16 MiB, and many programs 16 MB.
var byteSizeForm = regexp.MustCompile(`^[0-9]{1,19}(\.[0-9]{1,9})?( ?([kKMGT]i?)?B)?$`)

// ParseByteSize reads a ByteSize. A fraction of a byte is dropped.
func ParseByteSize(s string) (ByteSize, error) {
	if !byteSizeForm.MatchString(s) {
		return 0, fmt.Errorf("%q is not a size: want a number of bytes, or a unit as in 512KiB, 16MiB, 1GiB, 10MB", s)
	}
	n, err := humanize.ParseBigBytes(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: %w", s, err)
	}
	if !n.IsInt64() {
		return 0, fmt.Errorf("%q is too large a size", s)
	}
	return ByteSize(n.Int64()), nil
}

// String returns the size in the largest unit that gives a whole number, so that
// ParseByteSize reads the same size again.
func (b ByteSize) String() string {
	for _, u := range []struct {
		size ByteSize
		name string
	}{
		{tebibyte, "TiB"}, {gibibyte, "GiB"}, {mebibyte, "MiB"}, {kibibyte, "KiB"},
	} {
		if b != 0 && b%u.size == 0 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText returns String, or a plain number if it has no unit.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

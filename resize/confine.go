package resize

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Sandbox says how much confinement the pool asks of its decoders.
type Sandbox string

// Levels of it.
const (
	// SandboxAuto: a decoder confines itself as far as the kernel lets it.
	SandboxAuto Sandbox = "auto"
	// SandboxRequire: a decoder that lacks a layer is not used.
	SandboxRequire Sandbox = "require"
	// SandboxOff: a decoder does not confine itself. For finding faults.
	SandboxOff Sandbox = "off"
)

// ErrSandbox: decoders cannot take from themselves all that SandboxRequire asks.
var ErrSandbox = errors.New("its sandbox is required")

// Layers are what confines a decoder, by its own account, given before its
// first image.
type Layers struct {
	// Held are the names of the layers in force.
	Held []string
	// Missing are the others, each with what it lacks.
	Missing []string
}

// Confinement is what a decoder is told to hold itself to.
type Confinement struct {
	// Off: to nothing.
	Off bool
	// Memory is the most address space that it may take from its greeting on, in
	// bytes. 0: no bound.
	Memory int64
	// CPU is the most processor time of its life. 0: no bound.
	CPU time.Duration
}

// The variables of a decoder's environment that tell it.
const (
	envOff    = "IMGKEEP_DECODER_SANDBOX"
	envMemory = "IMGKEEP_DECODER_MEMORY"
	envCPU    = "IMGKEEP_DECODER_CPU"
)

// environ is what ReadConfinement reads.
func (c Confinement) environ() []string {
	level := "on"
	if c.Off {
		level = "off"
	}
	return []string{
		envOff + "=" + level,
		envMemory + "=" + strconv.FormatInt(c.Memory, 10),
		envCPU + "=" + c.CPU.String(),
	}
}

// ReadConfinement reads what the pool has told a decoder, which is started with
// it in its environment. A variable that is missing counts as on, and as no
// bound; one that is not understood is an error, since a decoder that runs
// unconfined by a misspelling would not be noticed.
func ReadConfinement(getenv func(string) string) (Confinement, error) {
	var c Confinement
	switch level := getenv(envOff); level {
	case "off":
		c.Off = true
	case "", "on":
	default:
		return c, fmt.Errorf("%s=%s is neither on nor off", envOff, quote(level))
	}
	if s := getenv(envMemory); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return c, fmt.Errorf("%s=%s is not a number of bytes", envMemory, quote(s))
		}
		c.Memory = n
	}
	if s := getenv(envCPU); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return c, fmt.Errorf("%s=%s is not a length of time", envCPU, quote(s))
		}
		c.CPU = d
	}
	return c, nil
}

// envSources and envOutputs name the formats that a decoder is to read and to write
// besides, with commas between them.
const (
	envSources = "IMGKEEP_DECODER_SOURCES"
	envOutputs = "IMGKEEP_DECODER_OUTPUTS"
)

// ReadSources reads what the pool has told a decoder of formats: those of
// [Options] Sources. One that is not known is an error.
func ReadSources(getenv func(string) string) ([]string, error) {
	list := getenv(envSources)
	if list == "" {
		return nil, nil
	}
	all := strings.Split(list, ",")
	return all, checkSources(all)
}

func checkSources(list []string) error { return eachOnce("source", list, others) }

// ReadOutputs is the same for Outputs.
func ReadOutputs(getenv func(string) string) ([]string, error) {
	list := getenv(envOutputs)
	if list == "" {
		return nil, nil
	}
	all := strings.Split(list, ",")
	return all, checkOutputs(all)
}

func checkOutputs(list []string) error { return eachOnce("output", list, outputs) }

func eachOnce(what string, list, of []string) error {
	for i, f := range list {
		if !slices.Contains(of, f) || slices.Contains(list[:i], f) {
			return fmt.Errorf("resize: %s %s: want each of %s at most once", what, quote(f), strings.Join(of, ", "))
		}
	}
	return nil
}

// confinement is that of each decoder of the pool.
func (o Options) confinement() Confinement {
	c := Confinement{Off: o.Sandbox == SandboxOff, Memory: o.MaxMemory}
	// No image works for longer than Timeout. A decoder may help itself to a
	// second core, and gets some images more while its successor starts.
	const years = 10 * 365 * 24 * time.Hour
	if images := int64(o.MaxImages) + 60; o.Timeout < years/time.Duration(images)/2 {
		c.CPU = 2 * time.Duration(images) * o.Timeout
	}
	return c
}

// environ is the environment of each decoder. It is never empty, because of an
// empty one exec makes our own.
func (o Options) environ() []string {
	env := o.confinement().environ()
	if len(o.Sources) > 0 {
		env = append(env, envSources+"="+strings.Join(o.Sources, ","))
	}
	if len(o.Outputs) > 0 {
		env = append(env, envOutputs+"="+strings.Join(o.Outputs, ","))
	}
	return append(env, o.Env...)
}

func (s Sandbox) check() error {
	if !slices.Contains([]Sandbox{SandboxAuto, SandboxRequire, SandboxOff}, s) {
		return fmt.Errorf("resize: sandbox %s is not one of auto, require, off", quote(string(s)))
	}
	return nil
}

// satisfied says whether a decoder with these layers may be used.
func (s Sandbox) satisfied(l Layers) error {
	switch {
	case s != SandboxRequire:
		return nil
	case len(l.Missing) > 0:
		return fmt.Errorf("%w and incomplete: %s", ErrSandbox, strings.Join(l.Missing, "; "))
	case len(l.Held) == 0:
		return fmt.Errorf("%w, and it has none", ErrSandbox)
	}
	return nil
}

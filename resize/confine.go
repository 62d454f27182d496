package resize

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Sandbox says how strictly the pool wants its decoders confined.
type Sandbox string

// Levels of confinement.
const (
	// SandboxAuto: a decoder confines itself as far as the kernel supports it.
	SandboxAuto Sandbox = "auto"
	// SandboxRequire: the pool uses no decoder that lacks a layer.
	SandboxRequire Sandbox = "require"
	// SandboxOff: a decoder does not confine itself. For debugging only.
	SandboxOff Sandbox = "off"
)

// ErrSandbox: decoders cannot apply every layer that SandboxRequire demands.
var ErrSandbox = errors.New("its sandbox is required")

// Layers are what confines a decoder, as the decoder reports before its first image.
type Layers struct {
	// Held are the names of the layers in force.
	Held []string
	// Missing are the others, each with the reason.
	Missing []string
}

// Confinement is what a decoder is told to impose on itself.
type Confinement struct {
	// Off: nothing.
	Off bool
	// Memory is the most address space that it may take after its greeting, in bytes. 0: no
	// bound.
	Memory int64
	// CPU is the most processor time in its life. 0: no bound.
	CPU time.Duration
}

// The environment variables that carry it to a decoder.
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

// ReadConfinement reads what the pool put into a decoder's environment. A missing variable
// means on, or no bound. A value that it does not understand is an error: nobody would
// notice a decoder that runs unconfined because of a misspelling.
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

// envSources and envOutputs name the extra formats that a decoder reads and writes,
// separated by commas.
const (
	envSources = "IMGKEEP_DECODER_SOURCES"
	envOutputs = "IMGKEEP_DECODER_OUTPUTS"
)

// ReadSources reads the formats of [Options] Sources that the pool put into a decoder's
// environment. An unknown one is an error.
func ReadSources(getenv func(string) string) ([]string, error) {
	return readFormats(getenv(envSources), checkSources)
}

// ReadOutputs is the same for Outputs.
func ReadOutputs(getenv func(string) string) ([]string, error) {
	return readFormats(getenv(envOutputs), checkOutputs)
}

func readFormats(list string, check func([]string) error) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	all := strings.Split(list, ",")
	return all, check(all)
}

func checkSources(list []string) error { return eachOnce("source", list, others) }

func checkOutputs(list []string) error { return eachOnce("output", list, outputs) }

func eachOnce(what string, list, of []string) error {
	for i, f := range list {
		if !slices.Contains(of, f) || slices.Contains(list[:i], f) {
			return fmt.Errorf("resize: %s %s: want each of %s at most once", what, quote(f), strings.Join(of, ", "))
		}
	}
	return nil
}

// confinement is what the pool tells each decoder.
func (o Options) confinement() Confinement {
	c := Confinement{Off: o.Sandbox == SandboxOff, Memory: o.MaxMemory}
	// No image takes longer than Timeout. A decoder may use a second core, and gets a few
	// more images while its successor starts.
	const years = 10 * 365 * 24 * time.Hour
	if images := int64(o.MaxImages) + 60; o.Timeout < years/time.Duration(images)/2 {
		c.CPU = 2 * time.Duration(images) * o.Timeout
	}
	return c
}

// environ is the environment of each decoder. It is never empty: with an empty one, exec
// would pass on our own.
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

// satisfied says whether the pool may use a decoder with these layers.
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

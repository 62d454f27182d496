// Package resize makes listed sizes of images, in other processes.
//
// It has four parts. [Size] is a limit on the sides of a picture and computes
// the exact size that fits it. [Preset] says everything about a picture that can
// be asked for besides. [Pool] starts decoder processes, hands each one
// image at a time, and takes back the sizes made from it. [Serve] is the other
// end of the same pipe: the loop of a decoder process.
//
// # What it promises
//
// The pool's process never decodes a byte of an image. Whatever an image does
// to a decoder (a crash, a hang, memory eaten up, its takeover by an exploit)
// costs the request that brought the image, and no other: the decoder is ended
// and replaced. So the answer of a decoder is read as an enemy's. Every length
// is bounded before memory is taken, and number, format, sides and first bytes
// of the results have to be those that were asked for.
//
// A decoder gets its work through pipes and needs to open no file. It gets the
// environment in [Options] and what it is to hold itself to ([Confinement]), and
// nothing of the pool's own. Its greeting says which layers of a sandbox hold it;
// where [SandboxRequire] is set, none is used that lacks one. It ends when its
// standard input does, and is killed when the pool's process dies.
//
// # What it does not do
//
// It does not recognise formats: [Job] says what the source is, and a decoder
// uses the loader of that format alone. It knows no URL, bucket or file name,
// keeps no results, and does not retry. It does not confine the decoder; that
// is for the program in [Options] to do to itself before its first image, as
// package sandbox below does.
//
// A decoder that an image has taken over may give wrong pictures for later
// images until it is replaced, within the checks above. [Options] MaxImages
// bounds for how long.
//
// # Protocol
//
// Both ends are in this package, and are installed together. A message is a
// head and raw bytes: the length of the head (4 bytes, big-endian, at most 64
// KiB), the head as a JSON object in which unknown fields are refused, and then
// as many bytes as the head says. At its start a decoder sends its greeting:
// protocol version, version of libvips, formats, sources and outputs besides, layers
// of its sandbox. After that each request (the job, followed by the source and by the files of
// watermarks) gets one answer (the results, followed by their
// bytes; or what is wrong with the image). The end of the input, between two
// requests, ends the decoder.
package resize

// Package resize makes the sizes of images that the operator listed, in other processes.
//
// It has four parts. [Size] limits the sides of a picture and computes the exact size that
// fits. [Preset] describes everything else that can be asked of a picture. [Pool] starts
// decoder processes, hands each one image at a time, and takes back the sizes made from it.
// [Serve] is the other end of the same pipe: the loop of a decoder process.
//
// # What it promises
//
// The pool's process never decodes a byte of an image. Whatever an image does to a decoder
// (a crash, a hang, exhausted memory, a takeover by an exploit) costs only the request that
// brought the image: the pool ends the decoder and replaces it. So the pool treats a
// decoder's answer as hostile. It bounds every length before it takes memory, and it checks
// that number, format, sides and first bytes of the results are those that were asked for.
//
// A decoder gets its work through pipes and needs to open no file. Its environment is that
// in [Options] and its [Confinement], and nothing of the pool's own. Its greeting says
// which sandbox layers hold it; with [SandboxRequire], the pool uses none that lacks a
// layer. A decoder ends when its standard input does, and is killed when the pool's process
// dies.
//
// # What it does not do
//
// It does not recognise formats: [Job] says what the source is, and a decoder uses the
// loader of that format only. It knows no URL, bucket or file name, keeps no results, and
// does not retry. It does not confine the decoder: the program in [Options] does that
// itself before its first image, with package sandbox below.
//
// A decoder that an image has taken over may return wrong pictures for later images until
// it is replaced, within the checks above. [Options] MaxImages bounds how long that lasts.
//
// # Protocol
//
// Both ends are in this package, and are installed together. A message is a head and raw
// bytes: the length of the head (4 bytes, big-endian, at most 64 KiB), the head as a JSON
// object in which unknown fields are refused, and then as many bytes as the head says. At
// its start a decoder sends its greeting: protocol version, version of libvips, formats,
// extra sources and outputs, layers of its sandbox. After that each request (the job,
// followed by the source and by the files of watermarks) gets one answer (the results,
// followed by their bytes; or what is wrong with the image). The end of the input, between
// two requests, ends the decoder.
package resize

package query

import (
	"bytes"
	"context"
	"encoding/binary"
	"iter"

	"imgkeep/bucket/extsort"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// keptImages goes through the URLs of a bucket in the order of the journals: the lines that
// the index confirms, of several of one URL the first.
func keptImages(ctx context.Context, s Store, bucket string) iter.Seq2[record.Image, error] {
	return func(yield func(record.Image, error) bool) {
		kept, err := confirmed(ctx, s, bucket, 0)
		if err != nil {
			yield(record.Image{}, err)
			return
		}
		for n, line := range numbered(ctx, s, bucket) {
			if line.err != nil || kept.has(n) {
				if !yield(line.Image, line.err) || line.err != nil {
					return
				}
			}
		}
	}
}

// A claim of a line to be what is kept, as it is sorted: the URL's key, the image it refers
// to, and the line's number.
const claimSize = 16 + 16 + 8

// confirmed tells which lines of the journals say what is kept. Looking each of them up in the
// index would read its pages at random, again and again if they do not fit into memory. So
// the lines are sorted by the keys of their URLs, in so much memory as extsort.New takes it,
// and compared with the index in one walk.
func confirmed(ctx context.Context, s Store, bucket string, memory int) (bits, error) {
	claims := extsort.New(s.Path(record.TmpDir), claimSize, memory)
	defer claims.Close()
	for n, line := range numbered(ctx, s, bucket) {
		if line.err != nil {
			return nil, line.err
		}
		if line.Op == ledger.OpKeep && line.Broken == nil {
			key, ref := index.KeyOf(line.Image.URL), index.RefTo(line.Image.Digest)
			var claim [claimSize]byte
			copy(claim[:], key[:])
			copy(claim[len(key):], ref[:])
			binary.BigEndian.PutUint64(claim[len(key)+len(ref):], uint64(n))
			if err := claims.Add(claim[:]); err != nil {
				return nil, err
			}
		}
	}
	if claims.Len() == 0 {
		return nil, nil
	}
	var kept bits
	sorted := claims.Sorted()
	more := sorted.Next()
	n := 0
	for l, err := range s.Index().URLs(bucket) {
		if n++; err == nil && n%4096 == 0 && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
		link := append(l.Key[:], l.Ref[:]...)
		for more && bytes.Compare(sorted.Record()[:len(link)], link) < 0 {
			more = sorted.Next()
		}
		if !more {
			break
		}
		if bytes.Equal(sorted.Record()[:len(link)], link) {
			kept.set(int(binary.BigEndian.Uint64(sorted.Record()[len(link):])))
		}
	}
	return kept, sorted.Err()
}

type numberedLine struct {
	ledger.Entry
	err error
}

// numbered goes through the lines of a bucket's journals with their numbers, which are the same each
// time: lines are added at the end only. An error is the last.
func numbered(ctx context.Context, s Store, bucket string) iter.Seq2[int, numberedLine] {
	return func(yield func(int, numberedLine) bool) {
		n := 0
		for line, err := range s.Ledger().Since(bucket, record.Position{}) {
			if n%4096 == 0 && err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if !yield(n, numberedLine{line, err}) || err != nil {
				return
			}
			n++
		}
	}
}

// bits are a set of numbers, a bit each.
type bits []uint64

func (b *bits) set(n int) {
	for n/64 >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[n/64] |= 1 << (n % 64)
}

func (b bits) has(n int) bool { return n/64 < len(b) && b[n/64]&(1<<(n%64)) != 0 }

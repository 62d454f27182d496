package index

import (
	"encoding/binary"
	"sync/atomic"
)

// popular has images that were looked up before, as most of what viewers ask for was. Each has
// one place, by its key, which the next one of that place takes. It never says that something
// is not kept.
//
// An image is answered from here only while generation is what it was before the transaction
// began that found the image. Whatever takes an image from a URL increments it before it is
// acknowledged: what was removed is not found afterwards, even if a look-up that began before
// adds it later. Blocks are not known here; who asks for an image asks for them, too.
type popular struct {
	generation atomic.Uint64
	places     [places]atomic.Pointer[popularImage]
}

// places is how many images are remembered, of 160 bytes: five megabytes.
const places = 1 << 15

type popularImage struct {
	generation uint64
	bucket     string
	key        Key
	image      Image
}

func (p *popular) place(k Key) *atomic.Pointer[popularImage] {
	return &p.places[binary.NativeEndian.Uint64(k[8:])%places]
}

func (p *popular) find(bucket string, k Key) (Image, bool) {
	i := p.place(k).Load()
	if i == nil || i.key != k || i.bucket != bucket || i.generation != p.generation.Load() {
		return Image{}, false
	}
	return i.image, true
}

// add adds an image that a transaction found which began after generation was read.
func (p *popular) add(generation uint64, bucket string, k Key, image Image) {
	p.place(k).Store(&popularImage{generation, bucket, k, image})
}

// clear forgets all images, and those that are being added.
func (p *popular) clear() { p.generation.Add(1) }

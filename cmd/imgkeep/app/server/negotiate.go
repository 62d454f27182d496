package server

import (
	"cmp"
	"net/http"
	"slices"

	"imgkeep/bucket"
	"imgkeep/bucket/probe"
	"imgkeep/nginx"
	"imgkeep/resize"
)

// offered are the formats in which a size is made besides its own.
func (s *Server) offered(size string) []string {
	if s.Presets[size] == nil {
		if _, err := resize.ParseSize(size); err != nil {
			return nil
		}
		size = nginx.AnySize
	}
	return s.Negotiate[size]
}

// accepted are those of them that a viewer accepts. Behind nginx it is nginx that
// has read his Accept header, and r has what it means: so both look for hot links at
// the same place.
func (s *Server) accepted(r *http.Request, size string) []string {
	return slices.DeleteFunc(slices.Clone(s.offered(size)), func(f string) bool {
		return !nginx.Accepts(r.Header.Get("Accept"), "image/"+f)
	})
}

// variants are what a size stands for: what is plain, and what is made for viewers who
// accept these formats. That is nil where it is the same. An animation stays one.
func (s *Server) variants(size string, image bucket.Image, accepted []string) (plain thing, converted *thing, err error) {
	plain.Making, plain.target, err = s.making(size, image)
	if err != nil {
		return plain, nil, err
	}
	source := image.Format.String()
	moves := image.Frames > 1 && plain.target.Animates(moving(image))
	for _, format := range accepted {
		if format == plain.Format.String() {
			break
		}
		quality := s.Quality
		if format == probe.AVIF.String() {
			quality = cmp.Or(s.AVIFQuality, resize.DefaultAVIFQuality)
		}
		c := thing{target: plain.target.As(format, source, quality), plain: plain.Format}
		if moves && !c.target.Animates(moving(image)) {
			continue
		}
		c.Name = plain.Name
		if c.Format, err = formatOf(c.target, image); err != nil {
			return plain, nil, err
		}
		return plain, &c, nil
	}
	return plain, nil, nil
}

// classes are what viewers may accept of the formats of a size, by which all is made
// that any of them may get: nothing, and each alone.
func (s *Server) classes(size string) [][]string {
	all := [][]string{nil}
	for _, f := range s.offered(size) {
		all = append(all, []string{f})
	}
	return all
}

// negotiate chooses what a viewer gets of a size that is offered in several formats,
// and has it made where it is missing. Only that can be an error which would be one
// without the others.
func (s *Server) negotiate(r *http.Request, v *visit, d *delivery) error {
	if d.varies = len(s.offered(d.link.Size)) > 0; !d.varies {
		return nil
	}
	d.accepted = s.accepted(r, d.link.Size)
	_, converted, err := s.variants(d.link.Size, d.image, d.accepted)
	if err != nil || converted == nil {
		return err
	}
	d.converted = converted.Format
	own, err := s.Store.HasMade(d.image, d.name, d.converted)
	if err != nil {
		if err = s.makeMissing(r.Context(), v, *d); err == nil {
			own, err = s.Store.HasMade(d.image, d.name, d.converted)
		}
	}
	if err != nil {
		// What is plain may be there. The viewer gets it now, and nginx no hot link.
		d.makeshift = true
		if s.Store.EnsureMade(r.Context(), d.image, d.name, d.format, nil) != nil {
			return err
		}
	}
	if own {
		d.format, d.maker = d.converted, s.maker(d.image, converted.target)
	}
	return nil
}

/* How a picture becomes a file: see encode.c. */

#ifndef IMGKEEP_ENCODE_H
#define IMGKEEP_ENCODE_H

#include "picture.h"
#include "thumb.h"

/* Encodes a picture, or frames of to->height rows below each other, into to->data. im is
 * the same picture for libvips, with its metadata, such as delays. palette: the source had
 * few colours. Returns 0, or what thumb.h says. */
int encode(const picture *p, VipsImage *im, gboolean palette, thumb_target *to);

#endif

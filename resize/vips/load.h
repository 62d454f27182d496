#ifndef IMGKEEP_LOAD_H
#define IMGKEEP_LOAD_H

#include <vips/vips.h>

#include "thumb.h"

/* Opens an image for one pass from top to bottom, without decoding anything yet. frames is
 * how many frames are wanted. A JPEG is decoded shrink times smaller, a WebP by scale.
 * NULL: the reason is in libvips' error buffer. */
VipsImage *load(const void *src, size_t len, int format, int frames, int shrink, double scale);

/* Says, once the pixels have been read, whether all of them were there: 0. Otherwise the
 * reason is in libvips' error buffer. Since 8.17 libvips continues if it cannot read a part
 * of a TIFF, and only notes that in its buffer. */
int load_complete(VipsImage *im);

/* Opens the current frame of a thumb_raw, without copying its pixels. */
VipsImage *load_raw(const thumb_raw *raw);

#endif

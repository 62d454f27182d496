#ifndef IMGKEEP_LOAD_H
#define IMGKEEP_LOAD_H

#include <vips/vips.h>

#include "thumb.h"

/* Opens an image for one pass from top to bottom. Nothing is decoded yet. frames
 * are how many are wanted; a JPEG is decoded shrink times smaller, a WebP by scale.
 * NULL: the reason is in libvips' error buffer. */
VipsImage *load(const void *src, size_t len, int format, int frames, int shrink, double scale);

/* Tells, once its pixels have been read, whether they were all there: 0. Else the reason
 * is in libvips' error buffer. Since 8.17 libvips goes on where a part of a TIFF cannot be
 * read, and only notes it there. */
int load_complete(VipsImage *im);

/* Opens the frame that is in a thumb_raw now. Its pixels are not copied. */
VipsImage *load_raw(const thumb_raw *raw);

#endif

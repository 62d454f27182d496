/* Shrinking a picture to an exact size: see resample.c. */

#ifndef IMGKEEP_RESAMPLE_H
#define IMGKEEP_RESAMPLE_H

#include <vips/vips.h>

/* Shrinks rows top to top + rows of in to width by height pixels of 8 bits and
 * as many bands, which it writes to out. Rows are read once, from top to
 * bottom. Not 0: failed, the reason is in libvips' error buffer. */
int resample(VipsImage *in, int top, int rows, int width, int height, VipsPel *out);

#endif

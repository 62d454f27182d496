/* Shrinking a picture to an exact size: see resample.c. */

#ifndef IMGKEEP_RESAMPLE_H
#define IMGKEEP_RESAMPLE_H

#include <vips/vips.h>

/* Where the rows of a picture come from. */
typedef struct {
	int width, rows, bands;
	gboolean deep;  /* 16 bits a band, not 8 */
	gboolean alpha;
	/* Row y, valid until the next call. Rows are asked for once each, from top to bottom.
	 * NULL: failed, the reason is in libvips' error buffer. */
	const VipsPel *(*row)(void *state, int y);
	void *state;
} row_source;

/* Shrinks a picture to width by height pixels of 8 bits and as many bands, which it writes
 * to out. Not 0: failed, the reason is in libvips' error buffer. */
int resample(const row_source *in, int width, int height, VipsPel *out);

/* The same of rows top to top + rows of an image. */
int resample_image(VipsImage *in, int top, int rows, int width, int height, VipsPel *out);

#endif

/* Shrinking a picture to an exact size: see resample.c. */

#ifndef IMGKEEP_RESAMPLE_H
#define IMGKEEP_RESAMPLE_H

#include <vips/vips.h>

/* What the rows of a picture are. */
typedef struct {
	int width, rows, bands;
	gboolean deep;  /* 16 bits a band, not 8 */
	gboolean alpha;
} row_form;

/* Shrinks a picture whose rows come in one after the other. */
typedef struct resampler resampler;

/* The result has width by height pixels of 8 bits and as many bands, and is written to out.
 * Each of its pixels stands for across by down of those that come in, as a rule their number
 * divided by that of the result, and is the mean of parts by parts that stand beside each
 * other: more than 1 make it softer. */
resampler *resampler_new(const row_form *in, double across, double down, int parts, int width, int height, VipsPel *out);

/* Takes the next row. When all have come, the result is complete. */
void resampler_row(resampler *r, const void *row);

void resampler_free(resampler *r);

/* Where the rows of a picture come from. */
typedef struct {
	row_form form;
	/* Row y, valid until the next call. Rows are asked for once each, from top to bottom.
	 * NULL: failed, the reason is in libvips' error buffer. */
	const VipsPel *(*row)(void *state, int y);
	void *state;
} row_source;

/* Shrinks a picture to width by height pixels of 8 bits and as many bands, which it writes
 * to out. Not 0: failed, the reason is in libvips' error buffer. */
int resample(const row_source *in, int width, int height, VipsPel *out);

/* Reads rows of an image. */
typedef struct {
	VipsRegion *region; /* to be unreferenced at the end */
	int top, rows;
} strip;

/* Has source be rows top to top + rows of an image, read by s. Not 0: they are of another kind,
 * the reason is in libvips' error buffer. */
int strip_rows(strip *s, VipsImage *in, int top, int rows, row_source *source);

/* The same as resample of rows top to top + rows of an image. */
int resample_image(VipsImage *in, int top, int rows, int width, int height, VipsPel *out);

#endif

/* Finding the borders of a picture, in one pass from top to bottom and without
 * keeping it. */

#include <stdlib.h>
#include <string.h>

#include "trim.h"

/* What is looked for. */
typedef struct {
	int bands, tolerance;
	gboolean deep, alpha;
	int colour[4]; /* of the top left pixel */
} border;

static int
value(const border *b, const VipsPel *row, int x, int band)
{
	size_t i = (size_t) x * b->bands + band;

	return b->deep ? ((const guint16 *) row)[i] >> 8 : row[i];
}

static gboolean
is_border(const border *b, const VipsPel *row, int x)
{
	/* What cannot be seen has no colour. */
	if (b->alpha && b->colour[b->bands - 1] == 0 && value(b, row, x, b->bands - 1) == 0)
		return TRUE;
	for (int i = 0; i < b->bands; i++)
		if (abs(value(b, row, x, i) - b->colour[i]) > b->tolerance)
			return FALSE;
	return TRUE;
}

int
trim(VipsImage *in, int tolerance, int *left, int *top, int *right, int *bottom)
{
	border b = {.bands = in->Bands, .tolerance = tolerance,
		.deep = in->BandFmt == VIPS_FORMAT_USHORT, .alpha = vips_image_hasalpha(in)};
	VipsRegion *region = vips_region_new(in);

	if (b.bands < 1 || b.bands > 4 || (!b.deep && in->BandFmt != VIPS_FORMAT_UCHAR)) {
		vips_error("trim", "%d bands of format %d", b.bands, in->BandFmt);
		g_object_unref(region);
		return -1;
	}
	*left = in->Xsize;
	*top = in->Ysize;
	*right = *bottom = 0;
	for (int y = 0; y < in->Ysize; y++) {
		VipsRect strip = {0, y, in->Xsize, MIN(16, in->Ysize - y)};
		const VipsPel *row;
		int x = 0, end = in->Xsize;

		if (y % 16 == 0 && vips_region_prepare(region, &strip)) {
			g_object_unref(region);
			return -1;
		}
		row = VIPS_REGION_ADDR(region, 0, y);
		if (y == 0)
			for (int i = 0; i < b.bands; i++)
				b.colour[i] = value(&b, row, 0, i);
		while (x < end && is_border(&b, row, x))
			x++;
		if (x == end)
			continue;
		while (is_border(&b, row, end - 1))
			end--;
		*left = MIN(*left, x);
		*right = MAX(*right, end);
		*top = MIN(*top, y);
		*bottom = y + 1;
	}
	g_object_unref(region);
	return 0;
}

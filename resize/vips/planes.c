/* A JPEG becomes a smaller JPEG without ever being RGB. Its colours are stored apart from
 * its luma, and as a rule at half the resolution, so that there are fewer samples to shrink,
 * and nothing is converted or interpolated on the way. Nothing is rounded for that, either. */

#include "planes.h"

#include "resample.h"

int
planes_new(planes *p, int width, int height, int pitch)
{
	*p = (planes){.pitch = pitch};
	for (int i = 0; i < 3; i++) {
		int by = i ? pitch : 1;

		if (picture_new(&p->band[i], (width + by - 1) / by, (height + by - 1) / by, 1, VIPS_INTERPRETATION_B_W)) {
			planes_free(p);
			return -1;
		}
	}
	return 0;
}

void
planes_free(planes *p)
{
	for (int i = 0; i < 3; i++)
		picture_free(&p->band[i]);
}

void
planes_shrink(const planes *from, planes *to)
{
	double across = (double) from->band[0].width / to->band[0].width;
	double down = (double) from->band[0].height / to->band[0].height;

	for (int i = 0; i < 3; i++) {
		const picture *p = &from->band[i], *q = &to->band[i];
		double by = i ? (double) to->pitch / from->pitch : 1;
		resampler *r = resampler_new(&(row_form){p->width, p->height, 1}, across * by, down * by,
			i ? to->pitch : 1, q->width, q->height, q->pixels);

		for (int y = 0; y < p->height; y++)
			resampler_row(r, p->pixels + (size_t) y * p->width);
		resampler_free(r);
	}
}

int
planes_turn(planes *p, int orientation)
{
	static const struct {
		int quarters;
		gboolean flip_x, flip_y;
	} turns[] = {{0}, {0, TRUE}, {2}, {0, FALSE, TRUE}, {1, TRUE}, {1}, {1, FALSE, TRUE}, {3}};

	if (orientation < 1 || orientation > 8)
		return 0;
	for (int i = 0; i < 3; i++)
		if (picture_turn(&p->band[i], turns[orientation - 1].quarters, turns[orientation - 1].flip_x, turns[orientation - 1].flip_y))
			return -1;
	return 0;
}

/* The steps of a preset, in the order that package resize names. */

#include "edit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blur.h"

/* How much of the difference to its blurred self sharpening adds to a picture. */
#define SHARPEN 1.0

/* The search for the part that draws the eye uses at most this many fields across and down. */
#define FIELDS 64

/* How much each field of a picture draws the eye: by its edges, and a quarter as much by
 * strong colours. */
static void
interest(const picture *p, int side_x, int side_y, double fields[FIELDS][FIELDS])
{
	int bands = p->bands, colours = bands - picture_has_alpha(p);
	size_t stride = (size_t) p->width * bands;

	for (int y = 1; y < p->height; y++)
		for (int x = 1; x < p->width; x++) {
			const VipsPel *v = p->pixels + y * stride + (size_t) x * bands;
			int low = 255, high = 0, edge = 0;

			if (colours < bands && v[colours] < 128)
				continue; /* hardly visible */
			for (int b = 0; b < colours; b++) {
				low = MIN(low, v[b]);
				high = MAX(high, v[b]);
				edge += abs(v[b] - v[b - bands]) + abs(v[b] - *(v + b - stride));
			}
			fields[y / side_y][x / side_x] += edge / colours + (high - low) / 4.0;
		}
}

/* Finds the part that draws the eye most; its middle counts more than its border. libvips
 * has this too (vips_smartcrop), but always writes machine code for it, and a confined
 * decoder does not survive that. */
static void
look(const picture *p, thumb_edit *e)
{
	int side_x = (p->width + FIELDS - 1) / FIELDS, side_y = (p->height + FIELDS - 1) / FIELDS;
	int room_x = p->width - e->window_w, room_y = p->height - e->window_h;
	double (*fields)[FIELDS] = g_malloc0(sizeof(double[FIELDS][FIELDS])), best = -1;

	interest(p, side_x, side_y, fields);
	for (int j = 0; j <= (room_y + side_y - 1) / side_y; j++)
		for (int i = 0; i <= (room_x + side_x - 1) / side_x; i++) {
			int left = MIN(i * side_x, room_x), top = MIN(j * side_y, room_y);
			double sum = 0;

			for (int y = 0; y < FIELDS; y++)
				for (int x = 0; x < FIELDS; x++) {
					/* Distance from the window's middle; its border is at 1. */
					double u = fabs((x + 0.5) * side_x - left - e->window_w / 2.0) / (e->window_w / 2.0);
					double v = fabs((y + 0.5) * side_y - top - e->window_h / 2.0) / (e->window_h / 2.0);

					if (u <= 1 && v <= 1)
						sum += fields[y][x] * (1 - 0.3 * MAX(u, v));
				}
			if (sum > best) {
				best = sum;
				e->window_x = left;
				e->window_y = top;
			}
		}
	g_free(fields);
}

static void
levels(picture *p, int brightness, int contrast)
{
	int colours = p->bands - picture_has_alpha(p);
	size_t n = (size_t) p->width * p->height;
	VipsPel table[256];

	for (int i = 0; i < 256; i++) {
		double v = (i - 127.5) * (1 + contrast / 100.0) + 127.5 + 2.55 * brightness;

		table[i] = VIPS_CLIP(0, v + 0.5, 255);
	}
	for (size_t i = 0; i < n; i++)
		for (int b = 0; b < colours; b++)
			p->pixels[i * p->bands + b] = table[p->pixels[i * p->bands + b]];
}

static int
sharpen(picture *p, double sigma)
{
	int colours = p->bands - picture_has_alpha(p), bands = p->bands, failed;
	size_t n = (size_t) p->width * p->height;
	picture soft;

	if (picture_new(&soft, p->width, p->height, bands, p->type))
		return -1;
	memcpy(soft.pixels, p->pixels, n * bands);
	if (!(failed = blur(&soft, sigma)))
		for (size_t i = 0; i < n; i++)
			for (int b = 0; b < colours; b++) {
				VipsPel *v = p->pixels + i * bands + b;
				double s = *v + SHARPEN * (*v - soft.pixels[i * bands + b]);

				*v = VIPS_CLIP(0, s + 0.5, 255);
			}
	picture_free(&soft);
	return failed;
}

int
edit(picture *p, thumb_edit *e, int format)
{
	if (picture_turn(p, e->quarters, e->flip_x, e->flip_y))
		return -1;
	if (e->window_x < 0)
		look(p, e);
	if (picture_cut(p, e->window_x, e->window_y, e->window_w, e->window_h))
		return -1;
	if (e->brightness || e->contrast)
		levels(p, e->brightness, e->contrast);
	if ((e->blur > 0 && blur(p, e->blur)) || (e->sharpen > 0 && sharpen(p, e->sharpen)))
		return -1;
	if (e->background >= 0 && picture_flatten(p, e->background))
		return -1;
	if (picture_extend(p, e->canvas_x, e->canvas_y, e->canvas_w, e->canvas_h,
			e->background < 0 && format == THUMB_JPEG ? 0xffffff : e->background))
		return -1;
	if (e->mark) {
		picture mark = {e->mark, e->mark_w, e->mark_h, 4, VIPS_INTERPRETATION_sRGB};

		/* Use the background that a JPEG will have, so that transparency is replaced only once. */
		if ((format == THUMB_JPEG && picture_flatten(p, 0xffffff)) ||
			picture_over(p, &mark, e->mark_x, e->mark_y, e->opacity))
			return -1;
	}
	return 0;
}

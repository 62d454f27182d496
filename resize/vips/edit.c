/* The steps of a preset, in the order that package resize names. */

#include "edit.h"

#include <string.h>

#include "blur.h"

/* How much of the difference to its blurred self sharpening adds to a picture. */
#define SHARPEN 1.0

/* Finds the part that draws the eye: edges, skin, strong colours. */
static int
look(const picture *p, thumb_edit *e)
{
	VipsImage *im = picture_image(p), *out = NULL;
	int failed = !im || vips_smartcrop(im, &out, e->window_w, e->window_h,
		"interesting", VIPS_INTERESTING_ATTENTION, NULL);

	if (!failed) {
		e->window_x = -out->Xoffset;
		e->window_y = -out->Yoffset;
	}
	VIPS_UNREF(out);
	VIPS_UNREF(im);
	return failed;
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
	if (e->window_x < 0 && look(p, e))
		return -1;
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

		/* On what a JPEG will have there, so that it is laid on white once. */
		if ((format == THUMB_JPEG && picture_flatten(p, 0xffffff)) ||
			picture_over(p, &mark, e->mark_x, e->mark_y, e->opacity))
			return -1;
	}
	return 0;
}

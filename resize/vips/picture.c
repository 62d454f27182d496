/* Exact operations on pixels in memory, without libvips: its pipelines cost more than the
 * work on a small picture, and rounding is under our control. */

#include "picture.h"

#include <string.h>

void
picture_free(picture *p)
{
	g_free(p->pixels);
	p->pixels = NULL;
}

int
picture_new(picture *p, int width, int height, int bands, VipsInterpretation type)
{
	*p = (picture){g_try_malloc_n((size_t) width * height, bands), width, height, bands, type};
	if (!p->pixels) {
		vips_error("picture", "no memory for %d by %d pixels", width, height);
		return -1;
	}
	return 0;
}

/* Replaces a picture by another. */
static void
supersede(picture *p, picture with)
{
	g_free(p->pixels);
	*p = with;
}

VipsImage *
picture_image(const picture *p)
{
	VipsImage *t = vips_image_new_from_memory(p->pixels, (size_t) p->width * p->height * p->bands,
		p->width, p->height, p->bands, VIPS_FORMAT_UCHAR);
	VipsImage *out = NULL;

	if (t) {
		vips_copy(t, &out, "interpretation", p->type, NULL);
		g_object_unref(t);
	}
	return out;
}

int
picture_become(picture *p, VipsImage *im)
{
	size_t size;
	VipsPel *pixels = vips_image_write_to_memory(im, &size);

	if (!pixels)
		return -1;
	supersede(p, (picture){pixels, im->Xsize, im->Ysize, im->Bands, im->Type});
	return 0;
}

gboolean
picture_has_alpha(const picture *p)
{
	return p->type != VIPS_INTERPRETATION_CMYK && (p->bands == 2 || p->bands == 4);
}

gboolean
picture_opaque(const picture *p)
{
	size_t n = (size_t) p->width * p->height * p->bands;

	if (picture_has_alpha(p))
		for (size_t i = p->bands - 1; i < n; i += p->bands)
			if (p->pixels[i] != 255)
				return FALSE;
	return TRUE;
}

static VipsPel *
at(const picture *p, int x, int y)
{
	return p->pixels + ((size_t) y * p->width + x) * p->bands;
}

int
picture_turn(picture *p, int quarters, gboolean flip_x, gboolean flip_y)
{
	gboolean across = quarters % 2;
	int width = across ? p->height : p->width, height = across ? p->width : p->height;
	picture q;

	if (!quarters && !flip_x && !flip_y)
		return 0;
	if (picture_new(&q, width, height, p->bands, p->type))
		return -1;
	for (int y = 0; y < height; y++)
		for (int x = 0; x < width; x++) {
			int u = flip_x ? width - 1 - x : x, v = flip_y ? height - 1 - y : y;
			int from_x = quarters == 0 ? u : quarters == 1 ? v : quarters == 2 ? width - 1 - u : height - 1 - v;
			int from_y = quarters == 0 ? v : quarters == 1 ? width - 1 - u : quarters == 2 ? height - 1 - v : u;

			if (p->bands == 1)
				*at(&q, x, y) = *at(p, from_x, from_y);
			else
				memcpy(at(&q, x, y), at(p, from_x, from_y), p->bands);
		}
	supersede(p, q);
	return 0;
}

int
picture_cut(picture *p, int left, int top, int width, int height)
{
	picture q;

	if (width == p->width && height == p->height)
		return 0;
	if (left < 0 || top < 0 || width > p->width - left || height > p->height - top) {
		vips_error("picture", "%d by %d pixels at %d, %d are not in it", width, height, left, top);
		return -1;
	}
	if (picture_new(&q, width, height, p->bands, p->type))
		return -1;
	for (int y = 0; y < height; y++)
		memcpy(at(&q, 0, y), at(p, left, top + y), (size_t) width * p->bands);
	supersede(p, q);
	return 0;
}

/* The same picture with more bands. */
static int
widen(picture *p, gboolean colour, gboolean alpha)
{
	gboolean had = picture_has_alpha(p);
	int was = p->bands - had, is = colour ? 3 : was;
	size_t n = (size_t) p->width * p->height;
	picture q;

	alpha = alpha || had;
	if (is + alpha == p->bands)
		return 0;
	if (picture_new(&q, p->width, p->height, is + alpha,
			is == 3 ? VIPS_INTERPRETATION_sRGB : p->type))
		return -1;
	for (size_t i = 0; i < n; i++) {
		const VipsPel *from = p->pixels + i * p->bands;
		VipsPel *to = q.pixels + i * q.bands;

		for (int b = 0; b < is; b++)
			to[b] = from[was == 1 ? 0 : b];
		if (alpha)
			to[is] = had ? from[was] : 255;
	}
	supersede(p, q);
	return 0;
}

int
picture_colour(picture *p, gboolean alpha)
{
	return widen(p, TRUE, alpha);
}

int
picture_extend(picture *p, int x, int y, int width, int height, int background)
{
	VipsPel fill[4] = {background >> 16 & 255, background >> 8 & 255, background & 255, 255};
	gboolean gray = fill[0] == fill[1] && fill[1] == fill[2];
	picture q;

	if (background == -1)
		memset(fill, 0, sizeof(fill));
	if (width == p->width && height == p->height)
		return 0;
	if (widen(p, !gray && background != -1, background == -1) ||
		picture_new(&q, width, height, p->bands, p->type))
		return -1;
	if (picture_has_alpha(p) && p->bands == 2)
		fill[1] = fill[3];
	for (size_t i = 0; i < (size_t) width * height; i++)
		memcpy(q.pixels + i * q.bands, fill, q.bands);
	for (int row = 0; row < p->height; row++)
		memcpy(at(&q, x, y + row), at(p, 0, row), (size_t) p->width * p->bands);
	supersede(p, q);
	return 0;
}

/* a of 255 parts of one and the rest of the other, rounded. */
static inline VipsPel
mix(int one, int other, int a)
{
	return (one * a + other * (255 - a) + 127) / 255;
}

int
picture_from_inks(picture *p)
{
	size_t n = (size_t) p->width * p->height;
	picture q;

	if (picture_new(&q, p->width, p->height, 3, VIPS_INTERPRETATION_sRGB))
		return -1;
	for (size_t i = 0; i < n; i++) {
		const VipsPel *from = p->pixels + i * p->bands;

		for (int b = 0; b < 3; b++)
			q.pixels[3 * i + b] = mix(255 - from[b], 0, 255 - from[3]);
	}
	supersede(p, q);
	return 0;
}

int
picture_flatten(picture *p, int background)
{
	int c[3] = {background >> 16 & 255, background >> 8 & 255, background & 255};
	gboolean gray = c[0] == c[1] && c[1] == c[2];
	size_t n = (size_t) p->width * p->height;
	picture q;

	if (!picture_has_alpha(p))
		return 0;
	if (widen(p, !gray, TRUE) ||
		picture_new(&q, p->width, p->height, p->bands - 1, p->type))
		return -1;
	for (size_t i = 0; i < n; i++) {
		const VipsPel *from = p->pixels + i * p->bands;

		for (int b = 0; b < q.bands; b++)
			q.pixels[i * q.bands + b] = mix(from[b], c[b], from[q.bands]);
	}
	supersede(p, q);
	return 0;
}

int
picture_over(picture *p, const picture *top, int x, int y, int opacity)
{
	if (x < 0 || y < 0 || top->width > p->width - x || top->height > p->height - y || top->bands != 4) {
		vips_error("picture", "no place for another of %d by %d pixels", top->width, top->height);
		return -1;
	}
	if (widen(p, TRUE, FALSE))
		return -1;
	for (int row = 0; row < top->height; row++)
		for (int column = 0; column < top->width; column++) {
			const VipsPel *from = at(top, column, row);
			VipsPel *to = at(p, x + column, y + row);
			int a = (from[3] * opacity + 50) / 100;

			if (p->bands == 3)
				for (int b = 0; b < 3; b++)
					to[b] = mix(from[b], to[b], a);
			else if (a > 0) {
				/* 255 * 255 parts. */
				int below = to[3] * (255 - a), sum = 255 * a + below;

				for (int b = 0; b < 3; b++)
					to[b] = (from[b] * 255 * a + to[b] * below + sum / 2) / sum;
				to[3] = (sum + 127) / 255;
			}
		}
	return 0;
}

/* How a picture becomes a file.
 *
 * The settings give nearly the best result of an encoder at the least cost. On photos of
 * 800 by 500 pixels: optimised Huffman tables save 6% of the bytes of a JPEG for 2 ms. An
 * effort of 2 for WebP, instead of the usual 4, gives 3% more bytes in 40% of the time.
 * Filters, and compression 3 instead of 6, make a PNG 28% smaller in the same time. An
 * effort of 3 for a palette, instead of 7, gives 1% more bytes in 40% of the time. An
 * effort of 1 for AVIF gives 7% more bytes than 2 in 36% of the time (140 ms). 0 gives 25%
 * more in an eighth, and is for pictures that would otherwise take seconds.
 *
 * Lossy formats halve the resolution of colours, which is invisible in photos, and WebP can
 * do nothing else. (libwebp's sharper way of halving leaves nine tenths of the error.) So
 * the WebP of a lossless source is lossless if that has no more bytes, or, if halving would
 * be visible, no more than FULL_COLOUR times as many: a photo has 12 to 20 times as many,
 * text and drawings a tenth to three times. JPEG and AVIF then keep all colours.
 */

#include "encode.h"

#include <stdlib.h>

#include "jpeg.h"

/* The largest picture, in pixels of all its frames, for which an encoder gets much time. A
 * lossless WebP takes up to 4 times as long as a lossy one. */
#define MUCH (2 << 20)

/* The most that halving the colours may change them: the mean of Cb and Cr in the worst
 * block of 16 by 16 pixels, out of 255. Photos have 1 to 3, red text on blue 9 to 32. */
#define HALVING_SHOWS 4

#define FULL_COLOUR 4

#define BLOCK 16

/* Cb and Cr of a pixel, in 256ths. */
static inline void
chroma(const VipsPel *c, int *cb, int *cr)
{
	*cb = -43 * c[0] - 85 * c[1] + 128 * c[2];
	*cr = 128 * c[0] - 107 * c[1] - 21 * c[2];
}

/* The colours of a frame at half its resolution. */
typedef struct {
	int width, height;
	int (*at)[2]; /* Cb and Cr in 256ths */
} halved;

/* Halves the colours of the rows of a picture. at is NULL: no memory. */
static halved
halve(const picture *p, int from, int rows)
{
	halved h = {(p->width + 1) / 2, (rows + 1) / 2, NULL};

	if (!(h.at = g_try_malloc_n((size_t) h.width * h.height, sizeof(*h.at))))
		return h;
	for (int y = 0; y < h.height; y++)
		for (int x = 0; x < h.width; x++) {
			int n = 0, sum[2] = {0, 0};

			for (int v = 2 * y; v < MIN(2 * y + 2, rows); v++)
				for (int u = 2 * x; u < MIN(2 * x + 2, p->width); u++, n++) {
					int cb, cr;

					chroma(p->pixels + ((size_t) (from + v) * p->width + u) * p->bands, &cb, &cr);
					sum[0] += cb;
					sum[1] += cr;
				}
			h.at[y * h.width + x][0] = sum[0] / n;
			h.at[y * h.width + x][1] = sum[1] / n;
		}
	return h;
}

/* How much a pixel's colour changes, in 256ths of Cb and Cr together, after halving and the
 * usual interpolation of decoders: 9 parts of its own, 3 of each of the two neighbours, and
 * 1 of the diagonal one. */
static int
changes(const halved *h, const VipsPel *pixel, int x, int y)
{
	int near_x = CLAMP(x / 2 + (x % 2 ? 1 : -1), 0, h->width - 1), near_y = CLAMP(y / 2 + (y % 2 ? 1 : -1), 0, h->height - 1);
	int c[2], sum = 0;

	chroma(pixel, &c[0], &c[1]);
	for (int i = 0; i < 2; i++)
		sum += abs(c[i] -
			(9 * h->at[y / 2 * h->width + x / 2][i] + 3 * h->at[y / 2 * h->width + near_x][i] +
				3 * h->at[near_y * h->width + x / 2][i] + h->at[near_y * h->width + near_x][i]) / 16);
	return sum;
}

/* Whether halving the colours would be visible in the rows of a picture. */
static gboolean
shows(const picture *p, const halved *h, int from, int rows)
{
	gboolean alpha = picture_has_alpha(p);

	for (int top = 0; top < rows; top += BLOCK)
		for (int left = 0; left < p->width; left += BLOCK) {
			int right = MIN(left + BLOCK, p->width), bottom = MIN(top + BLOCK, rows);
			gint64 sum = 0;

			for (int y = top; y < bottom; y++)
				for (int x = left; x < right; x++) {
					const VipsPel *pixel = p->pixels + ((size_t) (from + y) * p->width + x) * p->bands;

					sum += (gint64) changes(h, pixel, x, y) * (alpha ? pixel[3] : 255);
				}
			if (sum > (gint64) 255 * 256 * 2 * HALVING_SHOWS * (right - left) * (bottom - top))
				return TRUE;
		}
	return FALSE;
}

/* Whether halving the colours of a picture would be visible, in any of its frames. */
static gboolean
halving_shows(const picture *p, int frame)
{
	gboolean found = FALSE;

	for (int from = 0; p->bands >= 3 && from < p->height && !found; from += frame) {
		int rows = MIN(frame, p->height - from);
		halved h = halve(p, from, rows);

		found = h.at && shows(p, &h, from, rows);
		g_free(h.at);
	}
	return found;
}

/* full: at the full resolution of colours, if the format has it. */
static int
encode_once(const picture *p, VipsImage *in, gboolean palette, gboolean full, int quality, thumb_target *to)
{
	VipsForeignSubsample colours = full ? VIPS_FOREIGN_SUBSAMPLE_OFF : VIPS_FOREIGN_SUBSAMPLE_AUTO;

	switch (to->format) {
	case THUMB_JPEG:
		return jpeg_encode(p, quality, full, to->progressive, &to->data, &to->size);
	case THUMB_PNG:
		if (palette)
			return vips_pngsave_buffer(in, &to->data, &to->size, "palette", TRUE,
				"effort", 3, "interlace", to->progressive, "strip", TRUE, NULL);
		return vips_pngsave_buffer(in, &to->data, &to->size, "compression", 3,
			"filter", VIPS_FOREIGN_PNG_FILTER_ALL, "interlace", to->progressive, "strip", TRUE, NULL);
	case THUMB_GIF:
		return vips_gifsave_buffer(in, &to->data, &to->size,
			"effort", 3, "strip", TRUE, NULL);
	case THUMB_WEBP:
		return vips_webpsave_buffer(in, &to->data, &to->size,
			"Q", quality, "effort", 2, "strip", TRUE, NULL);
	case THUMB_AVIF:
		return vips_heifsave_buffer(in, &to->data, &to->size,
			"compression", VIPS_FOREIGN_HEIF_COMPRESSION_AV1, "Q", quality, "subsample_mode", colours,
			"effort", (gint64) in->Xsize * in->Ysize > MUCH ? 0 : 1, "strip", TRUE, NULL);
	}
	return -1;
}

/* Encodes with the best quality whose file is small enough, down to 1. (The size includes
 * the metadata that libvips puts into a WebP and that is removed later.) */
static int
encode_lossy(const picture *p, VipsImage *in, gboolean palette, gboolean full, thumb_target *to)
{
	int fits = 0, high = to->quality;
	void *best = NULL;
	size_t size = 0;

	to->data = NULL;
	for (int q = high; fits < high; q = (fits + high + 1) / 2) {
		if (encode_once(p, in, palette, full, q, to)) {
			g_free(best);
			return THUMB_SELF;
		}
		if (to->max_bytes && to->size > to->max_bytes) {
			g_free(to->data);
			to->data = NULL;
			high = q - 1;
		} else {
			g_free(best);
			best = to->data;
			size = to->size;
			to->data = NULL;
			fits = q;
		}
	}
	if (!best) {
		vips_error("thumb", "it does not fit into %zu bytes at any quality", to->max_bytes);
		return THUMB_LARGE;
	}
	to->data = best;
	to->size = size;
	return 0;
}

/* Replaces the result by a lossless WebP, if that has at most this many bytes. The first
 * try costs as much as a lossy one. The second makes it up to a third smaller: it costs
 * much more for a photo, which the first try excludes, and little for flat pictures. */
static int
encode_lossless(VipsImage *in, size_t most, thumb_target *to)
{
	size_t room = most + most / 2;

	for (int effort = 0; effort < 2; effort++) {
		void *data;
		size_t size;

		if (vips_webpsave_buffer(in, &data, &size, "lossless", TRUE,
				"Q", 20 * effort, "effort", effort, "strip", TRUE, NULL))
			return THUMB_SELF;
		if (size <= most) {
			g_free(to->data);
			to->data = data;
			to->size = most = size;
		} else
			g_free(data);
		if (size > room)
			return 0;
	}
	return 0;
}

int
encode(const picture *p, VipsImage *im, gboolean palette, thumb_target *to)
{
	gboolean much = (gint64) p->width * p->height > MUCH;
	gboolean full = to->lossless && !much && to->format != THUMB_PNG && to->format != THUMB_GIF &&
		halving_shows(p, to->height);
	int result = encode_lossy(p, im, palette, full, to);
	size_t most = to->size * (full ? FULL_COLOUR : 1);

	if (to->format != THUMB_WEBP || !to->lossless || much)
		return result;
	if (result == THUMB_LARGE)
		most = to->max_bytes; /* lines can need more bytes the lossier they are */
	else if (result)
		return result;
	else if (to->max_bytes)
		most = MIN(most, to->max_bytes);
	if (encode_lossless(im, most, to))
		return THUMB_SELF;
	if (to->data)
		vips_error_clear();
	return to->data ? 0 : result;
}

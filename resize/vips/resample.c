/* A box filter by whole numbers, and a Lanczos filter with three lobes for the
 * last factor of 2 to 4; in floating point, row by row, rounded once.
 *
 * libvips can do this too. It is done here because libvips 8.14
 *
 * - writes machine code for each resizing, through liborc: into a file in the folder for
 * temporary files, which it then maps as a program. A decoder must not open files, nor have
 * memory that is both written and executed. It takes 2 ms each time, also for each frame of
 * an animation; without it, resizing takes three times as long.
 * - takes ten times as long for its box filter, which it uses from a factor of 4 on.
 * - weights colour by alpha in a separate pass over the whole large picture. (Without
 * weighting, the colour that invisible pixels happen to have bleeds into visible ones.)
 *
 * TestQuality compares the result with the ideal, BenchmarkThreeSizes the time with bimg's.
 *
 * libvips 8.15 and later have vectors by Highway, which write no machine code. With libvips
 * 8.16.1 of Debian 13, scripts/bench filters measures these multiples of libvips' time:
 * without alpha 1.5 and 1.9 to a half and a 2.7th, and 0.2 to an eighth; with alpha 0.4,
 * 0.4 and 0.2. (With 8.14: 0.3, 0.3, 0.03 and 0.4, 0.4, 0.05.) So this file can go once
 * Debian 12 is no longer supported and the figures to an eighth, and those with alpha, are
 * 1 or above.
 */

#include "resample.h"

#include <math.h>
#include <string.h>

/* The largest side of a box, so that the sums of its columns stay exact. */
#define BOX_MAX 256

#define LOBES 3

/* The bands of a pixel; if they are fewer than four, the following values too. */
typedef float quad __attribute__((vector_size(16), may_alias));
typedef gint32 quad32 __attribute__((vector_size(16)));
typedef guint8 quad8 __attribute__((vector_size(4)));
typedef guint16 quad16 __attribute__((vector_size(8)));

/* Two quads. */
typedef float oct __attribute__((vector_size(32), may_alias));

/* Compiled once more for processors with vectors of twice the length. They compute the same:
 * this does not allow fused operations, which round once where others round twice. */
#ifdef __x86_64__
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

/* This many values beyond the end of a row may be read and written. */
#define BEYOND 4

static inline quad
get(const float *p)
{
	quad v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Which pixels of a row or column make up each pixel of the result: from[i] and the
 * following ones, by their weights, which stand most behind those of the pixel before, and
 * each repeated as often as repeat says. The weights behind the count are 0. */
typedef struct {
	int most, repeat;
	int *from, *count;
	float *weights;
} axis;

/* Lanczos: sinc(x) sinc(x / 3). One sine is enough, since sin(3t) = 3 sin(t) - 4 sin(t)^3. */
static double
lanczos(double x)
{
	double t = G_PI * x / LOBES, s = sin(t);

	return x == 0 ? 1 : (3 - 4 * s * s) * s * s / (LOBES * t * t);
}

/* size pixels become to; scale may differ a little from size / to if the last box holds
 * less than the others. */
static void
axis_init(axis *a, int size, int to, double scale, int repeat)
{
	double reach = LOBES * MAX(scale, 1.0);

	a->most = (int) (2 * reach) + 3; /* and one, to be odd */
	a->repeat = repeat;
	a->from = g_new(int, to);
	a->count = g_new(int, to);
	a->weights = g_new0(float, (size_t) to * a->most * repeat);
	for (int i = 0; i < to; i++) {
		double centre = (i + 0.5) * scale - 0.5, sum = 0;
		int from = MAX(0, (int) ceil(centre - reach));
		int last = MIN(size - 1, (int) floor(centre + reach));
		float *w = a->weights + (size_t) i * a->most * repeat;

		from = MIN(from, size - 1);
		last = MAX(from, last);
		for (int j = from; j <= last; j++)
			sum += w[(j - from) * repeat] = lanczos((j - centre) * LOBES / reach);
		for (int j = from; j <= last; j++, w += repeat) {
			*w /= sum;
			for (int k = 1; k < repeat; k++)
				w[k] = *w;
		}
		a->from[i] = from;
		a->count[i] = last - from + 1;
	}
}

static void
axis_free(axis *a)
{
	g_free(a->from);
	g_free(a->count);
	g_free(a->weights);
}

/* Adds a row of pixels to the sums of the columns of boxes. Weights colours by alpha if
 * there is alpha. */
WIDE static void
sum_row(float *restrict sum, const void *row, int pixels, int bands, gboolean deep, gboolean alpha)
{
	const guint8 *restrict p = row;
	const guint16 *restrict q = row;
	int n = pixels * bands;
	float full = deep ? 65535 : 255;

	if (!alpha && !deep)
		for (int i = 0; i < n; i++)
			sum[i] += p[i];
	else if (!alpha)
		for (int i = 0; i < n; i++)
			sum[i] += q[i];
	else if (bands == 4)
		for (int i = 0; i < n; i += 4) {
			quad v, *s = (quad *) (sum + i);
			quad8 v8;
			quad16 v16;

			if (deep) {
				memcpy(&v16, q + i, sizeof(v16));
				v = __builtin_convertvector(v16, quad);
			} else {
				memcpy(&v8, p + i, sizeof(v8));
				v = __builtin_convertvector(v8, quad);
			}
			float a = v[3] / full;

			*s += v * (quad){a, a, a, 1};
		}
	else
		for (int i = 0; i < n; i += 2) {
			float v = deep ? q[i] : p[i], a = deep ? q[i + 1] : p[i + 1];

			sum[i] += v * a / full;
			sum[i + 1] += a;
		}
}

/* Turns the columns of each box into its mean, from 0 to 255. */
static void
box_row(float *restrict out, const float *restrict sum, int pixels, int bands, int box_w, int rows,
	gboolean deep)
{
	for (int x = 0; x < pixels; x += box_w, out += bands) {
		int columns = MIN(box_w, pixels - x);
		quad v = {0};

		for (int i = 0; i < columns; i++, sum += bands)
			v += get(sum);
		v *= 1 / ((deep ? 257.0f : 1.0f) * rows * columns);
		memcpy(out, &v, sizeof(v));
	}
}

/* The same for the commonest case, without boxes. */
WIDE static void
plain_row(float *restrict out, const guint8 *restrict p, int n)
{
	for (int i = 0; i < n; i++)
		out[i] = p[i];
}

/* Shrinks columns: n sums of as many values as there are rows, by the weights of the rows.
 * Sums up this many values at a time in registers. */
#define BLOCK 32

WIDE static void
sum_columns(float *restrict out, const float *const *rows, const float *weights, int count, int n)
{
	for (int x = 0; x < n; x += BLOCK) {
		const oct *p = (const oct *) (rows[0] + x);
		oct sum[BLOCK / 8];

		for (int i = 0; i < BLOCK / 8; i++)
			sum[i] = weights[0] * p[i];
		for (int r = 1; r < count; r++) {
			p = (const oct *) (rows[r] + x);

			for (int i = 0; i < BLOCK / 8; i++)
				sum[i] += weights[r] * p[i];
		}
		memcpy(out + x, sum, sizeof(sum));
	}
}

/* Rounds values into bytes. */
static inline quad32
to_bytes(quad v)
{
	const quad most = {255, 255, 255, 255};
	quad32 over = v > most;

	v = (quad) ((quad32) v & (v > 0));
	v = (quad) (((quad32) v & ~over) | ((quad32) most & over));
	return __builtin_convertvector(v + 0.5f, quad32);
}

static inline void
store(VipsPel *out, quad v, int bands, gboolean alpha)
{
	quad32 bytes = to_bytes(v);

	if (alpha) {
		gint32 a = bytes[bands - 1];

		bytes = to_bytes(v * (a == 0 ? 0 : 255.0f / MIN(255.0f, v[bands - 1])));
		bytes[bands - 1] = a;
	}
	for (int b = 0; b < bands; b++)
		out[b] = bytes[b];
}

/* Shrinks a row sideways and stores it, two pixels at a time. Each weight is there once for
 * each value of a quad, and one of 0 follows the last. */
static inline void
finish(VipsPel *out, const float *row, const axis *a, int width, int bands, gboolean alpha)
{
	for (int x = 0; x < width; x++, out += bands) {
		const float *w = a->weights + (size_t) x * a->most * 4;
		const float *p = row + (size_t) a->from[x] * bands;
		oct sum = {0}, weights;

		for (int i = 0; i < a->count[x]; i += 2, p += 2 * bands, w += 8) {
			memcpy(&weights, w, sizeof(weights));
			sum += weights * __builtin_shufflevector(get(p), get(p + bands), 0, 1, 2, 3, 4, 5, 6, 7);
		}
		store(out, __builtin_shufflevector(sum, sum, 0, 1, 2, 3) + __builtin_shufflevector(sum, sum, 4, 5, 6, 7), bands, alpha);
	}
}

/* The same, compiled separately for each number of bands. */
WIDE static void
finish_row(VipsPel *out, const float *row, const axis *a, int width, int bands, gboolean alpha)
{
	switch (bands) {
	case 1: finish(out, row, a, width, 1, FALSE); break;
	case 2: finish(out, row, a, width, 2, alpha); break;
	case 3: finish(out, row, a, width, 3, FALSE); break;
	case 4: finish(out, row, a, width, 4, alpha); break;
	}
}

/* The state of a pass over a picture. */
typedef struct {
	const row_source *in;
	int box_w, box_h;    /* of one box */
	int boxed_w;         /* boxes in a row */
	float *sum;
	float *row;          /* of boxes, to be made */
} pass;

/* Makes p->row from the boxes of row y. */
static int
make_row(pass *p, int y)
{
	const row_source *in = p->in;
	int from = y * p->box_h, rows = MIN(p->box_h, in->rows - from);
	const VipsPel *pixels;

	if (p->box_w == 1 && p->box_h == 1 && !in->deep && !in->alpha) {
		if (!(pixels = in->row(in->state, y)))
			return -1;
		plain_row(p->row, pixels, in->width * in->bands);
		return 0;
	}
	memset(p->sum, 0, sizeof(*p->sum) * ((size_t) in->width * in->bands + BEYOND));
	for (int i = 0; i < rows; i++) {
		if (!(pixels = in->row(in->state, from + i)))
			return -1;
		sum_row(p->sum, pixels, in->width, in->bands, in->deep, in->alpha);
	}
	box_row(p->row, p->sum, in->width, in->bands, p->box_w, rows, in->deep);
	return 0;
}

/* Rows of boxes are kept in a ring with as many places as a row of the result needs. */
static int
run(pass *p, const axis *h, const axis *v, int width, int height, VipsPel *out)
{
	int bands = p->in->bands, n = p->boxed_w * bands, made = 0;
	/* Blocks reach over the end, and so does the second quad of an odd number of pixels. */
	size_t stride = ((size_t) n + 2 * BEYOND) / BLOCK * BLOCK + BLOCK;
	float *places = g_new0(float, stride * v->most);
	float *sums = g_new0(float, stride);
	const float **rows = g_new(const float *, v->most);
	int failed = 0;

	for (int y = 0; y < height && !failed; y++, out += width * bands) {
		int end = v->from[y] + v->count[y];

		for (; made < end && !failed; made++) {
			p->row = places + stride * (made % v->most);
			failed = make_row(p, made);
		}
		if (failed)
			break;
		for (int i = 0; i < v->count[y]; i++)
			rows[i] = places + stride * ((v->from[y] + i) % v->most);
		sum_columns(sums, rows, v->weights + (size_t) y * v->most, v->count[y], n);
		finish_row(out, sums, h, width, bands, p->in->alpha);
	}
	g_free(rows);
	g_free(sums);
	g_free(places);
	return failed;
}

/* Copies a picture that has its size already. */
static int
copy(const row_source *in, VipsPel *out)
{
	int n = in->width * in->bands;

	for (int y = 0; y < in->rows; y++, out += n) {
		const VipsPel *pixels = in->row(in->state, y);

		if (!pixels)
			return -1;
		if (in->deep)
			for (int i = 0; i < n; i++)
				out[i] = (((const guint16 *) pixels)[i] + 128) / 257;
		else
			memcpy(out, pixels, n);
	}
	return 0;
}

int
resample(const row_source *in, int width, int height, VipsPel *out)
{
	pass p = {.in = in, .box_w = VIPS_CLIP(1, in->width / width / 2, BOX_MAX),
		.box_h = VIPS_CLIP(1, in->rows / height / 2, BOX_MAX)};
	axis h, v;
	int result;

	if (in->width == width && in->rows == height)
		return copy(in, out);
	p.boxed_w = (in->width + p.box_w - 1) / p.box_w;
	axis_init(&h, p.boxed_w, width, (double) in->width / p.box_w / width, 4);
	axis_init(&v, (in->rows + p.box_h - 1) / p.box_h, height, (double) in->rows / p.box_h / height, 1);
	p.sum = g_new(float, (size_t) in->width * in->bands + BEYOND);

	result = run(&p, &h, &v, width, height, out);

	g_free(p.sum);
	axis_free(&h);
	axis_free(&v);
	return result;
}

/* Rows of an image, of which libvips is asked for STEP at once. */
#define STEP 16

typedef struct {
	VipsRegion *region;
	int top, rows;
} strip;

static const VipsPel *
strip_row(void *state, int y)
{
	strip *s = state;
	VipsRect *have = &s->region->valid;

	if (y + s->top < have->top || y + s->top >= VIPS_RECT_BOTTOM(have)) {
		VipsRect want = {0, s->top + y, s->region->im->Xsize, MIN(STEP, s->rows - y)};

		if (vips_region_prepare(s->region, &want))
			return NULL;
	}
	return VIPS_REGION_ADDR(s->region, 0, s->top + y);
}

int
resample_image(VipsImage *in, int top, int rows, int width, int height, VipsPel *out)
{
	strip s = {vips_region_new(in), top, rows};
	row_source source = {.width = in->Xsize, .rows = rows, .bands = in->Bands,
		.deep = in->BandFmt == VIPS_FORMAT_USHORT, .alpha = vips_image_hasalpha(in), .row = strip_row, .state = &s};
	int result = -1;

	if (in->Bands < 1 || in->Bands > 4 || (!source.deep && in->BandFmt != VIPS_FORMAT_UCHAR))
		vips_error("resample", "%d bands of format %d", in->Bands, in->BandFmt);
	else
		result = resample(&source, width, height, out);
	g_object_unref(s.region);
	return result;
}

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
typedef guint8 octets __attribute__((vector_size(16)));
typedef guint8 quad8 __attribute__((vector_size(4)));
typedef guint16 quad16 __attribute__((vector_size(8)));

/* Two quads, to one of which the memory of malloc is aligned. */
typedef float oct __attribute__((vector_size(32), may_alias, aligned(16)));
typedef float loose_oct __attribute__((vector_size(32), may_alias, aligned(4)));

/* Compiled once more for processors with vectors of twice the length. They compute the same:
 * this does not allow fused operations, which round once where others round twice. */
#ifdef __x86_64__
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

/* This many values beyond the end of a row may be read and written. */
#define BEYOND 8

static inline quad
get(const float *p)
{
	quad v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Which pixels of a row or column make up each pixel of the result: from[i] and the
 * following ones, by their weights, which stand stride behind those of the pixel before, and
 * each repeated as often as repeat says. The weights behind the count are 0, and so are all of
 * pixels behind the last, which fill up the AT_ONCE that are made at once. */
#define AT_ONCE 4

typedef struct {
	int most, stride;
	int *from, *count;
	float *weights;
} axis;

/* Lanczos: sinc(x) sinc(x / 3), of which s is the sine of t = pi x / 3. One is enough, since
 * sin(3t) = 3 sin(t) - 4 sin(t)^3. */
static inline double
lanczos(double t, double s)
{
	return t == 0 ? 1 : (3 - 4 * s * s) * s * s / (LOBES * t * t);
}

/* The weights of the pixels from first to last for one at centre, which sum up to 1. */
static void
lobes(double *w, int first, int last, double centre, double reach)
{
	double step = G_PI / reach, turn_s = sin(step), turn_c = cos(step), sum = 0;
	/* From pixel to pixel, an angle grows by the same step. */
	double s = sin((first - centre) * step), c = cos((first - centre) * step);

	for (int j = first; j <= last; j++) {
		double next = s * turn_c + c * turn_s;

		sum += w[j - first] = lanczos((j - centre) * step, s);
		c = c * turn_c - s * turn_s;
		s = next;
	}
	for (int j = first; j <= last; j++)
		w[j - first] /= sum;
}

/* The same by linear interpolation, of the two that are next to it. */
static void
linear(double *w, int first, int last, double centre)
{
	double sum = 0;

	for (int j = first; j <= last; j++)
		sum += w[j - first] = MAX(1 - fabs(j - centre), 1e-9);
	for (int j = first; j <= last; j++)
		w[j - first] /= sum;
}

/* length pixels, the last of which may be a part of one, become to, each the mean of so many
 * parts; scale may differ a little from length / to if the last colour of a JPEG stands for less
 * than the others. Parts that are smaller than pixels are interpolated linearly, as decoders do
 * with colours. */
static void
axis_init(axis *a, double length, int to, double scale, int parts, int repeat)
{
	int size = ceil(length), all = (to + AT_ONCE - 1) / AT_ONCE * AT_ONCE;
	gboolean between = parts > 1 && scale < parts;
	double part = scale / parts, reach = between ? 1 : LOBES * MAX(part, 1.0);
	double *of_part;

	a->most = (int) (2 * reach + scale) + 3; /* and one, to be odd */
	a->stride = (a->most * repeat + 7) / 8 * 8;
	a->from = g_new0(int, all);
	a->count = g_new0(int, all);
	a->weights = g_new0(float, (size_t) all * a->stride);
	of_part = g_new(double, a->most);
	for (int i = 0; i < to; i++) {
		float *w = a->weights + (size_t) i * a->stride;

		for (int k = 0; k < parts; k++) {
			double middle = (i * parts + k + 0.5) * part;
			/* A part behind the last pixel is the last one before, once more, as encoders have it. */
			double centre = (parts > 1 ? MIN(middle, length - part / 2) : middle) - 0.5;
			int first = MIN(MAX(0, (int) ceil(centre - reach)), size - 1);
			int last = MAX(first, MIN(size - 1, (int) floor(centre + reach)));

			if (k == 0)
				a->from[i] = first;
			a->count[i] = last - a->from[i] + 1;
			if (between)
				linear(of_part, first, last, centre);
			else
				lobes(of_part, first, last, centre, reach);
			for (int j = first; j <= last; j++)
				for (int r = 0; r < repeat; r++)
					w[(j - a->from[i]) * repeat + r] += of_part[j - first] / parts;
		}
	}
	g_free(of_part);
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

/* The means of complete boxes of one band. */
static inline void
box_band(float *restrict out, const float *restrict sum, int boxes, int box_w, float scale)
{
	for (int x = 0; x < boxes; x++) {
		float v = 0;

		for (int i = 0; i < box_w; i++)
			v += sum[x * box_w + i];
		out[x] = v * scale;
	}
}

/* Turns the columns of each box into its mean, from 0 to 255. */
WIDE static void
box_row(float *restrict out, const float *restrict sum, int pixels, int bands, int box_w, int rows,
	gboolean deep)
{
	if (bands == 1) {
		float scale = 1 / ((deep ? 257.0f : 1.0f) * rows * box_w);
		int whole = pixels / box_w;

		switch (box_w) {
		case 1: box_band(out, sum, whole, 1, scale); break;
		case 2: box_band(out, sum, whole, 2, scale); break;
		case 3: box_band(out, sum, whole, 3, scale); break;
		case 4: box_band(out, sum, whole, 4, scale); break;
		default: box_band(out, sum, whole, box_w, scale);
		}
		out += whole;
		sum += whole * box_w;
		pixels -= whole * box_w;
	}
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
#define BLOCK 64

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
		const float *w = a->weights + (size_t) x * a->stride;
		const float *p = row + (size_t) a->from[x] * bands;
		oct sum = {0}, weights;

		for (int i = 0; i < a->count[x]; i += 2, p += 2 * bands, w += 8) {
			memcpy(&weights, w, sizeof(weights));
			sum += weights * __builtin_shufflevector(get(p), get(p + bands), 0, 1, 2, 3, 4, 5, 6, 7);
		}
		store(out, __builtin_shufflevector(sum, sum, 0, 1, 2, 3) + __builtin_shufflevector(sum, sum, 4, 5, 6, 7), bands, alpha);
	}
}

/* Writes four values, or fewer, that are bytes. */
static inline void
store_bytes(VipsPel *out, quad32 v, int n)
{
	quad8 bytes = __builtin_shufflevector((octets) v, (octets) v, 0, 4, 8, 12);

	if (n >= AT_ONCE)
		memcpy(out, &bytes, AT_ONCE);
	else
		memcpy(out, &bytes, n);
}

/* The vector at a place that need not be aligned. */
#define OCT(p) (*(const loose_oct *) (p))

/* The sums of neighbours in two vectors. */
#define PAIRS(a, b) (__builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14) + \
	__builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15))

/* The same of one band, of which weights are there once: four pixels at a time, and of each as
 * many values as the longest needs, which costs less than to tell them apart. */
static inline void
finish_band(VipsPel *out, const float *row, const axis *a, int width)
{
	const float *w = a->weights;
	int stride = a->stride;

	for (int x = 0; x < width; x += AT_ONCE, w += AT_ONCE * stride) {
		const int *from = a->from + x;
		oct s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
		quad32 bytes;

		for (int i = 0; i < stride; i += 8) {
			s0 += OCT(w + i) * OCT(row + from[0] + i);
			s1 += OCT(w + stride + i) * OCT(row + from[1] + i);
			s2 += OCT(w + 2 * stride + i) * OCT(row + from[2] + i);
			s3 += OCT(w + 3 * stride + i) * OCT(row + from[3] + i);
		}
		s0 = PAIRS(s0, s1);
		s2 = PAIRS(s2, s3);
		s0 = PAIRS(s0, s2);
		bytes = to_bytes(__builtin_shufflevector(s0, s0, 0, 1, 2, 3) + __builtin_shufflevector(s0, s0, 4, 5, 6, 7));
		store_bytes(out + x, bytes, width - x);
	}
}

/* The same, compiled separately for each number of bands. */
WIDE static void
finish_row(VipsPel *out, const float *row, const axis *a, int width, int bands, gboolean alpha)
{
	switch (bands) {
	case 1: finish_band(out, row, a, width); break;
	case 2: finish(out, row, a, width, 2, alpha); break;
	case 3: finish(out, row, a, width, 3, FALSE); break;
	case 4: finish(out, row, a, width, 4, alpha); break;
	}
}

struct resampler {
	row_form in;
	int width, height;   /* of the result */
	VipsPel *out;        /* its next row */
	gboolean same;       /* it has that size already */
	int box_w, box_h;    /* of one box */
	int boxed_w;         /* boxes in a row */
	axis h, v;
	float *sum;          /* of the columns of a row of boxes that is not complete */
	int rows, summed;    /* that came in, and those of them in sum */
	float *places;       /* a ring of rows of boxes: as many as a row of the result needs */
	size_t stride;
	int boxed, made;     /* rows of boxes, and rows of the result, so far */
	float *sums;         /* of the columns of a row of the result */
	const float **near;  /* rows of boxes of which it is made */
};

resampler *
resampler_new(const row_form *in, double across, double down, int parts, int width, int height, VipsPel *out)
{
	resampler *r = g_new0(resampler, 1);
	size_t n;

	r->in = *in;
	r->width = width;
	r->height = height;
	r->out = out;
	r->same = across == 1 && down == 1 && in->width == width && in->rows == height;
	if (r->same)
		return r;
	r->box_w = VIPS_CLIP(1, (int) (across / 2), BOX_MAX);
	r->box_h = VIPS_CLIP(1, (int) (down / 2), BOX_MAX);
	r->boxed_w = (in->width + r->box_w - 1) / r->box_w;
	axis_init(&r->h, (double) in->width / r->box_w, width, across / r->box_w, parts, in->bands == 1 ? 1 : 4);
	axis_init(&r->v, (double) in->rows / r->box_h, height, down / r->box_h, parts, 1);
	n = (size_t) r->boxed_w * in->bands;
	/* Blocks reach over the end, and so do vectors of the last pixels. */
	r->stride = (n + r->h.stride) / BLOCK * BLOCK + BLOCK;
	r->places = g_new0(float, r->stride * r->v.most);
	r->sums = g_new0(float, r->stride);
	r->near = g_new(const float *, r->v.most);
	r->sum = g_new0(float, (size_t) in->width * in->bands + BEYOND);
	return r;
}

void
resampler_free(resampler *r)
{
	if (!r->same) {
		axis_free(&r->h);
		axis_free(&r->v);
	}
	g_free(r->places);
	g_free(r->sums);
	g_free(r->near);
	g_free(r->sum);
	g_free(r);
}

/* Copies a row of a picture that has its size already. */
static void
copy_row(resampler *r, const void *row)
{
	int n = r->in.width * r->in.bands;

	if (r->in.deep)
		for (int i = 0; i < n; i++)
			r->out[i] = (((const guint16 *) row)[i] + 128) / 257;
	else
		memcpy(r->out, row, n);
	r->out += n;
}

/* Adds a row to those that make up a row of boxes, and completes that one if it can. */
static void
box(resampler *r, const void *row)
{
	const row_form *in = &r->in;
	float *to = r->places + r->stride * (r->boxed % r->v.most);

	r->rows++;
	if (r->box_w == 1 && r->box_h == 1 && !in->deep && !in->alpha) {
		plain_row(to, row, in->width * in->bands);
		r->boxed++;
		return;
	}
	sum_row(r->sum, row, in->width, in->bands, in->deep, in->alpha);
	if (++r->summed < r->box_h && r->rows < in->rows)
		return;
	box_row(to, r->sum, in->width, in->bands, r->box_w, r->summed, in->deep);
	memset(r->sum, 0, sizeof(*r->sum) * ((size_t) in->width * in->bands + BEYOND));
	r->summed = 0;
	r->boxed++;
}

void
resampler_row(resampler *r, const void *row)
{
	const axis *v = &r->v;

	if (r->same) {
		copy_row(r, row);
		return;
	}
	box(r, row);
	for (int y; (y = r->made) < r->height && v->from[y] + v->count[y] <= r->boxed; r->made++) {
		for (int i = 0; i < v->count[y]; i++)
			r->near[i] = r->places + r->stride * ((v->from[y] + i) % v->most);
		sum_columns(r->sums, r->near, v->weights + (size_t) y * v->stride, v->count[y], r->boxed_w * r->in.bands);
		finish_row(r->out, r->sums, &r->h, r->width, r->in.bands, r->in.alpha);
		r->out += r->width * r->in.bands;
	}
}

int
resample(const row_source *in, int width, int height, VipsPel *out)
{
	resampler *r = resampler_new(&in->form, (double) in->form.width / width, (double) in->form.rows / height, 1, width, height, out);
	const VipsPel *row = NULL;

	for (int y = 0; y < in->form.rows; y++) {
		if (!(row = in->row(in->state, y)))
			break;
		resampler_row(r, row);
	}
	resampler_free(r);
	return row ? 0 : -1;
}

/* Rows of an image, of which libvips is asked for STEP at once. */
#define STEP 16

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
strip_rows(strip *s, VipsImage *in, int top, int rows, row_source *source)
{
	*source = (row_source){{.width = in->Xsize, .rows = rows, .bands = in->Bands,
		.deep = in->BandFmt == VIPS_FORMAT_USHORT, .alpha = vips_image_hasalpha(in)}, .row = strip_row, .state = s};
	if (in->Bands < 1 || in->Bands > 4 || (!source->form.deep && in->BandFmt != VIPS_FORMAT_UCHAR)) {
		vips_error("resample", "%d bands of format %d", in->Bands, in->BandFmt);
		return -1;
	}
	*s = (strip){vips_region_new(in), top, rows};
	return 0;
}

int
resample_image(VipsImage *in, int top, int rows, int width, int height, VipsPel *out)
{
	strip s;
	row_source source;
	int failed = strip_rows(&s, in, top, rows, &source);

	if (!failed) {
		failed = resample(&source, width, height, out);
		g_object_unref(s.region);
	}
	return failed;
}

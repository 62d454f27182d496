/* What bimg cannot do: several sizes from one decoding, kept animations, an error for a
 * truncated image, and a loader that we choose and not the bytes. Nothing here outlives a
 * call: sources and results are in memory, and no libvips object is kept. All calls come
 * from one thread at a time. */

#include "thumb.h"

#include <malloc.h>
#include <string.h>
#include <vips/vips.h>

#include "edit.h"
#include "encode.h"
#include "jpeg.h"
#include "load.h"
#include "picture.h"
#include "planes.h"
#include "resample.h"
#include "trim.h"

/* Freed memory kept for the next image, in bytes. */
#define KEEP (16u << 20)

/* Threads must not leave an arena of free memory each. */
__attribute__((constructor)) static void
few_arenas(void)
{
	mallopt(M_ARENA_MAX, 1);
}

/* Returns freed memory to the system if there is much, since the next image may come late,
 * or be small. */
void
thumb_tidy(void)
{
	vips_thread_shutdown();
	if (mallinfo2().fordblks > KEEP)
		malloc_trim(0);
}

void
thumb_free(void *data)
{
	g_free(data);
}

int
thumb_read(const void *src, size_t len, int format, thumb_info *info)
{
	VipsImage *im = load(src, len, format, 1, 1, 1.0);

	if (!im)
		return THUMB_IMAGE;
	info->width = im->Xsize;
	info->height = im->Ysize;
	info->orientation = vips_image_get_orientation(im);
	info->alpha = vips_image_hasalpha(im);
	/* Not vips_image_get_n_pages: it says 1 where there are over 10,000. */
	info->frames = 1;
	if (vips_image_get_typeof(im, VIPS_META_N_PAGES) &&
		vips_image_get_int(im, VIPS_META_N_PAGES, &info->frames)) {
		g_object_unref(im);
		return THUMB_IMAGE;
	}
	g_object_unref(im);
	return 0;
}

int
thumb_trim(const void *src, size_t len, int format, int tolerance, thumb_area *area)
{
	VipsImage *im = load(src, len, format, 1, 1, 1.0);
	jpeg *decoder = NULL;
	row_source from;
	strip rows = {0};
	int right, bottom, failed;

	if (!im)
		return THUMB_IMAGE;
	if (format == THUMB_JPEG && (decoder = jpeg_open(src, len, 1, im))) {
		from = jpeg_rows(decoder);
		failed = trim(&from, tolerance, &area->left, &area->top, &right, &bottom);
		jpeg_close(decoder);
	} else {
		failed = strip_rows(&rows, im, 0, im->Ysize, &from) ||
			trim(&from, tolerance, &area->left, &area->top, &right, &bottom) || load_complete(im);
		VIPS_UNREF(rows.region);
	}
	if (failed || right == 0)
		*area = (thumb_area){0, 0, im->Xsize, im->Ysize};
	else {
		area->width = right - area->left;
		area->height = bottom - area->top;
	}
	g_object_unref(im);
	return failed ? THUMB_IMAGE : 0;
}

/* Rows of an area of a picture. */
typedef struct {
	row_source from;
	const thumb_area *area;
	int next; /* row of the picture */
} area_rows;

static const VipsPel *
area_row(void *state, int y)
{
	area_rows *a = state;
	const VipsPel *row = NULL;

	while (a->next <= a->area->top + y)
		if (!(row = a->from.row(a->from.state, a->next++)))
			return NULL;
	return row + a->area->left * a->from.form.bands;
}

/* Shrinks rows of an image to exactly width by height. All of its rows, or those of an area if
 * that is not NULL, are read from decoder, unless that is NULL. */
static int
picture_shrink(picture *p, VipsImage *in, jpeg *decoder, const thumb_area *area, int top, int rows, int width, int height)
{
	row_source from;
	area_rows part;
	int failed;

	VipsInterpretation type = in->Type == VIPS_INTERPRETATION_CMYK ? VIPS_INTERPRETATION_CMYK
		: in->Bands < 3 ? VIPS_INTERPRETATION_B_W : VIPS_INTERPRETATION_sRGB;

	if (picture_new(p, width, height, in->Bands, type))
		return THUMB_SELF;
	if (decoder) {
		from = jpeg_rows(decoder);
		if (area) {
			part = (area_rows){from, area};
			from = (row_source){{.width = area->width, .rows = area->height, .bands = from.form.bands},
				.row = area_row, .state = &part};
		}
		failed = resample(&from, width, height, p->pixels);
	} else
		failed = resample_image(in, top, rows, width, height, p->pixels) || load_complete(in);
	if (failed) {
		picture_free(p);
		return THUMB_IMAGE;
	}
	return 0;
}

/* Finds the profile to convert a picture from. It is used only if it belongs to a device
 * and fits the kind of pixels, "CMYK", "GRAY" or "RGB ": libvips would apply a gray profile
 * on a picture in colour to its first band. A profile that calls itself the IEC's sRGB
 * changes nothing, and costs as much as the resizing. */
static gboolean
find_profile(VipsImage *source, const char *space, const void **blob, size_t *len)
{
	const char *head;

	if (!vips_image_get_typeof(source, VIPS_META_ICC_NAME) ||
		vips_image_get_blob(source, VIPS_META_ICC_NAME, blob, len) || *len < 128)
		return FALSE;
	head = *blob;
	return !memcmp(head + 16, space, 4) &&
		(!memcmp(head + 12, "mntr", 4) || !memcmp(head + 12, "scnr", 4) ||
			!memcmp(head + 12, "prtr", 4) || !memcmp(head + 12, "spac", 4)) &&
		memcmp(head + 48, "IEC sRGB", 8);
}

/* Whether a profile has an element. */
static gboolean
has_tag(const void *profile, size_t len, const char *name)
{
	const unsigned char *b = profile;
	size_t n = len < 132 ? 0 : MIN((len - 132) / 12, (size_t) b[130] << 8 | b[131]);

	for (size_t i = 0; i < n; i++)
		if (!memcmp(b + 132 + 12 * i, name, 4))
			return TRUE;
	return FALSE;
}

/* Converts by the profile. The perceptual table is preferred, as in browsers: many profiles
 * have no other, and for an intent that a profile lacks, libvips leaves the colours as they
 * are. */
static int
convert(picture *p, const void *profile, size_t len)
{
	VipsImage *im = picture_image(p), *out = NULL;
	int failed = !im;

	if (!failed)
		vips_image_set_blob_copy(im, VIPS_META_ICC_NAME, profile, len);
	failed = failed ||
		vips_icc_transform(im, &out, "srgb", "embedded", TRUE,
			"intent", has_tag(profile, len, "A2B0") ? VIPS_INTENT_PERCEPTUAL : VIPS_INTENT_RELATIVE, NULL) ||
		picture_become(p, out);
	VIPS_UNREF(out);
	VIPS_UNREF(im);
	return failed;
}

/* Gray without a profile stays gray. Four inks are treated as if each absorbed all of its
 * colour, as in browsers. A profile that does not work counts as none. */
static int
to_srgb(picture *p, VipsImage *source)
{
	const void *profile;
	size_t len;
	const char *space = p->type == VIPS_INTERPRETATION_CMYK ? "CMYK" : p->bands < 3 ? "GRAY" : "RGB ";

	if (find_profile(source, space, &profile, &len) && !convert(p, profile, len))
		return 0;
	vips_error_clear();
	return p->type == VIPS_INTERPRETATION_CMYK ? picture_from_inks(p) : 0;
}

static int
turn_upright(picture *p, int orientation)
{
	VipsImage *im = picture_image(p), *out = NULL;
	int failed = !im;

	if (!failed)
		vips_image_set_int(im, VIPS_META_ORIENTATION, orientation);
	failed = failed || vips_autorot(im, &out, NULL) || picture_become(p, out);
	VIPS_UNREF(out);
	VIPS_UNREF(im);
	return failed;
}

/* Whether width and height change places when the picture is turned upright. */
static gboolean
turned(int orientation)
{
	return orientation >= 5 && orientation <= 8;
}

/* Makes a frame of exactly width by height pixels: as shown, upright, in sRGB. This is
 * where decoding happens. */
static int
make_base(picture *p, VipsImage *im, jpeg *decoder, const thumb_area *area, int top, int rows, int width, int height)
{
	int orientation = vips_image_get_orientation(im);
	gboolean turn = turned(orientation);
	int result = picture_shrink(p, im, decoder, area, top, rows, turn ? height : width, turn ? width : height);

	if (!result && (to_srgb(p, im) || (orientation > 1 && turn_upright(p, orientation)))) {
		picture_free(p);
		result = THUMB_SELF;
	}
	return result;
}

static int
encode_still(picture *p, gboolean palette, thumb_target *to)
{
	VipsImage *im = NULL;
	int result = THUMB_SELF;

	/* Viewers expect white behind it if the format has no alpha. */
	if ((to->format == THUMB_JPEG || to->format == THUMB_PIXELS || picture_opaque(p)) && picture_flatten(p, 0xffffff))
		return THUMB_SELF;
	if (to->format == THUMB_PIXELS) {
		to->data = p->pixels;
		to->size = (size_t) p->width * p->height * p->bands;
		p->pixels = NULL;
		return 0;
	}
	if ((im = picture_image(p)))
		result = encode(p, im, palette, to);
	VIPS_UNREF(im);
	return result;
}

/* Encodes frames that stand below each other. Delays and loop count are the
 * source's. */
static int
encode_strip(const picture *strip, int frames, VipsImage *source, thumb_target *to)
{
	VipsImage *im = picture_image(strip);
	int *delays, n, loop, result;

	if (!im)
		return THUMB_SELF;
	vips_image_set_int(im, VIPS_META_PAGE_HEIGHT, to->height);
	vips_image_set_int(im, VIPS_META_N_PAGES, frames);
	if (vips_image_get_typeof(source, "delay") &&
		!vips_image_get_array_int(source, "delay", &delays, &n))
		vips_image_set_array_int(im, "delay", delays, MIN(n, frames));
	if (vips_image_get_typeof(source, "loop") &&
		!vips_image_get_int(source, "loop", &loop))
		vips_image_set_int(im, "loop", loop);
	result = encode(strip, im, FALSE, to);
	g_object_unref(im);
	return result;
}

/* Puts a frame of an animation below those before it. */
static int
append(picture *strip, const picture *p, int frame, int frames)
{
	size_t size = (size_t) p->width * p->height * p->bands;

	if (frame == 0)
		*strip = (picture){g_try_malloc_n(frames, size), p->width, p->height * frames, p->bands, p->type};
	if (!strip->pixels || strip->bands != p->bands) {
		vips_error("thumb", "no memory for %d frames of %d by %d pixels", frames, p->width, p->height);
		return THUMB_SELF;
	}
	memcpy(strip->pixels + frame * size, p->pixels, size);
	return 0;
}

/* The state of thumb_make. */
typedef struct {
	VipsImage *im;
	jpeg *decoder;          /* NULL: im is read itself */
	const thumb_area *area; /* of what decoder reads; NULL: all */
	const thumb_raw *raw;   /* NULL: im has all frames, below each other */
	int frames;
	gboolean palette;
	thumb_target *targets;
	int n, width, height; /* of the targets' number, and of what all are made from */
	picture *strips;      /* of each target, where it is an animation */
} job;

/* Makes one frame of a target. */
static int
make_target(job *j, VipsImage *base, int frame, int i)
{
	thumb_target *t = &j->targets[i];
	picture p;
	int result;

	if (picture_shrink(&p, base, NULL, NULL, 0, base->Ysize, t->scale_w, t->scale_h))
		return THUMB_SELF;
	if (t->edited && edit(&p, &t->edit, t->format))
		result = THUMB_SELF;
	else if (j->frames > 1 && t->animate)
		result = append(&j->strips[i], &p, frame, j->frames);
	else
		result = encode_still(&p, j->palette, t);
	picture_free(&p);
	return result;
}

/* Makes one frame of each target. All are made from one picture that is as large as the
 * largest target: resizing twice costs no visible quality, and the large picture is read
 * only once. */
static int
make_frame(job *j, int frame)
{
	int rows = j->raw ? j->im->Ysize : j->im->Ysize / j->frames, result;
	VipsImage *im;
	picture base;

	if (j->raw && frame > 0) {
		if (thumbFrame(j->raw->handle, frame))
			return THUMB_IMAGE;
		/* Reset, so that nothing of the last frame is taken for this one. */
		VIPS_UNREF(j->im);
		if (!(j->im = load_raw(j->raw)))
			return THUMB_SELF;
	}
	if ((result = make_base(&base, j->im, j->decoder, j->area, j->raw ? 0 : frame * rows, rows, j->width, j->height)))
		return result;
	if (!(im = picture_image(&base)))
		result = THUMB_SELF;
	for (int i = 0; i < j->n && !result; i++)
		if (frame == 0 || j->targets[i].animate)
			result = make_target(j, im, frame, i);
	VIPS_UNREF(im);
	picture_free(&base);
	return result;
}

/* Whether all that is asked of a JPEG can be made of its planes: smaller JPEGs, by themselves
 * or upright, in the colours that it has. */
static gboolean
plain(const job *j)
{
	const void *profile;
	size_t len;

	if (!j->decoder || j->area || !jpeg_has_planes(j->decoder) || find_profile(j->im, "RGB ", &profile, &len))
		return FALSE;
	for (int i = 0; i < j->n; i++)
		if (j->targets[i].format != THUMB_JPEG || j->targets[i].edited)
			return FALSE;
	return TRUE;
}

/* Makes a target of planes that are as large as the largest. */
static int
make_plain(const planes *base, thumb_target *t)
{
	planes p;
	int failed = planes_new(&p, t->scale_w, t->scale_h, jpeg_pitch(t->quality));

	if (failed)
		return THUMB_SELF;
	planes_shrink(base, &p);
	failed = jpeg_encode_planes(&p, t->quality, &t->data, &t->size);
	planes_free(&p);
	return failed ? THUMB_SELF : 0;
}

/* Makes all targets of the planes of a JPEG. */
static int
make_planes(job *j)
{
	int orientation = vips_image_get_orientation(j->im), pitch = 2, result = 0;
	gboolean turn = turned(orientation);
	planes base;

	for (int i = 0; i < j->n; i++)
		pitch = MIN(pitch, jpeg_pitch(j->targets[i].quality));
	if (planes_new(&base, turn ? j->height : j->width, turn ? j->width : j->height, orientation > 1 ? 1 : pitch))
		return THUMB_SELF;
	if (jpeg_planes(j->decoder, &base))
		result = THUMB_IMAGE;
	else if (planes_turn(&base, orientation))
		result = THUMB_SELF;
	for (int i = 0; i < j->n && !result; i++)
		result = make_plain(&base, &j->targets[i]);
	planes_free(&base);
	return result;
}

/* A frame may be decoded smaller than it is stored if the loader can do that cheaply, as
 * long as it stays larger than the target by this factor. libjpeg cuts off detail for each
 * block of 8 by 8 pixels separately, and libwebp's filter is coarse, too. With 1.1, three
 * sizes of a photo take 0.44 of bimg's time, but lines of 1.5 pixels, made 100 high from
 * 675, have an SSIM of 0.89, and fine rings of 0.47; with 2, it is 0.54, 0.99 and 0.98.
 * Most of that time is spent where a JPEG would be decoded at half its size, and most of
 * the quality is gained beyond: hence 0.49. */
#define ROOM_HALF 1.5
#define ROOM 2.0

/* Chooses the size that all targets are made from: the largest target, but not larger than
 * the picture. */
static void
choose_base(job *j, int width, int height)
{
	for (int i = 0; i < j->n; i++) {
		int w = MIN(width, j->targets[i].scale_w), h = MIN(height, j->targets[i].scale_h);

		if ((gint64) w * h > (gint64) j->width * j->height) {
			j->width = w;
			j->height = h;
		}
	}
}

int
thumb_make(const void *src, size_t len, int format, const thumb_info *info,
	const thumb_area *area, int frames, thumb_target *targets, int n)
{
	job j = {.area = area, .frames = frames, .targets = targets, .n = n, .raw = format == THUMB_RAW ? src : NULL};
	int shrink = 1, result = 0;
	int width = area ? area->width : info->width, height = area ? area->height : info->height;
	double scale = 1.0;

	if (turned(info->orientation))
		choose_base(&j, height, width);
	else
		choose_base(&j, width, height);
	if (!area) {
		gboolean turn = turned(info->orientation);
		double room = MIN((double) width / (turn ? j.height : j.width),
			(double) height / (turn ? j.width : j.height));

		while (shrink < 8 && room >= 2 * shrink * (shrink == 1 ? ROOM_HALF : ROOM))
			shrink *= 2;
		/* libwebp scales colour and alpha separately, which causes dark fringes. */
		if (room > ROOM && !info->alpha)
			scale = ROOM / room;
	}
	if (!(j.im = load(src, len, format, frames, shrink, scale)))
		return THUMB_IMAGE;
	if (format == THUMB_JPEG)
		j.decoder = jpeg_open(src, len, shrink, j.im);
	if (info->profile)
		vips_image_set_blob_copy(j.im, VIPS_META_ICC_NAME, info->profile, info->profile_size);
	j.palette = vips_image_get_typeof(j.im, "palette-bit-depth") != 0;
	if (area) {
		VipsImage *part = NULL;

		result = vips_extract_area(j.im, &part, area->left, area->top, width, height, NULL) ? THUMB_SELF : 0;
		g_object_unref(j.im);
		if (!(j.im = part)) {
			if (j.decoder)
				jpeg_close(j.decoder);
			return result;
		}
	}
	j.strips = g_new0(picture, n);
	if (plain(&j))
		result = make_planes(&j);
	else
		for (int f = 0; f < frames && !result; f++)
			result = make_frame(&j, f);
	for (int i = 0; i < n; i++) {
		if (!result && j.strips[i].pixels)
			result = encode_strip(&j.strips[i], frames, j.im, &targets[i]);
		picture_free(&j.strips[i]);
	}
	if (result)
		for (int i = 0; i < n; i++) {
			g_free(targets[i].data);
			targets[i].data = NULL;
		}
	g_free(j.strips);
	if (j.decoder)
		jpeg_close(j.decoder);
	VIPS_UNREF(j.im);
	return result;
}

int
thumb_mark(const void *src, size_t len, int format, int width, int height, void **pixels)
{
	VipsImage *im = load(src, len, format, 1, 1, 1.0);
	picture p;
	int result;

	if (!im)
		return THUMB_IMAGE;
	if (!(result = make_base(&p, im, NULL, NULL, 0, im->Ysize, width, height))) {
		result = picture_colour(&p, TRUE) ? THUMB_SELF : 0;
		*pixels = p.pixels;
	}
	g_object_unref(im);
	return result;
}

/* Opens an image with the loader of the format that the caller names, and with no other. */

#include "load.h"

#include <string.h>

#include "codec.h"
#include "fault.h"
#include "thumb.h"

/* Refuses an image whose coding differs from its format: the loader accepts whatever the
 * library can decode. It turns images upright by itself. */
static VipsImage *
check_heif(VipsImage *im, const char *compression)
{
	const char *found;

	if (!im)
		return NULL;
	if (vips_image_get_string(im, "heif-compression", &found) || strcmp(found, compression)) {
		vips_error("thumb", "it is not coded as %s", compression);
		g_object_unref(im);
		return NULL;
	}
	vips_autorot_remove_angle(im);
	return im;
}

/* A JPEG XL arrives upright, and in floating point if it is stored so: this converts it to
 * 16 bits, and drops light brighter than white. */
static VipsImage *
check_jxl(VipsImage *im)
{
	VipsImage *scaled = NULL, *out = NULL;

	if (!im)
		return NULL;
	if (im->BandFmt != VIPS_FORMAT_FLOAT)
		return im;
	if (!vips_linear1(im, &scaled, 65535, 0, NULL) && !vips_cast(scaled, &out, VIPS_FORMAT_USHORT, NULL))
		out->Type = out->Bands < 3 ? VIPS_INTERPRETATION_GREY16 : VIPS_INTERPRETATION_RGB16;
	VIPS_UNREF(scaled);
	g_object_unref(im);
	return out;
}

VipsImage *
load_raw(const thumb_raw *raw)
{
	VipsImage *im = vips_image_new_from_memory(raw->pixels, (size_t) raw->width * raw->height * 4,
		raw->width, raw->height, 4, VIPS_FORMAT_UCHAR);
	VipsImage *out = NULL;

	if (im) {
		vips_copy(im, &out, "interpretation", VIPS_INTERPRETATION_sRGB, NULL);
		g_object_unref(im);
	}
	if (!out)
		return NULL;
	if (raw->frames > 1) {
		vips_image_set_int(out, VIPS_META_N_PAGES, raw->frames);
		vips_image_set_array_int(out, "delay", raw->delays, raw->frames);
		vips_image_set_int(out, "loop", raw->loop);
	}
	if (raw->palette)
		vips_image_set_int(out, "palette-bit-depth", 8);
	if (raw->profile)
		vips_image_set_blob_copy(out, VIPS_META_ICC_NAME, raw->profile, raw->profile_size);
	return out;
}

/* What libtiff notes about the header of a TIFF without failing, such as a field of unknown
 * type. */
#define HEADER_ERRORS "imgkeep-header-errors"

int
load_complete(VipsImage *im)
{
	const char *known;
	char **lines;
	int missing = 0;

	if (!vips_image_get_typeof(im, HEADER_ERRORS) || vips_image_get_string(im, HEADER_ERRORS, &known))
		return 0;
	lines = g_strsplit(vips_error_buffer(), "\n", -1);
	for (int i = 0; lines[i]; i++) /* the header is read again, with the same notes */
		missing |= lines[i][0] && !strstr(known, lines[i]);
	g_strfreev(lines);
	if (!missing)
		vips_error_clear();
	return missing ? -1 : 0;
}

VipsImage *
load(const void *src, size_t len, int format, int frames, int shrink, double scale)
{
	void *buf = (void *) src;
	VipsImage *out = NULL;

	if (format != THUMB_RAW && !codec_usable(format, FALSE)) {
		fault_set();
		return NULL;
	}
	switch (format) {
	case THUMB_JPEG:
		vips_jpegload_buffer(buf, len, &out, "shrink", shrink,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
		break;
	case THUMB_PNG:
		vips_pngload_buffer(buf, len, &out,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
		break;
	case THUMB_WEBP:
		vips_webpload_buffer(buf, len, &out, "n", frames, "scale", scale,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
		if (out) /* browsers do not turn it, and full shows the original */
			vips_autorot_remove_angle(out);
		break;
	case THUMB_AVIF:
	case THUMB_HEIC:
		vips_heifload_buffer(buf, len, &out,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
		return check_heif(out, format == THUMB_AVIF ? "av1" : "hevc");
	case THUMB_TIFF:
		vips_error_clear();
		vips_tiffload_buffer(buf, len, &out, "page", 0, "n", 1,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
		if (out) {
			vips_image_set_string(out, HEADER_ERRORS, vips_error_buffer());
			vips_error_clear();
		}
		break;
	case THUMB_JXL:
		vips_jxlload_buffer(buf, len, &out,
			"access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
		return check_jxl(out);
	case THUMB_RAW:
		if (((const thumb_raw *) src)->handle && thumbFrame(((const thumb_raw *) src)->handle, 0))
			return NULL;
		return load_raw(src);
	}
	return out;
}

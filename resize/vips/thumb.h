/* What bimg cannot do: see thumb.c. */

#ifndef IMGKEEP_THUMB_H
#define IMGKEEP_THUMB_H

#include <stddef.h>
#include <stdint.h>

enum { THUMB_JPEG = 1, THUMB_PNG, THUMB_GIF, THUMB_WEBP, THUMB_AVIF, THUMB_RAW, THUMB_HEIC, THUMB_TIFF, THUMB_JXL,
	THUMB_PIXELS /* of a target: the pixels themselves, gray or RGB */ };

/* What a function returns when it does not return 0. The reason is then in
 * libvips' error buffer. */
enum {
	THUMB_IMAGE = 1, /* the image is at fault */
	THUMB_SELF = 2,  /* the decoder is */
	THUMB_LARGE = 3  /* the image is too large for what is asked */
};

typedef struct {
	int width, height; /* of a frame, as stored */
	int orientation;   /* EXIF, 1 to 8 */
	int frames;
	int alpha;
	/* Set by the caller before thumb_make: an ICC profile for a file that has none. NULL:
	 * its colours are sRGB. */
	const void *profile;
	size_t profile_size;
} thumb_info;

/* What a source of format THUMB_RAW is: pixels of RGBA, row by row, of frame 0. */
typedef struct {
	const void *pixels;
	int width, height;
	int frames;           /* of more than 1, thumbFrame puts each into pixels */
	const int *delays;    /* of each frame, in milliseconds */
	int loop;             /* how often the animation plays; 0: for ever */
	int palette;
	const void *profile;  /* ICC; NULL: sRGB */
	size_t profile_size;
	uintptr_t handle;     /* for thumbFrame */
} thumb_raw;

/* In raw.go: puts a frame into the pixels of a thumb_raw: frame 0, or the one after the
 * last. Not 0: it cannot be decoded. */
extern int thumbFrame(uintptr_t handle, int frame);

/* A part of a picture, as stored. */
typedef struct {
	int left, top, width, height;
} thumb_area;

/* What a preset asks for. */
typedef struct {
	int quarters, flip_x, flip_y; /* turned clockwise, then mirrored */
	int window_x, window_y;       /* -1: to be found by thumb_make */
	int window_w, window_h;
	int brightness, contrast;     /* percent */
	double blur, sharpen;         /* sigma; 0: not */
	int canvas_x, canvas_y, canvas_w, canvas_h;
	int background;               /* RGB; -1: none */
	void *mark;                   /* RGBA, from thumb_mark; NULL: none */
	int mark_x, mark_y, mark_w, mark_h, opacity;
} thumb_edit;

typedef struct {
	/* Set by the caller. */
	int scale_w, scale_h; /* the whole picture is resized to, upright */
	int width, height;    /* of the result */
	int format, quality, progressive;
	size_t max_bytes;     /* 0: any */
	int animate;
	int lossless;         /* the source was, or had few colours */
	int edited;           /* edit applies */
	thumb_edit edit;
	/* Set by thumb_make; data is to be freed with thumb_free. */
	void *data;
	size_t size;
} thumb_target;

/* Makes sure that libvips has the loader of a format, or with save its saver. It may load a
 * module. A module's operations are not blocked: call this for all formats before
 * codec_block_all. */
int codec_find(int format, int save);

/* Blocks all loaders and savers, whatever name they are called by. */
void codec_block_all(void);

/* Unblocks one, or with allowed 0 blocks it again. */
int codec_allow(int format, int save, int allowed);

void thumb_tidy(void);
int thumb_read(const void *src, size_t len, int format, thumb_info *info);

/* Finds what is left after borders in the colour of the top left pixel, within tolerance,
 * are cut off. If all is border, all of it is left. */
int thumb_trim(const void *src, size_t len, int format, int tolerance, thumb_area *area);

/* Makes the targets of an image, or of an area of its first frame, unless that
 * is NULL. info is that of the whole image. */
int thumb_make(const void *src, size_t len, int format, const thumb_info *info,
	const thumb_area *area, int frames, thumb_target *targets, int n);

/* Decodes a picture to width by height pixels of RGBA, which are to be freed
 * with thumb_free. */
int thumb_mark(const void *src, size_t len, int format, int width, int height, void **pixels);

void thumb_free(void *data);

#endif

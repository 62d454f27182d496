/* What bimg cannot do: see thumb.c. */

#ifndef IMGKEEP_THUMB_H
#define IMGKEEP_THUMB_H

#include <stddef.h>

enum { THUMB_JPEG = 1, THUMB_PNG, THUMB_GIF, THUMB_WEBP };

/* What a function returns when it does not return 0. The reason is then in
 * libvips' error buffer. */
enum {
	THUMB_IMAGE = 1, /* the image is at fault */
	THUMB_SELF = 2   /* we are */
};

typedef struct {
	int width, height; /* of a frame, as stored */
	int orientation;   /* EXIF, 1 to 8 */
	int frames;
	int alpha;
} thumb_info;

typedef struct {
	/* Set by the caller. */
	int width, height, format, quality;
	/* Set by thumb_make; data is to be freed with thumb_free. */
	void *data;
	size_t size;
} thumb_target;

void thumb_start(void);
void thumb_tidy(void);
int thumb_read(const void *src, size_t len, int format, thumb_info *info);
int thumb_make(const void *src, size_t len, int format, const thumb_info *info,
	int frames, thumb_target *targets, int n);
void thumb_free(void *data);

#endif

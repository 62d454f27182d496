/* JPEGs by libjpeg itself: see jpeg.c. */

#ifndef IMGKEEP_JPEG_H
#define IMGKEEP_JPEG_H

#include "picture.h"
#include "planes.h"
#include "resample.h"

typedef struct jpeg jpeg;

/* Opens a JPEG, which lives as long as the result, to be decoded shrink times smaller, as
 * libvips would decode it: like is libvips' own, of which no pixel has been read. NULL:
 * libvips must do it, or says better what is wrong. */
jpeg *jpeg_open(const void *src, size_t len, int shrink, const VipsImage *like);

/* The pixels, each row of which can be read once, from top to bottom. */
row_source jpeg_rows(jpeg *j);

/* Whether it is stored as planes of luma and colour that jpeg_planes can shrink. */
gboolean jpeg_has_planes(const jpeg *j);

/* Shrinks it to the size and the pitch that to has, instead of jpeg_rows. Not 0: failed, the
 * reason is in libvips' error buffer. */
int jpeg_planes(jpeg *j, planes *to);

void jpeg_close(jpeg *j);

/* Encodes a gray or coloured picture without alpha, as libvips would. full: at the full
 * resolution of colours. data is to be freed with g_free. Not 0: failed. */
int jpeg_encode(const picture *p, int quality, gboolean full, gboolean progressive, void **data, size_t *size);

/* The same of planes, which are encoded as they are. */
int jpeg_encode_planes(const planes *p, int quality, void **data, size_t *size);

/* The pitch of colours that a picture is encoded with, unless at their full resolution. */
int jpeg_pitch(int quality);

#endif

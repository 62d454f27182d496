/* Pictures in memory: see picture.c. */

#ifndef IMGKEEP_PICTURE_H
#define IMGKEEP_PICTURE_H

#include <vips/vips.h>

/* A picture in memory: 8 bits for each band, and no metadata, so that nothing
 * made from it has any, whatever a saver thinks of stripping. */
typedef struct {
	VipsPel *pixels;
	int width, height, bands;
	VipsInterpretation type;
} picture;

/* Functions that return an int return 0, or say in libvips' error buffer what
 * went wrong. */

void picture_free(picture *p);

/* Gives p memory for its pixels, which are not set. */
int picture_new(picture *p, int width, int height, int bands, VipsInterpretation type);

/* The picture for libvips to read, while it lives. */
VipsImage *picture_image(const picture *p);

/* Makes the picture what libvips has made of it. */
int picture_become(picture *p, VipsImage *im);

gboolean picture_has_alpha(const picture *p);

/* Whether no pixel is transparent. */
gboolean picture_opaque(const picture *p);

/* Turns clockwise by so many quarters, and then mirrors. */
int picture_turn(picture *p, int quarters, gboolean flip_x, gboolean flip_y);

int picture_cut(picture *p, int left, int top, int width, int height);

/* Gray becomes colour; colour stays. With alpha, if that is wanted, or kept. */
int picture_colour(picture *p, gboolean alpha);

/* Puts the picture on a larger canvas of one colour (RGB), or of none at all,
 * if background is -1. */
int picture_extend(picture *p, int x, int y, int width, int height, int background);

/* CMYK becomes colour: what each ink leaves, times what black leaves. */
int picture_from_inks(picture *p);

/* Lays what is transparent on a colour. */
int picture_flatten(picture *p, int background);

/* Puts another picture, in colour and with alpha, on top. It must fit. */
int picture_over(picture *p, const picture *top, int x, int y, int opacity);

#endif

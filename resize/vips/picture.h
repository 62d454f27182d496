/* Pictures in memory: see picture.c. */

#ifndef IMGKEEP_PICTURE_H
#define IMGKEEP_PICTURE_H

#include <vips/vips.h>

/* A picture in memory: 8 bits for each band, and no metadata, so that nothing made from it
 * has any, whatever a saver strips. */
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

/* The picture as libvips reads it, valid while the picture lives. */
VipsImage *picture_image(const picture *p);

/* Replaces the picture by a result of libvips. */
int picture_become(picture *p, VipsImage *im);

gboolean picture_has_alpha(const picture *p);

/* Whether no pixel is transparent. */
gboolean picture_opaque(const picture *p);

/* Turns clockwise by this many quarters, and then mirrors. */
int picture_turn(picture *p, int quarters, gboolean flip_x, gboolean flip_y);

int picture_cut(picture *p, int left, int top, int width, int height);

/* Turns gray into colour; colour stays. The result has alpha if wanted, or if it had it. */
int picture_colour(picture *p, gboolean alpha);

/* Puts the picture on a larger canvas of one colour (RGB); transparent if background is -1. */
int picture_extend(picture *p, int x, int y, int width, int height, int background);

/* Turns CMYK into colour: what each ink leaves, times what black leaves. */
int picture_from_inks(picture *p);

/* Composes transparent pixels over a colour. */
int picture_flatten(picture *p, int background);

/* Composes another picture, in colour and with alpha, on top. It must fit. */
int picture_over(picture *p, const picture *top, int x, int y, int opacity);

#endif

/* Pictures as JPEGs have them: see planes.c. */

#ifndef IMGKEEP_PLANES_H
#define IMGKEEP_PLANES_H

#include "picture.h"

/* Luma, and two planes of colour: Cb and Cr. A sample of colour is the mean of pitch by pitch
 * pixels, 1 or 2: what it is to encoders. (A sharper one takes 2% more bytes.) It stands for
 * as many at the right and at the bottom, where there may be fewer. */
typedef struct {
	picture band[3];
	int pitch;
} planes;

/* Gives p memory for its samples, which are not set. Not 0: failed, the reason is in
 * libvips' error buffer. */
int planes_new(planes *p, int width, int height, int pitch);

void planes_free(planes *p);

/* Shrinks a picture to the size and the pitch that to has. */
void planes_shrink(const planes *from, planes *to);

/* Turns a picture upright, of an orientation from 1 to 8 as EXIF has it. Its pitch is to be
 * 1: a sample that stands for fewer pixels would come to the left or to the top. Not 0:
 * failed. */
int planes_turn(planes *p, int orientation);

#endif

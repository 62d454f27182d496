/* Blurring a picture: see blur.c. */

#ifndef IMGKEEP_BLUR_H
#define IMGKEEP_BLUR_H

#include "picture.h"

/* Blurs by the Gauss function with this standard deviation, in pixels. It weights colours
 * by alpha, so that the colours of invisible pixels do not appear. Not 0: failed, the
 * reason is in libvips' error buffer. */
int blur(picture *p, double sigma);

#endif

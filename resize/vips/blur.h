/* Blurring a picture: see blur.c. */

#ifndef IMGKEEP_BLUR_H
#define IMGKEEP_BLUR_H

#include "picture.h"

/* Blurs by the Gauss function with this standard deviation, in pixels. Colours are
 * weighted by alpha, so that those of invisible pixels do not come to light. Not 0:
 * failed, the reason is in libvips' error buffer. */
int blur(picture *p, double sigma);

#endif

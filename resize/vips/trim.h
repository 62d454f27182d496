/* Finding the borders of a picture: see trim.c. */

#ifndef IMGKEEP_TRIM_H
#define IMGKEEP_TRIM_H

#include "resample.h"

/* Finds the smallest area outside of which every pixel has the colour of the top
 * left one, give or take tolerance in each band. Where there is no such area,
 * right is 0. Rows are read once, from top to bottom. Not 0: failed, the reason is
 * in libvips' error buffer. */
int trim(const row_source *in, int tolerance, int *left, int *top, int *right, int *bottom);

#endif

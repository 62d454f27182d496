/* What a preset does to a picture that has been resized: see edit.c. */

#ifndef IMGKEEP_EDIT_H
#define IMGKEEP_EDIT_H

#include "picture.h"
#include "thumb.h"

/* Applies it. If the content of the picture decides about the window, the window is stored
 * in e, so that it is the same for all frames. Not 0: failed, the reason is in libvips'
 * error buffer. */
int edit(picture *p, thumb_edit *e, int format);

#endif

/* What a preset does to a picture that has been resized: see edit.c. */

#ifndef IMGKEEP_EDIT_H
#define IMGKEEP_EDIT_H

#include "picture.h"
#include "thumb.h"

/* Does it. Where what is in the picture decides about the window, e is told, so
 * that it is the same for all frames. Not 0: failed, the reason is in libvips'
 * error buffer. */
int edit(picture *p, thumb_edit *e, int format);

#endif

#ifndef IMGKEEP_CODEC_H
#define IMGKEEP_CODEC_H

/* Whether libvips has the loader of a format, or with save its saver, and lets
 * it be called. If not, the error buffer says so. */
int codec_usable(int format, int save);

#endif

#ifndef IMGKEEP_CODEC_H
#define IMGKEEP_CODEC_H

/* Whether libvips has the loader of a format, or with save its saver, and allows calling
 * it. Otherwise the error buffer says why not. */
int codec_usable(int format, int save);

#endif

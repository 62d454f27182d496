/* Memory that a decoder has of files: see pages.c. */

#ifndef IMGKEEP_PAGES_H
#define IMGKEEP_PAGES_H

/* Gives back the pages of the program and its libraries that nobody has written to. Those
 * that are needed again come back from the files. */
void pages_release(void);

#endif

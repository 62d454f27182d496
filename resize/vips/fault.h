/* Whether the image is at fault: see fault.c. */

#ifndef IMGKEEP_FAULT_H
#define IMGKEEP_FAULT_H

/* Failures after this call belong to another image. */
void fault_reset(void);

/* Notes that the failure at hand would meet any image. */
void fault_set(void);

/* Whether memory was refused, or fault_set was called, since fault_reset. */
enum { FAULT_OURS = 1, FAULT_MEMORY };
int fault_is_ours(void);

/* If memory was refused, ends the process, which would end anyway, with the exit code that
 * says so. Returns otherwise. */
void fault_end(void);

/* The exit code. */
extern int fault_exit_code;

#endif

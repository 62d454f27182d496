/* Whose fault a failure is: see fault.c. */

#ifndef IMGKEEP_FAULT_H
#define IMGKEEP_FAULT_H

/* From now on, failures are those of another image. */
void fault_reset(void);

/* Notes that what fails now would do so with any image. */
void fault_set(void);

/* Whether memory was refused, or fault_set was called, since fault_reset. */
enum { FAULT_OURS = 1, FAULT_MEMORY };
int fault_is_ours(void);

/* Where memory was refused, ends the process, which is about to be ended
 * because of it: with the exit code that says so. Returns otherwise. */
void fault_end(void);

/* The exit code. */
extern int fault_exit_code;

#endif

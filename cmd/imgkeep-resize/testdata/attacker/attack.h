/* Attacks that go another way from C than from Go. Each returns the number of
 * the error that it met, or 0. */

#include <stddef.h>
#include <vips/vips.h>

int attack_open(const char *path);
int attack_thread_open(const char *path);
int attack_fork(void);
int attack_vfork(void);
int attack_spawn(const char *path);
int attack_allocate(size_t n);
int attack_threads(int n);
int attack_other_abi(void);
void attack_crash(void);
void attack_abort(void);
int attack_lose(const char *nickname);
void attack_gmalloc(size_t n);
void attack_new(size_t n);

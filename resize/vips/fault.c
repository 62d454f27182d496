/* Whether a failure belongs to the image, or would have met any image. The libraries below
 * libvips report a lack of memory in many ways: as that, as a broken file, or not at all.
 * Some abort. They all use the C library's allocator. So its functions are defined here
 * once more, before it, and only note when it returns nothing. The names called here are
 * the C library's own, so that its memory is freed by its own functions. */

#include "fault.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

int fault_exit_code = 1;

static atomic_int starved, ours;

void
fault_reset(void)
{
	atomic_store(&starved, 0);
	atomic_store(&ours, 0);
}

void
fault_set(void)
{
	atomic_store(&ours, 1);
}

int
fault_is_ours(void)
{
	return atomic_load(&starved) ? FAULT_MEMORY : atomic_load(&ours) ? FAULT_OURS : 0;
}

void
fault_end(void)
{
	static const char text[] = "imgkeep-resize: out of memory\n";

	if (!atomic_load(&starved))
		return;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) {
		/* Nobody can be told. */
	}
	_exit(fault_exit_code);
}

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static void *
notice(void *memory)
{
	if (!memory)
		atomic_store(&starved, 1);
	return memory;
}

void *
malloc(size_t n)
{
	return notice(__libc_malloc(n));
}

void *
calloc(size_t n, size_t size)
{
	return notice(__libc_calloc(n, size));
}

void *
realloc(void *old, size_t n)
{
	void *memory = __libc_realloc(old, n);

	return old && n == 0 ? memory : notice(memory); /* This frees it. */
}

void *
memalign(size_t alignment, size_t n)
{
	return notice(__libc_memalign(alignment, n));
}

void *
aligned_alloc(size_t alignment, size_t n)
{
	return notice(__libc_memalign(alignment, n));
}

int
posix_memalign(void **memory, size_t alignment, size_t n)
{
	void *p;

	if (alignment < sizeof(void *) || (alignment & (alignment - 1)))
		return EINVAL;
	if (!(p = notice(__libc_memalign(alignment, n))))
		return ENOMEM;
	*memory = p;
	return 0;
}

/* C++ and glib end a process that gets no memory through abort. */
void
abort(void)
{
	fault_end();
	raise(SIGABRT);
	_exit(2); /* as the Go runtime does after the signal */
}

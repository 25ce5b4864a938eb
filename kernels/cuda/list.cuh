/* SPDX-License-Identifier: MIT
 *
 * list.cuh -- work over a list of tensors in one launch: where each one lies
 * travels with the launch as its parameter, so that nothing is uploaded and a
 * graph can record it. The tensors are cut into chunks that are numbered
 * through; a block looks up the tensor of its chunk. Lists too long for one
 * parameter take several launches; short ones have a small parameter, as a
 * graph keeps one of each launch on the device.
 */
#ifndef HONE_CUDA_LIST_CUH
#define HONE_CUDA_LIST_CUH

#include "device.cuh"

/* CUDA 12.1 and later pass 32,764 bytes to a kernel, those before 4,096. */
#if CUDART_VERSION >= 12010
enum { LIST_TENSORS = 768, LIST_POINTERS = 2048 };
#else
enum { LIST_TENSORS = 96, LIST_POINTERS = 128 };
#endif
enum { LIST_CHUNK = 8192 }; /* elements */

template <int TENSORS, int POINTERS> struct list_of {
    enum { MOST = TENSORS, MOST_POINTERS = POINTERS };

    int tensors, per;       /* pointers a tensor has */
    int chunk[TENSORS + 1]; /* number of its first chunk */
    int64_t count[TENSORS];
    void *at[POINTERS];
    unsigned char storage[POINTERS];
};

typedef list_of<LIST_TENSORS, LIST_POINTERS> list_table;
typedef list_of<8, 32> list_short;

/* Tensors of one launch, each with PER pointers. */
template <class L> static inline int list_most(int per)
{
    return per && L::MOST_POINTERS / per < L::MOST ? L::MOST_POINTERS / per
                                                   : L::MOST;
}

static inline bool list_is_short(int64_t tensors, int per)
{
    return tensors <= list_most<list_short>(per);
}

static inline int64_t list_chunks(int64_t count)
{
    return (count + LIST_CHUNK - 1) / LIST_CHUNK;
}

template <class L> static inline void list_open(L *l, int per)
{
    l->tensors = 0;
    l->per = per;
    l->chunk[0] = 0;
}

/* The pointers of the new tensor, [per], and their storages, to fill in. */
template <class L> static inline int list_add(L *l, int64_t count)
{
    int n = l->tensors++;

    l->count[n] = count;
    l->chunk[n + 1] = l->chunk[n] + (int)list_chunks(count);
    return n * l->per;
}

/* The tensor of chunk C; its elements [first, last) are the block's. */
template <class L>
static __device__ inline int list_find(const L &l, int c, int64_t *first,
                                       int64_t *last)
{
    int low = 0, high = l.tensors;

    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (l.chunk[middle] <= c)
            low = middle;
        else
            high = middle;
    }
    *first = (int64_t)(c - l.chunk[low]) * LIST_CHUNK;
    *last = min(l.count[low], *first + LIST_CHUNK);
    return low;
}

template <class L>
static __device__ inline cell list_cell(const L &l, int i)
{
    return { l.at[i], l.storage[i], 0 };
}

#endif

/* SPDX-License-Identifier: MIT
 *
 * list.h -- work over a list of tensors cut into chunks of LIST_CHUNK elements,
 * numbered through the list: where a chunk lies, without allocating. The cut
 * does not depend on the number of threads, so neither do sums over chunks.
 */
#ifndef HONE_CPU_LIST_H
#define HONE_CPU_LIST_H

#include "cpu.h"

enum { LIST_CHUNK = 32768 };

typedef struct {
    int64_t count; /* elements */
    int64_t chunk; /* number of its first chunk */
} list_entry;

typedef struct {
    int64_t n;
    list_entry tensor[]; /* [n + 1]: the last one only closes the list */
} list;

static inline int64_t list_bytes(int64_t n)
{
    return (int64_t)sizeof(list) + (n + 1) * (int64_t)sizeof(list_entry);
}

/* Appends a tensor of COUNT elements. */
static inline void list_add(list *l, int64_t count)
{
    int64_t chunks = (count + LIST_CHUNK - 1) / LIST_CHUNK;

    l->tensor[l->n].count = count;
    l->n++;
    l->tensor[l->n].chunk = l->tensor[l->n - 1].chunk + chunks;
}

static inline int64_t list_chunks(const list *l)
{
    return l->tensor[l->n].chunk;
}

/* The tensor that chunk C belongs to, and its elements [*first, *last). */
static inline int64_t list_find(const list *l, int64_t c, int64_t *first,
                                int64_t *last)
{
    int64_t low = 0, high = l->n;

    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (l->tensor[middle].chunk <= c)
            low = middle;
        else
            high = middle;
    }
    *first = (c - l->tensor[low].chunk) * LIST_CHUNK;
    *last = cpu_min(l->tensor[low].count, *first + LIST_CHUNK);
    return low;
}

#endif

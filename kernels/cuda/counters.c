/* SPDX-License-Identifier: MIT
 *
 * counters.c -- about every second product of cuBLASLt has blocks that take
 * their work by a counter, which a node of its own clears before. Where a
 * product needs next to no workspace it gets a slot of one that is nobody
 * else's: then a graph can clear all of its counters by one node at its
 * beginning, and those in between are taken out. Whatever is not as expected
 * stays as it was recorded.
 */
#include "blas.h"

#include <stdlib.h>

enum { SLOT = CUDA_BLAS_COUNTERS, SLOTS = 2048 };

void cuda_counters_open(cuda_blas *b)
{
    void *at = NULL;

    if (cudaMalloc(&at, (size_t)SLOT * SLOTS) != cudaSuccess)
        (void)cudaGetLastError();
    b->counters = at;
}

void cuda_counters_close(cuda_blas *b)
{
    if (b->counters)
        (void)cudaFree(b->counters);
    b->counters = NULL;
}

void cuda_counters_take(cuda_matmul *mm)
{
    cuda_blas *b = mm->blas;
    cublasLtMatmulHeuristicResult_t result;

    if (!b->counters || b->slots == SLOTS ||
        b->check(b->handle, &mm->desc, &mm->a, &mm->b, &mm->c, &mm->c,
                 &mm->algo, &result) != CUBLAS_STATUS_SUCCESS ||
        !result.workspaceSize || result.workspaceSize > SLOT)
        return;
    mm->counters = b->counters + (size_t)SLOT * (size_t)b->slots++;
}

#if CUDART_VERSION >= 13000

/* The nodes of a graph, and what they clear: times[SLOT] of each slot. */
typedef struct {
    cudaGraph_t graph;
    cudaGraphNode_t *node;
    size_t count;
    unsigned char times[SLOTS];
    int first, last; /* slots that are cleared once, from FIRST to LAST */
} found;

/* The slot that a node clears, or a part of it; -1: none. */
static int slot_of(const cuda_blas *b, cudaGraphNode_t node)
{
    enum cudaGraphNodeType type;
    struct cudaMemsetParams p;
    const char *end = b->counters + (size_t)SLOT * (size_t)b->slots;

    if (cudaGraphNodeGetType(node, &type) != cudaSuccess ||
        type != cudaGraphNodeTypeMemset ||
        cudaGraphMemsetNodeGetParams(node, &p) != cudaSuccess ||
        (char *)p.dst < b->counters || (char *)p.dst >= end)
        return -1;
    const size_t at = (size_t)((char *)p.dst - b->counters);
    if (p.value || p.height != 1 ||
        at % SLOT + p.width * p.elementSize > SLOT)
        return -1;
    return (int)(at / SLOT);
}

/* A slot that is cleared twice is used twice: it cannot be cleared before. */
static int find_all(const cuda_blas *b, found *f)
{
    f->first = SLOTS;
    f->last = -1;
    if (cudaGraphGetNodes(f->graph, NULL, &f->count) != cudaSuccess ||
        !(f->node = calloc(f->count + 1, sizeof(cudaGraphNode_t))) ||
        cudaGraphGetNodes(f->graph, f->node, &f->count) != cudaSuccess)
        return 0;
    for (size_t i = 0; i < f->count; i++) {
        int slot = slot_of(b, f->node[i]);

        if (slot >= 0 && f->times[slot] < 2)
            f->times[slot]++;
    }
    for (int i = 0; i < SLOTS; i++)
        if (f->times[i] == 1) {
            f->last = i;
            if (f->first == SLOTS)
                f->first = i;
        }
    return f->last >= 0;
}

/* One node before all that had none before them; or none. */
static int clear_first(const cuda_blas *b, const found *f)
{
    struct cudaMemsetParams p = { 0 };
    cudaGraphNode_t all = NULL, *root;
    size_t roots = 0, i = 0;

    if (cudaGraphGetRootNodes(f->graph, NULL, &roots) != cudaSuccess ||
        !roots || !(root = calloc(roots, sizeof(cudaGraphNode_t))))
        return 0;
    p.dst = b->counters + (size_t)SLOT * (size_t)f->first;
    p.elementSize = 4;
    p.width = (size_t)SLOT / 4 * (size_t)(f->last - f->first + 1);
    p.height = 1;
    if (cudaGraphGetRootNodes(f->graph, root, &roots) == cudaSuccess &&
        cudaGraphAddMemsetNode(&all, f->graph, NULL, 0, &p) == cudaSuccess)
        while (i < roots && cudaGraphAddDependencies(f->graph, &all, &root[i],
                                                     NULL, 1) == cudaSuccess)
            i++;
    free(root);
    if (i < roots && all)
        (void)cudaGraphDestroyNode(all);
    return i == roots;
}

enum { BEFORE = 8 }; /* that a node waits for, at most */

/* The product behind it waits for this node and nothing else; then for what
 * this one waits for. */
static void take_out(const found *f, cudaGraphNode_t node)
{
    cudaGraphNode_t before[BEFORE], behind, waits;
    size_t count = 0, one = 0, alone = 0;

    if (cudaGraphNodeGetDependencies(node, NULL, NULL, &count) != cudaSuccess ||
        cudaGraphNodeGetDependentNodes(node, NULL, NULL, &one) != cudaSuccess ||
        count < 1 || count > BEFORE || one != 1 ||
        cudaGraphNodeGetDependencies(node, before, NULL, &count) !=
            cudaSuccess ||
        cudaGraphNodeGetDependentNodes(node, &behind, NULL, &one) !=
            cudaSuccess ||
        cudaGraphNodeGetDependencies(behind, NULL, NULL, &alone) !=
            cudaSuccess ||
        alone != 1 ||
        cudaGraphNodeGetDependencies(behind, &waits, NULL, &alone) !=
            cudaSuccess ||
        waits != node)
        return;
    for (size_t i = 0; i < count; i++)
        if (cudaGraphAddDependencies(f->graph, &before[i], &behind, NULL, 1) !=
            cudaSuccess)
            return;
    (void)cudaGraphDestroyNode(node);
}

void cuda_counters_clear_once(const cuda_blas *b, cudaGraph_t graph)
{
    found *f = b->slots ? calloc(1, sizeof *f) : NULL;

    if (!f)
        return;
    f->graph = graph;
    if (find_all(b, f) && clear_first(b, f))
        for (size_t i = 0; i < f->count; i++) {
            int slot = slot_of(b, f->node[i]);

            if (slot >= 0 && f->times[slot] == 1)
                take_out(f, f->node[i]);
        }
    (void)cudaGetLastError();
    free(f->node);
    free(f);
}

#else

void cuda_counters_clear_once(const cuda_blas *b, cudaGraph_t graph)
{
    (void)b, (void)graph;
}

#endif

/* SPDX-License-Identifier: MIT
 *
 * graph.cu -- how much of the GPU's memory a program takes as a graph. The
 * driver does not say; measured on an H100 with driver 580, for chains of
 * kernels with parameters of 16 to 32,000 bytes: each node has 512 bytes and a
 * slot that holds its parameters, of one of four sizes, and a graph's slots of
 * one size lie in blocks of 2 MiB, the last of which is its own if there is
 * more than one. Copies are counted as kernels.
 */
#include "list.cuh"

#include "attrs.h"
#include "mapplan.h"

enum { NODE = 512, BLOCK = 2 << 20 }; /* bytes */

static const struct {
    int64_t parameters, bytes; /* the most that it holds */
} slot[] = {
    { 1264, 2048 }, { 2288, 3072 }, { 7408, 8192 }, { 32764, 33792 }
};
enum { SLOTS = sizeof slot / sizeof *slot };

/* A use counts the nodes with a slot of each size, in quarters: about every
 * fourth product of cuBLASLt is a kernel whose parameters a small slot does not
 * hold, and which ones are is not known before there is a GPU. */
enum { QUARTERS = 4, LARGE = 1 };

static void add(int64_t *use, int64_t nodes, int64_t parameters)
{
    int i = 0;

    while (i + 1 < SLOTS && parameters > slot[i].parameters)
        i++;
    use[i] += nodes * QUARTERS;
}

/* Nodes of one call; 1 where an op is not named. */
static const struct {
    const char *op;
    int nodes;
} several[] = {
    { "attention", 3 },   { "attention_grad", 5 },      { "dora_grad", 2 },
    { "embed_grad", 2 },  { "linear_dw", 2 },           { "linear_dw_list", 2 },
    { "linear_grads", 2 }, { "rmsnorm_dw", 2 },         { "rmsnorm_grads", 2 },
    { "scatter", 2 },     { "sum_rows", 2 },            { "swiglu_factors", 2 },
    { "swiglu_factors_grad", 2 }, { "xent", 2 },        { "xent_slopes", 2 }
};

static int nodes_of(const hone_call *c)
{
    for (size_t i = 0; i < sizeof several / sizeof *several; i++)
        if (!strcmp(c->op, several[i].op))
            return several[i].nodes;
    return 1;
}

/* Products of cuBLASLt; our own kernels do those with one side that is narrow,
 * and what has several nodes. */
static bool is_product(const hone_call *c)
{
    const hone_type *w = &c->type[1];

    return !strncmp(c->op, "linear", 6) && nodes_of(c) == 1 &&
           !(c->compute == HONE_BF16 && w->storage == HONE_BF16 &&
             (w->dim[0] <= 128 || w->dim[1] <= 128));
}

/* A launch for each table that the tensors fill. */
static void add_lists(int64_t *use, int64_t tensors, int per,
                      size_t more)
{
    add(use, cuda_ceil(tensors, list_most<list_table>(per)),
        (int64_t)(more + (list_is_short(tensors, per) ? sizeof(list_short)
                                                      : sizeof(list_table))));
}

static void add_call(int64_t *use, const hone_call *c)
{
    if (!strcmp(c->op, "fill")) {
        add_lists(use, c->nout, 1, 0);
    } else if (!strcmp(c->op, "sumsq")) {
        add_lists(use, c->nin, 1, 0);
        add(use, 1, 0);
    } else if (!strcmp(c->op, "map")) {
        const hone_map_attrs *a = (const hone_map_attrs *)c->attrs;

        add_lists(use, c->nout / a->writes, cuda_map_pointers(c),
                  sizeof(map_plan));
    } else if (is_product(c)) {
        use[0] += c->nout * (QUARTERS - LARGE);
        use[1] += c->nout * LARGE;
    } else {
        add(use, nodes_of(c), 0);
    }
}

/* The nodes of a program are known to some percent, not whether they need one
 * block more: the last one is taken for half full. */
static int64_t in_blocks(int64_t bytes)
{
    return bytes > BLOCK ? bytes + BLOCK / 2 : bytes;
}

int64_t cuda_graph_bytes(const hone_call *c, int64_t use[HONE_GRAPH_USE])
{
    int64_t bytes = 0, nodes = 0;

    add_call(use, c);
    for (int i = 0; i < SLOTS; i++) {
        nodes += use[i];
        bytes += in_blocks(use[i] * slot[i].bytes / QUARTERS);
    }
    return bytes + in_blocks(nodes * NODE / QUARTERS);
}

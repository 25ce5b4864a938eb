/* SPDX-License-Identifier: MIT
 *
 * graph.cu -- how much of the GPU's memory a call takes once it is a part of a
 * graph: the driver keeps what each node launches there, its parameters
 * included, and does not say how much that is. Measured on an H200: 2.5 KiB a
 * node, for 12,000 to 22,000 of them. What cuBLASLt chooses is not known
 * before there is a GPU: about every second product has a node of its own that
 * clears its counters, of which counters.c takes out what it can.
 */
#include "list.cuh"

#include "attrs.h"
#include "mapplan.h"

enum { NODE = 2600 }; /* bytes, with some hundred for parameters */

/* Nodes of one call; 1 where an op is not named. */
static const struct {
    const char *op;
    double nodes;
} several[] = {
    { "attention", 3 },   { "attention_grad", 5 },      { "dora_grad", 2 },
    { "embed_grad", 2 },  { "linear_dw", 2 },           { "linear_dw_list", 2 },
    { "linear_grads", 2 }, { "rmsnorm_dw", 2 },         { "rmsnorm_grads", 2 },
    { "scatter", 2 },     { "sum_rows", 2 },            { "swiglu_factors", 2 },
    { "swiglu_factors_grad", 2 }, { "xent", 2 },        { "xent_slopes", 2 }
};

/* Products that our own kernels do have one side that is narrow. */
static bool is_narrow(const hone_call *c)
{
    const hone_type *w = &c->type[1];

    return c->compute == HONE_BF16 && w->storage == HONE_BF16 &&
           (w->dim[0] <= 128 || w->dim[1] <= 128);
}

static double nodes_of(const hone_call *c)
{
    for (size_t i = 0; i < sizeof several / sizeof *several; i++)
        if (!strcmp(c->op, several[i].op))
            return several[i].nodes;
    if (strncmp(c->op, "linear", 6) || is_narrow(c))
        return 1;
    return 1.5 * c->nout;
}

/* A launch for each table that the tensors fill; of long parameters the driver
 * takes a tenth more than they have, about. */
static int64_t list_bytes(int64_t tensors, int per, size_t more)
{
    int64_t tables = cuda_ceil(tensors, list_most<list_table>(per));
    size_t table = list_is_short(tensors, per) ? sizeof(list_short)
                                               : sizeof(list_table);

    return tables * (NODE + (int64_t)((table + more) * 11 / 10));
}

int64_t cuda_graph_bytes(const hone_call *c)
{
    if (!strcmp(c->op, "fill"))
        return list_bytes(c->nout, 1, 0);
    if (!strcmp(c->op, "sumsq"))
        return list_bytes(c->nin, 1, 0) + NODE;
    if (!strcmp(c->op, "map")) {
        const hone_map_attrs *a = (const hone_map_attrs *)c->attrs;

        return list_bytes(c->nout / a->writes, cuda_map_pointers(c),
                          sizeof(map_plan));
    }
    return (int64_t)(NODE * nodes_of(c));
}

/* SPDX-License-Identifier: MIT
 *
 * family_hold.c -- how the weights of a graph that a family has just built are
 * held, and where: what no model family needs to know.
 */
#include <string.h>

#include "family.h"
#include "hone/nf4.h"

/* Of fp8 both dimensions must be multiples of 16, as tensor cores want it; what
 * is nf4 in its file stays as it is there. */
static int takes(hone_storage s, const hone_type *type)
{
    if (s == HONE_FP8)
        return type->dim[0] % 16 == 0 && type->dim[1] % 16 == 0;
    return !hone_is_nf4(type->storage);
}

/* How many nodes read tensor ID as input I of OP; OTHERS: how else it is
 * used, as what trains and as the LM head among them. */
static int reads_of(const hone_graph *g, hone_id id, hone_id head, uint32_t at,
                    const char *op, int *others)
{
    int reads = 0;

    *others = id == head || g->tensor[id].trainable;
    for (int n = 0; n < g->nodes; n++)
        for (uint32_t i = 0; i < g->node[n].nin; i++)
            if (g->node[n].in[i] == id) {
                int is = i == at && !strcmp(g->node[n].component->name, op);
                reads += is;
                *others += !is;
            }
    return reads;
}

/* Frozen weights of linears but the LM head's take the storage that the recipe
 * names. A tensor that another op reads too (embeddings that are tied)
 * stays. */
static void hold_weights(const hone_family_spec *spec, hone_graph *g,
                         hone_id head)
{
    if (!hone_parts(spec->storage)[1].bytes)
        return;
    for (hone_id id = 0; id < g->tensors; id++) {
        hone_tensor *t = &g->tensor[id];
        int others;

        if (t->kind == HONE_T_PARAM &&
            reads_of(g, id, head, 1, "linear", &others) && !others &&
            takes(spec->storage, &t->type))
            t->type.storage = spec->storage;
    }
}

/* A row a token: over the link it takes about as long as a layer norm. */
static void leave_on_host(const hone_family_spec *spec, hone_graph *g,
                          hone_id head)
{
    for (hone_id id = 0; spec->words_on_host && id < g->tensors; id++) {
        hone_tensor *t = &g->tensor[id];
        int others;

        if (t->kind == HONE_T_PARAM &&
            reads_of(g, id, head, 0, "embed", &others) && !others)
            t->space = HONE_PINNED_SPACE;
    }
}

int hone_layer_is_streamed(int layer, int count, int layers)
{
    int64_t n = count < layers ? count : layers;

    return (layer + 1) * n / layers > layer * n / layers;
}

/* The one layer that reads tensor ID; -1: several, or what is none. */
static int layer_of(const hone_graph *g, hone_id id)
{
    int layer = -1;

    for (int n = 0; n < g->nodes; n++)
        for (uint32_t i = 0; i < g->node[n].nin; i++) {
            if (g->node[n].in[i] != id)
                continue;
            if (g->node[n].layer < 0 ||
                (layer >= 0 && layer != g->node[n].layer))
                return -1;
            layer = g->node[n].layer;
        }
    return layer;
}

/* Of a layer that is streamed: its frozen matrices; stream.c brings them. */
static void stream_layers(hone_graph *g, int count, int layers)
{
    for (hone_id id = 0; count && id < g->tensors; id++) {
        hone_tensor *t = &g->tensor[id];
        int layer;

        if (t->kind != HONE_T_PARAM || t->trainable || t->type.rank < 2 ||
            t->space != HONE_DEVICE_SPACE)
            continue;
        layer = layer_of(g, id);
        if (layer >= 0 && hone_layer_is_streamed(layer, count, layers))
            t->space = HONE_PINNED_SPACE;
    }
}

void hone_family_hold(const hone_family_spec *spec, hone_graph *g, hone_id head,
                      int streamed, int layers)
{
    hold_weights(spec, g, head);
    leave_on_host(spec, g, head);
    stream_layers(g, streamed, layers);
}

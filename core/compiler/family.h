/* SPDX-License-Identifier: MIT
 *
 * family.h -- a model family: the Lua file that reads config.json and builds
 * the graph, recipes/models/<model_type>.lua. The state closes before
 * training.
 *
 * The file returns a table with build(g, c), which returns the hidden states
 * [T,H] after the last norm, the weight [V,H] of the LM head and, where the
 * logits are not just their product, a function that takes that and returns
 * them. c gives the keys of config.json (null is false, what is not there is
 * nil); a key that it never asked for and that may change the maths is refused
 * by name. g has the ops: g:rmsnorm{x, w, eps = 1e-5}; and
 *   g:param(name, {rows, cols}, alias, init)  a weight; ALIAS: its other file
 *                                       name; INIT: "zeros", where it is new
 *   g:const({numbers})                  f32, rank 1
 *   g:round(x)                          x as activations hold it
 *   g:longest()                         tokens of the longest row; 0: unknown
 *   g:layer(i)                          the layer of what follows; nil: none
 *   g:op("mine.gate", {x, beta = 2})    any op by name
 */
#ifndef HONE_FAMILY_H
#define HONE_FAMILY_H

#include "graph.h"
#include "safetensors.h"

typedef struct hone_family_spec {
    const char *model;           /* folder */
    const hone_weights *weights; /* NULL: initialised at random */
    hone_storage storage;        /* HONE_NOTHING: as in the file; one with
                                    scales: weights of linears alone */
    int trainable;               /* every parameter */
    hone_storage trained;        /* what trains is held so; HONE_NOTHING: f32 */
    int words_on_host;           /* frozen tables that are only looked up in */
} hone_family_spec;

typedef struct hone_family hone_family;

hone_status hone_family_open(hone_family **, const hone_family_spec *,
                             hone_arena *, hone_err *);
/* Builds into G, whose inputs exist. */
hone_status hone_family_build(hone_family *, hone_graph *g, hone_id *hidden,
                              hone_id *head, hone_err *);
/* Of the graph as build() made it: the storage and place of its weights. */
void hone_family_hold(const hone_family_spec *, hone_graph *, hone_id head,
                      int streamed, int layers);
/* So many layers, spread evenly, have their frozen matrices in pinned memory;
 * more than there are: all. */
void hone_family_stream(hone_family *, int count);
int hone_layer_is_streamed(int layer, int count, int layers);
/* What the family does to the LM head's product, in the graph that was built
 * last; LOGITS becomes what comes out of it. */
hone_status hone_family_logits(hone_family *, hone_id *logits, hone_err *);
/* Tokens of the longest row that there will be. */
void hone_family_longest(hone_family *, int64_t tokens);
/* Modules that are trained though the others are not; modules.h. */
void hone_family_train(hone_family *, const char *modules);
/* A number of config.json. */
double hone_family_number(const hone_family *, const char *key, double def);
/* Layers that the last build named: highest index + 1. */
int hone_family_layers(const hone_family *);
void hone_family_close(hone_family *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * family.h -- a model family: the Lua file that reads config.json and builds
 * the graph, recipes/models/<model_type>.lua. The state closes before
 * training.
 *
 * The file returns a table with build(g, c), which returns the hidden states
 * [T,H] after the last norm and the weight [V,H] of the LM head. c gives the
 * keys of config.json; a key that it never asked for and that may change the
 * maths is refused by name. g has the ops: g:rmsnorm{x, w, eps = 1e-5}; and
 *   g:param(name, {rows, cols}, alias)  a weight; ALIAS: its other file name
 *   g:const({numbers})                  f32, rank 1
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
    hone_storage storage;        /* HONE_NOTHING: as in the file */
    int trainable;               /* every parameter; held as f32 */
} hone_family_spec;

typedef struct hone_family hone_family;

hone_status hone_family_open(hone_family **, const hone_family_spec *,
                             hone_arena *, hone_err *);
/* Builds into G, whose inputs exist. */
hone_status hone_family_build(hone_family *, hone_graph *g, hone_id *hidden,
                              hone_id *head, hone_err *);
/* A number of config.json. */
double hone_family_number(const hone_family *, const char *key, double def);
/* Layers that the last build named: highest index + 1. */
int hone_family_layers(const hone_family *);
/* Names of the families that exist, joined, for messages. */
const char *hone_family_list(hone_arena *);
void hone_family_close(hone_family *);

#endif

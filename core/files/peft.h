/* SPDX-License-Identifier: MIT
 *
 * peft.h -- LoRA adapters as PEFT keeps them: adapter_config.json and
 * adapter_model.safetensors with lora_A [r,in] and lora_B [out,r] for each
 * module. y = W x + scale * B A x, scale = alpha / r (rslora: / sqrt r). With
 * dora the rows of W + scale * B A are brought to the lengths in
 * lora_magnitude_vector [out].
 */
#ifndef HONE_PEFT_H
#define HONE_PEFT_H

#include "arena.h"
#include "hone/plugin.h"
#include "safetensors.h"

/* One adapted linear, by the path of its module: "model.layers.0.mlp.up_proj"
 * (its weight is PATH.weight). */
typedef struct hone_peft_module {
    const char *path;
    int64_t in, out;
    int64_t r; /* by rank_pattern */
    const hone_weight *a, *b; /* read adapters only: [r,in] and [out,r] */
    const hone_weight *m;     /* of those with dora: [out] */
} hone_peft_module;

typedef struct hone_peft_spec {
    int64_t r;
    double alpha, dropout;
    int rslora, dora;
    const char *rank_pattern, *alpha_pattern; /* modules.h; NULL: none */
    const char *saved; /* modules_to_save, by commas; NULL: none */
    const char **weight; /* to write: weights of those modules, by name */
    const hone_type *weight_type;
    int weights;
    int exact; /* target_modules shall list whole paths */
    const char *base; /* base_model_name_or_path; NULL: none */
    const hone_peft_module *modules;
    int count;
} hone_peft_spec;

/* Tensors of a module: lora_A, lora_B and, with dora, the magnitudes. */
static inline int hone_peft_each(const hone_peft_spec *s)
{
    return s->dora ? 3 : 2;
}

/* Of the module PATH with rank R. */
double hone_peft_scale(const hone_peft_spec *, const char *path, int64_t r);

/* An adapter that was read. Modules are in the order of their paths. The
 * tensors that are there say which modules are adapted; target_modules, which
 * PEFT matches against a model, adds nothing to that. */
typedef struct hone_peft {
    hone_peft_spec spec;
    hone_arena arena;
    hone_weights weights;
} hone_peft;

/* Whatever changes the maths and is not supported is refused by name. */
hone_status hone_peft_open(hone_peft *, const char *folder, hone_err *);
/* Paths of its modules joined by commas, as targets of hone.lora. */
const char *hone_peft_targets(const hone_peft *, hone_arena *);
const hone_peft_module *hone_peft_find(const hone_peft *, const char *path);
/* A weight of a module that was trained whole, or NULL. ALIAS: its other name
 * in the model or NULL; PEFT unties a head, and what it made of that is
 * refused: both must be there, with the same bytes. */
hone_status hone_peft_weight(const hone_peft *, const char *name,
                             const char *alias, const hone_weight **,
                             hone_err *);
void hone_peft_close(hone_peft *);

/* Whether targets of hone.lora are more than names of modules. */
int hone_peft_is_exact(const char *targets);

/* A writer. prepare() takes all memory; the rest allocates nothing. Between
 * begin() and end(), for i = 0 .. each * count + weights - 1: put() all of
 * tensor order(i), which is each * module for lora_A, the next one for lora_B
 * (the next for the magnitudes), then the weights, as fp32, in one piece or
 * several. */
typedef struct hone_peft_saver hone_peft_saver;
hone_status hone_peft_prepare(hone_arena *, const char *folder,
                              const hone_peft_spec *, hone_peft_saver **,
                              hone_err *);
int64_t hone_peft_saver_bytes(const hone_peft_saver *); /* of both files */
hone_status hone_peft_begin(hone_peft_saver *, hone_err *);
int hone_peft_order(const hone_peft_saver *, int i);
hone_status hone_peft_put(hone_peft_saver *, const void *data, int64_t bytes,
                          hone_err *);
/* Publishes the tensors and then adapter_config.json. */
hone_status hone_peft_end(hone_peft_saver *, hone_err *);

#endif

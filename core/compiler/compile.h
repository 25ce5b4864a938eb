/* SPDX-License-Identifier: MIT
 *
 * compile.h -- the programs of a run, each from the family's graph through
 * the passes to a placement: a pure function of its arguments, no device
 * memory touched. `hone plan` and `hone run` call the same code.
 */
#ifndef HONE_COMPILE_H
#define HONE_COMPILE_H

#include "family.h"
#include "passes.h"
#include "program.h"

/* The part of micro-steps that is the same whatever layers keep, made once for
 * a size and a number of rows of logits. */
typedef struct hone_fronts hone_fronts;

typedef struct hone_compiler {
    hone_fronts *fronts; /* NULL: each is made anew */
    hone_arena *scratch, *keep;
    hone_family *family;
    const hone_machine *machine;
    const hone_lora *lora;  /* NULL: none */
    hone_storage compute;
    int64_t logits_chunk;   /* rows; 0: chosen here */
    int64_t mlp_chunk;      /* rows of layers, see passes.h; 0: all */
    hone_keep keep_mode;    /* HONE_KEEP_AUTO: all */
    const char *keep_layers; /* "0=none,3=offload": layers of their own */
    const uint8_t *keep_layer; /* [layers] hone_keep, instead of the two */
    int ranks;
    double span;            /* see program.h */
    int images; /* see hone_pass_assign() */
    int single; /* every step is one micro-batch */
    int early;  /* the micro-step updates, as soon as a gradient is there */
    hone_space states; /* where the optimizer's are; 0: on the device */
    const hone_instance *optimizer;
} hone_compiler;

/* What the two say of each layer. */
hone_status hone_keep_read(const hone_compiler *, uint8_t *keep, int layers,
                           hone_err *);

/* Forward (and backward, if TRAIN) of one micro-batch. Adds its loss sum into
 * "loss_sum" and its gradients into "grad:<parameter>". */
hone_status hone_compile_micro(const hone_compiler *, hone_program *,
                               const char *name, hone_bucket, int train,
                               hone_err *);
/* For one compiler, as long as nothing of it changes but what is said of layers
 * and the arenas: programs hold on to what is in here. */
hone_fronts *hone_fronts_make(void);
void hone_fronts_free(hone_fronts *);
/* Sets loss_sum, and all gradients of the store if GRADS, to zero. */
hone_status hone_compile_zero(const hone_compiler *, hone_program *,
                              const hone_store *, int grads, hone_err *);
/* Sums loss_sum over the ranks. */
hone_status hone_compile_reduce(const hone_compiler *, hone_program *,
                                hone_err *);
/* Norm, clipping and the optimizer's update of the store's parameters.
 * Adds the optimizer's states "state:<name>:<parameter>" and the scalars
 * "step.norm", "step.clip", "step.ok", "step.t", and in fp16 "step.scale",
 * "step.good" and "step.again"; reads the input "lr". Where micro-steps do so
 * already, only images are left. */
hone_status hone_compile_update(const hone_compiler *, hone_program *,
                                const hone_store *, const hone_instance *opt,
                                double clip, hone_err *);
/* Makes the images of parameters that the store has; the update does so with
 * those of trained ones. */
hone_status hone_compile_images(const hone_compiler *, hone_program *,
                                const hone_store *, hone_err *);
/* TOKENS new tokens of one document with a cache of LENGTH rows: the logits
 * of token "last" (i32[1]) into "logits" f32[1,V]. */
hone_status hone_compile_decode(const hone_compiler *, hone_program *,
                                const char *name, int64_t tokens,
                                int64_t length, hone_err *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * passes.h -- the compiler's passes, in the order in which they run. Each
 * rewrites one graph with ordinary ops and knows no op by name, but for what
 * its comment says.
 */
#ifndef HONE_PASSES_H
#define HONE_PASSES_H

#include "graph.h"
#include "peft.h"
#include "recipe.h"
#include "registry.h"

/* adapters.c: low-rank updates on the linears of the targets:
 * y = W x + scale * B (A dropout(x)). Knows `linear`, `dropout` and `dora`. */
typedef struct hone_lora {
    int64_t r;
    double alpha;
    int rslora; /* the scale is alpha / sqrt(r), not alpha / r */
    int dora;   /* each row of W + scale * B A is brought to a length of its
                   own: from "norm:<module>", which hone_emit_norm() fills */
    const char *rank_pattern, *alpha_pattern; /* modules.h; NULL: none */
    double lr_ratio; /* see hone_emit_update(); 0: 1 */
    double dropout;
    const char *saved; /* modules that are trained whole; NULL: none */
    const char *targets;
    const char *folder; /* of the PEFT adapter that has them; NULL: none */
    int train;    /* dropout is left out otherwise */
} hone_lora;
/* Its numbers, patterns and modules trained whole as the adapter has them. */
static inline void hone_lora_shape(hone_lora *l, const hone_peft_spec *s)
{
    l->r = s->r;
    l->alpha = s->alpha;
    l->rslora = s->rslora;
    l->dora = s->dora;
    l->rank_pattern = s->rank_pattern;
    l->alpha_pattern = s->alpha_pattern;
    l->saved = s->saved;
}
/* HIDDEN: what the model returns; goes along where its producer is adapted. */
hone_status hone_pass_lora(hone_graph *, const hone_lora *, hone_id *hidden,
                           hone_err *);
/* Whether a tensor has the name of such norms. */
int hone_is_norm(const char *name);
/* Of DoRA's module PATH, from its A, weight and B, in that order. */
hone_status hone_emit_norm(hone_graph *, const hone_lora *, const char *path,
                           const hone_id *in, hone_id norm, hone_err *);

/* fuse.c: finds the decompositions of fused ops and puts the op in their
 * place where a pack of PACKS covers it. */
hone_status hone_pass_fuse(hone_graph *, const hone_component *const *packs,
                           hone_err *);
/* Whether a pack has a kernel for the node as it is. */
int hone_node_is_covered(hone_graph *, const hone_node *,
                         const hone_component *const *packs);

/* again.c: results of forward ops that a gradient makes again on its way, so
 * that they are not kept for the backward pass. */
hone_status hone_pass_again(hone_graph *, const hone_component *const *packs,
                            hone_err *);

/* group.c: several small calls that read one tensor become one call of the
 * op's `list` or `pair`, where a pack of PACKS covers it. */
hone_status hone_pass_group(hone_graph *, const hone_component *const *packs,
                            hone_err *);

/* sums.c: small summands of one sum become one call of the op's `sum`, where a
 * pack of PACKS covers it. */
hone_status hone_pass_sums(hone_graph *, const hone_component *const *packs,
                           hone_err *);

/* autodiff.c: appends the backward nodes of LOSS (f32[1]), whose gradient is
 * SEED; the gradient of each trainable parameter p is added into the tensor
 * "grad:p" (kind GRAD, f32). Then folds additions into the ops that can add. */
hone_status hone_pass_autodiff(hone_graph *, hone_id loss, hone_id seed,
                               hone_err *);
void hone_pass_accumulate(hone_graph *);
/* Whether that will do away with the node, a sum, in a graph whose uses are
 * counted. */
int hone_sum_is_free(const hone_graph *, const hone_node *);

/* schedule.c: layers whose keep[layer] is NONE or OFFLOAD are computed again
 * before their backward ops, but for what is small beside what enters them;
 * for OFFLOAD that waits in pinned memory, copied on a stream of its own. Of
 * LIGHT ones only what needs no product and no attention, where it saves
 * bytes. Of AWAY ones that and what is larger than what enters them; the rest
 * waits in pinned memory. */
extern const char *const hone_keep_names[]; /* [keep - 1]; ends with NULL */
hone_status hone_pass_recompute(hone_graph *, const uint8_t *keep, int layers,
                                hone_err *);

/* rounding.c: for steps of one micro-batch, whose gradients need not be set to
 * zero first: they are written, and what comes to them later is added. Those
 * that nothing is added to, but for that of HEAD, are held as their parameter
 * is, if that is bf16. */
void hone_pass_gradients(hone_graph *, hone_id head);
/* rounding.c: of an update, from node FROM on; what it keeps as bf16 is
 * rounded at random. */
hone_status hone_pass_round(hone_graph *, int from, hone_err *);

/* stream.c: what layers read of parameters in pinned memory is copied to the
 * device ahead of its use. */
hone_status hone_pass_stream(hone_graph *, hone_err *);

/* update.c: appends the optimizer's update of a group, whose states it makes:
 * "state:<name>:<parameter>", in memory space STATES. Those that are not on
 * the device are brought and sent back some parameters at a time. With a RATIO
 * that is neither 0 nor 1 LoRA's B and vectors learn at RATIO times the rate. */
hone_status hone_emit_update(hone_graph *, const hone_instance *opt,
                             hone_group *, hone_space states, double ratio,
                             hone_err *);
/* update.c: of a micro-step that is a whole step, without clipping: layer by
 * layer the update stands behind what reads the layer's parameters last, so
 * that no gradient outlives its layer. LOSS decides whether it is taken. */
hone_status hone_pass_early(hone_graph *, hone_id loss,
                            const hone_instance *opt, hone_space states,
                            double ratio, hone_err *);

/* chunk.c: splits the ops around BIG (the logits) into runs over ROWS rows,
 * so that neither it nor its gradient exists whole. */
hone_status hone_pass_chunk(hone_graph *, hone_id big, int64_t rows,
                            hone_err *);
/* chunk.c: the same, ROWS of TOTAL rows at a time, for each stretch of ops of
 * one layer that makes and uses up what is larger than all that goes in and
 * out: MLPs, where what is inside is not kept. */
hone_status hone_pass_chunk_layers(hone_graph *, int64_t total, int64_t rows,
                                   hone_err *);

/* assign.c: a kernel for every node, from the first pack that covers it (or,
 * where device memory is host memory, the op's reference), and `convert`
 * around those that take another storage, unless what they take can be written
 * a second time where it is made. With IMAGES parameters that they take so are
 * held a second time instead: trained ones, for the update to keep, or those
 * that are frozen as codes. */
enum { HONE_IMAGES_TRAINED = 1, HONE_IMAGES_FROZEN = 2 };
hone_status hone_pass_assign(hone_graph *, const hone_component *const *packs,
                             const hone_device_info *, int images, hone_err *);
/* Appends `convert`, from one storage to another. */
hone_status hone_pass_convert(hone_graph *, hone_id from, hone_id to,
                              hone_err *);

/* place.c: lifetimes and offsets of the TEMP tensors; the bytes of the region
 * by memory space. Inserts `copy` where an addition needs its operand kept. */
typedef struct hone_placement {
    int64_t bytes[3];           /* by hone_space */
    int64_t workspace_bytes[2]; /* by stream */
} hone_placement;
hone_status hone_pass_place(hone_graph *, hone_placement *, hone_err *);
/* All parts of a tensor, aligned: what it takes in a region. */
int64_t hone_tensor_bytes(const hone_type *);
/* Bytes of one row of a view's base; 0 where rows cannot be addressed. */
int64_t hone_row_bytes(const hone_type *);

#endif

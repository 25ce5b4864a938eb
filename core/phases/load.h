/* SPDX-License-Identifier: MIT
 *
 * load.h -- fills the store: weights from their files, adapters from a PEFT
 * folder, or first values; everything else with zeros. load.c says what goes
 * where, load_scales.c finds scales, load_ring.c moves it, load_parts.c makes
 * of numbers what a tensor holds.
 */
#ifndef HONE_LOAD_H
#define HONE_LOAD_H

#include "peft.h"
#include "program.h"
#include "random_init.h"
#include "safetensors.h"

typedef struct hone_source {
    const hone_weights *weights; /* NULL: first values */
    const hone_peft *peft;       /* NULL: a fresh adapter */
    const char *peft_folder;     /* for messages */
    int64_t seed;
    double range;                /* of the first values */
} hone_source;

hone_status hone_store_load(const hone_store *, hone_machine *,
                            const hone_source *, hone_err *);
/* Pinned memory that it takes meanwhile. */
int64_t hone_load_bytes(const hone_store *, const hone_machine *);

/* One tensor to be filled: from a weight of a file, from memory, or by rule. */
typedef struct hone_filling {
    const hone_kept *kept;
    const hone_weights *file; /* of the weight */
    const hone_weight *weight;
    const void *data; /* in its storage */
    hone_init rule;
    int64_t seed;
    float scale; /* of fp8; the mean of nf4 */
} hone_filling;

/* Elements [FROM, FROM + COUNT) of it as fp32. */
hone_status hone_filling_numbers(const hone_filling *, int64_t from,
                                 int64_t count, float *to, hone_err *);
/* The same elements as its tensor holds them: TO has the parts that say
 * something about single elements. FROM is a multiple of HONE_FILLING_UNIT. */
hone_status hone_filling_parts(const hone_filling *, int64_t from,
                               int64_t count, const hone_ptr *to, hone_err *);
enum { HONE_FILLING_UNIT = 16384, HONE_FILLING_STACK = 320 << 10 };

/* Reads the weights that will be held as fp8 or nf4 once before they are
 * loaded, with as many threads, and brings what is one of a tensor to the list
 * and to the device. */
hone_status hone_load_scales(const hone_store *, hone_machine *,
                             hone_filling *, int count, hone_err *);

/* Fills COUNT tensors: threads read and convert, the caller's thread copies
 * what they have ready. */
hone_status hone_load_ring(const hone_store *, hone_machine *,
                           const hone_filling *, int count, hone_err *);

#endif

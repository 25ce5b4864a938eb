/* SPDX-License-Identifier: MIT
 *
 * random_init.h -- first values of parameters: of a model from scratch
 * (`init = "random"`) and of a fresh LoRA. Each is a function of (seed, the
 * tensor's name, the element), whatever the order, the pieces or the threads.
 */
#ifndef HONE_RANDOM_INIT_H
#define HONE_RANDOM_INIT_H

#include "hone/plugin.h"

typedef struct hone_init {
    enum {
        HONE_INIT_ZEROS = 1,
        HONE_INIT_ONES,
        HONE_INIT_NORMAL, /* of mean 0; SPREAD is the standard deviation */
        HONE_INIT_UNIFORM /* in (-SPREAD, SPREAD) */
    } rule;
    double spread;
} hone_init;

/* As Transformers does: biases 0, weights of norms (one dimension) 1, other
 * weights normal with the config's initializer_range (default 0.02). */
hone_init hone_init_rule(const char *name, int rank, double range);
/* As PEFT does: A is kaiming_uniform(a = sqrt(5)), that is, uniform within
 * 1 / sqrt(in); B is zeros. */
hone_init hone_init_lora_a(int64_t in);
hone_init hone_init_zeros(void);

/* Writes elements FROM .. FROM + COUNT - 1 of the tensor NAME to TO, which
 * holds these alone, as F32, BF16, F16 or F64. */
hone_status hone_init_fill(void *to, hone_storage as, hone_init,
                           int64_t seed, const char *name, int64_t from,
                           int64_t count);

#endif

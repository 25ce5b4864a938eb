/* SPDX-License-Identifier: MIT
 *
 * generate.h -- continues texts: a model with its KV cache, ready for one
 * prompt after the other. The prompt goes through in pieces, the answer token
 * by token; both are programs like any other.
 */
#ifndef HONE_GENERATE_H
#define HONE_GENERATE_H

#include "compile.h"
#include "peft.h"
#include "tokens.h"

typedef struct hone_generator {
    hone_arena keep, scratch;
    hone_machine machine;
    hone_weights weights;
    hone_peft peft;
    hone_family *family;
    hone_store store;
    hone_program prompt, next, images; /* PIECE tokens; one token */
    hone_regions regions;
    void *device_memory, *host_memory;
    int64_t length; /* rows of the cache */
    int64_t vocab;
    float *logits;  /* [vocab] of the last token */
    int has_weights, has_peft;
} hone_generator;

/* LENGTH: most tokens of prompt and answer together. ADAPTER may be NULL. */
hone_status hone_generator_open(hone_generator *, const char *model,
                                const char *adapter, const char *device,
                                int64_t length, hone_err *);
/* Runs N tokens that come AT tokens behind the start; fills logits. */
hone_status hone_generator_feed(hone_generator *, const int32_t *ids,
                                int64_t n, int64_t at, hone_err *);
void hone_generator_close(hone_generator *);

typedef struct hone_sampling {
    int64_t max_tokens;
    double temperature; /* 0: the most likely token */
    int64_t seed;
} hone_sampling;

/* Writes at most max_tokens ids behind the prompt; stops before an end token.
 * Returns their number in COUNT. */
hone_status hone_generate(hone_generator *, const hone_tokens *,
                          const int32_t *prompt, int64_t n,
                          const hone_sampling *, int32_t *ids, int64_t *count,
                          hone_err *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * generate.c -- see generate.h.
 */
#include "generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "machine.h"
#include "rng.h"

enum { PIECE = 64 };

static hone_status open_files(hone_generator *g, const char *model,
                              const char *adapter, hone_lora *lora,
                              hone_err *err)
{
    hone_family_spec spec = { .model = model, .weights = &g->weights };

    hone_try(hone_weights_open(&g->weights, model, "model", err));
    g->has_weights = 1;
    if (adapter) {
        hone_try(hone_peft_open(&g->peft, adapter, err));
        g->has_peft = 1;
        hone_lora_shape(lora, &g->peft.spec);
        lora->targets = hone_peft_targets(&g->peft, &g->keep);
        lora->folder = adapter;
    }
    hone_try(hone_family_open(&g->family, &spec, &g->keep, err));
    hone_family_train(g->family, lora->saved);
    return HONE_OK;
}

static hone_status compile(hone_generator *g, const hone_lora *lora,
                           hone_err *err)
{
    hone_compiler c = { .scratch = &g->scratch, .keep = &g->keep,
                        .family = g->family, .machine = &g->machine,
                        .lora = lora, .compute = HONE_F32, .ranks = 1 };

    hone_family_longest(g->family, g->length);
    hone_store_init(&g->store, &g->keep);
    hone_try(hone_compile_decode(&c, &g->prompt, "prompt", PIECE, g->length,
                                 err));
    hone_store_take(&g->store, &g->prompt.graph);
    hone_try(hone_compile_decode(&c, &g->next, "next", 1, g->length, err));
    hone_store_take(&g->store, &g->next.graph);
    hone_try(hone_compile_images(&c, &g->images, &g->store, err));
    hone_family_close(g->family);
    g->family = NULL;
    return HONE_OK;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

enum { PROGRAMS = 3 };

static hone_status reserve(hone_generator *g, hone_program *const *programs,
                           hone_err *err)
{
    int64_t temps = 0, work = 0, host = 0;
    char *at;

    for (int i = 0; i < PROGRAMS; i++) {
        const hone_placement *p = &programs[i]->place;

        temps = larger(temps, p->bytes[HONE_DEVICE_SPACE]);
        work = larger(work, p->workspace_bytes[0]);
        host += (hone_program_bytes(programs[i]) + 63) / 64 * 64;
    }
    hone_try(g->machine.api->reserve(g->machine.self, HONE_DEVICE_SPACE,
                                     g->store.bytes + temps + work,
                                     &g->device_memory, err));
    at = g->host_memory = calloc(1, (size_t)host);
    if (!at)
        return hone_fail(err, HONE_ENOMEM, "no host memory");
    g->store.base = g->device_memory;
    g->regions.temps = g->store.base + g->store.bytes;
    g->regions.workspace[0] = g->regions.temps + temps;
    for (int i = 0; i < PROGRAMS; i++) {
        hone_try(hone_program_bind(programs[i], &g->store, &g->regions,
                                   &g->machine, at, err));
        at += (hone_program_bytes(programs[i]) + 63) / 64 * 64;
    }
    hone_arena_free(&g->scratch);
    return HONE_OK;
}

hone_status hone_generator_open(hone_generator *g, const char *model,
                                const char *adapter, const char *device,
                                int64_t length, hone_err *err)
{
    hone_program *programs[PROGRAMS] = { &g->prompt, &g->next, &g->images };
    hone_lora lora = { 0 };
    hone_source source;

    memset(g, 0, sizeof *g);
    g->length = (length + PIECE) / PIECE * PIECE + PIECE;
    hone_try(hone_machine_open(&g->machine, device, NULL, &g->keep, err));
    hone_try(open_files(g, model, adapter, &lora, err));
    hone_try(compile(g, adapter ? &lora : NULL, err));
    hone_try(reserve(g, programs, err));
    source = (hone_source){ .weights = &g->weights,
                            .peft = g->has_peft ? &g->peft : NULL,
                            .peft_folder = adapter };
    for (int i = 0; i < PROGRAMS; i++)
        hone_try(hone_program_rehearse(programs[i], &g->store, &g->regions,
                                       &g->machine, err));
    hone_try(hone_store_load(&g->store, &g->machine, &source, err));
    for (int i = 0; i < PROGRAMS; i++)
        hone_try(hone_program_capture(programs[i], &g->machine, err));
    hone_program_run(&g->images, &g->machine, 0);
    g->machine.api->freeze(g->machine.self);
    g->vocab = hone_store_find(&g->store, "logits")->type.dim[1];
    g->logits = hone_alloc(&g->keep, (size_t)g->vocab * sizeof *g->logits);
    return HONE_OK;
}

static hone_status put(hone_generator *g, const char *name, const void *data,
                       int64_t bytes, hone_err *err)
{
    const hone_kept *k = hone_store_find(&g->store, name);

    return k ? hone_machine_put(&g->machine, hone_store_address(&g->store, k),
                                data, bytes, err)
             : HONE_OK;
}

/* N tokens at once, at most as many as the program holds. */
static hone_status feed_piece(hone_generator *g, const int32_t *ids, int64_t n,
                              int64_t at, hone_err *err)
{
    const hone_program *p = n == 1 ? &g->next : &g->prompt;
    int32_t tokens[PIECE] = { 0 }, positions[PIECE];
    int32_t start = (int32_t)at, last = (int32_t)n - 1;
    int32_t docs[4] = { 0, (int32_t)n, 0, (int32_t)(at + n) };

    memcpy(tokens, ids, (size_t)n * sizeof *ids);
    for (int i = 0; i < PIECE; i++)
        positions[i] = start + i;
    hone_try(put(g, "tokens", tokens, n == 1 ? 4 : sizeof tokens, err));
    hone_try(put(g, "positions", positions, n == 1 ? 4 : sizeof positions,
                 err));
    hone_try(put(g, "docs", docs, sizeof docs, err));
    hone_try(put(g, "cache_at", &start, sizeof start, err));
    hone_try(put(g, "last", &last, sizeof last, err));
    hone_program_run(p, &g->machine, 0);
    return HONE_OK;
}

hone_status hone_generator_feed(hone_generator *g, const int32_t *ids,
                                int64_t n, int64_t at, hone_err *err)
{
    const hone_kept *logits = hone_store_find(&g->store, "logits");

    if (n < 1 || at + n > g->length - PIECE)
        return hone_fail(err, HONE_EINVAL,
                         "%lld tokens do not fit the cache of %lld",
                         (long long)(at + n), (long long)(g->length - PIECE));
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= g->vocab)
            return hone_fail(err, HONE_EINVAL, "token %lld has id %d, beyond "
                             "the model's vocabulary of %lld ids (vocab_size); "
                             "is its tokenizer another model's?",
                             (long long)(at + i + 1), (int)ids[i],
                             (long long)g->vocab);
    for (int64_t i = 0; i < n; i += PIECE)
        hone_try(feed_piece(g, ids + i, n - i < PIECE ? n - i : PIECE, at + i,
                            err));
    return hone_machine_get(&g->machine, g->logits,
                            hone_store_address(&g->store, logits),
                            g->vocab * (int64_t)sizeof(float), err);
}

static int32_t most_likely(const float *logits, int64_t n)
{
    int64_t best = 0;

    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

/* A draw from softmax(logits / temperature), keyed by seed and position. */
static int32_t draw(const float *logits, int64_t n, const hone_sampling *how,
                    int64_t at)
{
    uint32_t r[4];
    double max = logits[most_likely(logits, n)], total = 0, limit;
    int64_t i;

    for (i = 0; i < n; i++)
        total += exp((logits[i] - max) / how->temperature);
    hone_rng_draw((uint64_t)how->seed, 1, (uint64_t)at, r);
    limit = hone_rng_unit(r[0]) * total;
    for (i = 0; i < n - 1 && limit >= 0; i++) {
        limit -= exp((logits[i] - max) / how->temperature);
        if (limit < 0)
            break;
    }
    return (int32_t)i;
}

static int is_end(const hone_tokens *t, int32_t id)
{
    for (int i = 0; i < t->eos_count; i++)
        if (t->eos_list[i] == id)
            return 1;
    return id == t->eos;
}

hone_status hone_generate(hone_generator *g, const hone_tokens *tokens,
                          const int32_t *prompt, int64_t n,
                          const hone_sampling *how, int32_t *ids,
                          int64_t *count, hone_err *err)
{
    *count = 0;
    hone_try(hone_generator_feed(g, prompt, n, 0, err));
    while (*count < how->max_tokens) {
        int32_t id = how->temperature > 0
                         ? draw(g->logits, g->vocab, how, n + *count)
                         : most_likely(g->logits, g->vocab);

        if (is_end(tokens, id))
            break;
        ids[(*count)++] = id;
        if (*count < how->max_tokens)
            hone_try(hone_generator_feed(g, &id, 1, n + *count - 1, err));
    }
    return HONE_OK;
}

void hone_generator_close(hone_generator *g)
{
    if (g->machine.api) {
        hone_program_close(&g->prompt, &g->machine);
        hone_program_close(&g->next, &g->machine);
        hone_program_close(&g->images, &g->machine);
        if (g->device_memory)
            g->machine.api->release(g->machine.self, HONE_DEVICE_SPACE,
                                    g->device_memory);
    }
    free(g->host_memory);
    hone_family_close(g->family);
    hone_machine_close(&g->machine);
    if (g->has_peft)
        hone_peft_close(&g->peft);
    if (g->has_weights)
        hone_weights_close(&g->weights);
    hone_arena_free(&g->scratch);
    hone_arena_free(&g->keep);
    memset(g, 0, sizeof *g);
}

/* SPDX-License-Identifier: MIT
 *
 * dump.c -- what compare.py and logits.py hold against Transformers and PEFT:
 *     parity_dump grads RECIPE OUT.safetensors
 *         the gradients of step 1, before clipping, by parameter
 *     parity_dump logits MODEL ADAPTER|- IDS OUT
 *         fp32 logits at every token of the lines of ids in IDS, raw
 */
#include <stdlib.h>
#include <string.h>

#include "generate.h"
#include "log.h"
#include "machine.h"
#include "train.h"

static hone_status stop(void *self, const hone_step_report *r, double eval_loss,
                        int64_t eval_targets, hone_err *err)
{
    (void)self;
    (void)eval_loss;
    (void)eval_targets;
    (void)err;
    return r->step == 1 && r->rows ? HONE_END : HONE_OK;
}

/* The gradients stay in the store until the next step clears them. */
static hone_status save_grads(hone_session *s, const char *out, hone_err *err)
{
    static const size_t prefix = sizeof "grad:" - 1;
    hone_arena a = { 0 };
    const hone_kept **k = hone_alloc(&a, (size_t)s->store.count * sizeof *k);
    const char **names = hone_alloc(&a, (size_t)s->store.count * sizeof *names);
    hone_type *types = hone_alloc(&a, (size_t)s->store.count * sizeof *types);
    hone_saver *saver;
    int n = 0;

    for (int i = 0; i < s->store.count; i++) {
        if (s->store.list[i].kind != HONE_T_GRAD)
            continue;
        k[n] = &s->store.list[i];
        names[n] = k[n]->name + prefix;
        types[n] = k[n]->type;
        n++;
    }
    hone_try(hone_saver_prepare(&a, out, names, types, n, NULL, &saver, err));
    hone_try(hone_saver_begin(saver, err));
    for (int i = 0; i < n; i++) {
        const hone_kept *g = k[hone_saver_order(saver, i)];
        int64_t bytes = hone_count(&g->type) * (int64_t)sizeof(float);
        float *values = hone_alloc(&a, (size_t)bytes);

        hone_try(hone_machine_get(&s->machine, values,
                                  hone_store_address(&s->store, g), bytes,
                                  err));
        hone_try(hone_saver_put(saver, values, bytes, err));
    }
    hone_try(hone_saver_end(saver, err));
    hone_arena_free(&a);
    return HONE_OK;
}

static hone_status grads(const char *file, const char *out, hone_err *err)
{
    const char *const sets[] = { NULL };
    const char *messages = NULL;
    hone_session *s = calloc(1, sizeof *s);
    hone_recipe r;
    hone_status status;

    if (!s || hone_recipe_read(&r, file, sets, &messages) != HONE_OK)
        return hone_fail(err, HONE_EINVAL, "%s", messages ? messages
                                                          : "no memory");
    hone_try(hone_session_open(s, &r, NULL, 1, NULL, err));
    hone_try(hone_session_reserve(s, err));
    hone_try(hone_session_load(s, err));
    status = hone_train(s, stop, NULL, err);
    if (status == HONE_OK || status == HONE_END)
        status = save_grads(s, out, err);
    hone_session_close(s);
    hone_recipe_free(&r);
    free(s);
    return status;
}

/* One line of ids; their number, or 0 at the end. */
static int64_t read_ids(FILE *f, int32_t *ids, int64_t most)
{
    static char line[1 << 16];
    int64_t n = 0;
    char *at = line, *end;

    if (!fgets(line, sizeof line, f))
        return 0;
    for (long id; n < most && (id = strtol(at, &end, 10), end != at); at = end)
        ids[n++] = (int32_t)id;
    return n;
}

static hone_status logits(char **argv, hone_err *err)
{
    enum { MOST = 1024 };
    const char *adapter = strcmp(argv[1], "-") ? argv[1] : NULL;
    hone_generator *g = calloc(1, sizeof *g);
    FILE *in = fopen(argv[2], "r"), *out = fopen(argv[3], "wb");
    int32_t ids[MOST];
    int64_t n;

    if (!g || !in || !out)
        return hone_fail(err, HONE_EIO, "%s or %s cannot be opened", argv[2],
                         argv[3]);
    hone_try(hone_generator_open(g, argv[0], adapter, "cpu", MOST, err));
    while ((n = read_ids(in, ids, MOST)) > 0)
        for (int64_t i = 0; i < n; i++) {
            hone_try(hone_generator_feed(g, ids + i, 1, i, err));
            fwrite(g->logits, sizeof *g->logits, (size_t)g->vocab, out);
        }
    hone_generator_close(g);
    free(g);
    fclose(in);
    return fclose(out) == 0 ? HONE_OK
                            : hone_fail(err, HONE_EIO, "%s: disk full?",
                                        argv[3]);
}

int main(int argc, char **argv)
{
    hone_err err = { 0 };
    hone_status status = hone_registry_open(NULL, &err);

    if (status == HONE_OK && argc == 4 && !strcmp(argv[1], "grads"))
        status = grads(argv[2], argv[3], &err);
    else if (status == HONE_OK && argc == 6 && !strcmp(argv[1], "logits"))
        status = logits(argv + 2, &err);
    else if (status == HONE_OK)
        status = hone_fail(&err, HONE_EINVAL, "grads RECIPE OUT | logits MODEL "
                           "ADAPTER|- IDS OUT");
    if (status != HONE_OK)
        hone_log(HONE_LOG_ERROR, "%s", err.msg);
    return status != HONE_OK;
}

/* SPDX-License-Identifier: MIT
 *
 * test_solve.c -- the solver beside a search of everything: all ways to keep
 * the layers of small models, with all numbers of rows of logits and of MLPs
 * that it may choose. For budgets from the least to the most it must come
 * within 5 % of the best, never be slower with more by 0.1 %, and never be over
 * the budget, nor that of pinned memory.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "llama_config.h"
#include "machine.h"
#include "registry.h"
#include "solve.h"

enum { LAYERS = 3, BUDGETS = 12, MOST_CHUNKS = 3 };

static hone_machine machine;
static hone_arena forever;
static char folder[] = "/tmp/hone-solve-XXXXXX";

/* Rates between those of products and of memory as cards have them: with a
 * small model on them, ops of every kind matter. */
static const hone_card card = {
    .name = "test",
    .figure = { [HONE_CARD_LAUNCH] = { 1e-7, 0 },
                [HONE_CARD_TO_DEVICE] = { 2e9, 0 },
                [HONE_CARD_TO_HOST] = { 2e9, 0 },
                [HONE_CARD_BOTH] = { 1.6e9, 0 },
                [HONE_CARD_ATTENTION] = { 0.6, 0 },
                [HONE_CARD_ATTENTION_GRAD] = { 0.5, 0 } },
    .rate = { [HONE_CARD_COPY] = { 1, { 1 }, { 1e11 }, 0 },
              [HONE_CARD_F32] = { 1, { 1 }, { 2e12 }, 0 } } };

typedef struct {
    int hidden, inner, vocab, rank; /* rank 0: the whole model is trained */
    int64_t tokens, docs;
} shape;

static const shape shapes[] = {
    { 64, 160, 512, 8, 512, 4 },    /* an adapter */
    { 64, 160, 512, 0, 512, 4 },    /* the whole model */
    { 128, 512, 256, 8, 2048, 8 },  /* a wide MLP */
    { 32, 64, 4096, 4, 256, 2 },    /* logits are most of it */
    { 64, 96, 512, 8, 1024, 1 },    /* one long row: attention */
    { 96, 128, 300, 0, 300, 3 },
};

static void write_config(const shape *s)
{
    write_llama(folder, (llama_shape){ s->hidden, s->inner, LAYERS, 4, 2, 4096,
                                       s->vocab });
}

typedef struct {
    hone_way_out *list;
    int count, cap;
} ways;

/* Every way to keep the layers, with so many rows at a time. */
static void try_layers(hone_solver *s, hone_bucket b, int64_t chunk,
                       int64_t mlp, ways *all)
{
    static const uint8_t levels[] = { HONE_KEEP_ALL, HONE_KEEP_LIGHT,
                                      HONE_KEEP_NONE, HONE_KEEP_OFFLOAD,
                                      HONE_KEEP_AWAY };
    enum { COUNT = sizeof levels, END = COUNT * COUNT * COUNT };
    hone_err err;

    for (int code = 0; code < END; code++) {
        uint8_t keep[LAYERS];
        hone_way_out w;

        for (int i = 0, left = code; i < LAYERS; i++, left /= COUNT)
            keep[i] = levels[left % COUNT];
        if (hone_solve_try(s, b, keep, chunk, mlp, &w, &err) != HONE_OK)
            fail_msg("%s", err.msg);
        hone_push(&s->ways->arena, all->list, all->count, all->cap);
        all->list[all->count++] = w;
    }
}

/* The same with all rows of logits of CHUNKS, and all of MLPs. */
static void try_everything(hone_solver *s, hone_bucket b, const int64_t *chunks,
                           int count, ways *all)
{
    for (int c = 0; c < count; c++) {
        try_layers(s, b, chunks[c], 0, all);
        for (int64_t mlp = b.tokens / 2; mlp >= 512; mlp /= 2)
            try_layers(s, b, chunks[c], mlp, all);
    }
}

static const hone_way_out *best_within(const ways *all, int64_t budget,
                                       int64_t pinned)
{
    const hone_way_out *best = NULL;

    for (int i = 0; i < all->count; i++)
        if (all->list[i].bytes <= budget &&
            (!pinned || all->list[i].pinned <= pinned) &&
            (!best || all->list[i].seconds < best->seconds))
            best = &all->list[i];
    return best;
}

/* The worst that the solver is off, as a factor. */
static double compare(hone_solver *s, hone_bucket b, const ways *all)
{
    int64_t least = INT64_MAX, most = 0, pinned = s->pinned_budget;
    double worst = 1, before = 0;

    for (int i = 0; i < all->count; i++) {
        if (!pinned || all->list[i].pinned <= pinned)
            least = all->list[i].bytes < least ? all->list[i].bytes : least;
        most = all->list[i].bytes > most ? all->list[i].bytes : most;
    }
    for (int i = 0; i <= BUDGETS; i++) {
        const hone_way_out *best;
        hone_way_out way;
        hone_err err;

        s->budget = least + (most - least) * i / BUDGETS;
        best = best_within(all, s->budget, pinned);
        if (hone_solve(s, b, &way, &err) != HONE_OK)
            fail_msg("%lld of %lld bytes: %s", (long long)s->budget,
                     (long long)most, err.msg);
        assert_true(way.bytes <= s->budget);
        assert_true(!pinned || way.pinned <= pinned);
        assert_true(!i || way.seconds <= 1.001 * before);
        before = !i || way.seconds < before ? way.seconds : before;
        if (way.seconds / best->seconds > worst)
            worst = way.seconds / best->seconds;
    }
    s->budget = least - 1;
    hone_way_out none;
    assert_int_equal(hone_solve(s, b, &none, NULL), HONE_ENOMEM);
    return worst;
}

/* A model of the folder's, and what looks for means for it. */
typedef struct {
    hone_arena arena, scratch;
    hone_ways tried;
    hone_family *family;
    hone_compiler c;
    hone_solver s;
} fixture;

/* LORA NULL: the whole model is trained. */
static void open_model(fixture *f, const hone_lora *lora,
                       const uint8_t *pinned, int layers)
{
    const hone_family_spec spec = { .model = folder, .storage = HONE_F32,
                                    .trained = HONE_F32, .trainable = !lora };
    hone_err err;

    memset(f, 0, sizeof *f);
    if (hone_family_open(&f->family, &spec, &f->arena, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    f->c = (hone_compiler){ .fronts = hone_fronts_make(), .machine = &machine,
                            .compute = HONE_F32, .ranks = 1, .lora = lora,
                            .family = f->family };
    f->s = (hone_solver){ .ways = &f->tried, .scratch = &f->scratch,
                          .compiler = &f->c, .card = &card, .pinned = pinned,
                          .layers = layers };
}

static void close_model(fixture *f)
{
    hone_family_close(f->family);
    hone_fronts_free(f->c.fronts);
    hone_ways_forget(&f->tried);
    hone_arena_free(&f->scratch);
    hone_arena_free(&f->arena);
}

static double check(const shape *sh)
{
    static const uint8_t pinned[LAYERS] = { HONE_KEEP_AUTO, HONE_KEEP_AUTO,
                                            HONE_KEEP_AUTO };
    int64_t chunks[] = { 0, (sh->tokens / 4 + 15) / 16 * 16, 64 };
    hone_bucket bucket = { sh->tokens, sh->docs };
    fixture f;
    hone_lora lora = { .r = sh->rank, .alpha = 16, .targets = "all-linear",
                       .train = 1 };
    ways all = { 0 };
    double worst;

    write_config(sh);
    open_model(&f, sh->rank ? &lora : NULL, pinned, LAYERS);
    f.s.mlp_is_free = f.s.chunk_is_free = 1;
    try_everything(&f.s, bucket, chunks, MOST_CHUNKS, &all);
    worst = compare(&f.s, bucket, &all);
    for (int i = 0; i < all.count; i++)
        if (all.list[i].pinned / 2 > f.s.pinned_budget)
            f.s.pinned_budget = all.list[i].pinned / 2;
    worst = fmax(worst, compare(&f.s, bucket, &all));
    close_model(&f);
    return worst;
}

static void test_near_the_best(void **state)
{
    int bad = 0;

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        double worst = check(&shapes[i]);

        printf("shape %zu: at most %.2f times the best\n", i, worst);
        bad |= worst > 1.05;
    }
    assert_false(bad);
}

/* What is pinned stays. */
static void test_pinned(void **state)
{
    static const uint8_t pinned[LAYERS] = { HONE_KEEP_ALL, HONE_KEEP_AUTO,
                                            HONE_KEEP_NONE };
    fixture f;
    hone_bucket bucket = { 512, 4 };
    hone_way_out way;
    hone_err err;
    int64_t most;

    (void)state;
    write_config(&shapes[0]);
    open_model(&f, NULL, pinned, LAYERS);
    f.s.chunk = 96;
    f.s.budget = INT64_MAX;
    assert_int_equal(hone_solve(&f.s, bucket, &way, &err), HONE_OK);
    assert_int_equal(way.keep[1], HONE_KEEP_ALL);
    most = way.bytes;
    f.s.budget = most - 1;
    assert_int_equal(hone_solve(&f.s, bucket, &way, &err), HONE_OK);
    assert_true(way.bytes < most);
    assert_int_equal(way.keep[0], HONE_KEEP_ALL);
    assert_int_equal(way.keep[2], HONE_KEEP_NONE);
    assert_int_equal(way.rows, 96);
    /* As a guess for another size. */
    f.s.budget = most / 2;
    assert_int_equal(hone_solve_like(&f.s, &way, (hone_bucket){ 256, 4 }, &way,
                                     &err), HONE_OK);
    assert_true(way.bytes <= most / 2);
    assert_int_equal(way.keep[2], HONE_KEEP_NONE);
    close_model(&f);
}

/* More layers than are tried one by one, and a host without room for any: those
 * that can be computed again are. What others have mapped counts. */
static void test_host_is_full(void **state)
{
    enum { MANY = 8 };
    static uint8_t pinned[MANY], keep[MANY];
    fixture f;
    hone_bucket bucket = { 512, 4 };
    hone_way_out none, way;
    hone_err err;

    (void)state;
    memset(pinned, HONE_KEEP_AUTO, MANY);
    memset(keep, HONE_KEEP_NONE, MANY);
    write_llama(folder, (llama_shape){ 64, 160, MANY, 4, 2, 4096, 512 });
    open_model(&f, NULL, pinned, MANY);
    f.s.pinned_budget = 1;
    assert_int_equal(hone_solve_try(&f.s, bucket, keep, 0, 0, &none, &err),
                     HONE_OK);
    f.s.budget = none.bytes;
    assert_int_equal(hone_solve(&f.s, bucket, &way, &err), HONE_OK);
    assert_memory_equal(way.keep, keep, MANY);
    assert_int_equal(f.s.least, none.bytes);
    machine.info.context_bytes = 1;
    f.s.mapped = 512 * 1000;
    assert_int_equal(hone_solve(&f.s, bucket, &way, &err), HONE_ENOMEM);
    assert_int_equal(f.s.least, none.bytes + 1000);
    memset(keep, HONE_KEEP_OFFLOAD, MANY); /* within what is mapped: for none */
    f.s.mapped = f.s.pinned_budget = 1 << 30;
    assert_int_equal(hone_solve_try(&f.s, bucket, keep, 0, 0, &none, &err),
                     HONE_OK);
    f.s.mapped = none.pinned;
    assert_int_equal(hone_solve_try(&f.s, bucket, keep, 0, 0, &way, &err),
                     HONE_OK);
    assert_int_equal(none.bytes - way.bytes,
                     (1 << 30) / 512 - none.pinned / 512);
    machine.info.context_bytes = 0;
    close_model(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_near_the_best),
        cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_host_is_full),
    };
    char path[64];
    hone_err err;
    int failed;

    setenv("HONE_SHARE", HONE_SOURCE "/recipes", 1);
    if (!mkdtemp(folder) || hone_registry_open(NULL, &err) != HONE_OK ||
        hone_machine_open(&machine, "cpu", NULL, &forever, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    machine.info.is_host = 0; /* so that sending out is worth something */
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    machine.info.is_host = 1;
    hone_machine_close(&machine);
    hone_arena_free(&forever);
    snprintf(path, sizeof path, "%s/config.json", folder);
    remove(path);
    remove(folder);
    return failed;
}

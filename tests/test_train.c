/* SPDX-License-Identifier: MIT
 *
 * test_train.c -- whole trainings of a tiny model: what a step learns does not
 * depend on how its rows are laid out, on what is kept or computed again, or on
 * the number of ranks; steps that are not finite change nothing, none is done
 * again for ever; epochs.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "log.h"
#include "machine.h"
#include "train.h"

#include "tiny.h"

enum { MOST_STEPS = 16 };

typedef struct {
    int steps, skipped, evals;
    double loss[MOST_STEPS], norm[MOST_STEPS], eval[MOST_STEPS];
    int64_t rows[MOST_STEPS];
    float *weight; /* all trainable ones, one after the other */
    int64_t weights;
    hone_status status;
    hone_err err;
} outcome;

/* What a recipe of these tests may differ in. */
typedef struct {
    const char *model, *adapter, *batch, *more; /* NULL: the usual */
} variant;

static void read_recipe(hone_recipe *r, const variant *v)
{
    const char *const sets[] = { NULL };
    const char *messages = NULL;
    char path[512];
    FILE *f = tiny_file("recipe.lua");

    fprintf(f, "local hone = require \"hone\"\nreturn hone.train {\n"
               "  model = hone.model { \"%s\", init = \"random\" },\n"
               "  %s\n  data = hone.data.alpaca { \"rows.jsonl\", val = %d },\n"
               "  batch = %s,\n  optimizer = hone.adamw { lr = 5e-3, "
               "weight_decay = 0.01 },\n  schedule = hone.constant {},\n"
               "  global_batch = 8, steps = 5, seed = 3, device = \"cpu\",\n"
               "  %s\n}\n",
            v->model ? v->model : "tied", v->adapter ? v->adapter : "",
            TINY_VAL, v->batch ? v->batch : "hone.pad { rows = 8 }",
            v->more ? v->more : "");
    fclose(f);
    snprintf(path, sizeof path, "%s/recipe.lua", tiny_folder);
    if (hone_recipe_read(r, path, sets, &messages) != HONE_OK)
        fail_msg("%s", messages);
}

static hone_status watch(void *self, const hone_step_report *r,
                         double eval_loss, int64_t eval_targets, hone_err *err)
{
    outcome *o = self;

    (void)err;
    if (eval_targets) {
        o->eval[o->evals++] = eval_loss;
        return HONE_OK;
    }
    o->loss[o->steps] = r->loss;
    o->norm[o->steps] = r->grad_norm;
    o->rows[o->steps++] = r->rows;
    o->skipped += r->skipped;
    return o->steps < MOST_STEPS ? HONE_OK : HONE_END;
}

static void take_weights(hone_session *s, outcome *o)
{
    hone_err err;
    int64_t at = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < s->store.count; i++) {
            const hone_kept *k = &s->store.list[i];
            int64_t n = hone_count(&k->type);

            if (k->kind != HONE_T_PARAM || !k->trainable)
                continue;
            if (!pass)
                o->weights += n;
            else if (hone_machine_get(&s->machine, o->weight + at,
                                      hone_store_address(&s->store, k),
                                      n * (int64_t)sizeof(float), &err) !=
                     HONE_OK)
                fail_msg("%s", err.msg);
            at += pass ? n : 0;
        }
        if (!pass)
            o->weight = calloc((size_t)o->weights, sizeof(float));
    }
}

static void ready(hone_session *s, const hone_recipe *r, const hone_rank *rank)
{
    hone_err err = { 0 };

    if (hone_session_open(s, r, rank, 1, NULL, &err) != HONE_OK ||
        hone_session_reserve(s, &err) != HONE_OK ||
        hone_session_load(s, &err) != HONE_OK)
        fail_msg("%s", err.msg);
}

static void train_session(hone_session *s, outcome *o)
{
    o->status = hone_train(s, watch, o, &o->err);
    take_weights(s, o);
}

/* STEPS 0: the first values of the weights. */
static void train(const variant *v, int steps, outcome *o)
{
    hone_session *s = calloc(1, sizeof *s);
    hone_recipe r;

    memset(o, 0, sizeof *o);
    read_recipe(&r, v);
    ready(s, &r, NULL);
    if (steps)
        train_session(s, o);
    else
        take_weights(s, o);
    hone_session_close(s);
    hone_recipe_free(&r);
    free(s);
}

static double distance(const float *a, const float *b, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum);
}

static int near(double a, double b)
{
    return fabs(a - b) <= 1e-5 * fabs(b);
}

static void compare(const char *what, const outcome *a, const outcome *b)
{
    if (a->status != HONE_OK)
        fail_msg("%s: %s", what, a->err.msg);
    assert_int_equal(a->steps, b->steps);
    assert_int_equal(a->evals, b->evals);
    for (int i = 0; i < a->steps; i++)
        if (!near(a->loss[i], b->loss[i]) || !near(a->norm[i], b->norm[i]))
            fail_msg("%s: step %d: loss %.9g, norm %.9g; should be %.9g, %.9g",
                     what, i + 1, a->loss[i], a->norm[i], b->loss[i],
                     b->norm[i]);
    for (int i = 0; i < a->evals; i++)
        if (!near(a->eval[i], b->eval[i]))
            fail_msg("%s: held-out loss %.9g; should be %.9g", what, a->eval[i],
                     b->eval[i]);
}

/* ----------------------------------------------------------------- layouts */

static const struct {
    const char *batch, *more;
} layouts[] = {
    { "hone.pad { rows = 4 }", NULL },
    { "hone.pad { rows = 1, multiple = 1 }", NULL },
    { "hone.pad { rows = 3, multiple = 16 }", "logits_chunk = 64" },
    { "hone.pack { tokens = 512 }", NULL },
    { "hone.pack { tokens = 4096 }", "logits_chunk = 100" },
    { NULL, "keep = \"none\"" },
    { NULL, "keep = \"none\", mlp_chunk = 100" },
    { "hone.pack { tokens = 1024 }", "keep = \"offload\", mlp_chunk = 256" },
    { NULL, "keep = \"light\", mlp_chunk = 64" },
    { NULL, "keep = \"light\"" },
    { NULL, "keep = \"offload\"" },
    { NULL, "keep = \"away\"" },
    { "hone.pack { tokens = 512 }", "keep = \"away\", mlp_chunk = 128" },
    { "hone.pad { rows = 2 }", "keep = \"offload\", logits_chunk = 64" },
    { "hone.pack { tokens = 1024 }", "keep = { [0] = \"none\", [2] = "
                                     "\"offload\" }" },
};

/* Sanitizers take ten times as long: each check has others of them then. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { EVERY = 4 };
#else
enum { EVERY = 1 };
#endif

static void check_layouts(const char *model, const char *adapter)
{
    variant v = { .model = model, .adapter = adapter };
    static size_t first; /* of this check */
    outcome whole, other;

    train(&v, 1, &whole);
    assert_int_equal(whole.status, HONE_OK);
    assert_int_equal(whole.steps, 5);
    assert_int_equal(whole.evals, 2);
    assert_true(whole.loss[4] < whole.loss[0]);
    for (size_t i = first++ % EVERY; i < sizeof layouts / sizeof *layouts;
         i += EVERY) {
        char what[200];

        v.batch = layouts[i].batch;
        v.more = layouts[i].more;
        snprintf(what, sizeof what, "%s, %s, %s",
                 v.adapter ? v.adapter : "full", v.batch ? v.batch : "whole",
                 v.more ? v.more : "kept");
        train(&v, 1, &other);
        compare(what, &other, &whole);
        free(other.weight);
    }
    free(whole.weight);
}

static void full_tied(void **state)
{
    (void)state;
    check_layouts("tied", NULL);
}

static void full_untied(void **state)
{
    (void)state;
    check_layouts("untied", NULL);
}

static void lora(void **state)
{
    (void)state;
    check_layouts("tied", "adapter = hone.lora { r = 4, alpha = 8 },");
}

static void lora_dropout(void **state)
{
    (void)state;
    check_layouts("untied",
                  "adapter = hone.lora { r = 4, alpha = 8, dropout = 0.1 },");
}

/* Dropout does something, and something else at every step. */
static void dropout_matters(void **state)
{
    variant v = { .adapter = "adapter = hone.lora { r = 4, alpha = 8 }," };
    outcome without, with;

    (void)state;
    train(&v, 1, &without);
    v.adapter = "adapter = hone.lora { r = 4, alpha = 8, dropout = 0.1 },";
    train(&v, 1, &with);
    assert_true(near(with.loss[0], without.loss[0])); /* B is 0 */
    assert_false(near(with.norm[0], without.norm[0]));
    assert_false(near(with.loss[4], without.loss[4]));
    free(without.weight);
    free(with.weight);
}

static void twice_the_same_bits(void **state)
{
    variant v = { .batch = "hone.pad { rows = 3 }" };
    outcome a, b;

    (void)state;
    train(&v, 1, &a);
    train(&v, 1, &b);
    assert_memory_equal(a.loss, b.loss, sizeof a.loss);
    assert_memory_equal(a.weight, b.weight, (size_t)a.weights * sizeof(float));
    free(a.weight);
    free(b.weight);
}

/* ------------------------------------------------------------------- ranks */

enum { RANKS = 2 };

typedef struct {
    hone_session s;
    hone_instance collective;
    outcome o;
} worker;

static void *work(void *arg)
{
    worker *w = arg;

    train_session(&w->s, &w->o);
    return NULL;
}

static void open_ranks(worker *w, const hone_recipe *r, hone_arena *a)
{
    const hone_component *c;
    hone_err err;

    if (hone_need_component(HONE_KIND_COLLECTIVE, "local", &c, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    for (int i = 0; i < RANKS; i++) {
        int64_t *config = hone_alloc(a, c->config_size);
        hone_rank rank = { .rank = i, .ranks = RANKS, .collective = c };

        config[0] = i;
        config[1] = RANKS;
        assert_int_equal(hone_instance_open(&w[i].collective, c, config, a,
                                            &err), HONE_OK);
        rank.group = w[i].collective.state;
        ready(&w[i].s, r, &rank);
    }
}

/* Trains V on two ranks, each a thread of this process. */
static void train_ranks(const variant *v, worker *w)
{
    pthread_t thread[RANKS];
    hone_arena a = { 0 };
    hone_recipe r;

    read_recipe(&r, v);
    open_ranks(w, &r, &a);
    for (int i = 0; i < RANKS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    for (int i = 0; i < RANKS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < RANKS; i++) {
        hone_session_close(&w[i].s);
        hone_instance_close(&w[i].collective);
    }
    hone_recipe_free(&r);
    hone_arena_free(&a);
}

static void check_ranks(const variant *v)
{
    worker *w = calloc(RANKS, sizeof *w);
    outcome one, first;
    double update, off;

    train(v, 0, &first);
    train(v, 1, &one);
    train_ranks(v, w);
    for (int i = 0; i < RANKS; i++) {
        compare(i ? "rank 1 of 2" : "rank 0 of 2", &w[i].o, &one);
        assert_memory_equal(w[i].o.rows, one.rows, sizeof one.rows);
        assert_memory_equal(w[i].o.weight, w[0].o.weight,
                            (size_t)one.weights * sizeof(float));
    }
    update = distance(one.weight, first.weight, one.weights);
    off = distance(w[0].o.weight, one.weight, one.weights);
    assert_true(update > 0);
    if (off > 5e-3 * update)
        fail_msg("weights differ by %g of the update", off / update);
    for (int i = 0; i < RANKS; i++)
        free(w[i].o.weight);
    free(one.weight);
    free(first.weight);
    free(w);
}

static void two_ranks(void **state)
{
    variant v = { .batch = "hone.pack { tokens = 1024 }" };

    (void)state;
    check_ranks(&v);
    v.adapter = "adapter = hone.lora { r = 4, alpha = 8, dropout = 0.1 },";
    v.batch = "hone.pad { rows = 3 }";
    check_ranks(&v);
}

/* 5 rows for two ranks, and a last step that leaves one of them without. */
static void two_ranks_uneven(void **state)
{
    variant v = { .batch = "hone.pad { rows = 2 }",
                  .more = "global_batch = 5, steps = nil, epochs = 1" };

    (void)state;
    check_ranks(&v);
    v.more = "global_batch = nil, global_tokens = 700, steps = nil, epochs = 1";
    check_ranks(&v);
}

/* One rank is gone: the other learns nothing from half of the rows. */
static void rank_left_alone(void **state)
{
    worker *w = calloc(RANKS, sizeof *w);
    hone_arena a = { 0 };
    outcome first;
    variant v = { 0 };
    hone_recipe r;

    (void)state;
    train(&v, 0, &first);
    read_recipe(&r, &v);
    open_ranks(w, &r, &a);
    hone_session_close(&w[1].s);
    hone_instance_close(&w[1].collective);
    work(&w[0]);
    assert_int_equal(w[0].o.status, HONE_EIO);
    assert_int_equal(w[0].o.skipped, w[0].o.steps);
    assert_memory_equal(w[0].o.weight, first.weight,
                        (size_t)first.weights * sizeof(float));
    hone_session_close(&w[0].s);
    hone_instance_close(&w[0].collective);
    hone_recipe_free(&r);
    hone_arena_free(&a);
    free(w[0].o.weight);
    free(first.weight);
    free(w);
}

static void ranks_need_a_collective(void **state)
{
    hone_session *s = calloc(1, sizeof *s);
    hone_rank alone = { .rank = 0, .ranks = 2 };
    variant v = { 0 };
    hone_recipe r;
    hone_err err = { 0 };

    (void)state;
    read_recipe(&r, &v);
    assert_int_equal(hone_session_open(s, &r, &alone, 1, NULL, &err),
                     HONE_EINVAL);
    assert_non_null(strstr(err.msg, "collective"));
    hone_session_close(s);
    hone_recipe_free(&r);
    free(s);
}

/* -------------------------------------------------------------- not finite */

/* Absurd rates: weights grow until a step is not finite, and then none is.
 * Those steps move no weight, and the run ends. */
static void not_finite(void **state)
{
    static const char *const absurd =
        "optimizer = hone.adamw { lr = 10, weight_decay = 1000 }, steps = %d";
    char more[200];
    variant v = { .more = more };
    outcome o, finite;

    (void)state;
    snprintf(more, sizeof more, absurd, MOST_STEPS - 1);
    train(&v, 1, &o);
    assert_int_equal(o.status, HONE_EIO);
    assert_non_null(strstr(o.err.msg, "not finite"));
    assert_in_range(o.skipped, 2, 8);
    assert_true(o.steps > o.skipped);
    assert_true(isfinite(o.loss[0]));
    snprintf(more, sizeof more, absurd, o.steps - o.skipped);
    train(&v, 1, &finite);
    assert_int_equal(finite.skipped, 0);
    assert_memory_equal(o.weight, finite.weight,
                        (size_t)o.weights * sizeof(float));
    free(o.weight);
    free(finite.weight);
}

/* A scale that no halving makes finite, which none becomes by itself: the step
 * is not done again for ever. */
static void again_for_ever(void **state)
{
    variant v = { .batch = "hone.pad { rows = 1 }",
                  .more = "packs = { \"fp16\", \"cpu\" }, "
                          "precision = \"fp16\", global_batch = 1" };
    hone_session *s = calloc(1, sizeof *s);
    outcome o = { 0 };
    hone_recipe r;
    float *scale;

    (void)state;
    read_recipe(&r, &v);
    ready(s, &r, NULL);
    scale = hone_store_address(&s->store,
                               hone_store_find(&s->store, "step.scale"));
    *scale = INFINITY;
    train_session(s, &o);
    assert_int_equal(o.status, HONE_EIO);
    assert_non_null(strstr(o.err.msg, "step 1 was done 41 times"));
    assert_int_equal(o.steps, 0);
    hone_session_close(s);
    hone_recipe_free(&r);
    free(s);
    free(o.weight);
}

/* ------------------------------------------------------------------ epochs */

/* 21 rows, two epochs and a half: 53 rows in steps of 8. */
static void epochs(void **state)
{
    variant v = { .more = "steps = nil, epochs = 2.5" };
    hone_session *s = calloc(1, sizeof *s);
    int seen[TINY_ROWS] = { 0 }, at = 0, rows = TINY_ROWS - TINY_VAL;
    const hone_rows *step;
    hone_recipe r;
    outcome o = { 0 };

    (void)state;
    read_recipe(&r, &v);
    ready(s, &r, NULL);
    while (hone_loader_next(s->train_loader, &step, &o.err) == HONE_OK)
        for (int i = 0; i < step->count; i++, at++) {
            seen[step->sample[i].row]++;
            for (int row = 0; (at + 1) % rows == 0 && row < rows; row++)
                assert_int_equal(seen[row], (at + 1) / rows);
        }
    assert_int_equal(at, 53);
    hone_loader_seek(s->train_loader, 0);
    train_session(s, &o);
    assert_int_equal(o.status, HONE_OK);
    assert_int_equal(o.steps, 7);
    for (int i = 0; i < 7; i++)
        assert_int_equal(o.rows[i], i < 6 ? 8 : 5);
    free(o.weight);
    hone_session_close(s);
    hone_recipe_free(&r);
    free(s);
}

/* ---------------------------------------------------------------- adapters */

/* An adapter of one layer more than the model has. */
static void foreign_adapter(void **state)
{
    static const char *const path = "model.layers.3.self_attn.q_proj";
    hone_peft_module module[2] = {
        { .path = "model.layers.0.self_attn.q_proj", .in = 32, .out = 32, .r = 4 },
        { .path = path, .in = 32, .out = 32, .r = 4 }
    };
    hone_peft_spec spec = { .r = 4, .alpha = 8, .modules = module, .count = 2 };
    variant v = { .adapter = "adapter = hone.lora { init = \"foreign\" }," };
    hone_session *s = calloc(1, sizeof *s);
    float values[4 * 32] = { 0 };
    hone_peft_saver *saver;
    hone_arena a = { 0 };
    hone_err err = { 0 };
    char folder[512];
    hone_recipe r;

    (void)state;
    snprintf(folder, sizeof folder, "%s/foreign", tiny_folder);
    mkdir(folder, 0777);
    assert_int_equal(hone_peft_prepare(&a, folder, &spec, &saver, &err), 0);
    assert_int_equal(hone_peft_begin(saver, &err), HONE_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(hone_peft_put(saver, values, sizeof values, &err), 0);
    assert_int_equal(hone_peft_end(saver, &err), HONE_OK);
    read_recipe(&r, &v);
    assert_int_equal(hone_session_open(s, &r, NULL, 1, NULL, &err),
                     HONE_EINVAL);
    assert_non_null(strstr(err.msg, path));
    assert_non_null(strstr(err.msg, folder));
    hone_session_close(s);
    hone_recipe_free(&r);
    hone_arena_free(&a);
    free(s);
}

/* ------------------------------------------------------------------- setup */

static int setup(void **state)
{
    hone_err err;

    (void)state;
    setenv("OMP_WAIT_POLICY", "passive", 0); /* others may want the cores */
    setenv("HONE_PLUGIN_PATH", HONE_BUILD "/tests/fp16", 1);
    hone_log_level(HONE_LOG_ERROR);
    if (tiny_make() != 0)
        return -1;
    if (hone_registry_open(NULL, &err) == HONE_OK)
        return 0;
    fprintf(stderr, "%s\n", err.msg);
    return -1;
}

static int teardown(void **state)
{
    (void)state;
    return tiny_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_tied),
        cmocka_unit_test(full_untied),
        cmocka_unit_test(lora),
        cmocka_unit_test(lora_dropout),
        cmocka_unit_test(dropout_matters),
        cmocka_unit_test(twice_the_same_bits),
        cmocka_unit_test(two_ranks),
        cmocka_unit_test(two_ranks_uneven),
        cmocka_unit_test(rank_left_alone),
        cmocka_unit_test(ranks_need_a_collective),
        cmocka_unit_test(not_finite),
        cmocka_unit_test(again_for_ever),
        cmocka_unit_test(epochs),
        cmocka_unit_test(foreign_adapter),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: MIT
 *
 * test_rounding.c -- bf16 rounded at random: the mean is right to the last
 * bit, bits depend on seed, step, tensor and element and on nothing else,
 * steps that rounding to the nearest loses are kept, and a model whose weights,
 * gradients and states are bf16 learns what one with fp32 weights does.
 */
#include "eager.h"

#include "log.h"
#include "machine.h"
#include "rounding.h"
#include "train.h"

#include "tiny.h"

static float of_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static double bf16(uint16_t h)
{
    return (double)of_bits((uint32_t)h << 16);
}

/* Over all sixteen bits the mean of what comes out is what went in. */
static void unbiased(void **state)
{
    static const float x[] = { 1.00001f, -0.3f, 3.14159274f, 1e-30f, -1e-40f,
                               65537.5f, 0, 1.5f, -2.99999f };
    (void)state;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        double sum = 0;
        for (uint32_t bits = 0; bits < 65536; bits++)
            sum += bf16(hone_bf16_random(x[i], bits));
        assert_true(sum / 65536 == (double)x[i]);
    }
}

static void what_is_not_finite_stays(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits += 255) {
        assert_true(isnan(bf16(hone_bf16_random(of_bits(0x7f800001), bits))));
        assert_true(bf16(hone_bf16_random(-INFINITY, bits)) ==
                    (double)-INFINITY);
    }
}

/* ------------------------------------------------------------------ by map */

typedef struct {
    int64_t seed, step, key;
} source;

/* N copies of X by map, rounded as the source says. */
static void draw(float x, int n, source from, uint16_t *out)
{
    const hone_attr attrs[] = { { "program", 0, "x0 =y0" },
                                { "reads", 1, NULL },
                                { "stochastic", 1, NULL } };
    hone_id in[3], y;
    hone_err err = { 0 };
    int64_t *rng, *key;
    eager e;

    eager_open(&e, HONE_F32);
    in[0] = eager_new(&e, hone_type_of(HONE_F32, 1, n, 1));
    in[1] = eager_new(&e, hone_type_of(HONE_I64, 1, 2, 1));
    in[2] = eager_new(&e, hone_type_of(HONE_I64, 1, 1, 1));
    y = eager_new(&e, hone_type_of(HONE_BF16, 1, n, 1));
    rng = e.t[in[1]].ptr.part[0];
    key = e.t[in[2]].ptr.part[0];
    rng[0] = from.seed, rng[1] = from.step, *key = from.key;
    for (int i = 0; i < n; i++)
        eager_set(&e, in[0], i, (double)x);
    if (eager_emit(&e.builder, "map", NULL, attrs, 3, in, 3, &y, 1, &err))
        fail_msg("%s", err.msg);
    memcpy(out, e.t[y].ptr.part[0], (size_t)n * sizeof *out);
    eager_close(&e);
}

enum { MANY = 40000 };

static void depends_on_what_it_is_for(void **state)
{
    static uint16_t a[MANY], b[MANY];
    static const source same = { 7, 3, 11 };
    static const source others[] = { { 8, 3, 11 }, { 7, 4, 11 }, { 7, 3, 12 } };
    double sum = 0;

    (void)state;
    draw(1.003f, MANY, same, a);
    for (int i = 0; i < MANY; i++)
        sum += bf16(a[i]);
    /* 0.003 lies between 0 and 2^-7; four standard deviations. */
    if (fabs(sum / MANY - (double)1.003f) > 4 * 0.5 * 0x1p-7 / sqrt(MANY))
        fail_msg("the mean of %d draws of 1.003 is %.9g", MANY, sum / MANY);
    draw(1.003f, MANY / 2, same, b); /* a shorter tensor */
    assert_memory_equal(a, b, MANY / 2 * sizeof *a);
    for (int i = 0; i < 3; i++) {
        int differ = 0;
        draw(1.003f, MANY, others[i], b);
        for (int k = 0; k < MANY; k++)
            differ += a[k] != b[k];
        assert_in_range(differ, MANY / 3, 2 * MANY / 3);
    }
    draw(1.003f, MANY, (source){ 7, 3, 0 }, b); /* no key: to the nearest */
    for (int k = 0; k < MANY; k++)
        assert_true(b[k] == 0x3f80);
}

/* ---------------------------------------------------------------- training */

enum { STEPS = 30 };

typedef struct {
    int steps;
    double loss[STEPS];
} losses;

static hone_status watch(void *self, const hone_step_report *r,
                         double eval_loss, int64_t eval_targets, hone_err *err)
{
    losses *l = self;

    (void)eval_loss;
    (void)err;
    if (!eval_targets)
        l->loss[l->steps++] = r->loss;
    return HONE_OK;
}

static hone_storage storage_of(const hone_session *s, const char *name)
{
    const hone_kept *k = hone_store_find(&s->store, name);

    assert_non_null(k);
    return k->type.storage;
}

/* How the tensors of a weight are held, and that of the head, which tokens of
 * two kinds add to. */
static void check_storages(const hone_session *s, int narrow, int single)
{
    static const char w[] = "model.layers.1.mlp.up_proj.weight";
    hone_storage half = narrow ? HONE_BF16 : HONE_F32;
    char name[100];

    assert_int_equal(storage_of(s, w), half);
    snprintf(name, sizeof name, "grad:%s", w);
    assert_int_equal(storage_of(s, name), single ? half : HONE_F32);
    snprintf(name, sizeof name, "state:v:%s", w);
    assert_int_equal(storage_of(s, name), half);
    assert_int_equal(storage_of(s, "grad:model.embed_tokens.weight"),
                     HONE_F32);
}

static void train(const char *more, int narrow, int single, losses *l)
{
    const char *const sets[] = { NULL };
    const char *messages = NULL;
    hone_session *s = calloc(1, sizeof *s);
    hone_err err = { 0 };
    hone_recipe r;
    char path[512];
    FILE *f = tiny_file("recipe.lua");

    fprintf(f, "local hone = require \"hone\"\nreturn hone.train {\n"
               "  model = hone.model { \"tied\", init = \"random\" },\n"
               "  data = hone.data.alpaca { \"rows.jsonl\" }, %s\n"
               "  schedule = hone.constant {}, clip = 0,\n"
               "  global_batch = 8, steps = %d, seed = 3, device = \"cpu\",\n"
               "}\n", more, STEPS);
    fclose(f);
    snprintf(path, sizeof path, "%s/recipe.lua", tiny_folder);
    if (hone_recipe_read(&r, path, sets, &messages) != HONE_OK)
        fail_msg("%s", messages);
    memset(l, 0, sizeof *l);
    if (hone_session_open(s, &r, NULL, 1, NULL, &err) != HONE_OK ||
        hone_session_reserve(s, &err) != HONE_OK ||
        hone_session_load(s, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    check_storages(s, narrow, single);
    if (hone_train(s, watch, l, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    hone_session_close(s);
    hone_recipe_free(&r);
    free(s);
}

#define RECIPE(BATCH, STATE, REST)                                             \
    "batch = hone.pad { rows = " BATCH " }, optimizer = hone.adamw { lr = "    \
    "1e-4, state = \"" STATE "\" }, " REST

/* Steps of 1e-4 are a tenth of the last bit of the weights, most of which are
 * near 0.15: to the nearest, these would stand still. */
static void small_steps_are_not_lost(void **state)
{
    losses wide, narrow, added;
    double fell;

    (void)state;
    train(RECIPE("8", "fp32", ""), 0, 1, &wide);
    train(RECIPE("8", "bf16", "master = false,"), 1, 1, &narrow);
    train(RECIPE("4", "bf16", "master = false,"), 1, 0, &added);
    fell = wide.loss[0] - wide.loss[STEPS - 1];
    assert_true(fell > 0.01);
    if (narrow.loss[0] - narrow.loss[STEPS - 1] < 0.9 * fell ||
        added.loss[0] - added.loss[STEPS - 1] < 0.9 * fell)
        fail_msg("the loss falls by %g; with bf16 weights by %g, and by %g in "
                 "two micro-batches", fell,
                 narrow.loss[0] - narrow.loss[STEPS - 1],
                 added.loss[0] - added.loss[STEPS - 1]);
}

/* The rate at which a weight near 0.15 moves by itself. */
static void the_nearest_loses_them(void **state)
{
    double p = bf16(0x3e1a), at = p;

    (void)state;
    for (int i = 0; i < STEPS; i++) {
        float next = (float)(at - 1e-4);
        uint32_t u;

        memcpy(&u, &next, sizeof u);
        at = bf16((uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16));
    }
    assert_true(at == p);
}

static int setup(void **state)
{
    hone_err err;

    (void)state;
    setenv("OMP_WAIT_POLICY", "passive", 0); /* others may want the cores */
    hone_log_level(HONE_LOG_ERROR);
    return tiny_make() || hone_registry_open(NULL, &err) != HONE_OK ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return tiny_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unbiased),
        cmocka_unit_test(what_is_not_finite_stays),
        cmocka_unit_test(depends_on_what_it_is_for),
        cmocka_unit_test(the_nearest_loses_them),
        cmocka_unit_test(small_steps_are_not_lost)
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

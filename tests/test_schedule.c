/* SPDX-License-Identifier: MIT
 *
 * test_schedule.c -- the factors of every schedule, held to Transformers'
 * (version 5): ten steps by hand, then all of golden/schedules.txt, which
 * `python3 tests/parity/schedules.py > tests/golden/schedules.txt` writes.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "log.h"
#include "option.h"
#include "registry.h"

static double factor(const char *name, double warmup, int64_t step,
                     int64_t total)
{
    const hone_component *c = hone_find(HONE_KIND_SCHEDULE, name);
    const hone_schedule *s;
    hone_arena arena = { 0 };
    hone_err err;
    double f;
    void *config;

    assert_non_null(c);
    s = c->ops;
    config = hone_alloc(&arena, c->config_size);
    hone_option_defaults(c->options, config);
    assert_int_equal(hone_option_set_num(hone_option_find(c->options, "warmup"),
                                         config, warmup, 0, &err), HONE_OK);
    f = s->factor(config, NULL, step, total);
    hone_arena_free(&arena);
    return f;
}

/* Ten steps, the first three of them warm-up. */
static const double linear[] = { 0, 1. / 3, 2. / 3, 1, 6. / 7, 5. / 7, 4. / 7,
                                 3. / 7, 2. / 7, 1. / 7 };
static const double cosine[] = { 0, 0.3333333333333333, 0.6666666666666666, 1,
                                 0.9504844339512095, 0.8117449009293668,
                                 0.6112604669781572, 0.3887395330218429,
                                 0.1882550990706332, 0.0495155660487905 };

static void test_against_transformers(void **state)
{
    (void)state;
    for (int step = 0; step < 10; step++) {
        double ramp = step < 3 ? step / 3. : 1;
        assert_true(fabs(factor("constant", 3, step, 10) - ramp) < 1e-15);
        assert_true(fabs(factor("linear", 3, step, 10) - linear[step]) < 1e-15);
        assert_true(fabs(factor("cosine", 3, step, 10) - cosine[step]) < 1e-15);
    }
}

/* A line such as "# wsd warmup=60 decay_type=linear" as a schedule. */
typedef struct column {
    const hone_schedule *schedule;
    void *config;
} column;

static column column_of(char *line, hone_arena *arena)
{
    char *rest, *word = strtok_r(line, "# \n", &rest);
    const hone_component *c = hone_find(HONE_KIND_SCHEDULE, word);
    column made;
    hone_err err;

    assert_non_null(c);
    made.schedule = c->ops;
    made.config = hone_alloc(arena, c->config_size);
    hone_option_defaults(c->options, made.config);
    while ((word = strtok_r(NULL, " \n", &rest))) {
        char *value = strchr(word, '=');
        const hone_option *o;

        *value++ = '\0';
        o = hone_option_find(c->options, word);
        assert_non_null(o);
        assert_int_equal(o->type == HONE_ENUM
                             ? hone_option_set_str(o, made.config, value,
                                                   arena, &err)
                             : hone_option_set_num(o, made.config, atof(value),
                                                   0, &err), HONE_OK);
    }
    return made;
}

#define GOLDEN_STEPS 1000
#define GOLDEN_COLUMNS 10

static void test_golden(void **state)
{
    FILE *f = fopen(HONE_SOURCE "/tests/golden/schedules.txt", "r");
    column columns[GOLDEN_COLUMNS];
    hone_arena arena = { 0 };
    char line[256];
    double want;

    (void)state;
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f)); /* what wrote it */
    for (int i = 0; i < GOLDEN_COLUMNS; i++) {
        assert_non_null(fgets(line, sizeof line, f));
        columns[i] = column_of(line, &arena);
    }
    for (int step = 0; step < GOLDEN_STEPS; step++)
        for (int i = 0; i < GOLDEN_COLUMNS; i++) {
            const column *c = &columns[i];
            double got = c->schedule->factor(c->config, NULL, step,
                                             GOLDEN_STEPS);
            assert_int_equal(fscanf(f, "%lf", &want), 1);
            if (!(fabs(got - want) < 1e-9))
                fail_msg("column %d, step %d: %.10f, not %.10f", i, step, got,
                         want);
        }
    assert_int_equal(fscanf(f, "%lf", &want), EOF);
    (void)fclose(f);
    hone_arena_free(&arena);
}

static void test_warmup(void **state)
{
    (void)state;
    assert_true(hone_warmup_steps(0.03, 100) == 3);
    assert_true(hone_warmup_steps(0.03, 101) == 4); /* rounded up */
    assert_true(hone_warmup_steps(0, 100) == 0);
    assert_true(hone_warmup_steps(1, 100) == 1); /* a step, not all of them */
    assert_true(factor("linear", 0.5, 25, 100) == 0.5);
    assert_true(factor("cosine", 0, 0, 100) == 1);
}

/* All of it warm-up, or a single step: still finite numbers in [0, 1]. */
static void test_edges(void **state)
{
    static const char *const names[] = {
        "constant", "linear", "cosine", "polynomial", "inverse_sqrt",
        "cosine_restarts", "wsd"
    };

    (void)state;
    for (int i = 0; i < 7; i++)
        for (int64_t total = 1; total < 6; total++)
            for (int64_t step = 0; step < total; step++)
                for (int warmup = 0; warmup < 8; warmup++) {
                    double f = factor(names[i], warmup, step, total);
                    assert_true(f >= 0 && f <= 1);
                }
}

static int open_registry(void **state)
{
    hone_err err;

    (void)state;
    unsetenv("HONE_PLUGIN_PATH");
    hone_log_level(HONE_LOG_ERROR);
    return hone_registry_open(NULL, &err) == HONE_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_transformers),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_warmup),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, open_registry, NULL);
}

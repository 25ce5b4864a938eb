/* SPDX-License-Identifier: MIT
 *
 * test_adaptive.c -- schedules that look at what happens: plateau against
 * torch's factors (golden/plateau.txt, by tests/parity/plateau.py), backoff
 * against its definition, and what both say before they know anything.
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

typedef struct {
    hone_instance in;
    const hone_schedule *api;
    hone_arena arena;
} adaptive;

/* WORDS: "patience=3 factor=0.5", or "" for what is usual. */
static void begin(adaptive *a, const char *name, const char *words)
{
    const hone_component *c = hone_find(HONE_KIND_SCHEDULE, name);
    char *rest, *word, *copy;
    void *config;
    hone_err err;

    memset(a, 0, sizeof *a);
    assert_non_null(c);
    a->api = c->ops;
    copy = hone_text(&a->arena, words);
    config = hone_alloc(&a->arena, c->config_size);
    hone_option_defaults(c->options, config);
    for (word = strtok_r(copy, " \n", &rest); word;
         word = strtok_r(NULL, " \n", &rest)) {
        char *value = strchr(word, '=');

        *value++ = '\0';
        assert_int_equal(hone_option_parse(hone_option_find(c->options, word),
                                           config, value, &a->arena, &err),
                         HONE_OK);
    }
    assert_int_equal(hone_instance_open(&a->in, c, config, &a->arena, &err),
                     HONE_OK);
}

static void tell(adaptive *a, double norm, double eval_loss)
{
    hone_report r = { .size = sizeof r, .loss = NAN, .grad_norm = norm,
                      .eval_loss = eval_loss };

    a->api->observe(a->in.config, a->in.state, &r);
}

static double factor(const adaptive *a, int64_t step)
{
    return a->api->factor(a->in.config, a->in.state, step, 1000);
}

static void end(adaptive *a)
{
    hone_instance_close(&a->in);
    hone_arena_free(&a->arena);
}

static void test_plateau_is_torchs(void **state)
{
    enum { CASES = 3, EVALUATIONS = 300 };
    FILE *f = fopen(HONE_SOURCE "/tests/golden/plateau.txt", "r");
    adaptive a[CASES];
    char line[256];
    double loss, want;

    (void)state;
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f)); /* what wrote it */
    for (int i = 0; i < CASES; i++) {
        assert_non_null(fgets(line, sizeof line, f));
        begin(&a[i], "plateau", line + 1);
        assert_true(factor(&a[i], 0) == 1);
    }
    for (int n = 0; n < EVALUATIONS; n++) {
        assert_int_equal(fscanf(f, "%lf", &loss), 1);
        for (int i = 0; i < CASES; i++) {
            tell(&a[i], 1, NAN); /* steps of training say nothing */
            tell(&a[i], NAN, loss);
            assert_int_equal(fscanf(f, "%lf", &want), 1);
            if (!(fabs(factor(&a[i], n) - want) <= 1e-12 * want))
                fail_msg("case %d, evaluation %d: %.17g, not %.17g", i, n,
                         factor(&a[i], n), want);
        }
    }
    assert_int_equal(fscanf(f, "%lf", &want), EOF);
    fclose(f);
    for (int i = 0; i < CASES; i++)
        end(&a[i]);
}

static void test_backoff_falls_and_recovers(void **state)
{
    adaptive a;

    (void)state;
    begin(&a, "backoff", "ratio=3 factor=0.5 recover=10");
    for (int i = 0; i < 5; i++)
        tell(&a, i == 3 ? 100 : 1, NAN); /* nothing is usual yet */
    assert_true(factor(&a, 5) == 1);
    end(&a);

    begin(&a, "backoff", "ratio=3 factor=0.5 recover=10");
    for (int i = 0; i < 40; i++)
        tell(&a, 2, NAN);
    tell(&a, 5.9, NAN);
    assert_true(factor(&a, 41) == 1);
    tell(&a, NAN, 7); /* an evaluation */
    assert_true(factor(&a, 41) == 1);
    tell(&a, 50, NAN);
    assert_true(factor(&a, 42) == 0.5);
    tell(&a, NAN, NAN);
    assert_true(factor(&a, 43) == 0.25);
    for (int i = 0; i < 10; i++)
        tell(&a, 2, NAN);
    assert_true(fabs(factor(&a, 53) - (1 - 0.75 * pow(0.9, 10))) < 1e-12);
    end(&a);
}

static void test_warmup(void **state)
{
    static const char *const names[] = { "plateau", "backoff" };

    (void)state;
    for (int i = 0; i < 2; i++) {
        adaptive a;

        begin(&a, names[i], "warmup=0.1");
        assert_true(factor(&a, 0) == 0);
        assert_true(factor(&a, 25) == 0.25);
        assert_true(factor(&a, 100) == 1);
        end(&a);
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
        cmocka_unit_test(test_plateau_is_torchs),
        cmocka_unit_test(test_backoff_falls_and_recovers),
        cmocka_unit_test(test_warmup),
    };
    return cmocka_run_group_tests(tests, open_registry, NULL);
}

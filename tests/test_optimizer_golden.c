/* SPDX-License-Identifier: MIT
 *
 * test_optimizer_golden.c -- every optimizer over 100 steps, its programs run
 * by the float reference, against golden/optimizers.txt: torch's SGD and
 * AdamW, the papers' Lion and Muon. tests/parity/optimizers.py writes it:
 * a line "NAME OPTION=VALUE... : RATE", then "STEP NUMBER..." three times.
 */
#include "eager.h"

enum { STEPS = 100, PARAMS = 4, VALUES = 167, LINE = 8192 };

/* As in the script; names decide what Muon leaves to AdamW. */
static const char *const names[PARAMS] = {
    "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight",
    "model.layers.0.mlp.down_proj.weight", "model.norm.weight"
};
static const int64_t dims[PARAMS][2] = { { 8, 5 }, { 12, 5 }, { 5, 12 },
                                         { 7, 1 } };

typedef struct bench {
    eager e;
    const hone_optimizer *ops;
    uint64_t config[32];
    double rate; /* at the last step */
    hone_id param[PARAMS], grad[PARAMS], state[HONE_MAX_STATES][PARAMS];
    hone_type type[PARAMS];
    hone_group group;
} bench;

static void make_states(bench *b, int i)
{
    hone_state_spec spec[HONE_MAX_STATES];
    uint32_t count = HONE_MAX_STATES, k;
    hone_err err;

    assert_int_equal(b->ops->states(b->config, names[i], &b->type[i], spec,
                                    &count, &err), HONE_OK);
    for (k = 0; k < count; k++)
        b->state[k][i] = eager_new(&b->e, spec[k].type);
}

/* LINE: "adamw weight_decay=0.1 : 0.002". */
static void bench_open(bench *b, char *line)
{
    char path[512], *word, *rest = NULL;
    const hone_component *c;
    hone_attr attrs[8] = { { NULL, 0, NULL } };
    hone_id *scalars[4] = { &b->group.lr, &b->group.t, &b->group.clip,
                            &b->group.ok };
    uint32_t n = 0, i;

    memset(b, 0, sizeof *b);
    eager_open(&b->e, HONE_F32);
    word = strtok_r(line, " ", &rest);
    (void)snprintf(path, sizeof path, HONE_BUILD "/lib/hone/plugins/%s.so",
                   word);
    c = eager_plugin(path)->components[0];
    while ((word = strtok_r(NULL, " ", &rest)) && strcmp(word, ":") != 0) {
        char *equals = strchr(word, '=');

        assert_true(equals && n < 8);
        *equals = '\0';
        attrs[n++] = (hone_attr){ word, atof(equals + 1), NULL };
    }
    b->rate = atof(strtok_r(NULL, " ", &rest));
    assert_true(b->rate > 0 && c->config_size <= sizeof b->config);
    eager_attrs(c, attrs, n, b->config);
    b->ops = c->ops;
    b->group = (hone_group){ .size = sizeof b->group, .count = PARAMS,
                             .param = b->param, .grad = b->grad,
                             .type = b->type, .name = names };
    for (i = 0; i < PARAMS; i++) {
        b->type[i] = hone_type_of(HONE_F32, dims[i][1] > 1 ? 2 : 1, dims[i][0],
                                  dims[i][1]);
        eager_draw(&b->e, b->param[i] = eager_new(&b->e, b->type[i]));
        b->grad[i] = eager_new(&b->e, b->type[i]);
        make_states(b, (int)i);
    }
    for (i = 0; i < HONE_MAX_STATES; i++)
        b->group.state[i] = b->state[i];
    for (i = 0; i < 4; i++)
        *scalars[i] = eager_new(&b->e, hone_type_of(HONE_F32, 1, 1, 1));
}

static void bench_step(bench *b, int t)
{
    hone_err err = { HONE_OK, "" };
    int i, kept = b->e.count;

    for (i = 0; i < PARAMS; i++)
        eager_draw(&b->e, b->grad[i]);
    eager_set(&b->e, b->group.lr, 0, b->rate * t / STEPS);
    eager_set(&b->e, b->group.t, 0, t);
    eager_set(&b->e, b->group.clip, 0, 1);
    eager_set(&b->e, b->group.ok, 0, 1);
    if (b->ops->update(b->config, &b->e.builder, &b->group, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    while (b->e.count > kept) /* temporaries of the step */
        free(b->e.t[--b->e.count].ptr.part[0]);
}

/* Largest difference from the numbers in TEXT over the largest of them. */
static double difference(const bench *b, char *text)
{
    double worst = 0, most = 0;
    int i, n = 0;
    int64_t k;

    for (i = 0; i < PARAMS; i++)
        for (k = 0; k < eager_size(&b->e, b->param[i]); k++, n++) {
            double want = strtod(text, &text);
            double off = fabs(eager_get(&b->e, b->param[i], k) - want);

            worst = off <= worst ? worst : off;
            most = fmax(most, fabs(want));
        }
    assert_int_equal(n, VALUES);
    assert_int_equal(*text, '\n');
    return worst / most;
}

static void all_agree_over_100_steps(void **state)
{
    FILE *f = fopen(HONE_SOURCE "/tests/golden/optimizers.txt", "r");
    char line[LINE], name[LINE] = "";
    int cases = 0, t = 0;
    bench b;

    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char *numbers = line;
        double off;

        if (line[0] == '#')
            continue;
        if (strchr(line, ':')) {
            (void)snprintf(name, sizeof name, "%s", line);
            bench_open(&b, line);
            cases++;
            t = 0;
            continue;
        }
        for (int until = (int)strtol(line, &numbers, 10); t < until;)
            bench_step(&b, ++t);
        off = difference(&b, numbers);
        if (!(off < 1e-6))
            fail_msg("step %d is off by %g: %s", t, off, name);
        if (t == STEPS)
            eager_close(&b.e);
    }
    fclose(f);
    assert_int_equal(cases, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_agree_over_100_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * test_card.c -- cards: what is read, refused, written and found; and what
 * small programs cost on a card with round figures, worked out by hand.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cost.h"
#include "registry.h"

static char folder[] = "/tmp/hone-card-XXXXXX";

/* A second for a GB, for a Tflop of fp32 and for a Gbyte over the link. */
static const char round_card[] =
    "{\"name\": \"round\", \"device\": \"cuda\", \"models\": [\"R 1\", \"R 2\"],"
    " \"arch\": 80, \"memory_bytes\": 16e9, \"context_bytes\": 1000000000,"
    " \"launch_s\": 0.5, \"to_device\": 1e9, \"to_host\": 2e9, \"both_ways\":"
    " 5e8, \"attention\": 0.5, \"attention_grad\": 0.25, \"copy\": 1e9,"
    " \"fp32\": [[1e9, 5e11], [1e12, 1e12]], \"measured\": [\"copy\"]}";

static const char *file(const char *name, const char *text)
{
    static char path[200];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static void read_card(hone_card *c, const char *text)
{
    hone_err err;

    if (hone_card_read(c, file("card.json", text), &err) != HONE_OK)
        fail_msg("%s", err.msg);
}

static void test_read(void **state)
{
    hone_card c;

    (void)state;
    read_card(&c, round_card);
    assert_string_equal(c.name, "round");
    assert_string_equal(c.models, "R 1\nR 2\n");
    assert_int_equal(c.arch, 80);
    assert_true(c.figure[HONE_CARD_MEMORY].value == 16e9);
    assert_false(c.figure[HONE_CARD_MEMORY].measured);
    assert_true(c.rate[HONE_CARD_COPY].measured);
    assert_int_equal(c.rate[HONE_CARD_F32].points, 2);
    assert_int_equal(c.rate[HONE_CARD_BF16].points, 0);
}

static void test_curve(void **state)
{
    hone_card c;
    const hone_curve *rate = &c.rate[HONE_CARD_F32];

    (void)state;
    read_card(&c, round_card);
    assert_true(hone_curve_at(rate, 1e15) == 1e12);
    assert_true(hone_curve_at(rate, 1e12) == 1e12);
    assert_true(fabs(hone_curve_at(rate, 31622776601.68) - 7.5e11) < 1e6);
    assert_true(fabs(hone_curve_at(rate, 1e8) - 5e10) < 1);
    assert_true(hone_curve_at(&c.rate[HONE_CARD_COPY], 3) == 1e9);
    assert_true(hone_curve_at(&c.rate[HONE_CARD_BF16], 3) == 0);
}

static void test_hash(void **state)
{
    static const char other[] =
        "{\"measured\": [\"copy\"], \"fp32\": [[1000000000, 5e11], [1e12, "
        "1000000000000.0]],\n\"attention_grad\": 0.25, \"attention\": 0.5,"
        " \"copy\": 1000000000, \"to_host\": 2e9, \"to_device\": 1e9, "
        "\"both_ways\": 500000000, \"launch_s\": 5e-1, \"context_bytes\": 1e9, "
        "\"memory_bytes\": 16000000000, \"arch\": 80, \"models\": [\"R 1\", "
        "\"R 2\"], \"device\": \"cuda\", \"name\": \"round\"}";
    hone_card a, b, c;
    hone_err err;
    char path[200];

    (void)state;
    read_card(&a, round_card);
    read_card(&b, other);
    assert_string_equal(a.hash, b.hash);
    assert_int_equal(strlen(a.hash), 16);
    snprintf(path, sizeof path, "%s/written.json", folder);
    b.figure[HONE_CARD_LAUNCH].value = 0.123456789;
    assert_int_equal(hone_card_write(&b, path, &err), HONE_OK);
    assert_string_not_equal(a.hash, b.hash);
    assert_int_equal(hone_card_read(&c, path, &err), HONE_OK);
    assert_string_equal(c.hash, b.hash);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        { "{\"name\": \"x\", \"device\": \"cuda\"}", "memory_bytes" },
        { "{\"name\": 3}", "\"name\": a short text" },
        { "{\"bf61\": 3}", "did you mean \"bf16\"?" },
        { "{\"bf16\": -1}", "\"bf16\": a number above 0" },
        { "{\"bf16\": [[2, 1], [1, 1]]}", "work must grow" },
        { "{\"bf16\": [[1]]}", "a pair [work, rate]" },
        { "{\"bf16\": []}", "1 to 16 pairs" },
        { "{\"launch_s\": 1e9}", "\"launch_s\": a number above 0" },
        { "{\"measured\": [\"speed\"]}", "no figure of a card" },
        { "{\"arch\": \"90\"}", "\"arch\": a whole number" },
        { "{\"models\": [\"\"]}", "\"models\": a short list" },
        { "[1]", "not a JSON object" },
        { "{", "not valid JSON" } };
    hone_card c;
    hone_err err;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *path = file("bad.json", bad[i].text);

        assert_int_equal(hone_card_read(&c, path, &err), HONE_EINVAL);
        if (!strstr(err.msg, bad[i].says) || !strstr(err.msg, path))
            fail_msg("%s: %s", bad[i].text, err.msg);
    }
}

/* Every card that comes with hone is whole, and found by its name and by what
 * its devices call themselves. */
static void test_shipped(void **state)
{
    hone_card c, found;
    hone_err err;
    int count = 0, near;

    (void)state;
    for (; hone_card_at(&c, count); count++) {
        const char *name = strrchr(c.file, '/') + 1;
        hone_device_info info = { .size = sizeof info, .arch = c.arch };
        char stem[64];

        snprintf(stem, sizeof stem, "%.*s", (int)strlen(name) - 5, name);
        assert_int_equal(hone_card_find(&found, stem, &err), HONE_OK);
        assert_string_equal(found.hash, c.hash);
        info.total_bytes = (int64_t)(1.01 * c.figure[HONE_CARD_MEMORY].value);
        snprintf(info.name, sizeof info.name, "%.*s, compute capability",
                 (int)strcspn(c.models, "\n"), c.models);
        assert_int_equal(hone_card_of(&found, "cuda", &info, &near, &err),
                         HONE_OK);
        assert_string_equal(found.hash, c.hash);
        assert_false(near);
        for (int i = 0; i < HONE_CARD_FIGURES; i++)
            if (i != HONE_CARD_HOST && !(c.figure[i].value > 0))
                fail_msg("%s: no %s", c.file,
                         hone_card_figure_name((hone_card_figure)i, NULL));
        assert_true(c.rate[HONE_CARD_COPY].points > 0);
        assert_true(c.rate[HONE_CARD_F32].points > 0);
        assert_int_equal(c.rate[HONE_CARD_BF16].points > 0, c.arch >= 80);
        assert_int_equal(c.rate[HONE_CARD_FP8].points > 0, c.arch >= 89);
    }
    assert_true(count >= 13);
    assert_int_equal(hone_card_find(&c, "h100-80", &err), HONE_EINVAL);
    assert_non_null(strstr(err.msg, "h100-80gb"));
}

static void test_found(void **state)
{
    hone_device_info info = { .size = sizeof info, .arch = 80,
                              .total_bytes = 16000000000,
                              .name = "R 2, compute capability 8.0" };
    hone_arena a = { 0 };
    hone_card c;
    hone_err err;
    char path[300];
    int near;

    (void)state;
    assert_int_equal(hone_card_of(&c, "cuda", &info, &near, &err), HONE_OK);
    assert_true(near); /* none is like it */
    assert_int_equal(c.arch, 80);
    assert_int_equal(hone_card_of(&c, "none", &info, &near, &err), HONE_ENOSUP);
    snprintf(path, sizeof path, "%s/cache", folder);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/cache/cards", folder);
    mkdir(path, 0777);
    read_card(&c, round_card);
    assert_int_equal(hone_card_write(&c, hone_card_cache(&a, &info), &err),
                     HONE_OK);
    assert_int_equal(hone_card_of(&c, "cuda", &info, &near, &err), HONE_OK);
    assert_string_equal(c.name, "round");
    assert_false(near);
    assert_int_equal(hone_card_find(&c, "r-2", &err), HONE_OK);
    assert_int_equal(unlink(hone_card_cache(&a, &info)), 0);
    hone_arena_free(&a);
}

/* ------------------------------------------------------------------- costs */

typedef struct {
    hone_program p;
    hone_arena arena;
    hone_card card;
} fixture;

static const hone_kernel some = { .op = "some" };

/* Of the rate of a copy that ops reach which are not known better; from one
 * kernel to the next, its own beginning and end included. */
static const double MOST = 0.8, LAUNCH = 0.5 + 2e-6;

static hone_graph *begin(fixture *f)
{
    memset(f, 0, sizeof *f);
    read_card(&f->card, round_card);
    f->p.name = "test";
    hone_graph_init(&f->p.graph, &f->arena, &f->arena, HONE_F32);
    return &f->p.graph;
}

static hone_id matrix(fixture *f, int64_t rows, int64_t cols)
{
    return hone_graph_tensor(&f->p.graph, NULL,
                             hone_type_of(HONE_F32, 2, rows, cols),
                             HONE_T_TEMP);
}

static hone_node *op(fixture *f, const char *name, const hone_id *in,
                     uint32_t nin, hone_id *out)
{
    hone_graph *g = &f->p.graph;
    hone_err err;

    if (hone_graph_op(g, name, NULL, NULL, 0, in, nin, out, 1, &err))
        fail_msg("%s", err.msg);
    g->node[g->nodes - 1].kernel = &some;
    return &g->node[g->nodes - 1];
}

static void is(double x, double expected)
{
    if (!(fabs(x - expected) <= 1e-9 * fabs(expected)))
        fail_msg("%.12g is not %.12g", x, expected);
}

static void test_nodes(void **state)
{
    fixture f;
    hone_cost c;

    (void)state;
    begin(&f);
    hone_id in[2] = { matrix(&f, 1 << 14, 1 << 14), matrix(&f, 1 << 14, 1 << 14)
    };
    hone_id sum = HONE_NONE, product = HONE_NONE;
    op(&f, "add", in, 2, &sum);
    c = hone_program_cost(&f.p, &f.card);
    is(c.memory, 3 * 0x1p30 / 1e9 / MOST); /* two read, one written */
    is(c.launch, LAUNCH);
    is(c.seconds, c.memory + c.launch);
    op(&f, "linear", in, 2, &product);
    c = hone_program_cost(&f.p, &f.card);
    is(c.products, hypot(2 * 0x1p42 / 1e12, 3 * 0x1p30 / 1e9 / 0.9));
    is(c.seconds, c.memory + c.launch + c.products);
    is(hone_program_seconds(&f.p, &f.card), c.seconds);
    f.p.graph.compute = HONE_F16; /* whose rate it has not: that of fp32 */
    is(hone_program_seconds(&f.p, &f.card), c.seconds);
    f.card.rate[HONE_CARD_COPY].points = 0; /* knows too little */
    is(hone_program_seconds(&f.p, &f.card), 0);
    hone_arena_free(&f.arena);
}

/* A copy out beside an addition: what is longer decides. */
static void test_side(void **state)
{
    fixture f;
    hone_graph *g;
    hone_node *copy;
    double gib = 0x1p30 / 1e9, add = 3 * gib / MOST + LAUNCH;

    (void)state;
    g = begin(&f);
    hone_id a = matrix(&f, 1 << 14, 1 << 14), b = HONE_NONE, c = HONE_NONE;
    hone_id out = matrix(&f, 1 << 14, 1 << 14), back = matrix(&f, 1 << 14,
                                                              1 << 14);
    hone_id twice[2] = { a, a };
    g->tensor[out].space = HONE_PINNED_SPACE;
    copy = op(&f, "copy", &a, 1, &out);
    copy->kernel = NULL;
    copy->stream = 1;
    copy->join = 2;
    op(&f, "add", twice, 2, &b);
    op(&f, "add", twice, 2, &c);
    is(hone_program_seconds(&f.p, &f.card), 2 * add);
    f.card.figure[HONE_CARD_TO_HOST].value = 1e8;
    is(hone_program_seconds(&f.p, &f.card), 10 * gib + add);
    is(hone_program_cost(&f.p, &f.card).wait, 10 * gib - add);
    /* The other way on a stream of its own, at the same time. */
    f.card.figure[HONE_CARD_TO_HOST].value = 1e9;
    copy = op(&f, "copy", &out, 1, &back);
    copy->kernel = NULL;
    copy->stream = 2;
    copy->join = 2;
    hone_graph_move(g, 1, 1);
    g->node[0].join = 3;
    g->node[1].join = 3;
    f.card.figure[HONE_CARD_BOTH].value = 1e8;
    is(hone_program_seconds(&f.p, &f.card), 10 * gib + add);
    hone_arena_free(&f.arena);
}

/* A copy out that nothing waits for but the end. */
static void test_end(void **state)
{
    fixture f;
    hone_node *copy;

    (void)state;
    begin(&f);
    hone_id a = matrix(&f, 1 << 14, 1 << 14), out = matrix(&f, 1 << 14,
                                                           1 << 14);
    f.p.graph.tensor[out].space = HONE_PINNED_SPACE;
    copy = op(&f, "copy", &a, 1, &out);
    copy->kernel = NULL;
    copy->stream = 1;
    copy->join = 1;
    is(hone_program_seconds(&f.p, &f.card), 0x1p30 / 2e9);
    is(hone_program_cost(&f.p, &f.card).wait, 0x1p30 / 2e9);
    hone_arena_free(&f.arena);
}

/* What a kernel reads of pinned memory, or picks there, comes over the link. */
static void test_linked(void **state)
{
    fixture f;
    hone_graph *g = begin(&f);
    hone_id table = matrix(&f, 1 << 14, 1 << 14), y = HONE_NONE, z = HONE_NONE;
    hone_type i32 = hone_type_of(HONE_I32, 1, 64, 0);
    hone_id ids = hone_graph_tensor(g, "tokens", i32, HONE_T_INPUT);
    double all;

    (void)state;
    g->tensor[table].space = HONE_PINNED_SPACE;
    f.card.figure[HONE_CARD_TO_DEVICE].value = 1e8;
    op(&f, "silu", &table, 1, &y);
    all = hone_program_seconds(&f.p, &f.card);
    is(all, 0x1p30 / 1e8 + LAUNCH);
    op(&f, "embed", &table, 1, &z);
    assert_int_equal(g->node[1].in[1], ids);
    is(hone_program_seconds(&f.p, &f.card),
       all + 64 * 0x1p16 / 1e8 + LAUNCH);
    hone_arena_free(&f.arena);
}

/* The same number of tokens in longer rows takes longer, by as much as the rows
 * are longer and their ends are masked. */
static void test_attention(void **state)
{
    fixture f;
    hone_id out[2] = { HONE_NONE, HONE_NONE };
    hone_attr attrs[] = { { "heads", 4, NULL }, { "kv_heads", 4, NULL },
                          { "scale", 1, NULL } };
    hone_cost one, four;
    hone_graph *g;
    hone_err err;

    (void)state;
    g = begin(&f);
    hone_id q = matrix(&f, 8192, 512);
    hone_graph_tensor(g, "docs", hone_type_of(HONE_I32, 2, 64, 4),
                      HONE_T_INPUT);
    hone_id in[3] = { q, q, q };
    if (hone_graph_op(g, "attention", NULL, attrs, 3, in, 3, out, 2, &err))
        fail_msg("%s", err.msg);
    g->node[0].kernel = &some;
    f.card.rate[HONE_CARD_COPY].rate[0] = 1e12;
    f.p.span = 2048;
    one = hone_program_cost(&f.p, &f.card);
    f.p.span = 8192;
    four = hone_program_cost(&f.p, &f.card);
    is(four.attention, 2. * 8192 * 8192 * 512 / 1e12 / 0.5);
    is(one.attention / four.attention, (2048. + 760) / (8192 + 760));
    f.p.span = 32768; /* no better rate than with 8,192 */
    is(hone_program_cost(&f.p, &f.card).attention / four.attention, 4);
    hone_arena_free(&f.arena);
}

static void test_step(void **state)
{
    fixture f;
    hone_program none = { .name = NULL };
    double runs[2] = { 2.5, 100 }, one;

    (void)state;
    begin(&f);
    hone_id in[2] = { matrix(&f, 8, 8), matrix(&f, 8, 8) }, sum = HONE_NONE;
    op(&f, "add", in, 2, &sum);
    one = hone_program_seconds(&f.p, &f.card);
    hone_program micro[2] = { f.p, none };
    hone_step_programs s = { .micro = micro, .runs = runs, .buckets = 2,
                             .once = { &f.p, &none } };
    is(hone_step_cost(&s, &f.card).seconds, 3.5 * one);
    hone_arena_free(&f.arena);
}

static int setup(void **state)
{
    static const char *const dirs[] = { HONE_BUILD "/lib/hone/plugins", NULL };
    static char cache[100];
    hone_err err;

    (void)state;
    if (!mkdtemp(folder))
        return 1;
    snprintf(cache, sizeof cache, "%s/cache", folder);
    setenv("HONE_CACHE", cache, 1);
    setenv("HONE_SHARE", HONE_SOURCE "/recipes", 1);
    return hone_registry_open(dirs, &err) != HONE_OK;
}

static int teardown(void **state)
{
    char command[100];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),    cmocka_unit_test(test_curve),
        cmocka_unit_test(test_hash),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_shipped), cmocka_unit_test(test_found),
        cmocka_unit_test(test_nodes),   cmocka_unit_test(test_side),
        cmocka_unit_test(test_end),     cmocka_unit_test(test_linked),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_step),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

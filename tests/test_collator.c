/* SPDX-License-Identifier: MIT
 *
 * test_collator.c -- pack and pad hold every row once, without overlap, inside
 * a bucket; what cannot be held is refused with the cure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugins.h"

enum { MOST_ROWS = 512 };

typedef struct {
    const hone_collator *api;
    int64_t config[2];
    hone_bucket bucket[HONE_MAX_BUCKETS];
    uint32_t buckets;
    int32_t micro[MOST_ROWS], sizes[MOST_ROWS], scratch[4 * MOST_ROWS];
    int64_t start[MOST_ROWS];
    hone_layout out;
    hone_err err;
} collator;

static void setup(collator *c, const char *name, int64_t a, int64_t b)
{
    memset(c, 0, sizeof *c);
    c->api = test_component(HONE_KIND_COLLATOR, name)->ops;
    c->config[0] = a;
    c->config[1] = b;
    c->out = (hone_layout){ 0, c->micro, c->start, c->sizes, c->scratch };
}

static hone_status plan_within(collator *c, const int32_t *lengths,
                               int64_t rows, int64_t batch, int64_t tokens)
{
    hone_lengths in = { .size = sizeof in, .rows = rows, .min = INT32_MAX,
                        .batch = batch, .tokens = tokens };

    for (int64_t i = 0; i < rows; i++) {
        in.total += lengths[i];
        in.squares += (double)lengths[i] * lengths[i];
        in.min = lengths[i] < in.min ? lengths[i] : in.min;
        in.max = lengths[i] > in.max ? lengths[i] : in.max;
    }
    return c->api->buckets(c->config, &in, c->bucket, &c->buckets, &c->err);
}

static hone_status plan(collator *c, const int32_t *lengths, int64_t rows,
                        int64_t batch)
{
    return plan_within(c, lengths, rows, batch, 0);
}

static hone_status lay(collator *c, const int32_t *lengths, int64_t rows)
{
    return c->api->layout(c->config, c->bucket, c->buckets, lengths, rows,
                          &c->out, &c->err);
}

/* Every row lies within its micro-batch and touches no other. Returns the
 * positions that the layout computes, padding included. */
static int64_t check(const collator *c, const int32_t *lengths, int64_t rows)
{
    int64_t positions = 0;

    for (int32_t m = 0; m < c->out.micros; m++) {
        const hone_bucket *b = &c->bucket[c->sizes[m]];
        uint8_t *used = calloc(1, (size_t)b->tokens);
        int64_t docs = 0;

        for (int64_t r = 0; r < rows; r++) {
            if (c->micro[r] != m)
                continue;
            docs++;
            assert_true(c->start[r] >= 0);
            assert_true(c->start[r] + lengths[r] <= b->tokens);
            for (int32_t t = 0; t < lengths[r]; t++)
                assert_int_equal(used[c->start[r] + t]++, 0);
        }
        assert_in_range(docs, 1, b->docs);
        positions += b->tokens;
        free(used);
    }
    for (int64_t r = 0; r < rows; r++)
        assert_in_range(c->micro[r], 0, c->out.micros - 1);
    return positions;
}

static void draw(int32_t *lengths, int64_t rows, uint32_t seed, int32_t max)
{
    for (int64_t i = 0; i < rows; i++) {
        seed = seed * 1664525u + 1013904223u;
        lengths[i] = 1 + (int32_t)(seed >> 8) % max;
    }
}

static void every_row_once(void **state)
{
    static const struct {
        const char *name;
        int64_t a, b;
    } cases[] = { { "pack", 1024, 0 }, { "pack", 300, 0 }, { "pack", 1, 0 },
                  { "pad", 8, 64 },    { "pad", 3, 16 },   { "pad", 1, 1 } };
    int32_t lengths[MOST_ROWS];
    collator c;

    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        int32_t max = k == 2 ? 1 : 300;
        for (uint32_t seed = 0; seed < 40; seed++) {
            int64_t rows = 1 + seed * 12;
            setup(&c, cases[k].name, cases[k].a, cases[k].b);
            draw(lengths, MOST_ROWS, seed, max);
            assert_int_equal(plan(&c, lengths, MOST_ROWS, rows), HONE_OK);
            assert_in_range(c.buckets, 1, HONE_MAX_BUCKETS);
            for (int64_t part = rows; part > 0; part /= 2) {
                assert_int_equal(lay(&c, lengths, part), HONE_OK);
                check(&c, lengths, part);
            }
        }
    }
}

/* Lengths like those of Alpaca: most between 60 and 200, a long tail. */
static void draw_skewed(int32_t *lengths, int64_t rows, uint32_t seed)
{
    draw(lengths, rows, seed, 1000);
    for (int64_t i = 0; i < rows; i++) {
        int64_t x = lengths[i];
        lengths[i] = (int32_t)(60 + x * x / 4000 + x * x * x / 1000 * x / 1300000);
    }
}

/* The share of the positions that hold a token, over some steps of ROWS. */
static double fill(int64_t tokens, int64_t rows)
{
    static int32_t all[40 * MOST_ROWS];
    double held = 0, positions = 0;
    collator c;

    draw_skewed(all, 40 * MOST_ROWS, 11);
    setup(&c, "pack", tokens, 0);
    assert_int_equal(plan(&c, all, 40 * MOST_ROWS, rows), HONE_OK);
    assert_in_range(c.buckets, 2, 8);
    for (uint32_t b = 0; b < c.buckets; b++) {
        assert_int_equal(c.bucket[b].tokens % 64, 0);
        assert_true(!b || c.bucket[b].tokens > c.bucket[b - 1].tokens);
    }
    for (int step = 0; step < 40; step++) {
        const int32_t *lengths = all + step * rows;

        assert_int_equal(lay(&c, lengths, rows), HONE_OK);
        positions += (double)check(&c, lengths, rows);
        for (int64_t i = 0; i < rows; i++)
            held += lengths[i];
    }
    return held / positions;
}

/* One micro-batch of 8 rows is what the sizes leave; 32 and more are full. */
static void pack_wastes_little(void **state)
{
    static const struct {
        int64_t tokens, rows;
        double least;
    } cases[] = { { 8192, 8, 0.88 }, { 8192, 32, 0.92 }, { 2048, 64, 0.95 },
                  { 2048, 500, 0.98 } };

    (void)state;
    for (int i = 0; i < 4; i++) {
        double share = fill(cases[i].tokens, cases[i].rows);
        if (share < cases[i].least)
            fail_msg("%lld rows at %lld tokens: %.3f of the positions hold a "
                     "token", (long long)cases[i].rows,
                     (long long)cases[i].tokens, share);
    }
}

static void buckets_are_no_larger_than_a_step(void **state)
{
    const int32_t lengths[] = { 100, 500, 20 };
    collator c;

    (void)state;
    setup(&c, "pack", 8192, 0);
    assert_int_equal(plan(&c, lengths, 3, 2), HONE_OK);
    assert_int_equal(c.bucket[c.buckets - 1].tokens, 1024);
    assert_int_equal(c.bucket[c.buckets - 1].docs, 2);
    assert_in_range(c.bucket[0].tokens, 64, 1024 - 7 * 64);
    assert_int_equal(c.buckets, 8);
    setup(&c, "pad", 8, 64);
    assert_int_equal(plan(&c, lengths, 3, 2), HONE_OK);
    assert_int_equal(c.bucket[c.buckets - 1].tokens, 2 * 512);
    assert_int_equal(c.bucket[0].tokens, 2 * 64);
}

/* What there is memory for; a row is held in any case. */
static void buckets_are_no_larger_than_memory(void **state)
{
    const int32_t lengths[] = { 100, 500, 20, 90 };
    static const struct {
        int64_t tokens, pack, pad;
    } cases[] = { { 4096, 1536, 1536 }, { 1024, 1024, 1024 },
                  { 600, 600, 512 }, { 64, 500, 512 } };
    collator c;

    (void)state;
    for (int i = 0; i < 4; i++) {
        setup(&c, "pack", 8192, 0);
        assert_int_equal(plan_within(&c, lengths, 4, 3, cases[i].tokens),
                         HONE_OK);
        assert_int_equal(c.bucket[c.buckets - 1].tokens, cases[i].pack);
        assert_int_equal(lay(&c, lengths, 3), HONE_OK);
        check(&c, lengths, 3);
        setup(&c, "pad", 8, 64);
        assert_int_equal(plan_within(&c, lengths, 4, 3, cases[i].tokens),
                         HONE_OK);
        assert_int_equal(c.bucket[c.buckets - 1].tokens, cases[i].pad);
        assert_int_equal(lay(&c, lengths, 3), HONE_OK);
        check(&c, lengths, 3);
    }
}

static void a_rest_has_its_own_buckets(void **state)
{
    const int32_t lengths[] = { 60, 10, 64, 20, 100 };
    collator c;

    (void)state;
    setup(&c, "pad", 2, 64);
    assert_int_equal(plan(&c, lengths, 5, 5), HONE_OK);
    assert_int_equal(lay(&c, lengths, 5), HONE_OK);
    assert_int_equal(c.out.micros, 3);
    assert_int_equal(check(&c, lengths, 5), 128 + 128 + 128);
    assert_int_equal(c.micro[4], 0);
    assert_int_equal(c.start[0], 64);
}

static void same_layout_every_time(void **state)
{
    int32_t lengths[200], micro[200];
    collator c;

    (void)state;
    draw(lengths, 200, 3, 90);
    setup(&c, "pack", 512, 0);
    assert_int_equal(plan(&c, lengths, 200, 200), HONE_OK);
    assert_int_equal(lay(&c, lengths, 200), HONE_OK);
    memcpy(micro, c.micro, sizeof micro);
    memset(c.scratch, 0x55, sizeof c.scratch);
    assert_int_equal(lay(&c, lengths, 200), HONE_OK);
    assert_memory_equal(micro, c.micro, sizeof micro);
}

/* More lengths than sizes: each size is longer than the one before by about
 * the same factor. */
static void pad_has_sizes_for_short_rows(void **state)
{
    const int32_t lengths[] = { 20, 8000, 100 };
    collator c;

    (void)state;
    setup(&c, "pad", 4, 64);
    assert_int_equal(plan(&c, lengths, 3, 4), HONE_OK);
    assert_in_range(c.buckets, 12, 16);
    assert_int_equal(c.bucket[0].tokens, 4 * 64);
    assert_int_equal(c.bucket[c.buckets - 1].tokens, 4 * 8000);
    for (uint32_t b = 1; b < c.buckets; b++)
        assert_true(c.bucket[b].tokens <= 2 * c.bucket[b - 1].tokens);
    assert_int_equal(lay(&c, lengths, 3), HONE_OK);
    check(&c, lengths, 3);
}

static void a_row_too_long_is_named(void **state)
{
    const int32_t lengths[] = { 10, 300 };
    collator c;

    (void)state;
    setup(&c, "pack", 256, 0);
    assert_int_equal(plan(&c, lengths, 2, 4), HONE_EINVAL);
    assert_string_equal(c.err.msg,
                        "a row of 300 tokens does not fit tokens = "
                        "256; use tokens = 320, or max_tokens = 256 in the "
                        "data to cut long rows");
    assert_int_equal(plan(&c, lengths, 1, 4), HONE_OK);
    assert_int_equal(lay(&c, lengths, 2), HONE_EINVAL);
    setup(&c, "pad", 2, 64);
    assert_int_equal(plan(&c, lengths, 1, 4), HONE_OK);
    assert_int_equal(lay(&c, lengths, 2), HONE_EINVAL);
    assert_string_equal(c.err.msg,
                        "a row of 300 tokens does not fit; the "
                        "longest it was planned for has 64. Set max_tokens in "
                        "the data to cut long rows");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_once),
        cmocka_unit_test(pack_wastes_little),
        cmocka_unit_test(buckets_are_no_larger_than_a_step),
        cmocka_unit_test(buckets_are_no_larger_than_memory),
        cmocka_unit_test(a_rest_has_its_own_buckets),
        cmocka_unit_test(same_layout_every_time),
        cmocka_unit_test(pad_has_sizes_for_short_rows),
        cmocka_unit_test(a_row_too_long_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

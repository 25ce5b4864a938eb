/* SPDX-License-Identifier: MIT
 *
 * prep_report.c -- see prep_report.h.
 */
#include "prep_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "loader.h"

enum { STEPS_MOST = 256, BAR_WIDTH = 40 };

/* ----------------------------------------------------------------- lengths */

static int bar_of(int32_t length)
{
    return 31 - __builtin_clz((unsigned)length);
}

/* The length that SHARE of the rows do not exceed; found digit by digit, so
 * that nothing is sorted. */
static int32_t quantile(const hone_split *s, double share)
{
    int32_t low = 0, high = s->shard.max_length;
    int64_t want = (int64_t)(share * (double)s->rows + 0.999999);

    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        int64_t rows = 0;

        for (int64_t i = 0; i < s->rows; i++)
            rows += s->length[i] <= middle;
        if (rows >= want)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void hone_report_half(hone_half_report *h, const hone_recipe *r,
                      const hone_split *s, const char *name)
{
    memset(h, 0, sizeof *h);
    h->name = name;
    h->split = s;
    for (int64_t i = 0; i < s->rows; i++)
        h->bar[bar_of(s->length[i])]++;
    h->median = quantile(s, 0.5);
    h->p95 = quantile(s, 0.95);
    hone_split_warnings(&h->warnings, s, r, name);
}

/* ----------------------------------------------------------------- batches */

typedef struct {
    const hone_collator *api;
    const hone_instance *collator;
    hone_layout layout;
    int32_t *lengths;
    double tokens, positions, rows, micros;
    int64_t steps;
} trial;

static hone_status try_step(trial *t, const hone_loader_spec *s,
                            hone_order *order, int64_t step,
                            const hone_batch_report *b, hone_err *err)
{
    int64_t rows;

    hone_order_seek(s, order, step);
    rows = hone_order_count(s, order->at);
    for (int64_t i = 0; i < rows; i++) {
        t->lengths[i] = s->split->length[hone_order_row(s, order->at + i)];
        t->tokens += t->lengths[i];
    }
    hone_try(t->api->layout(t->collator->config, b->bucket, b->buckets,
                            t->lengths, rows, &t->layout, err));
    for (int32_t m = 0; m < t->layout.micros; m++)
        t->positions += (double)b->bucket[t->layout.bucket[m]].tokens;
    t->rows += (double)rows;
    t->micros += t->layout.micros;
    t->steps++;
    return HONE_OK;
}

static hone_status try_steps(trial *t, const hone_recipe *r,
                             const hone_dataset *d, hone_batch_report *b,
                             hone_arena *a, hone_err *err)
{
    hone_loader_spec train, val;
    hone_order order = { 0, 0 };
    hone_lengths lengths;
    size_t n;

    hone_try(hone_loader_specs(r, d, &train, &val, err));
    b->steps = train.steps;
    n = (size_t)(train.batch > val.batch ? train.batch : val.batch);
    lengths = hone_dataset_lengths(d, (int64_t)n);
    b->buckets = HONE_MAX_BUCKETS;
    hone_try(t->api->buckets(t->collator->config, &lengths, b->bucket,
                             &b->buckets, err));
    t->lengths = hone_alloc(a, n * sizeof *t->lengths);
    t->layout = (hone_layout){
        0, hone_alloc(a, n * sizeof(int32_t)),
        hone_alloc(a, n * sizeof(int64_t)), hone_alloc(a, n * sizeof(int32_t)),
        hone_alloc(a, 4 * n * sizeof(int32_t)) };
    for (int64_t i = 0; i < STEPS_MOST && i < train.steps; i++)
        hone_try(try_step(t, &train, &order,
                          train.steps <= STEPS_MOST
                              ? i : i * (train.steps / STEPS_MOST),
                          b, err));
    return HONE_OK;
}

hone_status hone_report_batch(hone_batch_report *b, const hone_recipe *r,
                              const hone_dataset *d, hone_err *err)
{
    hone_arena a = { 0 };
    hone_instance collator = { 0 };
    trial t = { .api = r->batch.component->ops, .collator = &collator };
    hone_status status = hone_instance_open(&collator, r->batch.component,
                                            r->batch.config, &a, err);

    memset(b, 0, sizeof *b);
    b->collator = r->batch.component->name;
    if (status == HONE_OK)
        status = try_steps(&t, r, d, b, &a, err);
    if (status == HONE_OK && t.steps) {
        b->rows = t.rows / (double)t.steps;
        b->micros = t.micros / (double)t.steps;
        b->fill = t.positions > 0 ? t.tokens / t.positions : 0;
    }
    hone_instance_close(&collator);
    hone_arena_free(&a);
    return status;
}

/* ---------------------------------------------------------------- printing */

/* Why rows are not as they were: the counts that are not 0. */
static void print_counts(const hone_shard_counts *c)
{
    const struct {
        uint64_t n;
        const char *what;
    } part[] = { { c->cut, "cut" },
                 { c->split, "split" },
                 { c->skipped, "left out" },
                 { c->dropped, "of these too long" },
                 { c->broken, "of these broken" },
                 { c->left, "of these by the recipe" },
                 { c->no_target, "of these without a target" } };
    const char *comma = "  rows      ";

    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (part[i].n) {
            printf("%s%llu %s", comma, (unsigned long long)part[i].n,
                   part[i].what);
            comma = ", ";
        }
    if (comma[0] == ',')
        putchar('\n');
}

static void print_bars(const hone_half_report *h)
{
    int64_t most = 1;

    for (int i = 0; i < HONE_LENGTH_BARS; i++)
        most = h->bar[i] > most ? h->bar[i] : most;
    for (int i = bar_of(h->split->shard.min_length);
         i <= bar_of(h->split->shard.max_length); i++) {
        int width = (int)(h->bar[i] * BAR_WIDTH / most);

        printf("  %7lld - %-7lld |%.*s%*s %lld\n", 1LL << i,
               (2LL << i) - 1, width,
               "########################################", BAR_WIDTH - width,
               "", (long long)h->bar[i]);
    }
}

static void print_batch(const hone_batch_report *b)
{
    printf("batch  %s: %lld steps of %.0f rows, %.1f micro-batches each; "
           "%.1f %% of the positions hold a token\n  sizes    ", b->collator,
           (long long)b->steps, b->rows, b->micros, 100 * b->fill);
    for (uint32_t i = 0; i < b->buckets; i++)
        printf(" %lld", (long long)b->bucket[i].tokens);
    putchar('\n');
}

void hone_report_print(const hone_half_report *h, const hone_batch_report *b)
{
    const hone_split *s = h->split;
    const hone_shard *x = &s->shard;

    printf("%-6s %lld rows, %lld tokens, %lld targets (%.1f %%)\n", h->name,
           (long long)s->rows, (long long)s->tokens,
           (long long)s->target_tokens,
           s->tokens ? 100.0 * (double)s->target_tokens / (double)s->tokens
                     : 0.0);
    print_counts(&x->head->counts);
    if (s->rows) {
        printf("  lengths   %d to %d, mean %.0f, half below %d, 95 %% below "
               "%d\n", x->min_length, x->max_length,
               (double)s->tokens / (double)s->rows, h->median + 1, h->p95 + 1);
        print_bars(h);
    }
    if (b)
        print_batch(b);
}

/* -------------------------------------------------------------------- JSON */

static json_t *lengths_json(const hone_half_report *h)
{
    const hone_split *s = h->split;
    json_t *bars = json_array();

    for (int i = 0; i < HONE_LENGTH_BARS; i++)
        if (h->bar[i])
            json_array_append_new(bars, json_pack("[I, I, I]", 1LL << i,
                                                  (2LL << i) - 1, h->bar[i]));
    return json_pack("{s:i, s:i, s:f, s:i, s:i, s:o}", "min",
                     s->shard.min_length, "max", s->shard.max_length, "mean",
                     s->rows ? (double)s->tokens / (double)s->rows : 0.0,
                     "median", h->median, "p95", h->p95, "histogram", bars);
}

static json_t *batch_json(const hone_batch_report *b)
{
    json_t *sizes = json_array();

    for (uint32_t i = 0; i < b->buckets; i++)
        json_array_append_new(sizes, json_integer(b->bucket[i].tokens));
    return json_pack("{s:s, s:I, s:f, s:f, s:f, s:o}", "collator", b->collator,
                     "steps", b->steps, "rows", b->rows, "micro_batches",
                     b->micros, "fill", b->fill, "sizes", sizes);
}

void hone_report_json(const hone_half_report *h, const hone_batch_report *b)
{
    const hone_split *s = h->split;
    const hone_shard_counts *c = &s->shard.head->counts;
    const struct {
        const char *name;
        uint64_t n;
    } part[] = { { "cut", c->cut }, { "skipped", c->skipped },
                 { "split", c->split }, { "dropped", c->dropped },
                 { "broken", c->broken }, { "left_out", c->left },
                 { "no_target", c->no_target }, { "all_target", c->all_target },
                 { "no_end", c->no_end }, { "twice_begun", c->twice_begun },
                 { "repeated", c->repeated }, { "in_train", c->in_train } };
    json_t *o = json_pack("{s:I, s:I, s:I}", "rows", s->rows, "tokens",
                          s->tokens, "target_tokens", s->target_tokens);
    json_t *warnings = json_array();
    char *text;

    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        json_object_set_new(o, part[i].name, json_integer((json_int_t)part[i].n));
    json_object_set_new(o, "lengths", lengths_json(h));
    if (b)
        json_object_set_new(o, "batch", batch_json(b));
    for (int i = 0; i < h->warnings.count; i++)
        json_array_append_new(warnings, json_string(h->warnings.text[i]));
    json_object_set_new(o, "warnings", warnings);
    text = json_dumps(o, JSON_REAL_PRECISION(6));
    printf("\"%s\": %s", h->name, text ? text : "null");
    free(text);
    json_decref(o);
}

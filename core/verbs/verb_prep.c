/* SPDX-License-Identifier: MIT
 *
 * verb_prep.c -- `hone prep RECIPE [--show N] [--json] [--workers N]`: prepares
 * the data of a recipe, or finds it prepared, and shows what a model will see
 * of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataset.h"
#include "log.h"
#include "prep_report.h"
#include "tokens.h"
#include "verbs.h"

/* Tokens [FROM, TO) as text: the loss counts them, in green, or it does not;
 * special ones are set off by their background, so that text that only looks
 * like one does not. Control sequences in data must not reach the terminal. */
static void show_span(const hone_tokens *t, const int32_t *tokens, int64_t from,
                      int64_t to, int target, int colour, hone_arena *a)
{
    int64_t n = t->api->decode(t->self, tokens + from, to - from, 0, NULL, 0);
    char *text = hone_alloc(a, (size_t)n + 1);

    t->api->decode(t->self, tokens + from, to - from, 0, text, n);
    if (colour)
        printf("\033[%s%sm", target ? "32" : "2",
               t->api->is_special(t->self, tokens[from]) ? ";7" : "");
    else if (target)
        fputs("\u27e6", stdout);
    for (int64_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        putchar((c < ' ' && c != '\n' && c != '\t') || c == 127 ? '?' : c);
    }
    if (colour)
        fputs("\033[0m", stdout);
    else if (target)
        fputs("\u27e7", stdout);
}

/* Whether token I begins another span. On a terminal special tokens have one
 * of their own. */
static int parts(const hone_tokens *t, const int32_t *tokens,
                 const uint8_t *mask, int64_t i, int colour)
{
    return mask[i] != mask[i - 1] ||
           (colour && t->api->is_special(t->self, tokens[i]) !=
                          t->api->is_special(t->self, tokens[i - 1]));
}

static hone_status show_row(const hone_tokens *t, const hone_split *s,
                            hone_row_reader *reader, int64_t row,
                            hone_err *err)
{
    hone_arena a = { 0 };
    int64_t n = s->length[row], from = 0;
    int32_t *tokens = hone_alloc(&a, (size_t)n * sizeof *tokens);
    uint8_t *mask = hone_alloc(&a, (size_t)n);
    int colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    char name[4096];
    hone_status status = hone_row_read(reader, row, tokens, mask, err);

    if (status == HONE_OK) {
        hone_split_name(s, row, name, sizeof name);
        printf("--- %s: %lld tokens, %d targets\n", name, (long long)n,
               s->targets[row]);
        mask[0] = 0; /* nothing predicts the first token */
        for (int64_t i = 1; i <= n; i++) {
            if (i < n && !parts(t, tokens, mask, i, colour))
                continue;
            show_span(t, tokens, from, i, mask[from], colour, &a);
            from = i;
        }
        putchar('\n');
    }
    hone_arena_free(&a);
    return status;
}

static hone_status show(const hone_tokens *t, const hone_split *s, int64_t rows,
                        hone_err *err)
{
    void *memory = NULL;
    hone_row_reader *reader;
    size_t bytes = (size_t)hone_row_reader_bytes(&s->shard);
    hone_status status;

    if (posix_memalign(&memory, 64, bytes))
        return hone_fail(err, HONE_EIO, "out of host memory");
    status = hone_row_reader_open(&reader, &s->shard, memory, err);
    for (int64_t i = 0; i < rows && i < s->rows && status == HONE_OK; i++)
        status = show_row(t, s, reader, i, err);
    free(memory);
    return status;
}

/* A batch that cannot hold a row is no fault of the data: it is said, and what
 * is known of the data all the same. */
static void report(const hone_recipe *r, const hone_dataset *d, int json)
{
    const hone_split *split[] = { &d->train, &d->val };
    hone_half_report half[2];
    hone_batch_report batch;
    hone_err err;
    int has_batch = hone_report_batch(&batch, r, d, &err) == HONE_OK;

    if (!has_batch)
        hone_log(HONE_LOG_WARN, "%s:%d: hone.%s: %s", r->file, r->batch.line,
                 r->batch.component->name, err.msg);
    if (!json)
        printf("%s\n%s\n", d->train.path, d->val.path);
    for (int i = 0; i < 2; i++) {
        const hone_batch_report *b = has_batch && i == 0 ? &batch : NULL;

        hone_report_half(&half[i], r, split[i], i ? "val" : "train");
        for (int k = 0; k < half[i].warnings.count; k++)
            hone_log(HONE_LOG_WARN, "%s", half[i].warnings.text[k]);
        if (json)
            printf("%s", i ? ", " : "{");
        if (json)
            hone_report_json(&half[i], b);
        else if (i == 0 || split[i]->rows)
            hone_report_print(&half[i], b);
    }
    if (json)
        printf("}\n");
}

static hone_status prepare(const hone_recipe *r, int64_t rows, int json,
                           hone_err *err)
{
    hone_tokens tokens;
    hone_dataset data;
    hone_status status;

    if (!r->has_data)
        return hone_fail(err, HONE_EINVAL,
                         "%s:%d: hone.train: no data to prepare; add data = "
                         "hone.data.alpaca { \"FILE\" }", r->file, r->line);
    hone_try(hone_tokens_open(&tokens, r->model.path, err));
    status = hone_dataset_open(&data, r, &tokens, err);
    if (status == HONE_OK) {
        report(r, &data, json);
        if (!json)
            status = show(&tokens, &data.train, rows, err);
        hone_dataset_close(&data);
    }
    hone_tokens_close(&tokens);
    return status;
}

int hone_verb_prep(int argc, char **argv)
{
    const char *sets[64] = { NULL }, *json = NULL;
    int64_t rows = 0, workers = 0;
    const hone_arg args[] = { { "--show", .count = &rows, .max = 1e15 },
                              { "--json", .value = &json, .flag = 1 },
                              { "--workers", .count = &workers, .min = 1,
                                .max = 256 },
                              { "--set", .list = sets },
                              { .name = NULL } };
    hone_recipe r;
    hone_err err;
    int status = hone_verb_recipe("prep", &r, argc, argv, args, sets);

    if (status)
        return status;
    if (workers)
        setenv("HONE_WORKERS",
               hone_format_text(&r.arena, "%d", (int)workers), 1);
    if (prepare(&r, rows, json != NULL, &err) != HONE_OK)
        status = hone_report_error(&err);
    hone_recipe_free(&r);
    return status;
}

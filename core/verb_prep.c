/* SPDX-License-Identifier: MIT
 *
 * verb_prep.c -- `hone prep RECIPE [--show N] [--json]`: prepares the data of
 * a recipe, or finds it prepared, and shows what a model will see of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataset.h"
#include "tokens.h"
#include "verbs.h"

static void json_split(const char *name, const hone_split *s, const char *end)
{
    const hone_shard_counts *c = &s->shard.head->counts;

    printf("\"%s\": {\"rows\": %lld, \"tokens\": %lld, "
           "\"target_tokens\": %lld, \"cut\": %llu, \"skipped\": %llu, "
           "\"split\": %llu, \"dropped\": %llu, \"broken\": %llu}%s",
           name, (long long)s->rows, (long long)s->tokens,
           (long long)s->target_tokens, (unsigned long long)c->cut,
           (unsigned long long)c->skipped, (unsigned long long)c->split,
           (unsigned long long)c->dropped, (unsigned long long)c->broken, end);
}

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
        if (json) {
            putchar('{');
            json_split("train", &data.train, ", ");
            json_split("val", &data.val, "}\n");
        } else {
            printf("%s\n%s\n", data.train.path, data.val.path);
            status = show(&tokens, &data.train, rows, err);
        }
        hone_dataset_close(&data);
    }
    hone_tokens_close(&tokens);
    return status;
}

int hone_verb_prep(int argc, char **argv)
{
    const char *recipe[2], *rows = NULL, *json = NULL, *sets[64] = { NULL };
    const hone_arg args[] = { { "--show", &rows, NULL, 0 },
                              { "--json", &json, NULL, 1 },
                              { "--set", NULL, sets, 0 },
                              { NULL, NULL, NULL, 0 } };
    const char *messages = NULL;
    hone_recipe r;
    hone_err err = { 0 };
    int status;

    if (hone_args(argc, argv, args, recipe, 1, &err) != HONE_OK)
        return hone_report_error(&err);
    if (!recipe[0] || (rows && rows[strspn(rows, "0123456789")])) {
        hone_fail(&err, HONE_EINVAL,
                  "usage: hone prep RECIPE [--show N] [--json]");
        return hone_report_error(&err);
    }
    if (hone_recipe_read(&r, recipe[0], sets, &messages) != HONE_OK) {
        fprintf(stderr, "%s\n", messages);
        hone_recipe_free(&r);
        return 2;
    }
    status = prepare(&r, rows ? strtoll(rows, NULL, 10) : 0, json != NULL,
                     &err) == HONE_OK
                 ? 0
                 : hone_report_error(&err);
    hone_recipe_free(&r);
    return status;
}

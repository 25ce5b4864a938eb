/* SPDX-License-Identifier: MIT
 *
 * verb_tokenize.c -- `hone tokenize`: a line of text to a line of ids, and
 * back with --decode. Reads and writes as it goes, so it can stand in a pipe.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hub.h"
#include "log.h"
#include "tokens.h"
#include "verbs.h"

typedef struct {
    hone_tokens tokens;
    const char *no_special, *json, *decode; /* NULL: not given */
    int64_t line;
    int32_t *ids;
    int64_t ids_cap;
    char *text;
    int64_t text_cap;
} job;

static hone_status bad_line(const job *j, const char *what, hone_err *err)
{
    return hone_fail(err, HONE_EINVAL, "standard input, line %lld: %s",
                     (long long)j->line, what);
}

static void *grown(void *old, int64_t *cap, int64_t need, size_t size)
{
    void *to;

    if (need <= *cap)
        return old;
    *cap = need > 2 * *cap ? need : 2 * *cap;
    to = realloc(old, (size_t)*cap * size);
    if (!to) {
        hone_log(HONE_LOG_ERROR, "out of memory for %lld items",
                 (long long)*cap);
        abort();
    }
    return to;
}

static void write_ids(const int32_t *ids, int64_t n)
{
    putchar_unlocked('[');
    for (int64_t i = 0; i < n; i++) {
        char digits[12];
        int at = sizeof digits;
        uint32_t v = (uint32_t)ids[i];

        do
            digits[--at] = (char)('0' + v % 10);
        while (v /= 10);
        if (i)
            putchar_unlocked(',');
        while (at < (int)sizeof digits)
            putchar_unlocked(digits[at++]);
    }
    putchar_unlocked(']');
    putchar_unlocked('\n');
}

static void encode_text(job *j, const char *text, size_t bytes)
{
    const hone_tokens *t = &j->tokens;
    uint32_t flags = j->no_special ? 0 : HONE_SPECIALS;
    int64_t n;

    j->ids = grown(j->ids, &j->ids_cap, (int64_t)bytes + 256, sizeof *j->ids);
    n = t->api->encode(t->self, text, bytes, flags, j->ids, j->ids_cap);
    if (n > j->ids_cap) { /* a normalizer made the text longer */
        j->ids = grown(j->ids, &j->ids_cap, n, sizeof *j->ids);
        t->api->encode(t->self, text, bytes, flags, j->ids, j->ids_cap);
    }
    write_ids(j->ids, n);
}

static hone_status encode_line(job *j, const char *line, size_t bytes,
                               hone_err *err)
{
    hone_arena a = { 0 };
    hone_status s = HONE_OK;
    json_error_t why;
    json_t *value;

    line = hone_utf8_repair(&a, line, bytes, &bytes);
    if (!j->json) {
        encode_text(j, line, bytes);
    } else {
        value = json_loadb(line, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
        if (json_is_string(value))
            encode_text(j, json_string_value(value),
                        json_string_length(value));
        else
            s = bad_line(j, value ? "not a JSON string" : why.text, err);
        json_decref(value);
    }
    hone_arena_free(&a);
    return s;
}

static void write_text(job *j, int64_t n)
{
    json_t *value = j->json ? json_stringn(j->text, (size_t)n) : NULL;

    if (value)
        json_dumpf(value, stdout, JSON_ENCODE_ANY);
    else
        fwrite(j->text, 1, (size_t)n, stdout);
    json_decref(value);
    putchar_unlocked('\n');
}

static hone_status read_ids(job *j, json_t *list, int64_t *n, hone_err *err)
{
    *n = (int64_t)json_array_size(list);
    j->ids = grown(j->ids, &j->ids_cap, *n, sizeof *j->ids);
    if (!json_is_array(list))
        return bad_line(j, "not a JSON array of ids", err);
    for (int64_t i = 0; i < *n; i++) {
        json_t *v = json_array_get(list, (size_t)i);
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;

        if (id < 0 || id > INT32_MAX)
            return bad_line(j, "an id must be a whole number, 0 or more", err);
        j->ids[i] = (int32_t)id;
    }
    return HONE_OK;
}

static hone_status decode_line(job *j, const char *line, size_t bytes,
                               hone_err *err)
{
    const hone_tokens *t = &j->tokens;
    uint32_t flags = j->no_special ? HONE_SKIP_SPECIALS : 0;
    json_error_t why;
    json_t *list = json_loadb(line, bytes, 0, &why);
    int64_t n = 0, out;
    hone_status s = list ? read_ids(j, list, &n, err)
                         : bad_line(j, why.text, err);

    json_decref(list);
    hone_try(s);
    j->text = grown(j->text, &j->text_cap, 16 * n + 256, 1);
    out = t->api->decode(t->self, j->ids, n, flags, j->text, j->text_cap);
    if (out > j->text_cap) {
        j->text = grown(j->text, &j->text_cap, out, 1);
        t->api->decode(t->self, j->ids, n, flags, j->text, j->text_cap);
    }
    write_text(j, out);
    return HONE_OK;
}

static hone_status each_line(job *j, hone_err *err)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    hone_status s = HONE_OK;

    while (s == HONE_OK && (n = getline(&line, &cap, stdin)) >= 0) {
        j->line++;
        n -= n && line[n - 1] == '\n';
        s = j->decode ? decode_line(j, line, (size_t)n, err)
                      : encode_line(j, line, (size_t)n, err);
    }
    if (s == HONE_OK && ferror(stdin))
        s = hone_fail(err, HONE_EIO, "standard input: %s", strerror(errno));
    free(line);
    if (fflush(stdout) && s == HONE_OK)
        s = hone_fail(err, HONE_EIO, "standard output: %s", strerror(errno));
    return s;
}

int hone_verb_tokenize(int argc, char **argv)
{
    job j = { 0 };
    const char *chat = NULL, *text = NULL;
    const hone_arg table[] = { { "--chat", &chat, NULL, 1 },
                               { "--text", &text, NULL, 1 },
                               { "--no-special", &j.no_special, NULL, 1 },
                               { "--json", &j.json, NULL, 1 },
                               { "--decode", &j.decode, NULL, 1 },
                               { NULL, NULL, NULL, 0 } };
    const char *model[2];
    hone_err err = { 0 };
    hone_status s = hone_args(argc, argv, table, model, 1, &err);

    if (s == HONE_OK)
        model[0] = hone_hub_model(model[0]);
    if (s == HONE_OK && !model[0])
        s = hone_fail(&err, HONE_EINVAL,
                      "hone tokenize needs a model folder or a tokenizer.json");
    if (s == HONE_OK && (chat || text))
        return hone_tokenize_chat(model[0], text != NULL);
    if (s == HONE_OK)
        s = hone_tokens_open(&j.tokens, model[0], &err);
    if (s == HONE_OK)
        s = each_line(&j, &err);
    hone_tokens_close(&j.tokens);
    free(j.ids);
    free(j.text);
    return s == HONE_OK ? 0 : hone_report_error(&err);
}

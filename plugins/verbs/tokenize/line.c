/* SPDX-License-Identifier: MIT
 *
 * line.c -- a line of text to a line of ids, and back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenize.h"

static hone_status bad_line(const job *j, const char *what, hone_err *err)
{
    return hone_fail(err, HONE_EINVAL, "standard input, line %lld: %s",
                     (long long)j->line, what);
}

/* -------------------------------------------------------------------- text */

void *grown(void *old, int64_t *cap, int64_t need, size_t size)
{
    void *to;

    if (need <= *cap)
        return old;
    *cap = need > 2 * *cap ? need : 2 * *cap;
    to = realloc(old, (size_t)*cap * size);
    if (!to) {
        fprintf(stderr, "hone: error: out of memory for %lld items\n",
                (long long)*cap);
        abort();
    }
    return to;
}

static void put(buffer *b, const char *text, size_t n)
{
    b->text = grown(b->text, &b->cap, b->used + (int64_t)n + 1, 1);
    memcpy(b->text + b->used, text, n);
    b->used += (int64_t)n;
}

const char *repaired(job *j, const char *text, size_t bytes, size_t *out)
{
    size_t i, n;
    int ok = 1, all = 0;

    *out = bytes;
    for (i = 0; i < bytes; i++)
        all |= text[i];
    for (i = all & 0x80 ? 0 : bytes; i < bytes && ok; i += ok ? n : 0)
        n = hone_utf8_step(text + i, bytes - i, &ok);
    if (i == bytes)
        return text;
    j->valid.used = 0;
    put(&j->valid, text, i);
    for (; i < bytes; i += n) {
        n = hone_utf8_step(text + i, bytes - i, &ok);
        put(&j->valid, ok ? text + i : "\xEF\xBF\xBD", ok ? n : 3);
    }
    *out = (size_t)j->valid.used;
    return j->valid.text;
}

void put_json(job *j, json_t *value)
{
    char *dump = json_dumps(value, JSON_ENCODE_ANY);

    if (dump)
        put(&j->out, dump, strlen(dump));
    put(&j->out, "\n", 1);
    free(dump);
    json_decref(value);
}

void flush_out(job *j)
{
    if (j->out.used > 0)
        fwrite(j->out.text, 1, (size_t)j->out.used, stdout);
    j->out.used = 0;
}

/* ------------------------------------------------------------------ encode */

static void put_ids(job *j, int64_t n)
{
    buffer *b = &j->out;
    char *to;

    /* Ten digits and a comma each, brackets, the line's end. */
    b->text = grown(b->text, &b->cap, b->used + 11 * n + 4, 1);
    to = b->text + b->used;
    *to++ = '[';
    for (int64_t i = 0; i < n; i++) {
        char digits[12];
        int at = sizeof digits;
        uint32_t v = (uint32_t)j->ids[i];

        do
            digits[--at] = (char)('0' + v % 10);
        while (v /= 10);
        if (i)
            *to++ = ',';
        while (at < (int)sizeof digits)
            *to++ = digits[at++];
    }
    *to++ = ']';
    *to++ = '\n';
    b->used = to - b->text;
}

void put_encoded(job *j, const char *text, size_t bytes, uint32_t flags)
{
    int64_t n;

    j->ids = grown(j->ids, &j->ids_cap, (int64_t)bytes + 256, sizeof *j->ids);
    n = j->api->encode(j->tokens, text, bytes, flags, j->ids, j->ids_cap);
    if (n > j->ids_cap) { /* a normalizer made the text longer */
        j->ids = grown(j->ids, &j->ids_cap, n, sizeof *j->ids);
        j->api->encode(j->tokens, text, bytes, flags, j->ids, j->ids_cap);
    }
    j->bytes += (int64_t)bytes;
    j->count += n;
    if (!j->options->bench)
        put_ids(j, n);
}

static hone_status encode_line(job *j, const char *line, size_t bytes,
                               hone_err *err)
{
    uint32_t flags = j->options->no_special ? 0 : HONE_SPECIALS;
    hone_status s = HONE_OK;
    json_error_t why;
    json_t *value;

    line = repaired(j, line, bytes, &bytes);
    if (!j->options->json) {
        put_encoded(j, line, bytes, flags);
        return HONE_OK;
    }
    value = json_loadb(line, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (json_is_string(value))
        put_encoded(j, json_string_value(value), json_string_length(value),
                    flags);
    else
        s = bad_line(j, value ? "not a JSON string" : why.text, err);
    json_decref(value);
    return s;
}

/* ------------------------------------------------------------------ decode */

static void put_text(job *j)
{
    const buffer *b = &j->text;
    json_t *value = j->options->json ? json_stringn(b->text, (size_t)b->used)
                                     : NULL;

    if (value) {
        put_json(j, value);
        return;
    }
    put(&j->out, b->text, (size_t)b->used);
    put(&j->out, "\n", 1);
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
    uint32_t flags = j->options->no_special ? HONE_SKIP_SPECIALS : 0;
    buffer *b = &j->text;
    json_error_t why;
    json_t *list = json_loadb(line, bytes, 0, &why);
    int64_t n = 0;
    hone_status s = list ? read_ids(j, list, &n, err)
                         : bad_line(j, why.text, err);

    json_decref(list);
    hone_try(s);
    b->text = grown(b->text, &b->cap, 16 * n + 256, 1);
    b->used = j->api->decode(j->tokens, j->ids, n, flags, b->text, b->cap);
    if (b->used > b->cap) {
        b->text = grown(b->text, &b->cap, b->used, 1);
        j->api->decode(j->tokens, j->ids, n, flags, b->text, b->cap);
    }
    put_text(j);
    return HONE_OK;
}

hone_status one_line(job *j, const char *line, size_t bytes, hone_err *err)
{
    if (j->chat)
        return chat_line(j, line, bytes);
    return j->options->decode ? decode_line(j, line, bytes, err)
                              : encode_line(j, line, bytes, err);
}

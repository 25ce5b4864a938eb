/* SPDX-License-Identifier: MIT
 *
 * verb_chat.c -- `hone tokenize MODEL --chat`: a chat a line, its ids a line,
 * or with --text what the model's chat template makes of it. A line is an array
 * of messages or an object with the template's variables. A chat that cannot
 * be rendered gives {"error": ...}, and exit status 2 at the end.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "verbs.h"

typedef struct {
    hone_chat chat;
    hone_tokens tokens;
    int as_text, failed;
} job;

/* The template's variables of a line, a new reference. An object is taken as
 * it is; messages are made ready as apply_chat_template does. */
static hone_status read_line(const char *line, size_t bytes, json_t **out,
                             hone_err *err)
{
    json_error_t why;
    json_t *v = json_loadb(line, bytes, JSON_ALLOW_NUL, &why), *messages;

    *out = v;
    if (!v)
        return hone_fail(err, HONE_EINVAL, "not valid JSON: %s", why.text);
    messages = json_is_object(v) ? json_object_get(v, "messages") : v;
    if (!json_array_size(messages))
        return hone_fail(err, HONE_EINVAL, "the conversation has no message");
    if (json_is_object(v))
        return HONE_OK;
    hone_chat_drop_nulls(v);
    *out = json_pack("{s:o,s:b}", "messages", v, "add_generation_prompt", 0);
    return HONE_OK;
}

static void print_ids(const job *j, const hone_rendered *r)
{
    hone_arena a = { 0 };
    hone_chat_ids all = hone_chat_encode(&a, &j->tokens, r);

    putchar('[');
    for (int64_t i = 0; i < all.count; i++)
        printf(i ? ",%d" : "%d", (int)all.ids[i]);
    puts("]");
    hone_arena_free(&a);
}

static void print_json(json_t *value)
{
    json_dumpf(value, stdout, JSON_ENCODE_ANY);
    putchar('\n');
    json_decref(value);
}

static void print_error(const char *message)
{
    hone_arena a = { 0 };
    size_t bytes;

    message = hone_utf8_repair(&a, message, strlen(message), &bytes);
    print_json(json_pack("{s:s%}", "error", message, bytes));
    hone_arena_free(&a);
}

static void take_line(job *j, const char *line, size_t bytes)
{
    hone_arena a = { 0 };
    hone_rendered r = { .size = sizeof r };
    json_t *variables;
    hone_err err;
    hone_status s;

    line = hone_utf8_repair(&a, line, bytes, &bytes);
    s = read_line(line, bytes, &variables, &err);
    if (s == HONE_OK)
        s = hone_chat_render(&j->chat, variables, HONE_LEARN_NOTHING, &r, &err);
    if (s != HONE_OK)
        print_error(r.raised ? r.raised : err.msg);
    else if (j->as_text)
        print_json(json_stringn(r.text, (size_t)r.bytes));
    else
        print_ids(j, &r);
    j->failed |= s != HONE_OK;
    j->chat.api->release(&r);
    json_decref(variables);
    hone_arena_free(&a);
}

static hone_status each_line(job *j, hone_err *err)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    while ((n = getline(&line, &cap, stdin)) >= 0)
        take_line(j, line, (size_t)(n - (n && line[n - 1] == '\n')));
    free(line);
    if (ferror(stdin))
        return hone_fail(err, HONE_EIO, "standard input: %s", strerror(errno));
    if (fflush(stdout))
        return hone_fail(err, HONE_EIO, "standard output: %s",
                         strerror(errno));
    return HONE_OK;
}

int hone_tokenize_chat(const char *model, int as_text)
{
    job j = { .as_text = as_text };
    hone_err err;
    hone_status s = hone_chat_open(&j.chat, model, &err);

    if (s == HONE_OK && !as_text)
        s = hone_tokens_open(&j.tokens, model, &err);
    if (s == HONE_OK)
        s = each_line(&j, &err);
    hone_tokens_close(&j.tokens);
    hone_chat_close(&j.chat);
    if (s != HONE_OK)
        return hone_report_error(&err);
    return j.failed ? 2 : 0;
}

/* SPDX-License-Identifier: MIT
 *
 * chat.c -- `hone tokenize MODEL --chat`: a chat a line, its ids a line, or
 * with --text what the model's chat template makes of it. A line is an array of
 * messages or an object with the template's variables. A chat that cannot be
 * rendered gives {"error": ...}, and exit status 2 at the end.
 */
#include <stdlib.h>
#include <string.h>

#include "tokenize.h"

/* Drops keys that are null from the messages, as apply_chat_template does. */
static void drop_nulls(json_t *messages)
{
    json_t *message, *value;
    const char *key;
    void *next;
    size_t i;

    json_array_foreach(messages, i, message)
        json_object_foreach_safe(message, next, key, value)
            if (json_is_null(value))
                json_object_del(message, key);
}

/* The template's variables of a line, a new reference. An object is taken as
 * it is; messages are made ready as apply_chat_template does. */
static hone_status read_chat(const char *line, size_t bytes, json_t **out,
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
    drop_nulls(v);
    *out = json_pack("{s:o,s:b}", "messages", v, "add_generation_prompt", 0);
    return HONE_OK;
}

static hone_status render(const job *j, const json_t *variables,
                          hone_rendered *r, hone_err *err)
{
    char *text = json_dumps(variables, 0);
    hone_status s;

    if (!text)
        return hone_fail(err, HONE_EINVAL, "the chat is no valid JSON");
    s = j->chat->render(j->template, text, strlen(text), HONE_LEARN_NOTHING, r,
                        err);
    free(text);
    return s;
}

static void put_error(job *j, const char *message)
{
    size_t bytes;

    message = repaired(j, message, strlen(message), &bytes);
    put_json(j, json_pack("{s:s%}", "error", message, bytes));
}

hone_status chat_line(job *j, const char *line, size_t bytes)
{
    hone_rendered r = { .size = sizeof r };
    json_t *variables;
    hone_err err;
    hone_status s;

    line = repaired(j, line, bytes, &bytes);
    s = read_chat(line, bytes, &variables, &err);
    if (s == HONE_OK)
        s = render(j, variables, &r, &err);
    if (s != HONE_OK)
        put_error(j, r.raised ? r.raised : err.msg);
    else if (j->options->text)
        put_json(j, json_stringn(r.text, (size_t)r.bytes));
    else
        put_encoded(j, r.text, (size_t)r.bytes, 0);
    j->failed |= s != HONE_OK;
    j->chat->release(&r);
    json_decref(variables);
    return HONE_OK;
}

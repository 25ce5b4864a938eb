/* SPDX-License-Identifier: MIT
 *
 * dataset_chat.c -- see dataset_chat.h. Objects keep the order of their keys:
 * templates write them into the text.
 */
#include "dataset_chat.h"

#include <string.h>

#include "lua_json.h"

enum { SYSTEM, USER, ASSISTANT, TOOL, CALL, ROLES };

static const char *const meanings[ROLES] = { "system", "user", "assistant",
                                             "tool", "assistant" };

/* ------------------------------------------------------------------- roles */

/* Whether NAME is among the names that blanks separate. */
static int is_one_of(const char *names, const char *name)
{
    size_t n = strlen(name);

    for (const char *at = names; at && *at; at += strcspn(at, " ")) {
        at += *at == ' ';
        if (strcspn(at, " ") == n && !strncmp(at, name, n))
            return 1;
    }
    return 0;
}

/* The first of the keys NAMES that the message has; NULL: none. */
static const char *key_of(const char *names, const json_t *message)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)message, key, value)
        if (is_one_of(names, key))
            return key;
    return NULL;
}

static int role_of(const hone_chat_names *names, const char *role)
{
    for (int i = 0; i < ROLES; i++)
        if (is_one_of(names->roles[i], role))
            return i;
    return -1;
}

/* ----------------------------------------------------------------- contents */

static int is_empty(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) ||
           (json_is_array(v) && !json_array_size(v)) ||
           (json_is_string(v) && !json_string_length(v));
}

/* A text that is JSON, or the value itself. */
static json_t *parsed(json_t *v)
{
    json_t *made = json_is_string(v)
                       ? json_loadb(json_string_value(v),
                                    json_string_length(v), JSON_ALLOW_NUL,
                                    NULL)
                       : NULL;

    return made ? made : json_incref(v);
}

/* { name, arguments } as the call of a function; a new reference. */
static json_t *call_of(json_t *v)
{
    json_t *arguments = json_object_get(v, "arguments"), *f;

    if (!json_is_object(v) || json_object_get(v, "function"))
        return json_incref(v);
    f = json_copy(v);
    if (arguments)
        json_object_set_new(f, "arguments", parsed(arguments));
    return json_pack("{s:s,s:o}", "type", "function", "function", f);
}

/* Adds to the message the calls in V, JSON or a text of it. */
static hone_status add_calls(json_t *message, json_t *v, hone_err *err)
{
    json_t *calls = parsed(v), *list = json_object_get(message, "tool_calls");
    size_t i;
    json_t *call;

    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(message, "tool_calls", list);
    }
    json_array_foreach(calls, i, call)
        json_array_append_new(list, call_of(call));
    if (json_is_object(calls))
        json_array_append_new(list, call_of(calls));
    json_decref(calls);
    if (json_array_size(list))
        return HONE_OK;
    return hone_fail(err, HONE_EINVAL, "a call of a tool that is no JSON "
                     "object { name, arguments }");
}

static void append_text(json_t *message, const char *key, const json_t *text)
{
    const json_t *old = json_object_get(message, key);
    char *joined;
    size_t n = json_string_length(old), bytes = n + json_string_length(text);
    hone_arena a = { 0 };

    joined = hone_alloc(&a, bytes + 1);
    if (n)
        memcpy(joined, json_string_value(old), n);
    memcpy(joined + n, json_string_value(text), json_string_length(text));
    json_object_set_new(message, key, json_stringn(joined, bytes));
    hone_arena_free(&a);
}

/* One part of a content that is a list: texts are joined unless the template
 * takes PARTS; thoughts and calls go where templates look for them. */
static hone_status take_part(json_t *message, json_t *part, json_t *parts,
                             hone_err *err)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    json_t *text = json_object_get(part, "text");
    const char *kind;

    if (!text)
        text = json_object_get(part, "value");
    kind = type && json_is_string(text) ? type : "";
    if (!strcmp(kind, "tool_call"))
        return add_calls(message, text, err);
    if (!strcmp(kind, "text") && parts)
        json_array_append_new(parts, json_pack("{s:s,s:O}", "type", "text",
                                               "text", text));
    else if (!strcmp(kind, "text"))
        append_text(message, "content", text);
    else if (!strcmp(kind, "reasoning") || !strcmp(kind, "thinking"))
        append_text(message, "reasoning_content", text);
    else
        return hone_fail(err, HONE_EINVAL, "a part of type '%.40s' in its "
                         "content: hone learns from texts alone; leave such "
                         "rows out with map, or the part", type ? type : "?");
    return HONE_OK;
}

static hone_status take_content(json_t *message, json_t *content, int parts,
                                hone_err *err)
{
    json_t *list = json_is_array(content) && parts ? json_array() : NULL;
    hone_status s = HONE_OK;
    json_t *part;
    size_t i;

    if (!json_is_array(content)) {
        if (content && !json_is_null(content))
            json_object_set(message, "content", content);
        return HONE_OK;
    }
    if (!list)
        json_object_set_new(message, "content", json_string(""));
    json_array_foreach(content, i, part)
        if (s == HONE_OK)
            s = take_part(message, part, list, err);
    if (list)
        json_object_set_new(message, "content", list);
    return s;
}

/* ----------------------------------------------------------------- messages */

/* Ids for calls that are turns of their own, and for the answers in turn: nine
 * letters and digits, which is what templates that want one ask for. */
typedef struct {
    int calls, answers;
} numbers;

static json_t *number(int n)
{
    return json_sprintf("call%05d", n % 100000);
}

static void give_ids(json_t *message, int meant, numbers *n)
{
    json_t *call;
    size_t i;

    if (meant == CALL)
        json_array_foreach(json_object_get(message, "tool_calls"), i, call)
            if (!json_object_get(call, "id"))
                json_object_set_new(call, "id", number(n->calls++));
    if (meant == TOOL && n->answers < n->calls &&
        !json_object_get(message, "tool_call_id"))
        json_object_set_new(message, "tool_call_id", number(n->answers++));
}

/* Whether a turn is learnt: yes or no, as weights of OpenAI's files are. */
static hone_status check_weight(const json_t *message, hone_err *err)
{
    static const char *const names[] = { "weight", "loss_weight" };

    for (int i = 0; i < 2; i++) {
        const json_t *v = json_object_get(message, names[i]);
        double n = json_number_value(v);

        if (v && !json_is_boolean(v) &&
            (!json_is_number(v) || (n != 0 && n != 1)))
            return hone_fail(err, HONE_EINVAL, "'%s' must be 0, not learnt, or "
                             "1; mend it with map", names[i]);
    }
    return HONE_OK;
}

static hone_status take_message(const hone_chat_names *names, json_t *from,
                                int parts, numbers *n, json_t *to,
                                hone_err *err)
{
    const char *role_key = key_of(names->role, from);
    const char *content_key = key_of(names->content, from), *key;
    json_t *content = json_object_get(from, content_key);
    const char *role = json_string_value(json_object_get(from, role_key));
    json_t *value;
    int meant;

    if (!json_is_object(from))
        return hone_fail(err, HONE_EINVAL, "not an object");
    if (!role)
        return hone_fail(err, HONE_EINVAL, "no text '%s'; what is the key "
                         "called? say role = \"...\"", names->role);
    meant = role_of(names, role);
    json_object_set_new(to, "role",
                        json_string(meant < 0 ? role : meanings[meant]));
    if (meant < 0 && strcmp(role_key, "role"))
        return hone_fail(err, HONE_EINVAL, "who is '%.40s'? say user = \"...\""
                         ", assistant = \"...\", tool = \"...\"", role);
    if (meant == CALL) {
        json_object_set_new(to, "content", json_string(""));
        hone_try(add_calls(to, content, err));
    } else {
        hone_try(take_content(to, content, parts, err));
    }
    json_object_foreach(from, key, value)
        if (strcmp(key, role_key) &&
            (!content_key || strcmp(key, content_key)) && !json_is_null(value) && !json_object_get(to, key))
            json_object_set(to, key, value);
    give_ids(to, meant, n);
    role = json_string_value(json_object_get(to, "role"));
    return strcmp(role, "assistant") && strcmp(role, "model")
               ? HONE_OK
               : check_weight(to, err);
}

/* Adds the messages of COLUMN: a list of them, one, or a text, which ROLE
 * says. */
static hone_status take_messages(const hone_chat_names *names, int parts,
                                 const json_t *row, const char *column,
                                 const char *role, numbers *n, json_t *to,
                                 hone_err *err)
{
    json_t *v = json_object_get(row, column);
    size_t count = json_is_object(v) ? 1 : json_array_size(v);
    hone_err why;

    if (json_is_string(v) && names->answer[0]) {
        json_array_append_new(to, json_pack("{s:s,s:O}", "role", role,
                                            "content", v));
        return HONE_OK;
    }
    if (!count)
        return hone_fail(err, HONE_EINVAL, v ? "'%s' has no messages"
                                             : "no field '%s'; rename one "
                                               "with its name = \"...\"",
                         column);
    for (size_t i = 0; i < count; i++) {
        json_t *from = json_is_object(v) ? v : json_array_get(v, i);
        json_t *made = json_object();
        hone_status s = take_message(names, from, parts, n, made, &why);

        json_array_append_new(to, made);
        if (s != HONE_OK)
            return hone_fail(err, s, "%s%smessage %d: %.900s",
                             names->answer[0] ? column : "",
                             names->answer[0] ? ", " : "", (int)i + 1, why.msg);
    }
    return HONE_OK;
}

/* All messages of the row, with answer WHICH if there are answers. An answer
 * that is a list may hold what is before it as well. */
static hone_status take_all(const hone_chat_names *names, int parts,
                            const json_t *row, int which, json_t *to,
                            hone_err *err)
{
    const char *answer = names->answer[which];
    numbers n = { 0, 0 };

    if (!answer || !is_empty(json_object_get(row, names->messages)))
        hone_try(take_messages(names, parts, row, names->messages, "user", &n,
                               to, err));
    return answer ? take_messages(names, parts, row, answer, "assistant", &n,
                                  to, err)
                  : HONE_OK;
}

/* ------------------------------------------------------- the rest of a row */

/* Tools as templates want them: { type = "function", function = ... }. */
static hone_status take_tools(const hone_chat *chat, json_t *given,
                              json_t *to, hone_err *err)
{
    json_t *tools = parsed(given), *list, *tool;
    size_t i;

    if (is_empty(tools)) {
        json_decref(tools);
        return HONE_OK;
    }
    if (chat && !chat->with_tools && !chat->api->uses(chat->plain, "tools")) {
        json_decref(tools);
        return hone_fail(err, HONE_EINVAL, "the row has tools, and the model's "
                         "chat template has no place for them; take them out "
                         "with map, or leave such rows out");
    }
    list = json_array();
    json_array_foreach(tools, i, tool) {
        int bare = json_object_get(tool, "name") &&
                   !json_object_get(tool, "function");

        json_array_append_new(list, bare ? json_pack("{s:s,s:O}", "type",
                                                     "function", "function",
                                                     tool)
                                         : json_incref(tool));
    }
    json_object_set_new(to, "tools", list);
    i = json_array_size(list);
    json_decref(tools);
    if (!i)
        return hone_fail(err, HONE_EINVAL, "its tools are no array");
    return HONE_OK;
}

/* Columns of pictures and sounds, which would be left out unseen. */
static hone_status refuse_media(const json_t *row, hone_err *err)
{
    static const char *const names[] = { "image", "images", "video", "videos",
                                         "audio", "audios" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!is_empty(json_object_get(row, names[i])))
            return hone_fail(err, HONE_EINVAL, "the row has '%s': hone learns "
                             "from texts alone; leave such rows out with map",
                             names[i]);
    return HONE_OK;
}

/* What column NAME says before all turns. A first turn that says it, too, is
 * the same; what else one of them says must not be lost. */
static hone_status take_system(const json_t *row, const char *name, json_t *to,
                               hone_err *err)
{
    json_t *text = name ? json_object_get(row, name) : NULL;
    const json_t *first = json_array_get(to, 0);
    const char *role = json_string_value(json_object_get(first, "role"));

    if (is_empty(text))
        return HONE_OK;
    if (!json_is_string(text))
        return hone_fail(err, HONE_EINVAL, "'%s' is no text", name);
    if (!role || strcmp(role, "system"))
        json_array_insert_new(to, 0, json_pack("{s:s,s:O}", "role", "system",
                                               "content", text));
    else if (!json_equal(text, json_object_get(first, "content")))
        return hone_fail(err, HONE_EINVAL, "'%s' says another thing than the "
                         "first turn, which is of role 'system' as well; leave "
                         "out one of them with map", name);
    return HONE_OK;
}

static hone_status fill(const hone_chat_names *n, const hone_chat *chat,
                        const json_t *row, int which, json_t *to,
                        hone_err *err)
{
    json_t *messages = json_array();
    json_t *tools = n->tools ? json_object_get(row, n->tools) : NULL;

    json_object_set_new(to, "messages", messages);
    json_object_set_new(to, "add_generation_prompt", json_false());
    hone_try(refuse_media(row, err));
    hone_try(take_all(n, chat && chat->takes_parts, row, which, messages,
                      err));
    hone_try(take_system(row, n->system, messages, err));
    if (!is_empty(tools))
        hone_try(take_tools(chat, tools, to, err));
    if (n->settings)
        json_object_update_missing(to, json_object_get(row, n->settings));
    return HONE_OK;
}

hone_status hone_chat_row(const hone_chat_names *names, const hone_chat *chat,
                          const json_t *row, int which, json_t **variables,
                          hone_err *err)
{
    json_t *made = json_object();
    hone_status s = fill(names, chat, row, which, made, err);

    *variables = s == HONE_OK ? made : NULL;
    if (s != HONE_OK)
        json_decref(made);
    return s;
}

int hone_chat_is_row(const hone_chat_names *names, const json_t *row)
{
    const char *columns[] = { names->messages, names->answer[0],
                              names->answer[1] };
    int messages = !names->answer[0];

    for (int i = 0; i < 3; i++) {
        const json_t *v = json_object_get(row, columns[i]);

        messages |= json_is_array(v) || json_is_object(v);
    }
    return messages;
}

/* Whether a text says the same with another content in the message. A template
 * that fails then has looked at it. */
static int is_unwritten(const hone_chat *chat, json_t *variables,
                        json_t *message, const hone_rendered *whole)
{
    json_t *content = json_incref(json_object_get(message, "content"));
    hone_rendered r = { .size = sizeof r };
    hone_err why;
    int same;

    json_object_set_new(message, "content", json_string("\x1" "other"));
    same = hone_chat_render(chat, variables, HONE_LEARN_NOTHING, &r, &why) ==
               HONE_OK &&
           r.bytes == whole->bytes &&
           !memcmp(r.text, whole->text, (size_t)r.bytes);
    chat->api->release(&r);
    json_object_set_new(message, "content", content);
    return same;
}

hone_status hone_chat_check_roles(const hone_chat *chat, json_t *variables,
                                  const hone_rendered *whole, hone_err *err)
{
    json_t *message;
    size_t i;

    json_array_foreach(json_object_get(variables, "messages"), i, message) {
        const char *role = json_string_value(json_object_get(message, "role"));
        int known = 0;

        for (int k = 0; k < ROLES; k++)
            known |= !strcmp(role, meanings[k]);
        if (!known && !is_empty(json_object_get(message, "content")) &&
            is_unwritten(chat, variables, message, whole))
            return hone_fail(err, HONE_EINVAL, "message %d: nothing is written "
                             "of what '%.40s' says; say user = \"%.40s\", or "
                             "which role it is, or leave the message out with "
                             "map", (int)i + 1, role, role);
    }
    return HONE_OK;
}

int hone_chat_add_contents(json_t *variables)
{
    json_t *message;
    int added = 0;
    size_t i;

    json_array_foreach(json_object_get(variables, "messages"), i, message)
        if (!json_object_get(message, "content")) {
            json_object_set_new(message, "content", json_string(""));
            added++;
        }
    return added;
}

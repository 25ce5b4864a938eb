/* SPDX-License-Identifier: MIT
 *
 * chat.c -- the component: a chat template, and a chat's messages made ready
 * for it as Transformers does: reasoning is given under all names that
 * templates know, tools and documents are None where there are none.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "jinja.h"

/* ---------------------------------------------------------------- variables */

static ji_val *reasoning(ji_run *r, ji_dict *message)
{
    static const char *const names[] = { "reasoning_content", "thinking",
                                         "reasoning" };

    for (int i = 0; i < 3; i++) {
        ji_val *v = ji_get_text(r, message, names[i]);
        if (v && v->kind != JI_NONE)
            return v;
    }
    return NULL;
}

static ji_val ready_message(ji_run *r, ji_val message, size_t number)
{
    ji_dict *d = ji_dict_new(r);
    ji_val *said;

    if (message.kind != JI_DICT)
        ji_leave(r, ji_format(r, "message %zu is not an object", number), 0);
    said = reasoning(r, message.u.d);
    if (!said)
        return message;
    ji_set(r, d, ji_of(r, "thinking"), *said);
    for (size_t i = 0; i < message.u.d->n; i++)
        ji_set(r, d, message.u.d->at[i].key, message.u.d->at[i].value);
    ji_set(r, d, ji_of(r, "reasoning_content"), *said);
    return (ji_val){ .kind = JI_DICT, .u.d = d };
}

static ji_list *ready_messages(ji_run *r, ji_dict *variables)
{
    ji_val *given = ji_get_text(r, variables, "messages");
    ji_list *l;

    if (!given || given->kind != JI_LIST)
        ji_leave(r, "no array 'messages'", 0);
    l = ji_list_new(r, given->u.l->n);
    for (size_t i = 0; i < given->u.l->n; i++)
        ji_push(r, l, ready_message(r, given->u.l->at[i], i + 1));
    return l;
}

/* A list of objects, or None. */
static void check_objects(ji_run *r, ji_dict *variables, const char *name)
{
    ji_val *v = ji_get_text(r, variables, name);

    if (!v || v->kind == JI_NONE)
        return;
    if (v->kind != JI_LIST)
        ji_leave(r, ji_format(r, "'%s' is not an array", name), 0);
    for (size_t i = 0; i < v->u.l->n; i++)
        if (v->u.l->at[i].kind != JI_DICT)
            ji_leave(r, ji_format(r, "item %zu of '%s' is not an object",
                                  i + 1, name), 0);
}

ji_dict *ji_chat_variables(ji_run *r, const json_t *given)
{
    ji_dict *d = ji_dict_new(r);
    ji_val all;

    if (!json_is_object(given))
        ji_leave(r, "the variables of a template must be an object", 0);
    ji_set(r, d, ji_of(r, "messages"), ji_none());
    ji_set(r, d, ji_of(r, "tools"), ji_none());
    ji_set(r, d, ji_of(r, "documents"), ji_none());
    all = ji_from_json(r, given);
    for (size_t i = 0; i < all.u.d->n; i++)
        ji_set(r, d, all.u.d->at[i].key, all.u.d->at[i].value);
    ji_set(r, d, ji_of(r, "messages"), ji_listed(ready_messages(r, d)));
    check_objects(r, d, "tools");
    check_objects(r, d, "documents");
    return d;
}

/* --------------------------------------------------------------------- load */

typedef struct {
    const char *text;
    size_t bytes;
    ji_template *to;
} source;

static void load_text(ji_run *r, void *data)
{
    source *s = data;

    if (s->bytes > JI_TEMPLATE_MAX)
        ji_leave(r, "a chat template of more than 4 MiB", 0);
    ji_parse(r, s->text, s->bytes, s->to);
}

static void unload(void *self)
{
    ji_template *t = self;

    if (!t)
        return;
    ji_arena_free(&t->run.arena);
    free(t);
}

static hone_status load(const hone_host *host, const char *text, size_t bytes,
                        void **self, hone_err *err)
{
    ji_template *t = calloc(1, sizeof *t);
    source s = { text, bytes, t };

    (void)host;
    if (!t)
        return hone_fail(err, HONE_EIO, "out of memory");
    t->run.arena.most = JI_MEMORY_MAX;
    t->run.line = 1;
    if (ji_try(&t->run, load_text, &s)) {
        hone_fail(err, HONE_EINVAL, "%.900s", t->run.message);
        unload(t);
        return HONE_EINVAL;
    }
    *self = t;
    return HONE_OK;
}

/* ------------------------------------------------------------------- render */

typedef struct {
    const json_t *json;
    hone_learn want;
    ji_chat chat;
} job;

static void render_chat(ji_run *r, void *data)
{
    job *j = data;
    ji_chat *c = &j->chat;

    c->variables = ji_chat_variables(r, j->json);
    c->messages = ji_get_text(r, c->variables, "messages")->u.l;
    c->text = ji_render(r, c->template, c->variables);
    ji_chat_spans(r, c, j->want);
}

static void fill(hone_rendered *out, ji_run *r, const ji_chat *c)
{
    hone_span *span = ji_alloc(r, ((size_t)c->spans + 1) * sizeof *span);

    for (int i = 0; i < c->spans; i++) {
        span[i].from = (int64_t)c->span[i].from;
        span[i].to = (int64_t)c->span[i].to;
    }
    out->text = c->text->at;
    out->bytes = (int64_t)c->text->len;
    out->span = span;
    out->spans = (uint32_t)c->spans;
    out->found = c->found;
}

static void release(hone_rendered *out)
{
    ji_run *r = out->memory;

    if (!r)
        return;
    ji_arena_free(&r->arena);
    free(r);
    out->memory = NULL;
}

static hone_status render(const void *self, const char *variables,
                          size_t bytes, hone_learn want, hone_rendered *out,
                          hone_err *err)
{
    job j = { .want = want, .chat = { .template = self } };
    ji_run *r = calloc(1, sizeof *r);
    json_error_t why;
    json_t *json;

    if (!r)
        return hone_fail(err, HONE_EIO, "out of memory");
    out->memory = r;
    r->arena.most = JI_MEMORY_MAX;
    json = json_loadb(variables, bytes, JSON_ALLOW_NUL, &why);
    if (!json)
        return hone_fail(err, HONE_EINVAL, "%s", why.text);
    j.json = json;
    if (ji_try(r, render_chat, &j)) {
        json_decref(json);
        out->raised = r->raised ? r->message : NULL;
        return hone_fail(err, HONE_EINVAL, "%.900s", r->message);
    }
    json_decref(json);
    fill(out, r, &j.chat);
    return HONE_OK;
}

static int uses(const void *self, const char *name)
{
    const ji_template *t = self;
    ji_run r = { .arena = { NULL, 0, JI_MEMORY_MAX } };

    return ji_get_text(&r, t->names, name) != NULL;
}

static const hone_template ops = {
    .size = sizeof ops,
    .load = load,
    .unload = unload,
    .render = render,
    .release = release,
    .uses = uses,
};

static const hone_component jinja = {
    .size = sizeof jinja,
    .kind = HONE_KIND_TEMPLATE,
    .name = "jinja",
    .help = "chat templates in Jinja, as Transformers renders them",
    .ops = &ops,
};

HONE_PLUGIN("jinja", "1.0", &jinja)

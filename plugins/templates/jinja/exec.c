/* SPDX-License-Identifier: MIT
 *
 * exec.c -- statements: what writes, assigns, loops and branches.
 */
#include <string.h>

#include "jinja.h"

/* A running for-loop. Its filter is asked for one item after the other, so
 * that it sees what the body did before. */
struct ji_loop {
    const ji_node *node;
    ji_scope *scope; /* around the loop */
    ji_list *source, *ready; /* ready: passed the filter, not yet taken */
    size_t next, taken;
    int64_t index, depth;
    ji_val before, current, changed;
};

/* -------------------------------------------------------------- assignments */

static void bind_parts(ji_run *r, ji_scope *s, const ji_node *target,
                       ji_val v)
{
    ji_list *l = ji_items(r, v);

    if (l->n != target->kids.n)
        ji_fail(r, "%s values to unpack (expected %zu, got %zu)",
                l->n < target->kids.n ? "not enough" : "too many",
                target->kids.n, l->n);
    for (size_t i = 0; i < l->n; i++)
        ji_bind_target(r, s, target->kids.at[i], l->at[i]);
}

void ji_bind_target(ji_run *r, ji_scope *s, const ji_node *target, ji_val v)
{
    ji_val space;
    ji_str *key;

    ji_step(r, 1);
    if (target->kind == JI_NAME) {
        ji_assign(r, s, target->name, v);
        return;
    }
    if (target->kind == JI_TUPLE_OF) {
        ji_deeper(r);
        bind_parts(r, s, target, v);
        r->depth--;
        return;
    }
    space = ji_lookup(r, s, target->name);
    key = target->value.u.s;
    if (space.kind != JI_SPACE)
        ji_fail(r, "cannot assign attribute on non-namespace object");
    if (key->len && key->at[0] == '_')
        ji_fail(r, "a namespace has no attributes that begin with _");
    ji_set(r, space.u.d, target->value, v);
}

/* A chain of filters whose innermost takes INPUT. */
static ji_val pipe(ji_run *r, ji_scope *s, const ji_node *n, ji_val input)
{
    ji_args a;

    ji_deeper(r);
    if (n->a)
        input = pipe(r, s, n->a, input);
    r->line = n->line;
    if (!n->def)
        ji_fail(r, "no filter named '%.*s'", (int)(n->name->len % 100),
                n->name->at);
    ji_eval_args(r, s, n, &a);
    input = ji_call_def(r, n->def, input, &a);
    r->depth--;
    return input;
}

/* -------------------------------------------------------------------- loops */

static int passes(ji_run *r, struct ji_loop *l, ji_val v)
{
    ji_scope *s;

    if (!l->node->c)
        return 1;
    s = ji_scope_new(r, l->scope);
    ji_bind_target(r, s, l->node->a, v);
    return ji_true(r, ji_eval(r, s, l->node->c));
}

/* Whether an item is ready. */
static int peek(ji_run *r, struct ji_loop *l)
{
    while (l->taken == l->ready->n && l->next < l->source->n) {
        ji_val v = l->source->at[l->next++];

        if (passes(r, l, v))
            ji_push(r, l->ready, v);
    }
    return l->taken < l->ready->n;
}

static int64_t length(ji_run *r, struct ji_loop *l)
{
    while (l->next < l->source->n) {
        ji_val v = l->source->at[l->next++];

        if (passes(r, l, v))
            ji_push(r, l->ready, v);
    }
    return (int64_t)l->ready->n;
}

ji_val ji_loop_attr(ji_run *r, struct ji_loop *l, const ji_str *name)
{
    static const char *const names[] = {
        "index0",   "index",    "first",  "last",  "length", "revindex",
        "revindex0", "previtem", "nextitem", "depth", "depth0"
    };
    int which = 0;

    while (which < 11 && !ji_is(name, names[which]))
        which++;
    switch (which) {
    case 0:
        return ji_int(l->index);
    case 1:
        return ji_int(l->index + 1);
    case 2:
        return ji_bool(l->index == 0);
    case 3:
        return ji_bool(!peek(r, l));
    case 4:
        return ji_int(length(r, l));
    case 5:
        return ji_int(length(r, l) - l->index);
    case 6:
        return ji_int(length(r, l) - l->index - 1);
    case 7:
        return l->index ? l->before
                        : ji_undefined(r, "there is no previous item");
    case 8:
        return peek(r, l) ? l->ready->at[l->taken]
                          : ji_undefined(r, "there is no next item");
    case 9:
        return ji_int(l->depth + 1);
    case 10:
        return ji_int(l->depth);
    default:
        return (ji_val){ .kind = JI_ABSENT };
    }
}

static ji_val loop_cycle(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)p;
    if (!a->n)
        ji_fail(r, "no items for cycling given");
    return a->at[self.u.loop->index % a->n];
}

static ji_val loop_changed(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    struct ji_loop *l = self.u.loop;
    ji_list *now = ji_list_new(r, (size_t)a->n);
    ji_val v = { .kind = JI_TUPLE, .u.l = now };

    (void)p;
    for (int i = 0; i < a->n; i++)
        ji_push(r, now, a->at[i]);
    if (l->changed.kind && ji_equal(r, l->changed, v))
        return ji_bool(0);
    l->changed = v;
    return ji_bool(1);
}

const ji_def ji_loop_methods[] = { { "cycle", "*", 0, loop_cycle },
                                   { "changed", "*", 0, loop_changed },
                                   { NULL, NULL, 0, NULL } };

static int run_loop(ji_run *r, ji_scope *outer, const ji_node *n, ji_val over,
                    int64_t depth)
{
    struct ji_loop *l = ji_alloc(r, sizeof *l);
    ji_list *all = ji_items(r, over);
    int code = 0;

    *l = (struct ji_loop){ .node = n, .scope = outer, .source = all,
                           .index = -1, .depth = depth };
    l->ready = ji_list_new(r, 0);
    while (code != JI_BREAK && peek(r, l)) {
        ji_scope *s = ji_scope_new(r, outer);

        l->before = l->current;
        l->current = l->ready->at[l->taken++];
        l->index++;
        if (n->flags & JI_EXTENDED)
            ji_assign(r, s, n->name, (ji_val){ .kind = JI_LOOP, .u.loop = l });
        ji_bind_target(r, s, n->a, l->current);
        code = ji_exec(r, s, &n->kids);
    }
    if (l->index < 0)
        return ji_exec(r, ji_scope_new(r, outer), &n->more);
    return 0;
}

ji_val ji_loop_again(ji_run *r, struct ji_loop *l, const ji_args *a)
{
    ji_buf b = { NULL, 0, 0 }, *out = r->out;

    if (!(l->node->flags & JI_RECURSIVE))
        ji_fail(r, "loop(...) in a loop that is not recursive");
    if (a->n != 1 || a->names)
        ji_fail(r, "loop(...) takes one argument");
    r->out = &b;
    run_loop(r, l->scope, l->node, a->at[0], l->depth + 1);
    r->out = out;
    return ji_string(ji_take(r, &b));
}

/* --------------------------------------------------------------- statements */

static void write_value(ji_run *r, ji_val v)
{
    ji_str *s = ji_tostr(r, v);

    ji_step(r, s->len / 64);
    ji_put(r, r->out, s->at, s->len);
}

static void add_span(ji_run *r, size_t from, size_t to)
{
    size_t cap = (size_t)r->span_cap;

    r->span = ji_grow(r, r->span, sizeof *r->span, (size_t)r->spans, &cap);
    r->span_cap = (int)cap;
    r->span[r->spans++] = (ji_span){ from, to };
}

static void generation(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_str *text = ji_capture(r, ji_scope_new(r, s), &n->kids);

    if (r->out == r->root_out)
        add_span(r, r->out->len, r->out->len + text->len);
    else
        r->lost = 1;
    ji_put(r, r->out, text->at, text->len);
}

static ji_val macro_of(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_macro *m = ji_alloc(r, sizeof *m);

    *m = (ji_macro){ n, s };
    return (ji_val){ .kind = JI_MACRO, .u.macro = m };
}

/* {% call %}: the call with one argument more, caller. */
static void call_block(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_val callee = ji_eval(r, s, n->a->a);
    ji_str **name;
    ji_val *named;
    ji_args a;

    ji_eval_args(r, s, n->a, &a);
    name = ji_alloc(r, ((size_t)a.names + 1) * sizeof *name);
    named = ji_alloc(r, ((size_t)a.names + 1) * sizeof *named);
    for (int i = 0; i < a.names; i++) {
        name[i] = a.name[i];
        named[i] = a.named[i];
    }
    name[a.names] = ji_wrap(r, "caller", 6);
    named[a.names] = macro_of(r, s, n->b);
    a.name = name;
    a.named = named;
    a.names++;
    r->line = n->line;
    write_value(r, ji_call(r, callee, &a));
}

static void set_block(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_scope *inner = ji_scope_new(r, s);
    ji_val v = ji_string(ji_capture(r, inner, &n->kids));

    ji_bind_target(r, s, n->a, n->b ? pipe(r, s, n->b, v) : v);
}

static int with_block(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_scope *inner = ji_scope_new(r, s);

    for (size_t i = 0; i < n->more.n; i++)
        ji_bind_target(r, inner, n->more.at[i],
                       ji_eval(r, s, n->args.at[i]));
    return ji_exec(r, inner, &n->kids);
}

static int statement(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_scope *inner;

    switch (n->kind) {
    case JI_DATA:
        write_value(r, n->value);
        return 0;
    case JI_OUTPUT:
        for (size_t i = 0; i < n->kids.n; i++)
            write_value(r, ji_eval(r, s, n->kids.at[i]));
        return 0;
    case JI_IF:
        return ji_exec(r, s, ji_true(r, ji_eval(r, s, n->a)) ? &n->kids
                                                            : &n->more);
    case JI_FOR:
        return run_loop(r, s, n, ji_eval(r, s, n->b), 0);
    case JI_SET:
        ji_bind_target(r, s, n->a, ji_eval(r, s, n->b));
        return 0;
    case JI_SET_BLOCK:
        set_block(r, s, n);
        return 0;
    case JI_MACRO_DEF:
        ji_assign(r, s, n->name, macro_of(r, s, n));
        return 0;
    case JI_CALL_BLOCK:
        call_block(r, s, n);
        return 0;
    case JI_FILTER_BLOCK:
        inner = ji_scope_new(r, s);
        write_value(r, pipe(r, inner, n->a,
                            ji_string(ji_capture(r, inner, &n->kids))));
        return 0;
    case JI_WITH:
        return with_block(r, s, n);
    case JI_GENERATION:
        generation(r, s, n);
        return 0;
    default:
        return (int)n->kind; /* break, continue */
    }
}

int ji_exec(ji_run *r, ji_scope *s, const struct ji_nodes *body)
{
    int code = 0;

    ji_deeper(r);
    for (size_t i = 0; i < body->n && !code; i++) {
        ji_step(r, 1);
        r->line = body->at[i]->line;
        code = statement(r, s, body->at[i]);
    }
    r->depth--;
    return code;
}

ji_str *ji_capture(ji_run *r, ji_scope *s, const struct ji_nodes *body)
{
    ji_buf b = { NULL, 0, 0 }, *out = r->out;

    r->out = &b;
    ji_exec(r, s, body);
    r->out = out;
    return ji_take(r, &b);
}

ji_str *ji_render(ji_run *r, const ji_template *t, ji_dict *variables)
{
    ji_buf b = { NULL, 0, 0 };

    r->variables = variables;
    r->out = r->root_out = &b;
    r->spans = r->lost = 0;
    ji_exec(r, ji_scope_new(r, NULL), &t->body);
    r->out = r->root_out = NULL;
    return ji_take(r, &b);
}

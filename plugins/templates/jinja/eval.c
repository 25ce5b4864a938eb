/* SPDX-License-Identifier: MIT
 *
 * eval.c -- the value of an expression, and where names are looked up.
 */
#include <string.h>

#include "jinja.h"

/* ---------------------------------------------------------------- variables */

ji_scope *ji_scope_new(ji_run *r, ji_scope *parent)
{
    ji_scope *s = ji_alloc(r, sizeof *s);

    s->parent = parent;
    s->var = s->few;
    s->cap = (int)(sizeof s->few / sizeof *s->few);
    return s;
}

void ji_assign(ji_run *r, ji_scope *s, const ji_str *name, ji_val v)
{
    for (int i = 0; i < s->n; i++)
        if (s->var[i].name == name) {
            s->var[i].value = v;
            return;
        }
    if (s->n == s->cap) {
        struct ji_var *more = ji_alloc(r, 2 * (size_t)s->cap * sizeof *more);

        memcpy(more, s->var, (size_t)s->n * sizeof *more);
        s->var = more;
        s->cap *= 2;
    }
    s->var[s->n].name = name;
    s->var[s->n++].value = v;
}

ji_val ji_lookup(ji_run *r, ji_scope *s, ji_str *name)
{
    const ji_def *global;
    ji_val *given;

    for (; s; s = s->parent) {
        ji_step(r, 1);
        for (int i = 0; i < s->n; i++)
            if (s->var[i].name == name)
                return s->var[i].value;
    }
    given = ji_get(r, r->variables, ji_string(name));
    if (given)
        return *given;
    global = ji_find_function(name);
    if (global)
        return (ji_val){ .kind = JI_FUNCTION, .u.def = global };
    return ji_undefined(r, "'%.*s' is undefined", (int)(name->len % 100),
                        name->at);
}

/* ---------------------------------------------------------------- operators */

static ji_val binary(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_val a = ji_eval(r, s, n->a), b = ji_eval(r, s, n->b);

    r->line = n->line;
    if (n->op == '|')
        return ji_floor_div(r, a, b);
    if (n->op == '^')
        return ji_power(r, a, b);
    return ji_binary(r, (char)n->op, a, b);
}

static int holds(ji_run *r, int op, ji_val a, ji_val b)
{
    switch (op) {
    case '=':
        return ji_equal(r, a, b);
    case '!':
        return !ji_equal(r, a, b);
    case 'i':
        return ji_contains(r, b, a);
    case 'n':
        return !ji_contains(r, b, a);
    case '<':
        return ji_compare(r, a, b, "<") < 0;
    case '>':
        return ji_compare(r, a, b, ">") > 0;
    case 'L':
        return ji_compare(r, a, b, "<=") <= 0;
    default:
        return ji_compare(r, a, b, ">=") >= 0;
    }
}

/* a < b < c: b is evaluated once, c only if need be. */
static ji_val compare(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_val left = ji_eval(r, s, n->a);

    for (size_t i = 0; i < n->kids.n; i++) {
        const ji_node *with = n->kids.at[i];
        ji_val right = ji_eval(r, s, with->a);

        r->line = n->line;
        if (!holds(r, with->op, left, right))
            return ji_bool(0);
        left = right;
    }
    return ji_bool(1);
}

static ji_val concat(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_str *all = ji_tostr(r, ji_eval(r, s, n->kids.at[0]));

    for (size_t i = 1; i < n->kids.n; i++)
        all = ji_join(r, all, ji_tostr(r, ji_eval(r, s, n->kids.at[i])));
    if (all->markup) {
        all = ji_part(r, all, 0, all->len);
        all->markup = 0;
    }
    return ji_string(all);
}

static ji_val unary(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_val v = ji_eval(r, s, n->a);

    r->line = n->line;
    if (n->op == '-')
        return ji_negative(r, v);
    v = ji_negative(r, v); /* for its check of the type */
    return ji_negative(r, v);
}

static ji_val condition(ji_run *r, ji_scope *s, const ji_node *n)
{
    if (ji_true(r, ji_eval(r, s, n->b)))
        return ji_eval(r, s, n->a);
    if (n->c)
        return ji_eval(r, s, n->c);
    return ji_undefined(r, "the inline if-expression on line %d evaluated to "
                        "false and no else section was defined", n->line);
}

/* --------------------------------------------------------------- containers */

static ji_val list_of(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_list *l = ji_list_new(r, n->kids.n);

    for (size_t i = 0; i < n->kids.n; i++)
        ji_push(r, l, ji_eval(r, s, n->kids.at[i]));
    return (ji_val){ .kind = n->kind == JI_LIST_OF ? JI_LIST : JI_TUPLE,
                     .u.l = l };
}

static ji_val dict_of(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_dict *d = ji_dict_new(r);

    for (size_t i = 0; i < n->kids.n; i++) {
        ji_val key = ji_eval(r, s, n->kids.at[i]);

        ji_set(r, d, key, ji_eval(r, s, n->more.at[i]));
    }
    return (ji_val){ .kind = JI_DICT, .u.d = d };
}

static ji_val item(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_val v = ji_eval(r, s, n->a), part[3];
    const ji_node *by = n->b;

    if (by->kind == JI_SLICE_OF) {
        const ji_node *const of[] = { by->a, by->b, by->c };

        for (int i = 0; i < 3; i++)
            part[i] = of[i] ? ji_eval(r, s, of[i]) : ji_none();
        r->line = n->line;
        return ji_slice(r, v, part[0], part[1], part[2]);
    }
    part[0] = ji_eval(r, s, by);
    r->line = n->line;
    return ji_getitem(r, v, part[0]);
}

/* -------------------------------------------------------------------- calls */

static ji_val call(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_val callee = ji_eval(r, s, n->a);
    ji_args a;

    ji_eval_args(r, s, n, &a);
    r->line = n->line;
    return ji_call(r, callee, &a);
}

/* A filter or a test. Those of `defined` and `default` take anything. */
static ji_val apply(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_val v = ji_eval(r, s, n->a);
    ji_args a;

    r->line = n->line;
    if (!n->def)
        ji_fail(r, "no %s named '%.*s'", n->kind == JI_FILTER ? "filter"
                                                               : "test",
                (int)(n->name->len % 100), n->name->at);
    ji_eval_args(r, s, n, &a);
    r->line = n->line;
    return ji_call_def(r, n->def, v, &a);
}

static ji_val evaluate(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_val v;

    switch (n->kind) {
    case JI_CONST:
        return n->value;
    case JI_NAME:
        return ji_lookup(r, s, n->name);
    case JI_NSREF:
        return ji_getattr(r, ji_lookup(r, s, n->name), n->value.u.s);
    case JI_LIST_OF:
    case JI_TUPLE_OF:
        return list_of(r, s, n);
    case JI_DICT_OF:
        return dict_of(r, s, n);
    case JI_ATTR:
        v = ji_eval(r, s, n->a);
        r->line = n->line;
        return ji_getattr(r, v, n->name);
    case JI_ITEM:
        return item(r, s, n);
    case JI_CALL:
        return call(r, s, n);
    case JI_FILTER:
    case JI_TEST:
        return apply(r, s, n);
    case JI_NOT:
        return ji_bool(!ji_true(r, ji_eval(r, s, n->a)));
    case JI_AND:
        v = ji_eval(r, s, n->a);
        return ji_true(r, v) ? ji_eval(r, s, n->b) : v;
    case JI_OR:
        v = ji_eval(r, s, n->a);
        return ji_true(r, v) ? v : ji_eval(r, s, n->b);
    case JI_COND:
        return condition(r, s, n);
    case JI_COMPARE:
        return compare(r, s, n);
    case JI_CONCAT:
        return concat(r, s, n);
    case JI_BINARY:
        return binary(r, s, n);
    case JI_UNARY:
        return unary(r, s, n);
    default:
        ji_fail(r, "a slice outside of []");
    }
}

ji_val ji_eval(ji_run *r, ji_scope *s, const ji_node *n)
{
    ji_val v;

    ji_step(r, 1);
    ji_deeper(r);
    r->line = n->line;
    v = evaluate(r, s, n);
    r->depth--;
    return v;
}

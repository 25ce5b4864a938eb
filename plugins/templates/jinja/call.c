/* SPDX-License-Identifier: MIT
 *
 * call.c -- calls: arguments to parameters, of builtins by their table, of
 * macros by Python's rules.
 */
#include <string.h>

#include "jinja.h"

/* ---------------------------------------------------------------- arguments */

static void spread(ji_run *r, ji_val v, ji_list *l)
{
    ji_list *more = ji_items(r, v);

    for (size_t i = 0; i < more->n; i++)
        ji_push(r, l, more->at[i]);
}

void ji_eval_args(ji_run *r, ji_scope *s, const ji_node *n, ji_args *a)
{
    ji_list *plain = ji_list_new(r, n->args.n), *named = ji_list_new(r, 0);
    ji_list *names = ji_list_new(r, 0);

    for (size_t i = 0; i < n->args.n; i++) {
        const ji_node *arg = n->args.at[i];
        ji_val v = ji_eval(r, s, arg->a);

        if (arg->flags == JI_STAR) {
            spread(r, v, plain);
        } else if (arg->flags == JI_STAR_STAR) {
            if (v.kind != JI_DICT)
                ji_fail(r, "argument after ** must be a mapping, not %s",
                        ji_type(v));
            for (size_t k = 0; k < v.u.d->n; k++) {
                if (v.u.d->at[k].key.kind != JI_STR)
                    ji_fail(r, "keywords must be strings");
                ji_push(r, names, v.u.d->at[k].key);
                ji_push(r, named, v.u.d->at[k].value);
            }
        } else if (arg->name) {
            ji_push(r, names, ji_string(arg->name));
            ji_push(r, named, v);
        } else {
            ji_push(r, plain, v);
        }
    }
    *a = (ji_args){ plain->at, (int)plain->n, NULL, named->at, (int)named->n };
    a->name = ji_alloc(r, (names->n + 1) * sizeof *a->name);
    for (size_t i = 0; i < names->n; i++) {
        a->name[i] = names->at[i].u.s;
        for (size_t k = 0; k < i; k++)
            if (ji_same(a->name[i], a->name[k]))
                ji_fail(r, "got multiple values for keyword argument '%.*s'",
                        (int)(a->name[i]->len % 100), a->name[i]->at);
    }
}

/* The place of NAME in the table's list of parameters, or -1. */
static int parameter(const char *params, const ji_str *name)
{
    for (int i = 0; *params; i++) {
        size_t n = strcspn(params, " ");

        if (n == name->len && !memcmp(params, name->at, n))
            return i;
        params += n + (params[n] == ' ');
    }
    return -1;
}

static int parameters(const char *params)
{
    int n = *params != 0;

    for (; *params; params++)
        n += *params == ' ';
    return n;
}

ji_val ji_call_def(ji_run *r, const ji_def *def, ji_val self,
                   const ji_args *a)
{
    ji_val p[JI_ARGS_MAX + 1] = { { .kind = JI_ABSENT } };
    int most = parameters(def->params);

    ji_step(r, 1);
    if (def->params[0] == '*')
        return def->run(r, self, a, p);
    if (a->n > most)
        ji_fail(r, "%s takes at most %d arguments, got %d", def->name, most,
                a->n);
    for (int i = 0; i < a->n; i++)
        p[i] = a->at[i];
    for (int i = 0; i < a->names; i++) {
        int at = parameter(def->params, a->name[i]);

        if (at < 0 || p[at].kind)
            ji_fail(r, "%s: %s argument '%.*s'", def->name,
                    at < 0 ? "unexpected" : "two values for",
                    (int)(a->name[i]->len % 100), a->name[i]->at);
        p[at] = a->named[i];
    }
    for (int i = 0; i < def->min; i++)
        if (!p[i].kind)
            ji_fail(r, "%s needs %d argument%s", def->name, def->min,
                    def->min == 1 ? "" : "s");
    return def->run(r, self, a, p);
}

/* ------------------------------------------------------------------- macros */

/* The keyword argument NAME, which then counts as USED; NULL: not given. */
static const ji_val *named(const ji_args *a, const ji_str *name, char *used)
{
    for (int i = 0; i < a->names; i++)
        if (!used[i] && ji_same(a->name[i], name)) {
            used[i] = 1;
            return &a->named[i];
        }
    return NULL;
}

/* What the body may ask for by name: the block that calls, and arguments that
 * no parameter takes. */
static void bind_specials(ji_run *r, ji_scope *s, const ji_macro *m,
                          const ji_args *a, char *used)
{
    static const ji_str caller = { "caller", 6, 6, NULL, 0 };
    static const int flags[] = { JI_CALLER, JI_KWARGS, JI_VARARGS };
    const ji_node *n = m->node;
    const ji_val *by = n->flags & JI_CALLER ? named(a, &caller, used) : NULL;
    ji_dict *rest = ji_dict_new(r);
    ji_list *more = ji_list_new(r, 0);
    ji_val value[3];

    for (int i = 0; i < a->names; i++)
        if (!used[i])
            ji_set(r, rest, ji_string(a->name[i]), a->named[i]);
    for (int i = (int)n->more.n; i < a->n; i++)
        ji_push(r, more, a->at[i]);
    if (rest->n && !(n->flags & JI_KWARGS))
        ji_fail(r, "a macro takes no keyword argument '%.*s'",
                (int)(rest->at[0].key.u.s->len % 100),
                rest->at[0].key.u.s->at);
    if (more->n && !(n->flags & JI_VARARGS))
        ji_fail(r, "a macro takes not more than %d arguments",
                (int)n->more.n);
    value[0] = by && by->kind != JI_NONE
                   ? *by
                   : ji_undefined(r, "No caller defined");
    value[1] = (ji_val){ .kind = JI_DICT, .u.d = rest };
    value[2] = (ji_val){ .kind = JI_TUPLE, .u.l = more };
    for (int i = 0; i < 3; i++)
        if (n->flags & flags[i])
            ji_assign(r, s, n->special[i], value[i]);
}

ji_val ji_call_macro(ji_run *r, const ji_macro *m, const ji_args *a)
{
    const ji_node *n = m->node;
    ji_scope *s = ji_scope_new(r, m->scope);
    char *used = ji_alloc(r, (size_t)a->names + 1);
    ji_val *arg = ji_alloc(r, (n->more.n + 1) * sizeof *arg);
    size_t optional = n->more.n - n->args.n;
    ji_str *text;
    int line = r->line;

    ji_deeper(r);
    for (size_t i = 0; i < n->more.n; i++) {
        const ji_val *v = (int)i < a->n
                              ? &a->at[i]
                              : named(a, n->more.at[i]->name, used);
        if (v)
            arg[i] = *v;
    }
    bind_specials(r, s, m, a, used);
    for (size_t i = 0; i < n->more.n; i++)
        if (arg[i].kind)
            ji_assign(r, s, n->more.at[i]->name, arg[i]);
    for (size_t i = 0; i < n->more.n; i++) {
        const ji_str *name = n->more.at[i]->name;

        if (arg[i].kind)
            continue;
        ji_assign(r, s, name,
                  i >= optional
                      ? ji_eval(r, s, n->args.at[i - optional])
                      : ji_undefined(r, "parameter '%.*s' was not provided",
                                     (int)(name->len % 100), name->at));
    }
    text = ji_capture(r, s, &n->kids);
    r->depth--;
    r->line = line;
    return ji_string(text);
}

/* --------------------------------------------------------------- any callee */

ji_val ji_call(ji_run *r, ji_val callee, const ji_args *a)
{
    ji_val self = { .kind = JI_ABSENT }, v;

    ji_deeper(r);
    switch (callee.kind) {
    case JI_MACRO:
        v = ji_call_macro(r, callee.u.macro, a);
        break;
    case JI_FUNCTION:
        v = ji_call_def(r, callee.u.def, self, a);
        break;
    case JI_METHOD:
        v = ji_call_def(r, callee.u.method->def, callee.u.method->self, a);
        break;
    case JI_LOOP:
        v = ji_loop_again(r, callee.u.loop, a);
        break;
    case JI_JOINER:
        v = callee.u.cycle->at++ ? callee.u.cycle->items->at[0]
                                 : ji_of(r, "");
        break;
    case JI_UNDEF:
        ji_fail(r, "%s", callee.u.why);
    default:
        ji_fail(r, "'%s' object is not callable", ji_type(callee));
    }
    r->depth--;
    return v;
}

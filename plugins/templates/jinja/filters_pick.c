/* SPDX-License-Identifier: MIT
 *
 * filters_pick.c -- map, select and their kin, which give generators: an error
 * on the way shows when somebody takes that item, not before; and the filters
 * on numbers and single values.
 */
#include <math.h>
#include <string.h>

#include "jinja.h"

/* ---------------------------------------------------------- map and select */

typedef struct {
    ji_val over;
    const ji_args *args;
    int by_attribute, negate, map;
    ji_list *out;
} pick;

static ji_args without(const ji_args *a, int first)
{
    ji_args rest = *a;

    rest.at += first < a->n ? first : a->n;
    rest.n -= first < a->n ? first : a->n;
    return rest;
}

static const ji_def *named_def(ji_run *r, ji_val name, int filter)
{
    const ji_def *def;

    if (name.kind != JI_STR)
        ji_fail(r, "the name of a %s must be a text",
                filter ? "filter" : "test");
    def = filter ? ji_find_filter(name.u.s) : ji_find_test(name.u.s);
    if (!def)
        ji_fail(r, "no %s named '%.*s'", filter ? "filter" : "test",
                (int)(name.u.s->len % 100), name.u.s->at);
    return def;
}

static void pick_all(ji_run *r, pick *p)
{
    const ji_args *a = p->args;
    int off = p->by_attribute;
    ji_args rest = without(a, off + 1);
    const ji_def *test = NULL;
    ji_list *l = ji_items(r, p->over);

    if (off && !a->n)
        ji_fail(r, "missing parameter for attribute name");
    if (a->n > off)
        test = named_def(r, a->at[off], 0);
    for (size_t i = 0; i < l->n; i++) {
        ji_val v = l->at[i], none = { .kind = JI_ABSENT };

        if (off)
            v = ji_dig(r, v, a->at[0], none);
        if (test)
            v = ji_call_def(r, test, v, &rest);
        if (ji_true(r, v) != p->negate)
            ji_push(r, p->out, l->at[i]);
    }
}

static void map_all(ji_run *r, pick *p)
{
    const ji_args *a = p->args;
    ji_val attribute = { .kind = JI_ABSENT }, other = attribute;
    ji_args rest = without(a, 1);
    const ji_def *filter = NULL;
    ji_list *l;

    for (int i = 0; !a->n && i < a->names; i++) {
        if (ji_is(a->name[i], "attribute"))
            attribute = a->named[i];
        else if (ji_is(a->name[i], "default"))
            other = a->named[i];
        else
            ji_fail(r, "map: unexpected keyword argument");
    }
    if (other.kind == JI_NONE)
        other.kind = JI_ABSENT;
    if (attribute.kind == JI_ABSENT && !a->n)
        ji_fail(r, "map requires a filter argument");
    if (a->n)
        filter = named_def(r, a->at[0], 1);
    l = ji_items(r, p->over);
    for (size_t i = 0; i < l->n; i++)
        ji_push(r, p->out, filter ? ji_call_def(r, filter, l->at[i], &rest)
                                  : ji_dig(r, l->at[i], attribute, other));
}

static void run_pick(ji_run *r, void *data)
{
    pick *p = data;

    if (!ji_true(r, p->over))
        return;
    if (p->map)
        map_all(r, p);
    else
        pick_all(r, p);
}

static ji_val picked(ji_run *r, pick p)
{
    ji_val v;

    p.out = ji_list_new(r, 0);
    v = ji_made(r, p.out, "generator");
    if (ji_try(r, run_pick, &p)) {
        v.u.iter->broken = r->message;
        v.u.iter->raised = r->raised;
    }
    return v;
}

static ji_val map(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)p;
    return picked(r, (pick){ .over = v, .args = a, .map = 1 });
}

static ji_val select(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)p;
    return picked(r, (pick){ .over = v, .args = a });
}

static ji_val reject(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)p;
    return picked(r, (pick){ .over = v, .args = a, .negate = 1 });
}

static ji_val selectattr(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)p;
    return picked(r, (pick){ .over = v, .args = a, .by_attribute = 1 });
}

static ji_val rejectattr(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)p;
    return picked(r, (pick){ .over = v, .args = a, .by_attribute = 1,
                             .negate = 1 });
}

const ji_def ji_pick_filters[] = {
    { "map", "*", 0, map },
    { "reject", "*", 0, reject },
    { "rejectattr", "*", 0, rejectattr },
    { "select", "*", 0, select },
    { "selectattr", "*", 0, selectattr },
    { NULL, NULL, 0, NULL },
};

/* ------------------------------------------------- numbers, single values */

static ji_val absolute(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    if (!ji_number(v))
        ji_fail(r, "bad operand type for abs(): '%s'", ji_type(v));
    if (v.kind == JI_FLOAT)
        return ji_float(fabs(v.u.f));
    return v.u.i < 0 ? ji_negative(r, v) : ji_int(v.u.i);
}

static ji_val attr(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_str *name = ji_text_arg(r, p[0], "attr");
    int unsafe;

    (void)a;
    if (v.kind == JI_UNDEF)
        ji_fail(r, "%s", v.u.why);
    /* a method or attribute, never an item */
    if (v.kind == JI_DICT && !ji_find_method(v, name, &unsafe) && !unsafe)
        return ji_undefined(r, "'dict object' has no attribute '%.*s'",
                            (int)(name->len % 100), name->at);
    return ji_getattr(r, v, name);
}

static ji_val default_of(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)a;
    if (v.kind == JI_UNDEF || (p[1].kind && ji_true(r, p[1]) &&
                               !ji_true(r, v)))
        return p[0].kind ? p[0] : ji_of(r, "");
    return v;
}

static ji_val truncated(ji_run *r, double f, ji_val other)
{
    if (isnan(f))
        return other;
    if (isinf(f))
        ji_fail(r, "cannot convert float infinity to integer");
    if (fabs(f) >= 9.2e18)
        ji_fail(r, "a whole number beyond 64 bits");
    return ji_int((int64_t)f);
}

static ji_val to_int(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_val other = p[0].kind ? p[0] : ji_int(0);
    int64_t i;
    double f;

    (void)a;
    if (v.kind == JI_UNDEF)
        ji_fail(r, "%s", v.u.why);
    if (v.kind == JI_INT || v.kind == JI_BOOL)
        return ji_int(v.u.i);
    if (v.kind == JI_FLOAT)
        return truncated(r, v.u.f, other);
    if (v.kind != JI_STR)
        return other;
    if (ji_parse_int(r, v.u.s, (int)ji_int_or(r, p[1], 10), &i))
        return ji_int(i);
    if (!ji_parse_float(r, v.u.s, &f) || isinf(f))
        return other;
    return truncated(r, f, other);
}

static ji_val to_float(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    double f;

    (void)a;
    if (v.kind == JI_UNDEF)
        ji_fail(r, "%s", v.u.why);
    if (ji_number(v))
        return ji_float(ji_double(v));
    if (v.kind == JI_STR && ji_parse_float(r, v.u.s, &f))
        return ji_float(f);
    return p[0].kind ? p[0] : ji_float(0);
}

static ji_val round_of(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    int64_t digits = ji_int_or(r, p[0], 0);
    ji_str *how = p[1].kind ? ji_text_arg(r, p[1], "round") : NULL;
    double unit;

    (void)a;
    if (!how || ji_is(how, "common"))
        return ji_round_to(r, v, digits);
    if (!ji_is(how, "ceil") && !ji_is(how, "floor"))
        ji_fail(r, "round: method must be common, ceil or floor");
    if (!ji_number(v))
        ji_fail(r, "round: must be real number, not %s", ji_type(v));
    unit = pow(10, (double)digits);
    return ji_float((ji_is(how, "ceil") ? ceil : floor)(ji_double(v) * unit) /
                    unit);
}

const ji_def ji_number_filters[] = {
    { "abs", "", 0, absolute },
    { "attr", "name", 1, attr },
    { "d", "default_value boolean", 0, default_of },
    { "default", "default_value boolean", 0, default_of },
    { "float", "default", 0, to_float },
    { "int", "default base", 0, to_int },
    { "round", "precision method", 0, round_of },
    { NULL, NULL, 0, NULL },
};

/* SPDX-License-Identifier: MIT
 *
 * access.c -- value.name, value[key], value[a:b:c]: the sandbox's rules. What
 * is not there is undefined; names that begin with _ and methods that would
 * change a value are too.
 */
#include <string.h>

#include "jinja.h"

static const char *owner(ji_val v)
{
    return v.kind == JI_NONE ? "None" : ji_type(v);
}

static ji_val absent(ji_run *r, ji_val v, ji_val key)
{
    ji_buf b = { NULL, 0, 0 };

    if (key.kind == JI_STR)
        return ji_undefined(r, "'%s object' has no attribute '%.100s'",
                            owner(v), ji_format(r, "%.*s", (int)key.u.s->len,
                                                key.u.s->at));
    ji_repr(r, &b, key);
    ji_put(r, &b, "", 1);
    return ji_undefined(r, "%s object has no element %.100s", owner(v), b.at);
}

static ji_val plain_method(ji_run *r, ji_val v, const ji_def *def)
{
    ji_method *m = ji_alloc(r, sizeof *m);

    *m = (ji_method){ v, def };
    return (ji_val){ .kind = JI_METHOD, .u.method = m };
}

/* Attributes that are values: of macros, numbers, groups. */
static int attribute(ji_run *r, ji_val v, const ji_str *name, ji_val *out)
{
    if (v.kind == JI_LOOP) {
        *out = ji_loop_attr(r, v.u.loop, name);
        return out->kind != JI_ABSENT;
    }
    if (v.kind == JI_MACRO && ji_is(name, "name")) {
        *out = v.u.macro->node->name ? ji_string(v.u.macro->node->name)
                                     : ji_none();
        return 1;
    }
    if ((v.kind == JI_INT || v.kind == JI_BOOL) &&
        (ji_is(name, "real") || ji_is(name, "numerator"))) {
        *out = ji_int(v.u.i);
        return 1;
    }
    if (v.kind == JI_TUPLE && v.u.l->group &&
        (ji_is(name, "grouper") || ji_is(name, "list"))) {
        *out = v.u.l->at[ji_is(name, "list")];
        return 1;
    }
    if (v.kind == JI_CYCLER && ji_is(name, "current")) {
        *out = v.u.cycle->items->at[v.u.cycle->at];
        return 1;
    }
    if (v.kind == JI_RANGE && ji_is(name, "start")) {
        *out = ji_int(v.u.range->start);
        return 1;
    }
    if (v.kind == JI_RANGE && (ji_is(name, "stop") || ji_is(name, "step"))) {
        *out = ji_int(name->at[2] == 'o' ? v.u.range->stop : v.u.range->step);
        return 1;
    }
    return 0;
}

/* What Python's getattr() finds, by the sandbox's rules. */
static int python_attr(ji_run *r, ji_val v, const ji_str *name, ji_val *out)
{
    const ji_def *def;
    int unsafe = 0;

    if (v.kind == JI_UNDEF)
        ji_fail(r, "%s", v.u.why);
    if (name->len && name->at[0] == '_' && name->len > 1 &&
        name->at[1] == '_') {
        *out = ji_undefined(r, "access to attribute '%.*s' of '%s' object is "
                            "unsafe", (int)(name->len % 100), name->at,
                            ji_type(v));
        return 1;
    }
    if (v.kind == JI_SPACE) {
        ji_val *item = ji_get(r, v.u.d, ji_string((ji_str *)name));

        *out = item ? *item : absent(r, v, ji_string((ji_str *)name));
        return 1;
    }
    if (attribute(r, v, name, out))
        return 1;
    def = ji_find_method(v, name, &unsafe);
    if (unsafe)
        *out = ji_undefined(r, "access to attribute '%s' of '%s' object is "
                            "unsafe: it changes the value",
                            ji_format(r, "%.*s", (int)name->len, name->at),
                            ji_type(v));
    else if (def)
        *out = plain_method(r, v, def);
    return unsafe || def;
}

static ji_val at_index(ji_run *r, ji_val v, ji_val key, int64_t n)
{
    int64_t i = key.u.i < 0 ? key.u.i + n : key.u.i;

    if (i < 0 || i >= n)
        return absent(r, v, key);
    if (v.kind == JI_RANGE)
        return ji_int(v.u.range->start + i * v.u.range->step);
    if (v.kind == JI_STR) {
        size_t at = ji_offset(v.u.s, (size_t)i);
        int bytes;
        ji_str *s;

        ji_step(r, at / 64);
        ji_code(v.u.s->at + at, &bytes);
        s = ji_part(r, v.u.s, at, at + (size_t)bytes);
        s->markup = v.u.s->markup;
        return ji_string(s);
    }
    return v.u.l->at[i];
}

/* v[key] of Python; 0: it raises TypeError or LookupError. */
static int python_item(ji_run *r, ji_val v, ji_val key, ji_val *out)
{
    ji_val *found;

    switch (v.kind) {
    case JI_UNDEF:
        ji_fail(r, "%s", v.u.why);
    case JI_DICT:
        found = ji_get(r, v.u.d, key);
        if (found)
            *out = *found;
        return found != NULL;
    case JI_STR:
    case JI_LIST:
    case JI_TUPLE:
    case JI_RANGE:
        if (key.kind != JI_INT && key.kind != JI_BOOL)
            return 0;
        *out = at_index(r, v, key, ji_length(r, v));
        return out->kind != JI_UNDEF || v.kind == JI_LIST ||
               v.kind == JI_TUPLE;
    default:
        return 0;
    }
}

ji_val ji_getattr(ji_run *r, ji_val v, ji_str *name)
{
    ji_val out;

    if (python_attr(r, v, name, &out) ||
        python_item(r, v, ji_string(name), &out))
        return out;
    return absent(r, v, ji_string(name));
}

ji_val ji_getitem(ji_run *r, ji_val v, ji_val key)
{
    ji_val out;

    if (python_item(r, v, key, &out))
        return out;
    if (key.kind == JI_STR && python_attr(r, v, key.u.s, &out))
        return out;
    return absent(r, v, key);
}

/* ------------------------------------------------------------------ slices */

static int64_t bound(ji_run *r, ji_val v, int64_t n, int64_t step, int64_t def)
{
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n, i;

    if (v.kind == JI_NONE)
        return def;
    i = ji_index(r, v);
    if (i < 0)
        i = i < -n ? low : i + n;
    return i < low ? low : i > high ? high : i;
}

static ji_val sliced_text(ji_run *r, ji_str *s, int64_t from, int64_t count,
                          int64_t step)
{
    ji_buf b = { NULL, 0, 0 };
    ji_str *out;

    ji_step(r, s->len / 64);
    if (step == 1) {
        size_t at = ji_offset(s, (size_t)from);

        return ji_string(ji_part(r, s, at,
                                 ji_offset(s, (size_t)(from + count))));
    }
    if (ji_chars(s) != s->len)
        ji_step(r, (size_t)count * (s->len / 64 + 1));
    for (int64_t i = 0; i < count; i++) {
        size_t at = ji_offset(s, (size_t)(from + i * step));
        int bytes;

        ji_step(r, 1);
        ji_code(s->at + at, &bytes);
        ji_put(r, &b, s->at + at, (size_t)bytes);
    }
    out = ji_take(r, &b);
    out->markup = s->markup;
    return ji_string(out);
}

ji_val ji_slice(ji_run *r, ji_val v, ji_val from, ji_val to, ji_val step_of)
{
    int64_t step = step_of.kind == JI_NONE ? 1 : ji_index(r, step_of);
    int64_t n = ji_length(r, v), first, last, count;
    ji_list *l;

    if (v.kind == JI_UNDEF)
        ji_fail(r, "%s", v.u.why);
    if (v.kind != JI_STR && v.kind != JI_LIST && v.kind != JI_TUPLE &&
        v.kind != JI_RANGE)
        return ji_undefined(r, "'%s object' has no slices", owner(v));
    if (step == 0)
        ji_fail(r, "slice step cannot be zero");
    if (step < -INT32_MAX || step > INT32_MAX)
        step = step < 0 ? -INT32_MAX : INT32_MAX;
    first = bound(r, from, n, step, step < 0 ? n - 1 : 0);
    last = bound(r, to, n, step, step < 0 ? -1 : n);
    count = step > 0 ? (last - first + step - 1) / step
                     : (first - last - step - 1) / -step;
    if (count < 0)
        count = 0;
    if (v.kind == JI_STR)
        return sliced_text(r, v.u.s, first, count, step);
    if (v.kind == JI_RANGE) {
        ji_range *g = ji_alloc(r, sizeof *g), *old = v.u.range;

        *g = (ji_range){ old->start + first * old->step,
                         old->start + last * old->step, old->step * step,
                         count };
        return (ji_val){ .kind = JI_RANGE, .u.range = g };
    }
    l = ji_list_new(r, (size_t)count);
    for (int64_t i = 0; i < count; i++)
        ji_push(r, l, v.u.l->at[first + i * step]);
    return (ji_val){ .kind = v.kind, .u.l = l };
}

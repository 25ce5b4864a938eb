/* SPDX-License-Identifier: MIT
 *
 * value.c -- values as Python has them: truth, equality, order, hashes, lists
 * and dicts, and what can be iterated over.
 */
#include <math.h>
#include <string.h>

#include "jinja.h"

ji_val ji_undefined(ji_run *r, const char *fmt, ...)
{
    char text[400];
    char *kept;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    kept = ji_alloc(r, strlen(text) + 1);
    strcpy(kept, text);
    return (ji_val){ .kind = JI_UNDEF, .u.why = kept };
}

ji_val ji_of(ji_run *r, const char *text)
{
    return ji_string(ji_text(r, text, strlen(text)));
}

const char *ji_type(ji_val v)
{
    static const char *const names[] = {
        [JI_UNDEF] = "Undefined",  [JI_NONE] = "NoneType",
        [JI_BOOL] = "bool",        [JI_INT] = "int",
        [JI_FLOAT] = "float",      [JI_STR] = "str",
        [JI_LIST] = "list",        [JI_TUPLE] = "tuple",
        [JI_DICT] = "dict",        [JI_RANGE] = "range",
        [JI_SPACE] = "Namespace",  [JI_MACRO] = "Macro",
        [JI_LOOP] = "LoopContext", [JI_METHOD] = "method",
        [JI_FUNCTION] = "function", [JI_CYCLER] = "Cycler",
        [JI_JOINER] = "Joiner",
    };
    static const char *const views[] = { [JI_KEYS] = "dict_keys",
                                         [JI_VALUES] = "dict_values",
                                         [JI_ITEMS] = "dict_items" };

    if (v.kind == JI_VIEW)
        return views[v.u.view->what];
    return v.kind == JI_ITER ? v.u.iter->type : names[v.kind];
}

int ji_number(ji_val v)
{
    return v.kind == JI_BOOL || v.kind == JI_INT || v.kind == JI_FLOAT;
}

double ji_double(ji_val v)
{
    return v.kind == JI_FLOAT ? v.u.f : (double)v.u.i;
}

/* ------------------------------------------------------------------- lists */

ji_list *ji_list_new(ji_run *r, size_t cap)
{
    ji_list *l = ji_alloc(r, sizeof *l);

    l->cap = cap;
    l->at = cap ? ji_alloc(r, cap * sizeof *l->at) : NULL;
    return l;
}

void ji_push(ji_run *r, ji_list *l, ji_val v)
{
    ji_step(r, 1);
    l->at = ji_grow(r, l->at, sizeof *l->at, l->n, &l->cap);
    l->at[l->n++] = v;
}

ji_val ji_listed(ji_list *l)
{
    return (ji_val){ .kind = JI_LIST, .u.l = l };
}

ji_val ji_pair(ji_run *r, ji_val a, ji_val b)
{
    ji_list *l = ji_list_new(r, 2);

    ji_push(r, l, a);
    ji_push(r, l, b);
    return (ji_val){ .kind = JI_TUPLE, .u.l = l };
}

ji_val ji_made(ji_run *r, ji_list *items, const char *type)
{
    ji_iter *it = ji_alloc(r, sizeof *it);

    it->items = items;
    it->type = type;
    return (ji_val){ .kind = JI_ITER, .u.iter = it };
}

/* ------------------------------------------------------------------- dicts */

int ji_hashable(ji_val v)
{
    if (v.kind == JI_LIST || v.kind == JI_DICT)
        return 0;
    for (size_t i = 0; v.kind == JI_TUPLE && i < v.u.l->n; i++)
        if (!ji_hashable(v.u.l->at[i]))
            return 0;
    return 1;
}

static uint64_t mix(uint64_t h, uint64_t x)
{
    h ^= x;
    h *= 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

static uint64_t hash_of(ji_val v)
{
    uint64_t h = 0x51ED270B;

    switch (v.kind) {
    case JI_BOOL:
    case JI_INT:
        return mix(h, (uint64_t)v.u.i);
    case JI_FLOAT:
        if (v.u.f == floor(v.u.f) && fabs(v.u.f) < 9e18)
            return mix(h, (uint64_t)(int64_t)v.u.f);
        memcpy(&h, &v.u.f, sizeof h);
        return mix(1, h);
    case JI_STR:
        for (size_t i = 0; i < v.u.s->len; i++)
            h = (h ^ (unsigned char)v.u.s->at[i]) * 0x100000001B3u;
        return mix(h, v.u.s->len);
    case JI_TUPLE:
        for (size_t i = 0; i < v.u.l->n; i++)
            h = mix(h, hash_of(v.u.l->at[i]));
        return h;
    case JI_UNDEF:
    case JI_NONE:
        return mix(h, (uint64_t)v.kind);
    default:
        return mix(h, (uint64_t)(uintptr_t)v.u.l);
    }
}

ji_dict *ji_dict_new(ji_run *r)
{
    return ji_alloc(r, sizeof(ji_dict));
}

/* The slot of KEY, or the free one that it would take. */
static size_t slot_of(ji_run *r, ji_dict *d, ji_val key, uint64_t hash)
{
    size_t at = hash & (d->slots - 1);

    for (; d->slot[at]; at = (at + 1) & (d->slots - 1)) {
        ji_entry *e = &d->at[d->slot[at] - 1];

        ji_step(r, 1);
        if (e->hash == hash && ji_equal(r, e->key, key))
            break;
    }
    return at;
}

static void rehash(ji_run *r, ji_dict *d)
{
    d->slots = d->slots ? 2 * d->slots : 16;
    d->slot = ji_alloc(r, d->slots * sizeof *d->slot);
    for (size_t i = 0; i < d->n; i++) {
        size_t at = d->at[i].hash & (d->slots - 1);

        while (d->slot[at])
            at = (at + 1) & (d->slots - 1);
        d->slot[at] = (uint32_t)i + 1;
    }
}

void ji_set(ji_run *r, ji_dict *d, ji_val key, ji_val value)
{
    uint64_t hash;
    size_t at;

    if (!ji_hashable(key))
        ji_fail(r, "unhashable type: '%s'", ji_type(key));
    hash = hash_of(key);
    if (2 * (d->n + 1) > d->slots)
        rehash(r, d);
    at = slot_of(r, d, key, hash);
    if (d->slot[at]) {
        d->at[d->slot[at] - 1].value = value;
        return;
    }
    d->at = ji_grow(r, d->at, sizeof *d->at, d->n, &d->cap);
    d->at[d->n++] = (ji_entry){ key, value, hash };
    d->slot[at] = (uint32_t)d->n;
}

ji_val *ji_get(ji_run *r, ji_dict *d, ji_val key)
{
    size_t at;

    if (!d->slots || !ji_hashable(key))
        return NULL;
    at = slot_of(r, d, key, hash_of(key));
    return d->slot[at] ? &d->at[d->slot[at] - 1].value : NULL;
}

ji_val *ji_get_text(ji_run *r, ji_dict *d, const char *key)
{
    ji_str s = { key, strlen(key), JI_UNKNOWN, NULL, 0 };

    return ji_get(r, d, ji_string(&s));
}

/* ------------------------------------------------------------------- truth */

int ji_true(ji_run *r, ji_val v)
{
    switch (v.kind) {
    case JI_UNDEF:
    case JI_NONE:
        return 0;
    case JI_FLOAT:
        return v.u.f != 0;
    case JI_BOOL:
    case JI_INT:
        return v.u.i != 0;
    case JI_STR:
    case JI_LIST:
    case JI_TUPLE:
    case JI_DICT:
    case JI_RANGE:
    case JI_VIEW:
        return ji_length(r, v) != 0;
    default:
        return 1;
    }
}

static int equal_lists(ji_run *r, const ji_list *a, const ji_list *b)
{
    if (a->n != b->n)
        return 0;
    for (size_t i = 0; i < a->n; i++)
        if (!ji_equal(r, a->at[i], b->at[i]))
            return 0;
    return 1;
}

static int equal_dicts(ji_run *r, ji_dict *a, ji_dict *b)
{
    if (a->n != b->n)
        return 0;
    for (size_t i = 0; i < a->n; i++) {
        ji_val *other = ji_get(r, b, a->at[i].key);

        if (!other || !ji_equal(r, a->at[i].value, *other))
            return 0;
    }
    return 1;
}

static int equal_numbers(ji_val a, ji_val b)
{
    if (a.kind != JI_FLOAT && b.kind != JI_FLOAT)
        return a.u.i == b.u.i;
    return ji_double(a) == ji_double(b);
}

static int equal_deep(ji_run *r, ji_val a, ji_val b)
{
    switch (a.kind) {
    case JI_STR:
        return ji_same(a.u.s, b.u.s);
    case JI_LIST:
    case JI_TUPLE:
        return a.u.l == b.u.l || equal_lists(r, a.u.l, b.u.l);
    case JI_DICT:
        return a.u.d == b.u.d || equal_dicts(r, a.u.d, b.u.d);
    case JI_RANGE:
        return a.u.range->n == b.u.range->n &&
               (!a.u.range->n ||
                (a.u.range->start == b.u.range->start &&
                 (a.u.range->n == 1 ||
                  a.u.range->step == b.u.range->step)));
    case JI_METHOD:
        return a.u.method->def == b.u.method->def &&
               a.u.method->self.u.l == b.u.method->self.u.l;
    case JI_UNDEF:
    case JI_NONE:
        return 1;
    default:
        return a.u.l == b.u.l;
    }
}

int ji_equal(ji_run *r, ji_val a, ji_val b)
{
    int same;

    ji_step(r, 1);
    if (ji_number(a) && ji_number(b))
        return equal_numbers(a, b);
    if (a.kind != b.kind)
        return 0;
    ji_deeper(r);
    same = equal_deep(r, a, b);
    r->depth--;
    return same;
}

static int compare_lists(ji_run *r, const ji_list *a, const ji_list *b,
                         const char *op)
{
    size_t n = a->n < b->n ? a->n : b->n;

    for (size_t i = 0; i < n; i++)
        if (!ji_equal(r, a->at[i], b->at[i]))
            return ji_compare(r, a->at[i], b->at[i], op);
    return (a->n > b->n) - (a->n < b->n);
}

int ji_compare(ji_run *r, ji_val a, ji_val b, const char *op)
{
    int order;

    ji_step(r, 1);
    if (ji_number(a) && ji_number(b)) {
        if (a.kind != JI_FLOAT && b.kind != JI_FLOAT)
            return (a.u.i > b.u.i) - (a.u.i < b.u.i);
        if (isnan(ji_double(a)) || isnan(ji_double(b)))
            return op[0] == '<' ? 2 : -2; /* neither way */
        return (ji_double(a) > ji_double(b)) - (ji_double(a) < ji_double(b));
    }
    if (a.kind == JI_STR && b.kind == JI_STR)
        return ji_order(a.u.s, b.u.s);
    if (a.kind == JI_UNDEF || b.kind == JI_UNDEF)
        ji_fail(r, "%s", a.kind == JI_UNDEF ? a.u.why : b.u.why);
    if (a.kind != b.kind || (a.kind != JI_LIST && a.kind != JI_TUPLE))
        ji_fail(r, "'%s' not supported between instances of '%s' and '%s'", op,
                ji_type(a), ji_type(b));
    ji_deeper(r);
    order = compare_lists(r, a.u.l, b.u.l, op);
    r->depth--;
    return order;
}

/* ------------------------------------------------------------ what is in it */

int64_t ji_length(ji_run *r, ji_val v)
{
    switch (v.kind) {
    case JI_UNDEF:
        return 0;
    case JI_STR:
        ji_step(r, v.u.s->chars == JI_UNKNOWN ? v.u.s->len / 64 : 0);
        return (int64_t)ji_chars(v.u.s);
    case JI_LIST:
    case JI_TUPLE:
        return (int64_t)v.u.l->n;
    case JI_DICT:
        return (int64_t)v.u.d->n;
    case JI_RANGE:
        return v.u.range->n;
    case JI_VIEW:
        return (int64_t)v.u.view->d->n;
    default:
        return -1;
    }
}

int ji_iterable(ji_val v)
{
    switch (v.kind) {
    case JI_UNDEF:
    case JI_STR:
    case JI_LIST:
    case JI_TUPLE:
    case JI_DICT:
    case JI_RANGE:
    case JI_VIEW:
    case JI_ITER:
        return 1;
    default:
        return 0;
    }
}

static void push_chars(ji_run *r, ji_list *l, ji_str *s)
{
    for (size_t i = 0; i < s->len;) {
        int bytes;

        ji_code(s->at + i, &bytes);
        ji_push(r, l, ji_string(ji_part(r, s, i, i + (size_t)bytes)));
        l->at[l->n - 1].u.s->markup = 0;
        i += (size_t)bytes;
    }
}

static void push_entries(ji_run *r, ji_list *l, const ji_dict *d, int what)
{
    for (size_t i = 0; i < d->n; i++)
        ji_push(r, l, what == JI_KEYS     ? d->at[i].key
                      : what == JI_VALUES ? d->at[i].value
                                          : ji_pair(r, d->at[i].key,
                                                    d->at[i].value));
}

static ji_list *rest(ji_run *r, ji_iter *it)
{
    ji_list *l = ji_list_new(r, 0);

    while (it->next < it->items->n)
        ji_push(r, l, it->items->at[it->next++]);
    if (it->broken)
        ji_leave(r, it->broken, it->raised);
    return l;
}

ji_list *ji_items(ji_run *r, ji_val v)
{
    ji_list *l;

    if (v.kind == JI_LIST || v.kind == JI_TUPLE)
        return v.u.l;
    if (v.kind == JI_ITER)
        return rest(r, v.u.iter);
    if (!ji_iterable(v))
        ji_fail(r, "'%s' object is not iterable", ji_type(v));
    l = ji_list_new(r, 0);
    if (v.kind == JI_STR)
        push_chars(r, l, v.u.s);
    if (v.kind == JI_DICT)
        push_entries(r, l, v.u.d, JI_KEYS);
    if (v.kind == JI_VIEW)
        push_entries(r, l, v.u.view->d, v.u.view->what);
    for (int64_t i = 0; v.kind == JI_RANGE && i < v.u.range->n; i++)
        ji_push(r, l, ji_int(v.u.range->start + i * v.u.range->step));
    return l;
}

int ji_contains(ji_run *r, ji_val in, ji_val item)
{
    ji_list *l;

    if (in.kind == JI_STR) {
        if (item.kind != JI_STR)
            ji_fail(r, "'in <string>' requires string as left operand, not %s",
                    ji_type(item));
        ji_step(r, in.u.s->len / 64);
        return ji_find(in.u.s, item.u.s, 0) != JI_UNKNOWN;
    }
    if (in.kind == JI_DICT ||
        (in.kind == JI_VIEW && in.u.view->what == JI_KEYS)) {
        if (!ji_hashable(item))
            ji_fail(r, "unhashable type: '%s'", ji_type(item));
        return ji_get(r, in.kind == JI_DICT ? in.u.d : in.u.view->d, item) !=
               NULL;
    }
    if (!ji_iterable(in))
        ji_fail(r, "argument of type '%s' is not iterable", ji_type(in));
    l = ji_items(r, in);
    for (size_t i = 0; i < l->n; i++)
        if (ji_equal(r, l->at[i], item))
            return 1;
    return 0;
}

int64_t ji_index(ji_run *r, ji_val v)
{
    if (v.kind == JI_UNDEF)
        ji_fail(r, "%s", v.u.why);
    if (v.kind != JI_INT && v.kind != JI_BOOL)
        ji_fail(r, "'%s' object cannot be interpreted as an integer",
                ji_type(v));
    return v.u.i;
}

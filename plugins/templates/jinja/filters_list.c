/* SPDX-License-Identifier: MIT
 *
 * filters_list.c -- the filters on whole lists: order, groups, ends, parts.
 */
#include <string.h>

#include "jinja.h"

/* One part of a path a.b.0: a number if it is one. */
static ji_val part_of(ji_run *r, const char *at, size_t len)
{
    ji_str *s = ji_wrap(r, at, len);
    int64_t i;
    int digits = len > 0 && len < 18;

    for (size_t k = 0; k < len; k++)
        digits &= at[k] >= '0' && at[k] <= '9';
    if (digits && ji_parse_int(r, s, 10, &i))
        return ji_int(i);
    return ji_string(s);
}

ji_val ji_dig(ji_run *r, ji_val item, ji_val attribute, ji_val other)
{
    const ji_str *path = attribute.u.s;

    if (attribute.kind == JI_ABSENT || attribute.kind == JI_NONE)
        return item;
    if (attribute.kind != JI_STR) {
        item = ji_getitem(r, item, attribute);
        return item.kind == JI_UNDEF && other.kind ? other : item;
    }
    for (size_t from = 0; from <= path->len;) {
        const char *dot = memchr(path->at + from, '.', path->len - from);
        size_t to = dot ? (size_t)(dot - path->at) : path->len;

        item = ji_getitem(r, item, part_of(r, path->at + from, to - from));
        if (item.kind == JI_UNDEF && other.kind)
            item = other;
        from = to + 1;
    }
    return item;
}

static ji_val ignore_case(ji_run *r, ji_val v, int sensitive)
{
    if (v.kind != JI_STR || sensitive)
        return v;
    return ji_string(ji_cased(r, v.u.s, JI_LOWER));
}

static int given(ji_run *r, ji_val v)
{
    return v.kind && ji_true(r, v);
}

static const ji_val absent = { .kind = JI_ABSENT };

/* ------------------------------------------------------------------- order */

typedef struct {
    ji_val key, item;
} keyed;

/* Equal ones keep their order. */
static void merge_sort(ji_run *r, keyed *at, keyed *room, size_t n)
{
    size_t half = n / 2, i = 0, k = half, to = 0;

    if (n < 2)
        return;
    merge_sort(r, at, room, half);
    merge_sort(r, at + half, room, n - half);
    while (i < half || k < n) {
        int left = k >= n || (i < half &&
                              ji_compare(r, at[k].key, at[i].key, "<") >= 0);
        room[to++] = at[left ? i++ : k++];
    }
    memcpy(at, room, n * sizeof *at);
}

static ji_list *sorted(ji_run *r, keyed *at, size_t n, int reverse)
{
    ji_list *l = ji_list_new(r, n);
    keyed *room = ji_alloc(r, (n + 1) * sizeof *room);

    for (size_t i = 0; reverse && i < n / 2; i++) {
        keyed k = at[i];
        at[i] = at[n - 1 - i];
        at[n - 1 - i] = k;
    }
    merge_sort(r, at, room, n);
    for (size_t i = 0; i < n; i++)
        ji_push(r, l, at[reverse ? n - 1 - i : i].item);
    return l;
}

/* The keys that the comma separates, as a list. */
static ji_val sort_key(ji_run *r, ji_val item, ji_val attribute, int sensitive)
{
    ji_list *l = ji_list_new(r, 1);
    const ji_str *s = attribute.u.s;

    if (attribute.kind != JI_STR) {
        ji_push(r, l, ignore_case(r, ji_dig(r, item, attribute, absent),
                                  sensitive));
        return ji_listed(l);
    }
    for (size_t from = 0; from <= s->len;) {
        const char *comma = memchr(s->at + from, ',', s->len - from);
        size_t to = comma ? (size_t)(comma - s->at) : s->len;
        ji_val by = ji_string(ji_wrap(r, s->at + from, to - from));

        ji_push(r, l, ignore_case(r, ji_dig(r, item, by, absent), sensitive));
        from = to + 1;
    }
    return ji_listed(l);
}

static ji_val sort(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_list *l = ji_items(r, v);
    keyed *at = ji_alloc(r, (l->n + 1) * sizeof *at);

    (void)a;
    for (size_t i = 0; i < l->n; i++)
        at[i] = (keyed){ sort_key(r, l->at[i], p[2], given(r, p[1])),
                         l->at[i] };
    return ji_listed(sorted(r, at, l->n, given(r, p[0])));
}

static ji_val dictsort(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    int by_value = p[1].kind == JI_STR && ji_is(p[1].u.s, "value");
    keyed *at;
    size_t n;

    (void)a;
    if (v.kind == JI_UNDEF)
        ji_fail(r, "%s", v.u.why);
    if (v.kind != JI_DICT)
        ji_fail(r, "dictsort: '%s' object has no attribute 'items'",
                ji_type(v));
    if (p[1].kind && !by_value &&
        (p[1].kind != JI_STR || !ji_is(p[1].u.s, "key")))
        ji_fail(r, "dictsort: by is \"key\" or \"value\"");
    n = v.u.d->n;
    at = ji_alloc(r, (n + 1) * sizeof *at);
    for (size_t i = 0; i < n; i++) {
        const ji_entry *e = &v.u.d->at[i];

        at[i].key = ignore_case(r, by_value ? e->value : e->key,
                                given(r, p[0]));
        at[i].item = ji_pair(r, e->key, e->value);
    }
    return ji_listed(sorted(r, at, n, given(r, p[2])));
}

static ji_val groupby(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_list *l = ji_items(r, v), *out = ji_list_new(r, 0), *group = NULL;
    keyed *at = ji_alloc(r, (l->n + 1) * sizeof *at);
    keyed *room = ji_alloc(r, (l->n + 1) * sizeof *room);
    ji_val other = p[1].kind == JI_NONE ? absent : p[1];

    (void)a;
    for (size_t i = 0; i < l->n; i++)
        at[i] = (keyed){ ignore_case(r, ji_dig(r, l->at[i], p[0], other),
                                     given(r, p[2])), l->at[i] };
    merge_sort(r, at, room, l->n);
    for (size_t i = 0; i < l->n; i++) {
        if (!i || !ji_equal(r, at[i - 1].key, at[i].key)) {
            group = ji_list_new(r, 0);
            ji_push(r, out, ji_pair(r, ji_dig(r, at[i].item, p[0], other),
                                    ji_listed(group)));
            out->at[out->n - 1].u.l->group = 1;
        }
        ji_push(r, group, at[i].item);
    }
    return ji_listed(out);
}

static ji_val extreme(ji_run *r, ji_val v, ji_val *p, int want)
{
    ji_list *l = ji_items(r, v);
    ji_val best = absent, best_key = absent;

    for (size_t i = 0; i < l->n; i++) {
        ji_val key = ignore_case(r, ji_dig(r, l->at[i], p[1], absent),
                                 given(r, p[0]));

        if (i && ji_compare(r, key, best_key, want < 0 ? "<" : ">") * want <= 0)
            continue;
        best = l->at[i];
        best_key = key;
    }
    return l->n ? best
                : ji_undefined(r, "no aggregated item, sequence was empty");
}

static ji_val min(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)a;
    return extreme(r, v, p, -1);
}

static ji_val max(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)a;
    return extreme(r, v, p, 1);
}

static ji_val unique(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_list *l = ji_items(r, v), *out = ji_list_new(r, 0);
    ji_dict *seen = ji_dict_new(r);

    (void)a;
    for (size_t i = 0; i < l->n; i++) {
        ji_val key = ignore_case(r, ji_dig(r, l->at[i], p[1], absent),
                                 given(r, p[0]));

        if (!ji_hashable(key))
            ji_fail(r, "unhashable type: '%s'", ji_type(key));
        if (ji_get(r, seen, key))
            continue;
        ji_set(r, seen, key, ji_none());
        ji_push(r, out, l->at[i]);
    }
    return ji_made(r, out, "generator");
}

static ji_val reverse(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_list *l, *out = ji_list_new(r, 0);

    (void)a, (void)p;
    if (v.kind == JI_STR)
        return ji_slice(r, v, ji_none(), ji_none(), ji_int(-1));
    if (v.kind == JI_UNDEF)
        return ji_listed(out);
    l = ji_items(r, v);
    for (size_t i = l->n; i-- > 0;)
        ji_push(r, out, l->at[i]);
    return v.kind == JI_ITER ? ji_listed(out)
                             : ji_made(r, out, "reverseiterator");
}

/* -------------------------------------------------------------------- ends */

static ji_val first(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_list *l;

    (void)a, (void)p;
    if (v.kind == JI_ITER && v.u.iter->next < v.u.iter->items->n)
        return v.u.iter->items->at[v.u.iter->next++];
    if (v.kind == JI_STR && v.u.s->len)
        return ji_getitem(r, v, ji_int(0));
    l = ji_items(r, v);
    return l->n ? l->at[0]
                : ji_undefined(r, "no first item, sequence was empty");
}

static ji_val last(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_list *l;

    (void)a, (void)p;
    if (v.kind == JI_ITER)
        ji_fail(r, "'%s' object is not reversible", ji_type(v));
    l = ji_items(r, v);
    return l->n ? l->at[l->n - 1]
                : ji_undefined(r, "no last item, sequence was empty");
}

/* ------------------------------------------------------------------- parts */

static ji_val batch(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_list *l = ji_items(r, v), *out = ji_list_new(r, 0), *now = NULL;
    int64_t size = ji_index(r, p[0]);

    (void)a;
    for (size_t i = 0; i < l->n; i++) {
        if (!now || (int64_t)now->n == size)
            ji_push(r, out, ji_listed(now = ji_list_new(r, 0)));
        ji_push(r, now, l->at[i]);
    }
    while (now && p[1].kind && p[1].kind != JI_NONE && (int64_t)now->n < size)
        ji_push(r, now, p[1]);
    return ji_made(r, out, "generator");
}

static ji_val slice(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_list *l = ji_items(r, v), *out = ji_list_new(r, 0);
    int64_t slices = ji_index(r, p[0]), n = (int64_t)l->n, at = 0;

    (void)a;
    if (slices == 0)
        ji_fail(r, "slice: division by zero");
    for (int64_t i = 0; i < slices; i++) {
        ji_list *now = ji_list_new(r, 0);
        int more = i < n % slices;

        for (int64_t k = 0; k < n / slices + more; k++)
            ji_push(r, now, l->at[at++]);
        if (!more && p[1].kind && p[1].kind != JI_NONE)
            ji_push(r, now, p[1]);
        ji_push(r, out, ji_listed(now));
    }
    return ji_made(r, out, "generator");
}

static ji_val list(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_list *l = ji_items(r, v), *out = ji_list_new(r, l->n);

    (void)a, (void)p;
    for (size_t i = 0; i < l->n; i++)
        ji_push(r, out, l->at[i]);
    return ji_listed(out);
}

static ji_val items(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_list *out = ji_list_new(r, 0);

    (void)a, (void)p;
    if (v.kind != JI_UNDEF && v.kind != JI_DICT)
        ji_fail(r, "can only get item pairs from a mapping");
    for (size_t i = 0; v.kind == JI_DICT && i < v.u.d->n; i++)
        ji_push(r, out, ji_pair(r, v.u.d->at[i].key, v.u.d->at[i].value));
    return ji_made(r, out, "generator");
}

static ji_val join(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_list *l = ji_items(r, v);
    ji_str *by = p[0].kind ? ji_tostr(r, p[0]) : ji_wrap(r, "", 0), *s;
    ji_buf b = { NULL, 0, 0 };

    (void)a;
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            ji_put(r, &b, by->at, by->len);
        s = ji_tostr(r, ji_dig(r, l->at[i], p[1], absent));
        ji_step(r, 1 + s->len / 64);
        ji_put(r, &b, s->at, s->len);
    }
    return ji_string(ji_take(r, &b));
}

static ji_val length(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    int64_t n = ji_length(r, v);

    (void)a, (void)p;
    if (n < 0)
        ji_fail(r, "object of type '%s' has no len()", ji_type(v));
    return ji_int(n);
}

static ji_val sum(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_list *l = ji_items(r, v);
    ji_val all = p[1].kind ? p[1] : ji_int(0);

    (void)a;
    if (all.kind == JI_STR)
        ji_fail(r, "sum() can't sum strings");
    for (size_t i = 0; i < l->n; i++)
        all = ji_binary(r, '+', all, ji_dig(r, l->at[i], p[0], absent));
    return all;
}

const ji_def ji_list_filters[] = {
    { "batch", "linecount fill_with", 1, batch },
    { "count", "", 0, length },
    { "dictsort", "case_sensitive by reverse", 0, dictsort },
    { "first", "", 0, first },
    { "groupby", "attribute default case_sensitive", 1, groupby },
    { "items", "", 0, items },
    { "join", "d attribute", 0, join },
    { "last", "", 0, last },
    { "length", "", 0, length },
    { "list", "", 0, list },
    { "max", "case_sensitive attribute", 0, max },
    { "min", "case_sensitive attribute", 0, min },
    { "reverse", "", 0, reverse },
    { "slice", "slices fill_with", 1, slice },
    { "sort", "reverse case_sensitive attribute", 0, sort },
    { "sum", "attribute start", 0, sum },
    { "unique", "case_sensitive attribute", 0, unique },
    { NULL, NULL, 0, NULL },
};

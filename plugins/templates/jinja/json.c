/* SPDX-License-Identifier: MIT
 *
 * json.c -- JSON in and out: the variables of a rendering, and the filter
 * tojson as Transformers defines it (json.dumps of Python).
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jinja.h"

/* -------------------------------------------------------------------- in */

static ji_val from_array(ji_run *r, const json_t *j)
{
    ji_list *l = ji_list_new(r, json_array_size(j));

    for (size_t i = 0; i < json_array_size(j); i++)
        ji_push(r, l, ji_from_json(r, json_array_get(j, i)));
    return ji_listed(l);
}

static ji_val from_object(ji_run *r, const json_t *j)
{
    ji_dict *d = ji_dict_new(r);
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)j, key, value)
        ji_set(r, d, ji_of(r, key), ji_from_json(r, value));
    return (ji_val){ .kind = JI_DICT, .u.d = d };
}

ji_val ji_from_json(ji_run *r, const json_t *j)
{
    ji_val v;

    switch (json_typeof(j)) {
    case JSON_NULL:
        return ji_none();
    case JSON_TRUE:
    case JSON_FALSE:
        return ji_bool(json_is_true(j));
    case JSON_INTEGER:
        return ji_int(json_integer_value(j));
    case JSON_REAL:
        return ji_float(json_real_value(j));
    case JSON_STRING:
        return ji_string(ji_text(r, json_string_value(j),
                                 json_string_length(j)));
    default:
        ji_deeper(r);
        v = json_is_array(j) ? from_array(r, j) : from_object(r, j);
        r->depth--;
        return v;
    }
}

/* ------------------------------------------------------------------- out */

typedef struct {
    ji_buf b;
    int ascii, sort;
    const ji_str *indent; /* NULL: on one line */
    const ji_str *comma, *colon;
} writer;

static void write_value(ji_run *r, writer *w, ji_val v, int level);

static void write_text(ji_run *r, writer *w, const ji_str *s)
{
    static const char named[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    char code[16];

    ji_puts(r, &w->b, "\"");
    for (size_t i = 0; i < s->len;) {
        int bytes;
        uint32_t c = ji_code(s->at + i, &bytes);
        const char *name = c && c < 128 ? strchr(named, (int)c) : NULL;

        if (name)
            snprintf(code, sizeof code, "\\%c", to[name - named]);
        else if (c < 32 || (w->ascii && c >= 127 && c < 0x10000 && c != 127))
            snprintf(code, sizeof code, "\\u%04x", c);
        else if (w->ascii && c >= 0x10000)
            snprintf(code, sizeof code, "\\u%04x\\u%04x",
                     0xD800 + ((c - 0x10000) >> 10),
                     0xDC00 + ((c - 0x10000) & 0x3FF));
        else
            snprintf(code, sizeof code, "%.*s", bytes, s->at + i);
        if (c)
            ji_puts(r, &w->b, code);
        else
            ji_puts(r, &w->b, "\\u0000");
        i += (size_t)bytes;
    }
    ji_puts(r, &w->b, "\"");
}

static void new_line(ji_run *r, writer *w, int level)
{
    if (!w->indent)
        return;
    ji_puts(r, &w->b, "\n");
    for (int i = 0; i < level; i++)
        ji_put(r, &w->b, w->indent->at, w->indent->len);
}

static void write_list(ji_run *r, writer *w, const ji_list *l, int level)
{
    ji_puts(r, &w->b, "[");
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            ji_put(r, &w->b, w->comma->at, w->comma->len);
        new_line(r, w, level + 1);
        write_value(r, w, l->at[i], level + 1);
    }
    if (l->n)
        new_line(r, w, level);
    ji_puts(r, &w->b, "]");
}

static void write_number(ji_run *r, writer *w, ji_val v)
{
    if (v.kind == JI_BOOL)
        ji_puts(r, &w->b, v.u.i ? "true" : "false");
    else if (v.kind == JI_FLOAT && (isnan(v.u.f) || isinf(v.u.f)))
        ji_puts(r, &w->b, isnan(v.u.f) ? "NaN"
                          : v.u.f < 0  ? "-Infinity"
                                       : "Infinity");
    else
        ji_repr(r, &w->b, v);
}

static void write_key(ji_run *r, writer *w, ji_val key)
{
    if (key.kind == JI_STR) {
        write_text(r, w, key.u.s);
        return;
    }
    if (key.kind != JI_NONE && !ji_number(key))
        ji_fail(r, "keys must be str, int, float, bool or None, not %s",
                ji_type(key));
    ji_puts(r, &w->b, "\"");
    write_value(r, w, key, 0);
    ji_puts(r, &w->b, "\"");
}

/* Entries in the order of their keys; merge sort keeps equal ones in order. */
static void sort_entries(ji_run *r, ji_entry *at, ji_entry *room, size_t n)
{
    size_t half = n / 2, i = 0, k = half, to = 0;

    if (n < 2)
        return;
    sort_entries(r, at, room, half);
    sort_entries(r, at + half, room, n - half);
    while (i < half || k < n) {
        int left = k >= n || (i < half && ji_compare(r, at[k].key, at[i].key,
                                                     "<") >= 0);
        room[to++] = at[left ? i++ : k++];
    }
    memcpy(at, room, n * sizeof *at);
}

static void write_dict(ji_run *r, writer *w, const ji_dict *d, int level)
{
    ji_entry *at = d->at;

    if (w->sort && d->n) {
        at = ji_alloc(r, 2 * d->n * sizeof *at);
        memcpy(at, d->at, d->n * sizeof *at);
        sort_entries(r, at, at + d->n, d->n);
    }
    ji_puts(r, &w->b, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            ji_put(r, &w->b, w->comma->at, w->comma->len);
        new_line(r, w, level + 1);
        write_key(r, w, at[i].key);
        ji_put(r, &w->b, w->colon->at, w->colon->len);
        write_value(r, w, at[i].value, level + 1);
    }
    if (d->n)
        new_line(r, w, level);
    ji_puts(r, &w->b, "}");
}

static void write_value(ji_run *r, writer *w, ji_val v, int level)
{
    ji_step(r, 1);
    ji_deeper(r);
    switch (v.kind) {
    case JI_NONE:
        ji_puts(r, &w->b, "null");
        break;
    case JI_BOOL:
    case JI_INT:
    case JI_FLOAT:
        write_number(r, w, v);
        break;
    case JI_STR:
        write_text(r, w, v.u.s);
        break;
    case JI_LIST:
    case JI_TUPLE:
        write_list(r, w, v.u.l, level);
        break;
    case JI_DICT:
        write_dict(r, w, v.u.d, level);
        break;
    default:
        ji_fail(r, "Object of type %s is not JSON serializable", ji_type(v));
    }
    r->depth--;
}

static const ji_str *indent_of(ji_run *r, ji_val v)
{
    ji_buf b = { NULL, 0, 0 };

    if (v.kind == JI_ABSENT || v.kind == JI_NONE)
        return NULL;
    if (v.kind == JI_STR)
        return v.u.s;
    for (int64_t i = ji_index(r, v); i > 0; i--) {
        ji_step(r, 1);
        ji_puts(r, &b, " ");
    }
    return ji_take(r, &b);
}

ji_val ji_tojson(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    writer w = { .ascii = ji_true(r, p[0].kind ? p[0] : ji_bool(0)),
                 .sort = p[3].kind && ji_true(r, p[3]),
                 .indent = indent_of(r, p[1]) };

    (void)a;
    w.comma = ji_wrap(r, w.indent ? "," : ", ", w.indent ? 1 : 2);
    w.colon = ji_wrap(r, ": ", 2);
    if (p[2].kind && p[2].kind != JI_NONE) {
        ji_list *l = ji_items(r, p[2]);

        if (l->n != 2 || l->at[0].kind != JI_STR || l->at[1].kind != JI_STR)
            ji_fail(r, "separators must be two texts");
        w.comma = l->at[0].u.s;
        w.colon = l->at[1].u.s;
    }
    write_value(r, &w, v, 0);
    return ji_string(ji_take(r, &w.b));
}

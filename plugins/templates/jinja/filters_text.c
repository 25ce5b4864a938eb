/* SPDX-License-Identifier: MIT
 *
 * filters_text.c -- the filters that make a text of a value.
 */
#include <math.h>
#include <string.h>

#include "jinja.h"

static ji_str *soft(ji_run *r, ji_val v)
{
    return ji_tostr(r, v);
}

static ji_val upper(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return ji_string(ji_cased(r, soft(r, v), JI_UPPER));
}

static ji_val lower(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return ji_string(ji_cased(r, soft(r, v), JI_LOWER));
}

static ji_val capitalize(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_val s = ji_string(soft(r, v));
    int unsafe;
    const ji_str name = { "capitalize", 10, 10, NULL, 0 };

    (void)p;
    return ji_find_method(s, &name, &unsafe)->run(r, s, a, p);
}

/* Words begin behind white space and any of -({[<. */
static ji_val title(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_str *s = soft(r, v), *all = ji_wrap(r, "", 0);

    (void)a, (void)p;
    for (size_t i = 0; i < s->len;) {
        size_t from = i;
        int bytes = 0, first = 0;
        uint32_t c = ji_code(s->at + i, &bytes);
        int word = !(ji_space(c) || (c < 128 && c && strchr("-({[<", (int)c)));

        first = bytes;
        for (; i < s->len; i += (size_t)bytes) {
            c = ji_code(s->at + i, &bytes);
            if (word == (ji_space(c) ||
                         (c < 128 && c && strchr("-({[<", (int)c))))
                break;
        }
        all = ji_join(r, all, ji_cased(r, ji_part(r, s, from,
                                                  from + (size_t)first),
                                       JI_UPPER));
        all = ji_join(r, all, ji_cased(r, ji_part(r, s, from + (size_t)first,
                                                  i), JI_LOWER));
    }
    if (all->markup) {
        all = ji_part(r, all, 0, all->len);
        all->markup = 0;
    }
    return ji_string(all);
}

static ji_val trim(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_str *s = soft(r, v), *chars = NULL;

    (void)a;
    ji_step(r, s->len / 64);
    if (p[0].kind && p[0].kind != JI_NONE)
        chars = ji_text_arg(r, p[0], "trim");
    return ji_string(ji_strip(r, s, chars, 3));
}

static ji_val center(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)a;
    return ji_string(ji_center(r, soft(r, v),
                               p[0].kind ? ji_index(r, p[0]) : 80, " "));
}

static ji_val string(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return ji_string(soft(r, v));
}

static ji_val safe(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_str *s = soft(r, v);

    (void)a, (void)p;
    s = ji_part(r, s, 0, s->len);
    s->markup = 1;
    return ji_string(s);
}

static ji_val escape(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return ji_string(ji_escape(r, soft(r, v)));
}

static ji_val forceescape(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_str *s = soft(r, v);

    (void)a, (void)p;
    s = ji_part(r, s, 0, s->len);
    s->markup = 0;
    return ji_string(ji_escape(r, s));
}

static ji_val replace(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    int64_t most = p[2].kind && p[2].kind != JI_NONE ? ji_index(r, p[2]) : -1;

    (void)a;
    return ji_string(ji_replace(r, soft(r, v), soft(r, p[0]), soft(r, p[1]),
                                most));
}

static ji_val format(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_list *l = ji_list_new(r, (size_t)a->n);
    ji_dict *d = ji_dict_new(r);

    (void)p;
    if (a->n && a->names)
        ji_fail(r, "format: positional and keyword arguments at once");
    for (int i = 0; i < a->n; i++)
        ji_push(r, l, a->at[i]);
    for (int i = 0; i < a->names; i++)
        ji_set(r, d, ji_string(a->name[i]), a->named[i]);
    return ji_string(ji_percent(r, soft(r, v),
                                a->names ? (ji_val){ .kind = JI_DICT,
                                                     .u.d = d }
                                         : (ji_val){ .kind = JI_TUPLE,
                                                     .u.l = l }));
}

static ji_str *indention(ji_run *r, ji_val width)
{
    ji_buf b = { NULL, 0, 0 };

    if (width.kind == JI_STR)
        return width.u.s;
    for (int64_t i = width.kind ? ji_index(r, width) : 4; i > 0; i--) {
        ji_step(r, 1);
        ji_puts(r, &b, " ");
    }
    return ji_take(r, &b);
}

static ji_val indent(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_str *s = ji_text_arg(r, v, "indent"), *by = indention(r, p[0]);
    ji_list *lines = ji_lines(r, ji_join(r, s, ji_wrap(r, "\n", 1)), 0);
    int first = p[1].kind && ji_true(r, p[1]);
    int blank = p[2].kind && ji_true(r, p[2]);
    ji_buf b = { NULL, 0, 0 };
    ji_str *out;

    (void)a;
    for (size_t i = 0; i < lines->n; i++) {
        const ji_str *line = lines->at[i].u.s;

        if (i)
            ji_puts(r, &b, "\n");
        if (i ? blank || line->len : first)
            ji_put(r, &b, by->at, by->len);
        ji_put(r, &b, line->at, line->len);
    }
    out = ji_take(r, &b);
    out->markup = s->markup;
    return ji_string(out);
}

static ji_val truncate(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_str *s = ji_text_arg(r, v, "truncate");
    ji_str *end = p[2].kind ? ji_text_arg(r, p[2], "truncate")
                            : ji_wrap(r, "...", 3);
    int64_t most = p[0].kind ? ji_index(r, p[0]) : 255;
    int64_t leeway = p[3].kind && p[3].kind != JI_NONE ? ji_index(r, p[3]) : 5;
    int64_t ends = (int64_t)ji_chars(end);
    size_t cut;
    ji_str *kept;

    (void)a;
    if (most < ends || leeway < 0)
        ji_fail(r, "truncate: length must be %lld or more",
                (long long)ends);
    if ((int64_t)ji_chars(s) <= most + leeway)
        return v;
    kept = ji_part(r, s, 0, ji_offset(s, (size_t)(most - ends)));
    if (!p[1].kind || !ji_true(r, p[1])) {
        cut = ji_rfind(r, kept, ji_wrap(r, " ", 1), kept->len);
        if (cut != JI_UNKNOWN)
            kept = ji_part(r, kept, 0, cut);
    }
    return ji_string(ji_join(r, kept, end));
}

static ji_val wordcount(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_str *s = soft(r, v);
    int64_t n = 0;
    int before = 0;

    (void)a, (void)p;
    for (size_t i = 0; i < s->len;) {
        int bytes, word = ji_word(ji_code(s->at + i, &bytes));

        n += word && !before;
        before = word;
        i += (size_t)bytes;
    }
    return ji_int(n);
}

static void put_quoted(ji_run *r, ji_buf *b, ji_val v, int query)
{
    ji_str *s = soft(r, v);
    char hex[4];

    for (size_t i = 0; i < s->len; i++) {
        unsigned char c = (unsigned char)s->at[i];

        if ((c < 128 && ji_word(c)) || (c && strchr("-.~", c)) ||
            (c == '/' && !query)) {
            ji_put(r, b, s->at + i, 1);
        } else if (c == ' ' && query) {
            ji_puts(r, b, "+");
        } else {
            snprintf(hex, sizeof hex, "%%%02X", c);
            ji_puts(r, b, hex);
        }
    }
}

static ji_val urlencode(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_buf b = { NULL, 0, 0 };
    ji_list *l;

    (void)a, (void)p;
    if (v.kind == JI_STR || !ji_iterable(v)) {
        put_quoted(r, &b, v, 0);
        return ji_string(ji_take(r, &b));
    }
    if (v.kind == JI_DICT) {
        ji_view *view = ji_alloc(r, sizeof *view);

        *view = (ji_view){ v.u.d, JI_ITEMS };
        v = (ji_val){ .kind = JI_VIEW, .u.view = view };
    }
    l = ji_items(r, v);
    for (size_t i = 0; i < l->n; i++) {
        ji_list *pair = ji_items(r, l->at[i]);

        if (pair->n != 2)
            ji_fail(r, "urlencode: expected pairs");
        if (i)
            ji_puts(r, &b, "&");
        put_quoted(r, &b, pair->at[0], 1);
        ji_puts(r, &b, "=");
        put_quoted(r, &b, pair->at[1], 1);
    }
    return ji_string(ji_take(r, &b));
}

static ji_val xmlattr(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    ji_buf b = { NULL, 0, 0 };
    int space = !p[0].kind || ji_true(r, p[0]);

    (void)a;
    if (v.kind != JI_DICT)
        ji_fail(r, "xmlattr: expected a mapping, got %s", ji_type(v));
    for (size_t i = 0; i < v.u.d->n; i++) {
        ji_val value = v.u.d->at[i].value;
        ji_str *key = ji_text_arg(r, v.u.d->at[i].key, "xmlattr");

        if (value.kind == JI_NONE || value.kind == JI_UNDEF)
            continue;
        for (size_t k = 0; k < key->len; k++)
            if (!key->at[k] || strchr(" \t\n\r\f\v/>=", key->at[k]))
                ji_fail(r, "xmlattr: invalid character in a name");
        if (b.len || space)
            ji_puts(r, &b, " ");
        key = ji_escape(r, key);
        ji_put(r, &b, key->at, key->len);
        ji_puts(r, &b, "=\"");
        key = ji_escape(r, soft(r, value));
        ji_put(r, &b, key->at, key->len);
        ji_puts(r, &b, "\"");
    }
    return ji_string(ji_take(r, &b));
}

static ji_val filesizeformat(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    static const char prefixes[] = "kMGTPEZY";
    int binary = p[0].kind && ji_true(r, p[0]), i = 0;
    double base = binary ? 1024 : 1000, n, unit = base * base;
    const char *text;

    (void)a;
    if (v.kind == JI_STR ? !ji_parse_float(r, v.u.s, &n) : !ji_number(v))
        ji_fail(r, "filesizeformat: not a number");
    n = v.kind == JI_STR ? n : ji_double(v);
    if (n == 1)
        return ji_of(r, "1 Byte");
    if (n < base) {
        text = ji_format(r, "%lld Bytes", (long long)n);
    } else {
        for (; i < 7 && n >= unit; i++)
            unit *= base;
        text = binary ? ji_format(r, "%.1f %ciB", base * n / unit,
                                  i ? prefixes[i] : 'K')
                      : ji_format(r, "%.1f %cB", base * n / unit, prefixes[i]);
    }
    return ji_of(r, text);
}

_Noreturn static ji_val refused(ji_run *r, ji_val v, const ji_args *a,
                                ji_val *p)
{
    (void)v, (void)a, (void)p;
    ji_fail(r, "the filters pprint, random, striptags, urlize and wordwrap "
            "are not supported");
}

const ji_def ji_text_filters[] = {
    { "capitalize", "", 0, capitalize },
    { "center", "width", 0, center },
    { "e", "", 0, escape },
    { "escape", "", 0, escape },
    { "filesizeformat", "binary", 0, filesizeformat },
    { "forceescape", "", 0, forceescape },
    { "format", "*", 0, format },
    { "indent", "width first blank", 0, indent },
    { "lower", "", 0, lower },
    { "pprint", "*", 0, refused },
    { "random", "*", 0, refused },
    { "replace", "old new count", 2, replace },
    { "safe", "", 0, safe },
    { "string", "", 0, string },
    { "striptags", "*", 0, refused },
    { "title", "", 0, title },
    { "tojson", "ensure_ascii indent separators sort_keys", 0, ji_tojson },
    { "trim", "chars", 0, trim },
    { "truncate", "length killwords end leeway", 0, truncate },
    { "upper", "", 0, upper },
    { "urlencode", "", 0, urlencode },
    { "urlize", "*", 0, refused },
    { "wordcount", "", 0, wordcount },
    { "wordwrap", "*", 0, refused },
    { "xmlattr", "autospace", 0, xmlattr },
    { NULL, NULL, 0, NULL },
};

/* SPDX-License-Identifier: MIT
 *
 * edits.c -- the methods of str that make another text of one.
 */
#include <string.h>

#include "jinja.h"

/* ----------------------------------------------------------------- cases */

static ji_val upper(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return ji_string(ji_cased(r, self.u.s, JI_UPPER));
}

static ji_val lower(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return ji_string(ji_cased(r, self.u.s, JI_LOWER));
}

static ji_str *first_and_rest(ji_run *r, ji_str *s, ji_case first)
{
    int bytes;

    if (!s->len)
        return s;
    ji_code(s->at, &bytes);
    return ji_join(r, ji_cased(r, ji_part(r, s, 0, (size_t)bytes), first),
                   ji_cased(r, ji_part(r, s, (size_t)bytes, s->len),
                            JI_LOWER));
}

static ji_val capitalize(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return ji_string(first_and_rest(r, self.u.s, JI_TITLE));
}

/* Words are runs of letters that have a case. */
static ji_val title(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_str *s = self.u.s, *out = ji_wrap(r, "", 0);
    size_t from = 0;
    int in_word = 0;

    (void)a, (void)p;
    for (size_t i = 0; i <= s->len;) {
        int bytes = 1;
        int now = i < s->len && ji_has_case(ji_code(s->at + i, &bytes));

        if ((now != in_word || i == s->len) && i > from) {
            ji_str *part = ji_part(r, s, from, i);

            out = ji_join(r, out, in_word ? first_and_rest(r, part, JI_TITLE)
                                          : part);
            from = i;
        }
        in_word = now;
        i += (size_t)bytes;
    }
    return ji_string(out);
}

static ji_val swapcase(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_str *s = self.u.s, *out = ji_wrap(r, "", 0);

    (void)a, (void)p;
    for (size_t i = 0; i < s->len;) {
        int bytes;
        ji_str *one, *other;

        ji_code(s->at + i, &bytes);
        one = ji_part(r, s, i, i + (size_t)bytes);
        other = ji_cased(r, one, JI_LOWER);
        out = ji_join(r, out, ji_same(one, other) ? ji_cased(r, one, JI_UPPER)
                                                  : other);
        i += (size_t)bytes;
    }
    return ji_string(out);
}

static ji_val casefold(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return ji_string(ji_cased(r, self.u.s, JI_FOLD));
}

/* ---------------------------------------------------------- put together */

static ji_val join(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_list *l = ji_items(r, p[0]);
    ji_str *all = ji_wrap(r, "", 0);

    (void)a;
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            all = ji_join(r, all, self.u.s);
        all = ji_join(r, all, ji_text_arg(r, l->at[i], "join"));
    }
    return ji_string(all);
}

ji_str *ji_replace(ji_run *r, ji_str *s, ji_str *old, ji_str *with,
                   int64_t most)
{
    ji_buf b = { NULL, 0, 0 };
    size_t from = 0, at = 0;

    ji_step(r, s->len / 64);
    for (; most != 0; most--) {
        int bytes = 0;

        at = ji_find(s, old, at);
        if (at == JI_UNKNOWN)
            break;
        ji_step(r, 1);
        ji_put(r, &b, s->at + from, at - from);
        ji_put(r, &b, with->at, with->len);
        from = at;
        at += old->len;
        if (old->len) {
            from = at;
        } else if (at < s->len) {
            ji_code(s->at + at, &bytes);
            at += (size_t)bytes;
        } else {
            break;
        }
    }
    ji_put(r, &b, s->at + from, s->len - from);
    return ji_take(r, &b);
}

static ji_val replace(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_str *s = ji_replace(r, self.u.s, ji_text_arg(r, p[0], "replace"),
                           ji_text_arg(r, p[1], "replace"),
                           ji_int_or(r, p[2], -1));

    (void)a;
    s->markup = self.u.s->markup;
    return ji_string(s);
}

/* LEFT and RIGHT times the filling around S. */
static ji_str *pad(ji_run *r, ji_str *s, int64_t left, int64_t right,
                   const char *fill)
{
    ji_buf b = { NULL, 0, 0 };
    ji_str *out;

    for (; left > 0; left--) {
        ji_step(r, 1);
        ji_puts(r, &b, fill);
    }
    ji_put(r, &b, s->at, s->len);
    for (; right > 0; right--) {
        ji_step(r, 1);
        ji_puts(r, &b, fill);
    }
    out = ji_take(r, &b);
    out->markup = s->markup;
    return out;
}

ji_str *ji_center(ji_run *r, ji_str *s, int64_t width, const char *fill)
{
    int64_t more = width - (int64_t)ji_chars(s), left;

    if (more <= 0)
        return s;
    left = more / 2 + (more & width & 1);
    return pad(r, s, left, more - left, fill);
}

static const char *filling(ji_run *r, ji_val v)
{
    ji_str *s = ji_text_or_none(r, v, "the fill character");

    if (s && ji_chars(s) != 1)
        ji_fail(r, "the fill character must be exactly one character long");
    return s ? ji_format(r, "%.*s", (int)s->len, s->at) : " ";
}

static ji_val center(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a;
    return ji_string(ji_center(r, self.u.s, ji_index(r, p[0]),
                               filling(r, p[1])));
}

static ji_val ljust(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a;
    return ji_string(pad(r, self.u.s, 0,
                         ji_index(r, p[0]) - (int64_t)ji_chars(self.u.s),
                         filling(r, p[1])));
}

static ji_val rjust(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a;
    return ji_string(pad(r, self.u.s,
                         ji_index(r, p[0]) - (int64_t)ji_chars(self.u.s), 0,
                         filling(r, p[1])));
}

static ji_val zfill(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_str *s = self.u.s;
    int64_t more = ji_index(r, p[0]) - (int64_t)ji_chars(s);
    size_t sign = s->len && (s->at[0] == '-' || s->at[0] == '+');

    (void)a;
    return ji_string(ji_join(r, ji_part(r, s, 0, sign),
                             pad(r, ji_part(r, s, sign, s->len), more, 0,
                                 "0")));
}

static ji_val expandtabs(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_str *s = self.u.s;
    int64_t size = ji_int_or(r, p[0], 8), column = 0;
    ji_buf b = { NULL, 0, 0 };

    (void)a;
    for (size_t i = 0; i < s->len; i++) {
        char c = s->at[i];
        int64_t n = size > 0 ? size - column % size : 0;

        if (c == '\t') {
            for (column += n; n > 0; n--) {
                ji_step(r, 1);
                ji_puts(r, &b, " ");
            }
            continue;
        }
        column += ((unsigned char)c & 0xC0) != 0x80;
        if (c == '\n' || c == '\r')
            column = 0;
        ji_put(r, &b, &c, 1);
    }
    return ji_string(ji_take(r, &b));
}

static ji_val format(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)p;
    return ji_string(ji_format_call(r, self.u.s, a));
}

static ji_val format_map(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_args named = { NULL, 0, NULL, NULL, 0 };
    ji_dict *d = p[0].u.d;

    (void)a;
    if (p[0].kind != JI_DICT)
        ji_fail(r, "format_map() takes a mapping");
    named.name = ji_alloc(r, (d->n + 1) * sizeof *named.name);
    named.named = ji_alloc(r, (d->n + 1) * sizeof *named.named);
    for (size_t i = 0; i < d->n; i++)
        if (d->at[i].key.kind == JI_STR) {
            named.name[named.names] = d->at[i].key.u.s;
            named.named[named.names++] = d->at[i].value;
        }
    return ji_string(ji_format_call(r, self.u.s, &named));
}

const ji_def ji_str_edits[] = {
    { "capitalize", "", 0, capitalize },
    { "casefold", "", 0, casefold },
    { "center", "-width -fill", 1, center },
    { "expandtabs", "tabsize", 0, expandtabs },
    { "format", "*", 0, format },
    { "format_map", "-map", 1, format_map },
    { "join", "-items", 1, join },
    { "ljust", "-width -fill", 1, ljust },
    { "lower", "", 0, lower },
    { "replace", "-old -new -count", 2, replace },
    { "rjust", "-width -fill", 1, rjust },
    { "swapcase", "", 0, swapcase },
    { "title", "", 0, title },
    { "upper", "", 0, upper },
    { "zfill", "-width", 1, zfill },
    { NULL, NULL, 0, NULL },
};

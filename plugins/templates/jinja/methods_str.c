/* SPDX-License-Identifier: MIT
 *
 * methods_str.c -- the methods of str that look for something in a text and
 * take it apart. Those that make another text are in edits.c, questions about
 * its characters in tests_str.c.
 */
#include <string.h>

#include "jinja.h"

ji_str *ji_text_arg(ji_run *r, ji_val v, const char *what)
{
    if (v.kind == JI_UNDEF)
        ji_fail(r, "%s", v.u.why);
    if (v.kind != JI_STR)
        ji_fail(r, "%s: expected a text, got %s", what, ji_type(v));
    return v.u.s;
}

ji_str *ji_text_or_none(ji_run *r, ji_val v, const char *what)
{
    return v.kind == JI_ABSENT || v.kind == JI_NONE ? NULL
                                                    : ji_text_arg(r, v, what);
}

int64_t ji_int_or(ji_run *r, ji_val v, int64_t other)
{
    return v.kind == JI_ABSENT || v.kind == JI_NONE ? other : ji_index(r, v);
}

/* --------------------------------------------------------- both of its ends */

static ji_val strip_sides(ji_run *r, ji_val self, ji_val *p, int sides)
{
    ji_step(r, self.u.s->len / 64);
    return ji_string(ji_strip(r, self.u.s, ji_text_or_none(r, p[0], "strip"),
                              sides));
}

static ji_val strip(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a;
    return strip_sides(r, self, p, 3);
}

static ji_val lstrip(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a;
    return strip_sides(r, self, p, 1);
}

static ji_val rstrip(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a;
    return strip_sides(r, self, p, 2);
}

static int ends_with(const ji_str *s, const ji_str *part, int at_end)
{
    return part->len <= s->len &&
           !memcmp(s->at + (at_end ? s->len - part->len : 0), part->at,
                   part->len);
}

static ji_val removeprefix(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_str *s = self.u.s, *part = ji_text_arg(r, p[0], "removeprefix");

    (void)a;
    return ji_string(ends_with(s, part, 0) ? ji_part(r, s, part->len, s->len)
                                           : s);
}

static ji_val removesuffix(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_str *s = self.u.s, *part = ji_text_arg(r, p[0], "removesuffix");

    (void)a;
    return ji_string(ends_with(s, part, 1)
                         ? ji_part(r, s, 0, s->len - part->len) : s);
}

/* The part of S that the optional START and END (characters) leave; 0: START
 * is behind its end. */
static int window(ji_run *r, ji_str *s, ji_val start, ji_val end,
                  size_t *from, size_t *to)
{
    int64_t n = (int64_t)ji_chars(s), i = ji_int_or(r, start, 0);
    int64_t k = ji_int_or(r, end, n);

    ji_step(r, s->len / 64);
    i = i < 0 ? (i + n < 0 ? 0 : i + n) : i;
    k = k < 0 ? (k + n < 0 ? 0 : k + n) : k > n ? n : k;
    if (i > k)
        return 0;
    *from = ji_offset(s, (size_t)i);
    *to = ji_offset(s, (size_t)k);
    return 1;
}

static ji_val either_end(ji_run *r, ji_val self, ji_val *p, int at_end)
{
    ji_list one = { &p[0], 1, 1, 0 };
    ji_list *any = p[0].kind == JI_TUPLE ? p[0].u.l : &one;
    size_t from, to;
    ji_str part;

    if (!window(r, self.u.s, p[1], p[2], &from, &to))
        return ji_bool(0);
    part = (ji_str){ self.u.s->at + from, to - from, JI_UNKNOWN, NULL, 0 };
    for (size_t i = 0; i < any->n; i++)
        if (ends_with(&part, ji_text_arg(r, any->at[i], "startswith, endswith"),
                      at_end))
            return ji_bool(1);
    return ji_bool(0);
}

static ji_val startswith(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a;
    return either_end(r, self, p, 0);
}

static ji_val endswith(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a;
    return either_end(r, self, p, 1);
}

/* ------------------------------------------------------------------ places */

static int64_t place(ji_run *r, ji_val self, ji_val *p, int last)
{
    ji_str *s = self.u.s, *what = ji_text_arg(r, p[0], "find"), part;
    size_t from, to, at;

    if (!window(r, s, p[1], p[2], &from, &to))
        return -1;
    part = (ji_str){ s->at, to, JI_UNKNOWN, NULL, 0 };
    at = last ? ji_rfind(r, &part, what, to) : ji_find(&part, what, from);
    if (at == JI_UNKNOWN || at < from)
        return -1;
    part.len = at;
    return (int64_t)ji_chars(&part);
}

static ji_val found(ji_run *r, ji_val self, ji_val *p, int last, int must)
{
    int64_t at = place(r, self, p, last);

    if (at < 0 && must)
        ji_fail(r, "substring not found");
    return ji_int(at);
}

static ji_val find(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a;
    return found(r, self, p, 0, 0);
}

static ji_val rfind(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a;
    return found(r, self, p, 1, 0);
}

static ji_val index_of(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a;
    return found(r, self, p, 0, 1);
}

static ji_val rindex_of(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a;
    return found(r, self, p, 1, 1);
}

static ji_val count(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_str *s = self.u.s, *what = ji_text_arg(r, p[0], "count"), part;
    size_t from, to, at;
    int64_t n = 0;

    (void)a;
    if (!window(r, s, p[1], p[2], &from, &to))
        return ji_int(0);
    part = (ji_str){ s->at + from, to - from, JI_UNKNOWN, NULL, 0 };
    if (!what->len)
        return ji_int((int64_t)ji_chars(&part) + 1);
    for (at = 0; (at = ji_find(&part, what, at)) != JI_UNKNOWN;
         at += what->len)
        n++;
    return ji_int(n);
}

/* ------------------------------------------------------------------- parts */

/* At white space, runs of it as one, at most MOST times (-1: always). */
static ji_list *split_white(ji_run *r, ji_str *s, int64_t most)
{
    ji_list *l = ji_list_new(r, 0);
    ji_str *rest = ji_strip(r, s, NULL, 1);

    while (rest->len) {
        size_t to = 0;
        int bytes = 0;

        for (; to < rest->len; to += (size_t)bytes)
            if (ji_space(ji_code(rest->at + to, &bytes)))
                break;
        if (most == 0)
            to = rest->len;
        ji_push(r, l, ji_string(ji_part(r, rest, 0, to)));
        if (most-- == 0)
            break;
        rest = ji_strip(r, ji_part(r, rest, to, rest->len), NULL, 1);
    }
    return l;
}

static ji_list *rsplit_white(ji_run *r, ji_str *s, int64_t most)
{
    ji_list *back = ji_list_new(r, 0), *l = ji_list_new(r, 0);
    ji_str *rest = ji_strip(r, s, NULL, 2);

    while (rest->len) {
        size_t from = rest->len;

        while (from > 0) {
            size_t at = from - 1;
            int bytes;

            while (at > 0 && ((unsigned char)rest->at[at] & 0xC0) == 0x80)
                at--;
            if (ji_space(ji_code(rest->at + at, &bytes)))
                break;
            from = at;
        }
        if (most == 0)
            from = 0;
        ji_push(r, back, ji_string(ji_part(r, rest, from, rest->len)));
        if (most-- == 0)
            break;
        rest = ji_strip(r, ji_part(r, rest, 0, from), NULL, 2);
    }
    for (size_t i = back->n; i-- > 0;)
        ji_push(r, l, back->at[i]);
    return l;
}

static ji_val split(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_str *s = self.u.s, *sep = ji_text_or_none(r, p[0], "split");
    int64_t most = ji_int_or(r, p[1], -1);
    ji_list *l = ji_list_new(r, 0);
    size_t from = 0, at;

    (void)a;
    ji_step(r, s->len / 64);
    if (!sep)
        return ji_listed(split_white(r, s, most));
    if (!sep->len)
        ji_fail(r, "empty separator");
    while (most-- != 0 && (at = ji_find(s, sep, from)) != JI_UNKNOWN) {
        ji_push(r, l, ji_string(ji_part(r, s, from, at)));
        from = at + sep->len;
    }
    ji_push(r, l, ji_string(ji_part(r, s, from, s->len)));
    return ji_listed(l);
}

static ji_val rsplit(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_str *s = self.u.s, *sep = ji_text_or_none(r, p[0], "rsplit");
    int64_t most = ji_int_or(r, p[1], -1);
    ji_list *back = ji_list_new(r, 0), *l = ji_list_new(r, 0);
    size_t to = s->len, at;

    (void)a;
    ji_step(r, s->len / 64);
    if (!sep)
        return ji_listed(rsplit_white(r, s, most));
    if (!sep->len)
        ji_fail(r, "empty separator");
    while (most-- != 0 && (at = ji_rfind(r, s, sep, to)) != JI_UNKNOWN) {
        ji_push(r, back, ji_string(ji_part(r, s, at + sep->len, to)));
        to = at;
    }
    ji_push(r, back, ji_string(ji_part(r, s, 0, to)));
    for (size_t i = back->n; i-- > 0;)
        ji_push(r, l, back->at[i]);
    return ji_listed(l);
}

ji_list *ji_lines(ji_run *r, ji_str *s, int keep)
{
    ji_list *l = ji_list_new(r, 0);
    size_t from = 0, i = 0;

    ji_step(r, s->len / 64);
    while (i < s->len) {
        int bytes;
        uint32_t c = ji_code(s->at + i, &bytes);
        size_t end = i;

        i += (size_t)bytes;
        if (!((c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) ||
              c == 0x85 || c == 0x2028 || c == 0x2029))
            continue;
        i += c == '\r' && i < s->len && s->at[i] == '\n';
        ji_push(r, l, ji_string(ji_part(r, s, from, keep ? i : end)));
        from = i;
    }
    if (from < s->len)
        ji_push(r, l, ji_string(ji_part(r, s, from, s->len)));
    return l;
}

static ji_val splitlines(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a;
    return ji_listed(ji_lines(r, self.u.s, p[0].kind && ji_true(r, p[0])));
}

static ji_val three(ji_run *r, ji_str *s, size_t at, size_t len, int last)
{
    ji_list *l = ji_list_new(r, 3);
    size_t from = at == JI_UNKNOWN ? (last ? 0 : s->len) : at;
    size_t to = at == JI_UNKNOWN ? from : at + len;

    ji_push(r, l, ji_string(ji_part(r, s, 0, from)));
    ji_push(r, l, ji_string(ji_part(r, s, from, to)));
    ji_push(r, l, ji_string(ji_part(r, s, to, s->len)));
    return (ji_val){ .kind = JI_TUPLE, .u.l = l };
}

static ji_val partition(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_str *sep = ji_text_arg(r, p[0], "partition");

    (void)a;
    if (!sep->len)
        ji_fail(r, "empty separator");
    return three(r, self.u.s, ji_find(self.u.s, sep, 0), sep->len, 0);
}

static ji_val rpartition(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_str *sep = ji_text_arg(r, p[0], "rpartition");

    (void)a;
    if (!sep->len)
        ji_fail(r, "empty separator");
    return three(r, self.u.s, ji_rfind(r, self.u.s, sep, self.u.s->len),
                 sep->len, 1);
}

const ji_def ji_str_methods[] = {
    { "count", "-sub -start -end", 1, count },
    { "endswith", "-suffix -start -end", 1, endswith },
    { "find", "-sub -start -end", 1, find },
    { "index", "-sub -start -end", 1, index_of },
    { "lstrip", "-chars", 0, lstrip },
    { "partition", "-sep", 1, partition },
    { "removeprefix", "-prefix", 1, removeprefix },
    { "removesuffix", "-suffix", 1, removesuffix },
    { "rfind", "-sub -start -end", 1, rfind },
    { "rindex", "-sub -start -end", 1, rindex_of },
    { "rpartition", "-sep", 1, rpartition },
    { "rsplit", "sep maxsplit", 0, rsplit },
    { "rstrip", "-chars", 0, rstrip },
    { "split", "sep maxsplit", 0, split },
    { "splitlines", "keepends", 0, splitlines },
    { "startswith", "-prefix -start -end", 1, startswith },
    { "strip", "-chars", 0, strip },
    { NULL, NULL, 0, NULL },
};

/* SPDX-License-Identifier: MIT
 *
 * text.c -- texts as Python has them: counted in characters, cased and
 * stripped by Unicode's rules.
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "jinja.h"

/* Bytes that several texts share, each a longer beginning of them: adding to
 * the longest costs what is added, not what is there. */
struct ji_room {
    char *at;
    size_t used, size;
};

ji_str *ji_wrap(ji_run *r, const char *at, size_t len)
{
    ji_str *s = ji_alloc(r, sizeof *s);

    *s = (ji_str){ at, len, JI_UNKNOWN, NULL, 0 };
    return s;
}

ji_str *ji_text(ji_run *r, const char *at, size_t len)
{
    char *to = ji_alloc(r, len + 1);

    if (len)
        memcpy(to, at, len);
    return ji_wrap(r, to, len);
}

ji_str *ji_join(ji_run *r, ji_str *a, ji_str *b)
{
    struct ji_room *room = a->room;
    ji_str *s;

    if (a->len + b->len > JI_OUTPUT_MAX)
        ji_fail(r, "a text of more than %zu MiB", JI_OUTPUT_MAX >> 20);
    ji_step(r, 1 + b->len / 64);
    if (!room || room->used != a->len || room->size - room->used < b->len) {
        ji_step(r, a->len / 64);
        room = ji_alloc(r, sizeof *room);
        room->size = a->len + b->len < 64 ? a->len + b->len
                                          : 2 * (a->len + b->len);
        room->at = ji_alloc(r, room->size + 1);
        memcpy(room->at, a->at, a->len);
        room->used = a->len;
    }
    memcpy(room->at + room->used, b->at, b->len);
    room->used += b->len;
    s = ji_wrap(r, room->at, room->used);
    s->room = room;
    return s;
}

/* -------------------------------------------------------------- characters */

uint32_t ji_code(const char *t, int *bytes)
{
    const unsigned char *u = (const unsigned char *)t;

    if (u[0] < 0x80)
        return (void)(*bytes = 1), u[0];
    if (u[0] < 0xE0)
        return (void)(*bytes = 2), (u[0] & 31u) << 6 | (u[1] & 63u);
    if (u[0] < 0xF0)
        return (void)(*bytes = 3),
               (u[0] & 15u) << 12 | (u[1] & 63u) << 6 | (u[2] & 63u);
    *bytes = 4;
    return (u[0] & 7u) << 18 | (u[1] & 63u) << 12 | (u[2] & 63u) << 6 |
           (u[3] & 63u);
}

int ji_encode(uint32_t code, char *to)
{
    return (int)utf8proc_encode_char((utf8proc_int32_t)code,
                                     (utf8proc_uint8_t *)to);
}

static int begins(char c)
{
    return ((unsigned char)c & 0xC0) != 0x80;
}

size_t ji_chars(ji_str *s)
{
    if (s->chars == JI_UNKNOWN) {
        size_t n = 0;

        for (size_t i = 0; i < s->len; i++)
            n += (size_t)begins(s->at[i]);
        s->chars = n;
    }
    return s->chars;
}

size_t ji_offset(ji_str *s, size_t i)
{
    size_t at = 0, n = 0;

    if (ji_chars(s) == s->len || i == 0)
        return i;
    if (i >= s->chars)
        return s->len;
    for (; at < s->len; at++)
        if (begins(s->at[at]) && n++ == i)
            break;
    return at;
}

ji_str *ji_part(ji_run *r, ji_str *s, size_t from, size_t to)
{
    ji_str *part = ji_wrap(r, s->at + from, to - from);

    part->markup = s->markup;
    return part;
}

/* What Python's str.isspace() takes: by category and direction. */
int ji_space(uint32_t c)
{
    if (c < 128)
        return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F);
    return c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

/* ----------------------------------------------------------- looking in it */

int ji_is(const ji_str *s, const char *text)
{
    return s->len == strlen(text) && !memcmp(s->at, text, s->len);
}

int ji_same(const ji_str *a, const ji_str *b)
{
    return a == b || (a->len == b->len && !memcmp(a->at, b->at, a->len));
}

/* The order of UTF-8's bytes is that of code points. */
int ji_order(const ji_str *a, const ji_str *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int c = memcmp(a->at, b->at, n);

    return c ? c : (a->len > b->len) - (a->len < b->len);
}

size_t ji_find(const ji_str *a, const ji_str *b, size_t from)
{
    const char *at;

    if (from > a->len || b->len > a->len - from)
        return JI_UNKNOWN;
    if (!b->len)
        return from;
    at = memmem(a->at + from, a->len - from, b->at, b->len);
    return at ? (size_t)(at - a->at) : JI_UNKNOWN;
}

size_t ji_rfind(ji_run *r, const ji_str *a, const ji_str *b, size_t to)
{
    if (b->len > to)
        return JI_UNKNOWN;
    if (!b->len)
        return to;
    for (size_t i = to - b->len + 1; i-- > 0;) {
        if (a->at[i] != b->at[0])
            continue;
        ji_step(r, 1 + b->len / 64);
        if (!memcmp(a->at + i, b->at, b->len))
            return i;
    }
    return JI_UNKNOWN;
}

static int has_char(const ji_str *set, const char *at, int bytes)
{
    return memmem(set->at, set->len, at, (size_t)bytes) != NULL;
}

/* SIDES: 1 left, 2 right. CHARS NULL: white space. */
ji_str *ji_strip(ji_run *r, ji_str *s, const ji_str *chars, int sides)
{
    size_t from = 0, to = s->len;
    int bytes;

    while ((sides & 1) && from < to) {
        uint32_t c = ji_code(s->at + from, &bytes);

        if (chars ? !has_char(chars, s->at + from, bytes) : !ji_space(c))
            break;
        from += (size_t)bytes;
    }
    while ((sides & 2) && to > from) {
        size_t at = to - 1;
        uint32_t c;

        while (!begins(s->at[at]))
            at--;
        c = ji_code(s->at + at, &bytes);
        if (chars ? !has_char(chars, s->at + at, bytes) : !ji_space(c))
            break;
        to = at;
    }
    return from == 0 && to == s->len ? s : ji_part(r, s, from, to);
}

/* ------------------------------------------------------------------- cases */

/* Characters whose upper case is more than one (SpecialCasing.txt of Unicode,
 * the unconditional ones), as UTF-8: lower, upper, title. */
static const char *const special[][3] = {
    { "ß", "SS", "Ss" },     { "ŉ", "ʼN", "ʼN" },
    { "ǰ", "J̌", "J̌" },       { "ΐ", "Ϊ́", "Ϊ́" },
    { "ΰ", "Ϋ́", "Ϋ́" },       { "և", "ԵՒ", "Եւ" },
    { "ẖ", "H̱", "H̱" },       { "ẗ", "T̈", "T̈" },
    { "ẘ", "W̊", "W̊" },       { "ẙ", "Y̊", "Y̊" },
    { "ẚ", "Aʾ", "Aʾ" },     { "ﬀ", "FF", "Ff" },
    { "ﬁ", "FI", "Fi" },     { "ﬂ", "FL", "Fl" },
    { "ﬃ", "FFI", "Ffi" },   { "ﬄ", "FFL", "Ffl" },
    { "ﬅ", "ST", "St" },     { "ﬆ", "ST", "St" },
    { "ﬓ", "ՄՆ", "Մն" },     { "ﬔ", "ՄԵ", "Մե" },
    { "ﬕ", "ՄԻ", "Մի" },     { "ﬖ", "ՎՆ", "Վն" },
    { "ﬗ", "ՄԽ", "Մխ" },
};

static const char *special_case(const char *at, int bytes, ji_case to)
{
    size_t n = sizeof special / sizeof *special;

    for (size_t i = 0; bytes > 1 && i < n; i++)
        if (strlen(special[i][0]) == (size_t)bytes &&
            !memcmp(special[i][0], at, (size_t)bytes))
            return special[i][to == JI_UPPER ? 1 : 2];
    return NULL;
}

int ji_has_case(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);

    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL ||
           k == UTF8PROC_CATEGORY_LT;
}

int ji_word(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);

    return c == '_' ||
           (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
           (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
}

/* A capital sigma at a word's end is written otherwise in lower case. */
static int final_sigma(const ji_str *s, size_t at, size_t after)
{
    size_t i = at;
    int bytes;

    if (i == 0)
        return 0;
    do
        i--;
    while (!begins(s->at[i]) && i > 0);
    if (!ji_has_case(ji_code(s->at + i, &bytes)))
        return 0;
    return after >= s->len || !ji_has_case(ji_code(s->at + after, &bytes));
}

static uint32_t map_code(uint32_t c, ji_case to)
{
    utf8proc_int32_t u = (utf8proc_int32_t)c;

    return (uint32_t)(to == JI_UPPER   ? utf8proc_toupper(u)
                      : to == JI_LOWER ? utf8proc_tolower(u)
                                       : utf8proc_totitle(u));
}

static ji_str *folded(ji_run *r, const ji_str *s)
{
    utf8proc_uint8_t *to = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)s->at,
                                      (utf8proc_ssize_t)s->len, &to,
                                      UTF8PROC_CASEFOLD);
    ji_str *out;

    if (n < 0)
        ji_fail(r, "casefold: %s", utf8proc_errmsg(n));
    out = ji_text(r, (const char *)to, (size_t)n);
    free(to);
    return out;
}

ji_str *ji_cased(ji_run *r, const ji_str *s, ji_case to)
{
    ji_buf b = { NULL, 0, 0 };
    ji_str *out;

    ji_step(r, s->len / 16);
    if (to == JI_FOLD)
        return folded(r, s);
    for (size_t i = 0; i < s->len;) {
        int bytes;
        uint32_t c = ji_code(s->at + i, &bytes);
        const char *more = to == JI_LOWER
                               ? NULL
                               : special_case(s->at + i, bytes, to);
        char code[8];

        if (more) {
            ji_puts(r, &b, more);
        } else if (c == 0x130 && to == JI_LOWER) {
            ji_puts(r, &b, "i\u0307");
        } else if (c == 0x3A3 && to == JI_LOWER &&
                   final_sigma(s, i, i + (size_t)bytes)) {
            ji_puts(r, &b, "ς");
        } else {
            ji_put(r, &b, code, (size_t)ji_encode(map_code(c, to), code));
        }
        i += (size_t)bytes;
    }
    out = ji_take(r, &b);
    out->markup = s->markup;
    return out;
}

ji_str *ji_escape(ji_run *r, ji_str *s)
{
    static const struct {
        char c;
        const char *to;
    } table[] = { { '&', "&amp;" },
                  { '<', "&lt;" },
                  { '>', "&gt;" },
                  { '\'', "&#39;" },
                  { '"', "&#34;" } };
    ji_buf b = { NULL, 0, 0 };
    ji_str *out;

    if (s->markup)
        return s;
    for (size_t i = 0; i < s->len; i++) {
        const char *to = NULL;

        for (int k = 0; k < 5; k++)
            if (table[k].c == s->at[i])
                to = table[k].to;
        if (to)
            ji_puts(r, &b, to);
        else
            ji_put(r, &b, s->at + i, 1);
    }
    out = ji_take(r, &b);
    out->markup = 1;
    return out;
}

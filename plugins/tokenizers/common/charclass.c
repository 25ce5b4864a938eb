/* SPDX-License-Identifier: MIT
 *
 * charclass.c -- classes of characters, for PCRE2: worked out here, with the
 * library's version of Unicode, and written with PCRE2's own kinds where these
 * are nearly the same, for they are quick. So nested classes and && work, too.
 */
#include <stdio.h>
#include <stdlib.h>

#include "charset.h"
#include "dialect.h"

enum { NESTED = 30 };

/* ---------------------------------------------- a class, for two engines */

/* What a class holds, and how PCRE2 spells nearly that: "" if the spelling
 * is lost, for the class has more than a union of plain items. */
typedef struct {
    tk_charset set;
    char *spelt;
    size_t used, cap;
    int lost;
} charclass;

static charclass *class_open(void)
{
    charclass *c = calloc(1, sizeof *c);

    if (!c)
        abort();
    return c;
}

static void class_close(charclass *c)
{
    free(c->spelt);
    free(c);
}

static void spell(charclass *c, const char *text)
{
    void *spelt = c->spelt;
    size_t n = strlen(text);

    tk_room(&spelt, &c->cap, c->used + n + 1, 1, c->used);
    c->spelt = spelt;
    memcpy(c->spelt + c->used, text, n + 1);
    c->used += n;
}

static void invert(tk_charset *s)
{
    for (size_t i = 0; i < sizeof s->word / sizeof *s->word; i++)
        s->word[i] = ~s->word[i];
}

static void add_set(tk_charset *to, const tk_charset *from)
{
    for (size_t i = 0; i < sizeof to->word / sizeof *to->word; i++)
        to->word[i] |= from->word[i];
}

static void add_range(charclass *c, int32_t first, int32_t last)
{
    char text[40];

    tk_charset_range(&c->set, first, last);
    snprintf(text, sizeof text, "\\x{%x}-\\x{%x}", (unsigned)first,
             (unsigned)last);
    spell(c, text);
}

/* Writes the members of A that B (may be NULL) lacks as ranges. */
static void put_ranges(tk_rewriter *r, const tk_charset *a, const tk_charset *b)
{
    char text[40];

    for (int32_t c = 0; c < 0x110000; c++) {
        int32_t first = c;

        while (c < 0x110000 && tk_charset_has(a, c) &&
               !(b && tk_charset_has(b, c)))
            c++;
        if (c == first)
            continue;
        if (first >= 0xD800 && first < 0xE000)
            first = 0xE000; /* surrogates are no characters */
        if (first < 0xD800 && c > 0xD800 && c <= 0xE000)
            snprintf(text, sizeof text, "\\x{%x}-\\x{d7ff}", (unsigned)first);
        else if (first < 0xD800 && c > 0xE000)
            snprintf(text, sizeof text, "\\x{%x}-\\x{d7ff}\\x{e000}-\\x{%x}",
                     (unsigned)first, (unsigned)c - 1);
        else if (first < c)
            snprintf(text, sizeof text, "\\x{%x}-\\x{%x}", (unsigned)first,
                     (unsigned)c - 1);
        else
            continue;
        tk_say(r, text);
    }
}

/* Every character in order, as UTF-8. */
static char *all_characters(size_t *bytes)
{
    char *text = malloc(0x110000 * 4), *out = text;

    if (!text)
        abort();
    for (int32_t c = 0; c < 0x110000; c++)
        if (c < 0xD800 || c > 0xDFFF)
            out += tk_put_char(c, out);
    *bytes = (size_t)(out - text);
    return text;
}

/* What PCRE2 takes [SPELT] for. 0: it does not understand it. */
static int ask_pcre(const char *spelt, tk_charset *to)
{
    char regex[4096];
    size_t bytes, at = 0, len, n;
    int code;
    pcre2_code *p;
    pcre2_match_data *m = pcre2_match_data_create(1, NULL);
    char *text;

    n = (size_t)snprintf(regex, sizeof regex, "[%s]+", spelt);
    p = n < sizeof regex
            ? pcre2_compile((PCRE2_SPTR)regex, n, PCRE2_UTF | PCRE2_UCP, &code,
                            &at, NULL)
            : NULL;
    if (!p || !m) {
        pcre2_code_free(p);
        pcre2_match_data_free(m);
        return 0;
    }
    (void)pcre2_jit_compile(p, PCRE2_JIT_COMPLETE);
    text = all_characters(&bytes);
    for (at = 0; pcre2_match(p, (PCRE2_SPTR)text, bytes, at,
                             PCRE2_NO_UTF_CHECK, m, NULL) > 0;) {
        const size_t *o = pcre2_get_ovector_pointer(m);
        for (size_t i = o[0]; i < o[1]; i += len) {
            int32_t c = tk_char(text + i, &len);
            to->word[c / 64] |= (uint64_t)1 << (c % 64);
        }
        at = o[1];
    }
    free(text);
    pcre2_code_free(p);
    pcre2_match_data_free(m);
    return 1;
}

static int holds_all(const tk_charset *a, const tk_charset *b)
{
    for (size_t i = 0; i < sizeof a->word / sizeof *a->word; i++)
        if (b->word[i] & ~a->word[i])
            return 0;
    return 1;
}

/* Writes the class, or with NEGATED its opposite. PCRE2's own kinds are quick
 * there, so they are used if only the difference has to be added. */
static void put_class(tk_rewriter *r, charclass *c, int negated)
{
    charclass *theirs = class_open();
    int simple = ++r->classes <= TK_CLASSES && !c->lost && c->used &&
                 c->used < 2000 && ask_pcre(c->spelt, &theirs->set) &&
                 holds_all(&c->set, &theirs->set);

    if (r->classes > TK_CLASSES)
        tk_refuse(r, "more than 256 classes of characters");
    if (!simple && negated) {
        invert(&c->set);
        negated = 0;
    }
    tk_say(r, negated ? "[^" : "[");
    if (simple)
        tk_put(r, c->spelt, c->used);
    put_ranges(r, &c->set, simple ? &theirs->set : NULL);
    if (r->out[r->used - 1] == '[') { /* nothing: no character is in it */
        r->used--;
        tk_say(r, "(?!)");
    } else {
        tk_say(r, "]");
    }
    class_close(theirs);
}

/* -------------------------------------------------------- escapes, names */

/* \p{NAME}, \p{^NAME}, \P{NAME} at r->at; adds it to C. */
static void take_property(tk_rewriter *r, charclass *c)
{
    const char *close = memchr(r->at, '}', (size_t)(r->end - r->at));
    tk_text name = { r->at + 3, close ? (size_t)(close - r->at) - 3 : 0 };
    charclass *one = class_open();
    int negated = r->at[1] == 'P';
    char pcre[64] = "";

    if (r->end - r->at < 4 || r->at[2] != '{' || !close) {
        tk_refuse(r, "a property without a name");
        name.len = 0;
    } else {
        if (name.len && name.at[0] == '^') {
            negated = !negated;
            name.at++;
            name.len--;
        }
        if (!tk_charset_named(&one->set, name, pcre))
            tk_refuse(r, "a property of characters that is not known");
        else
            r->at = close + 1;
    }
    if (negated) {
        invert(&one->set);
        c->lost = 1;
    }
    add_set(&c->set, &one->set);
    spell(c, pcre); /* "": put_class adds all of it as ranges */
    class_close(one);
}

/* \s \w \d \h and their opposites at r->at. */
static int take_kind(tk_rewriter *r, charclass *c, int in_class)
{
    char letter = r->at + 1 < r->end ? r->at[1] : 0, pcre[64] = "";
    charclass *one;
    int known;

    if (!letter || !strchr("sSwWdDhH", letter))
        return 0;
    one = class_open();
    known = tk_charset_letter(&one->set, (char)(letter | 32), in_class, pcre);
    if (known && !(letter & 32)) {
        invert(&one->set);
        c->lost = 1;
    }
    add_set(&c->set, &one->set);
    spell(c, pcre);
    class_close(one);
    r->at += 2;
    return 1;
}

int tk_hex_digits(const char *at, const char *end, int most, int32_t *to)
{
    int n = 0;

    for (*to = 0; n < most && at + n < end; n++) {
        char c = at[n];
        int d = c >= '0' && c <= '9' ? c - '0'
                : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                     : -1;
        if (d < 0)
            break;
        *to = *to * 16 + d;
    }
    return n;
}

/* The character that an escape in a class stands for. */
static int32_t escaped_char(tk_rewriter *r)
{
    static const char from[] = "ntrfvaeb", to[] = "\n\t\r\f\v\a\x1b\b";
    const char *known;
    size_t len;
    int32_t c;
    int n;

    if (++r->at == r->end) {
        tk_refuse(r, "a backslash at its end");
        return 0;
    }
    known = strchr(from, *r->at);
    if (*r->at && known) {
        r->at++;
        return to[known - from];
    }
    if (*r->at == 'x' && r->at + 1 < r->end && r->at[1] == '{') {
        n = tk_hex_digits(r->at + 2, r->end, 8, &c);
        r->at += 2 + n;
        if (r->at == r->end || *r->at != '}' || c > 0x10FFFF || c < 0)
            tk_refuse(r, "a broken \\x{...}");
        else
            r->at++;
        return c;
    }
    if (*r->at == 'x' || *r->at == 'u') {
        int most = *r->at == 'x' ? 2 : 4;
        n = tk_hex_digits(r->at + 1, r->end, most, &c);
        r->at += 1 + n;
        if (!n || (most == 4 && n < 4))
            tk_refuse(r, "a broken \\x or \\u");
        return c;
    }
    if (*r->at >= '0' && *r->at <= '7') {
        for (c = 0, n = 0; n < 3 && r->at < r->end && *r->at >= '0' &&
                           *r->at <= '7'; n++)
            c = c * 8 + (*r->at++ - '0');
        return c;
    }
    c = tk_char(r->at, &len);
    r->at += len;
    return c;
}

/* --------------------------------------------------------------- classes */

static void take_class(tk_rewriter *r, charclass *c, int level);

/* [:alpha:] at r->at; 0: it is none. */
static int take_posix(tk_rewriter *r, charclass *c)
{
    const char *close = memmem(r->at, (size_t)(r->end - r->at), ":]", 2);
    tk_text name = { r->at + 2, 0 };
    charclass *one;
    char pcre[64] = "";
    int negated;

    if (r->end - r->at < 4 || r->at[1] != ':' || !close || close < r->at + 2)
        return 0;
    name.len = (size_t)(close - name.at);
    negated = name.len && name.at[0] == '^';
    name.at += negated;
    name.len -= (size_t)negated;
    one = class_open();
    if (!tk_charset_posix(&one->set, name, pcre)) {
        tk_refuse(r, "a kind of characters, [:...:], that is not known");
    } else {
        if (negated) {
            invert(&one->set);
            c->lost = 1;
        }
        add_set(&c->set, &one->set);
        spell(c, pcre);
        r->at = close + 2;
    }
    class_close(one);
    return 1;
}

static int32_t plain_char(tk_rewriter *r)
{
    size_t len;
    int32_t c;

    if (*r->at == '\\')
        return escaped_char(r);
    c = tk_char(r->at, &len);
    r->at += len;
    return c;
}

/* A character or a range of them. */
static void take_range(tk_rewriter *r, charclass *c)
{
    int32_t first = plain_char(r), last = first;

    if (r->end - r->at >= 2 && r->at[0] == '-' && r->at[1] != ']' &&
        r->at[1] != '[' &&
        !(r->at[1] == '\\' && r->end - r->at > 2 &&
          strchr("sSwWdDhHpP", r->at[2]))) {
        r->at++;
        last = plain_char(r);
        if (last < first)
            tk_refuse(r, "a range that runs backwards");
    }
    if (!r->why)
        add_range(c, first, last);
}

static void take_item(tk_rewriter *r, charclass *c, int level)
{
    if (*r->at == '[') {
        if (!take_posix(r, c)) {
            charclass *inner = class_open();
            take_class(r, inner, level + 1);
            add_set(&c->set, &inner->set);
            c->lost = 1;
            class_close(inner);
        }
    } else if (*r->at == '\\' && r->at + 1 < r->end &&
               (r->at[1] == 'p' || r->at[1] == 'P')) {
        take_property(r, c);
    } else if (*r->at != '\\' || !take_kind(r, c, 1)) {
        take_range(r, c);
    }
}

/* A whole class at r->at; nested ones and && are worked out here. */
static void take_class(tk_rewriter *r, charclass *c, int level)
{
    charclass *all = NULL; /* what stood before each && */
    int negated = 0, first = 1;

    if (level > NESTED) {
        tk_refuse(r, "too many classes inside each other");
        return;
    }
    r->at++;
    if (r->at < r->end && *r->at == '^') {
        negated = 1;
        r->at++;
    }
    for (; r->at < r->end && (*r->at != ']' || first); first = 0) {
        if (r->end - r->at >= 2 && r->at[0] == '&' && r->at[1] == '&') {
            charclass *next = class_open();

            r->at += 2;
            for (size_t i = 0;
                 all && i < sizeof c->set.word / sizeof *c->set.word; i++)
                next->set.word[i] = c->set.word[i] & all->set.word[i];
            if (!all)
                next->set = c->set;
            if (all)
                class_close(all);
            all = next;
            memset(&c->set, 0, sizeof c->set);
            c->lost = 1;
        } else {
            take_item(r, c, level);
        }
    }
    for (size_t i = 0; all && i < sizeof c->set.word / sizeof *c->set.word; i++)
        c->set.word[i] &= all->set.word[i];
    if (all)
        class_close(all);
    if (r->at == r->end)
        tk_refuse(r, "a class that does not end");
    else
        r->at++;
    if (negated) {
        invert(&c->set);
        c->lost |= 2; /* spelt still, but the other way round */
    }
}

void tk_rewrite_class(tk_rewriter *r)
{
    charclass *c = class_open();

    take_class(r, c, 0);
    if (!r->why && c->lost == 2) {
        c->lost = 0;
        invert(&c->set);
        put_class(r, c, 1);
    } else if (!r->why) {
        put_class(r, c, 0);
    }
    class_close(c);
}

void tk_put_kind(tk_rewriter *r, char letter)
{
    charclass *c = class_open();
    char pcre[64];

    tk_charset_letter(&c->set, letter, 0, pcre);
    spell(c, pcre);
    put_class(r, c, 0);
    class_close(c);
}

void tk_rewrite_kind(tk_rewriter *r)
{
    charclass *c = class_open();

    if ((r->at[1] | 32) == 'p')
        take_property(r, c);
    else
        take_kind(r, c, 0);
    if (!r->why && c->lost) { /* an opposite */
        c->lost = 0;
        invert(&c->set);
        put_class(r, c, 1);
    } else if (!r->why) {
        put_class(r, c, 0);
    }
    class_close(c);
}

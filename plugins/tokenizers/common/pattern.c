/* SPDX-License-Identifier: MIT
 *
 * pattern.c -- what splitters and replacements look for: a regular expression
 * (PCRE2, compiled to machine code), a literal string or a kind of character.
 * Matches come in order and never overlap; an empty match that touches the
 * match before it is passed over, as in the library whose ids we give.
 */
#include <string.h>

#include "tok.h"

static hone_status compile(tk_pattern *p, tk_text regex, const char *said,
                           const char *where, hone_err *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    int code;
    size_t at;

    if (!context)
        return hone_fail(err, HONE_EIO, "%s: out of memory", where);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    /* ^ and $ match at every line: the files are written for Oniguruma. */
    p->regex = pcre2_compile((PCRE2_SPTR)regex.at, regex.len,
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE |
                                 PCRE2_NEVER_BACKSLASH_C,
                             &code, &at, context);
    pcre2_compile_context_free(context);
    if (!p->regex) {
        char why[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return hone_fail(err, HONE_ENOSUP,
                         "%s: the regular expression '%.200s' is not "
                         "understood: %s", where, said, why);
    }
    (void)pcre2_jit_compile(p->regex, PCRE2_JIT_COMPLETE); /* only speed */
    return HONE_OK;
}

hone_status tk_regex(tk_pattern *p, tk_text regex, const char *where,
                     hone_err *err)
{
    const char *said = regex.at;
    tk_arena work = { NULL };
    hone_status s;

    p->scan = tk_scanner_find(regex);
    if (p->scan)
        return HONE_OK;
    s = tk_dialect(&work, &regex, where, err);
    if (s == HONE_OK)
        s = compile(p, regex, said, where, err);
    tk_free(&work);
    return s;
}

void tk_pattern_free(tk_pattern *p)
{
    pcre2_code_free(p->regex);
}

/* The text is valid, so checking it again at each call would only cost. A
 * pattern that runs past the limits matches nothing more. */
static int match(tk_search *s, tk_scratch *scratch, size_t *start,
                 size_t *end)
{
    pcre2_match_context *limits = scratch->tok->limits;
    const size_t *ovector;
    int n;

    if (!scratch->match)
        scratch->match = pcre2_match_data_create(1, NULL);
    if (!scratch->match)
        return 0;
    n = pcre2_match(s->pattern->regex, (PCRE2_SPTR)s->text, s->len, s->at,
                    PCRE2_NO_UTF_CHECK, scratch->match, limits);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT)
        n = pcre2_match(s->pattern->regex, (PCRE2_SPTR)s->text, s->len, s->at,
                        PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch->match,
                        limits);
    if (n < 0)
        return 0;
    ovector = pcre2_get_ovector_pointer(scratch->match);
    *start = ovector[0];
    *end = ovector[1];
    return *start >= s->at && *end >= *start;
}

static int next_regex(tk_search *s, tk_scratch *scratch, size_t *start,
                      size_t *end)
{
    while (s->at <= s->len && match(s, scratch, start, end)) {
        size_t step = 1;

        if (*start == *end && s->started && s->last_end == *end) {
            if (s->at < s->len)
                tk_char(s->text + s->at, &step);
            s->at += step;
            continue;
        }
        s->at = s->last_end = *end;
        s->started = 1;
        return 1;
    }
    return 0;
}

static int next_char(tk_search *s, size_t *start, size_t *end)
{
    while (s->at < s->len) {
        size_t len;
        int32_t c = tk_char(s->text + s->at, &len);

        *start = s->at;
        *end = s->at += len;
        if (tk_is(c) & s->pattern->bits)
            return 1;
    }
    return 0;
}

int tk_next(tk_search *s, tk_scratch *scratch, size_t *start, size_t *end)
{
    const tk_text *l = &s->pattern->literal;
    const char *hit;

    if (s->pattern->scan) {
        if (s->at >= s->len)
            return 0;
        *start = s->at;
        *end = s->at = tk_scan(s->pattern->scan, s->text, s->len, s->at);
        return 1;
    }
    if (s->pattern->regex)
        return next_regex(s, scratch, start, end);
    if (s->pattern->bits)
        return next_char(s, start, end);
    hit = s->at < s->len
              ? memmem(s->text + s->at, s->len - s->at, l->at, l->len)
              : NULL;
    if (!hit)
        return 0;
    *start = (size_t)(hit - s->text);
    *end = s->at = *start + l->len;
    return 1;
}

/* One byte by a text: what turns spaces into U+2581. */
static tk_text replace_byte(tk_scratch *s, char byte, tk_text t, tk_text with)
{
    size_t n = 0, k = with.len;
    char *to, *out;
    uint32_t mark = 0;

    for (size_t i = 0; i < t.len; i++)
        n += t.at[i] == byte;
    if (!n)
        return t;
    /* A few bytes more, so that short texts are written as a word of 4. */
    out = to = tk_alloc(&s->arena, t.len + n * k + 4);
    if (k <= 4)
        memcpy(&mark, with.at, k);
    for (size_t i = 0; i < t.len; i++) {
        if (t.at[i] != byte) {
            *out++ = t.at[i];
            continue;
        }
        if (k <= 4)
            memcpy(out, &mark, 4);
        else
            memcpy(out, with.at, k);
        out += k;
    }
    return (tk_text){ to, (size_t)(out - to) };
}

tk_text tk_replace(tk_scratch *s, const tk_pattern *p, tk_text text,
                     tk_text with)
{
    tk_search search = { p, text.at, text.len, 0, 0, 0 };
    size_t start, end, done = 0, matches = 0, matched = 0;
    char *to, *out;

    if (!p->scan && !p->regex && !p->bits && p->literal.len == 1)
        return replace_byte(s, p->literal.at[0], text, with);
    while (tk_next(&search, s, &start, &end)) {
        matches++;
        matched += end - start;
    }
    if (!matches)
        return text;
    out = to = tk_alloc(&s->arena, text.len - matched + matches * with.len);
    search = (tk_search){ p, text.at, text.len, 0, 0, 0 };
    while (tk_next(&search, s, &start, &end)) {
        memcpy(out, text.at + done, start - done);
        out += start - done;
        memcpy(out, with.at, with.len);
        out += with.len;
        done = end;
    }
    memcpy(out, text.at + done, text.len - done);
    return (tk_text){ to, (size_t)(out - to) + text.len - done };
}

/* SPDX-License-Identifier: MIT
 *
 * lex.c -- a template's text to tokens, white space dealt with as jinja2 does
 * with trim_blocks and lstrip_blocks: the newline behind a block goes, and so
 * does the white space before one that begins its line; "-" takes all of it,
 * "+" leaves it.
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "jinja.h"

typedef struct {
    ji_run *r;
    ji_str *text;
    size_t at;
    int line, line_start; /* what came before ended in a newline */
    ji_token *token;
    size_t count, cap;
} lexer;

static ji_token *add(lexer *x, ji_token_kind kind)
{
    ji_token *t;

    x->token = ji_grow(x->r, x->token, sizeof *x->token, x->count, &x->cap);
    t = &x->token[x->count++];
    *t = (ji_token){ .kind = kind, .line = x->line };
    return t;
}

static int looking_at(const lexer *x, size_t at, const char *what)
{
    size_t n = strlen(what);

    return n <= x->text->len - at && !memcmp(x->text->at + at, what, n);
}

static uint32_t code_at(const lexer *x, size_t at, int *bytes)
{
    *bytes = 0;
    return at < x->text->len ? ji_code(x->text->at + at, bytes) : 0;
}

static size_t skip_white(const lexer *x, size_t at)
{
    int bytes;

    while (at < x->text->len && ji_space(code_at(x, at, &bytes)))
        at += (size_t)bytes;
    return at;
}

/* Goes on at TO, counting lines. */
static void move(lexer *x, size_t to)
{
    for (size_t i = x->at; i < to; i++)
        x->line += x->text->at[i] == '\n';
    if (to > x->at)
        x->line_start = x->text->at[to - 1] == '\n';
    x->at = to;
}

_Noreturn static void fail(lexer *x, const char *what)
{
    x->r->line = x->line;
    ji_fail(x->r, "%s", what);
}

/* Behind the end of a tag at x->at, with the white space it takes along; 0:
 * there is no end. SUFFIX: a plain end takes a newline. */
static size_t tag_end(const lexer *x, size_t at, const char *end, int suffix)
{
    size_t n = strlen(end);

    if (suffix && looking_at(x, at, "+") && looking_at(x, at + 1, end))
        return at + 1 + n;
    if (looking_at(x, at, "-") && looking_at(x, at + 1, end))
        return skip_white(x, at + 1 + n);
    if (!looking_at(x, at, end))
        return 0;
    at += n;
    return at + (suffix && looking_at(x, at, "\n"));
}

/* ------------------------------------------------------- text between tags */

static size_t strip_right(const lexer *x, size_t from, size_t to)
{
    ji_str part = { x->text->at + from, to - from, JI_UNKNOWN, NULL, 0 };

    return from + ji_strip(x->r, &part, NULL, 2)->len;
}

/* The text up to the tag at TO with sign SIGN. */
static void add_data(lexer *x, size_t to, char sign, int is_block)
{
    size_t from = x->at, end = to, start;

    if (sign == '-') {
        end = strip_right(x, from, to);
    } else if (sign != '+' && is_block) {
        for (start = to; start > from && x->text->at[start - 1] != '\n';)
            start--;
        if ((start > from || x->line_start) &&
            skip_white(x, start) >= to && start < to)
            end = start;
    }
    if (end > from)
        add(x, JI_T_DATA)->text = ji_wrap(x->r, x->text->at + from,
                                          end - from);
}

/* `raw` in the block that begins at AT; 0: another. */
static size_t raw_begin(const lexer *x, size_t at, const char *word)
{
    size_t i = at + 2;

    i += looking_at(x, i, "-") || looking_at(x, i, "+");
    i = skip_white(x, i);
    if (!looking_at(x, i, word))
        return 0;
    i = skip_white(x, i + strlen(word));
    return i;
}

static char sign_at(const lexer *x, size_t at)
{
    return looking_at(x, at, "-") ? '-' : looking_at(x, at, "+") ? '+' : 0;
}

/* Behind {% raw %}, at x->at. */
static void read_raw(lexer *x)
{
    for (size_t i = x->at; i < x->text->len; i++) {
        size_t inside, end = 0;

        if (!looking_at(x, i, "{%"))
            continue;
        inside = raw_begin(x, i, "endraw");
        if (inside)
            end = tag_end(x, inside, "%}", 1);
        if (!end)
            continue;
        add_data(x, i, sign_at(x, i + 2), 1);
        move(x, end);
        return;
    }
    if (x->at < x->text->len)
        fail(x, "Missing end of raw directive");
}

static void read_comment(lexer *x, size_t at)
{
    for (size_t i = at + 2 + (sign_at(x, at + 2) != 0); i < x->text->len;
         i++) {
        size_t end = tag_end(x, i, "#}", 1);

        if (!end)
            continue;
        move(x, end);
        return;
    }
    fail(x, "Missing end of comment tag");
}

/* ------------------------------------------------------------ inside a tag */

static int is_word(uint32_t c)
{
    if (c < 128)
        return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
               (c >= 'A' && c <= 'Z');
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
        return 1;
    default:
        return 0;
    }
}

static void read_name(lexer *x)
{
    size_t to = x->at;
    int bytes;

    while (to < x->text->len && is_word(code_at(x, to, &bytes)))
        to += (size_t)bytes;
    add(x, JI_T_NAME)->text = ji_wrap(x->r, x->text->at + x->at, to - x->at);
    move(x, to);
}

static size_t digits(const lexer *x, size_t at)
{
    while (at < x->text->len &&
           ((x->text->at[at] >= '0' && x->text->at[at] <= '9') ||
            (x->text->at[at] == '_' && at + 1 < x->text->len &&
             x->text->at[at + 1] >= '0' && x->text->at[at + 1] <= '9')))
        at++;
    return at;
}

static void read_number(lexer *x)
{
    size_t from = x->at, to = digits(x, from), more;
    int real = 0;
    ji_token *t;
    ji_str s;

    if (x->text->at[from] == '0' && to == from + 1 && to < x->text->len &&
        strchr("bBoOxX", x->text->at[to]) && x->text->at[to]) {
        for (to++; to < x->text->len && x->text->at[to] > 0 &&
                   is_word((unsigned char)x->text->at[to]);)
            to++;
    } else {
        if (looking_at(x, to, ".") && (more = digits(x, to + 1)) > to + 1) {
            to = more;
            real = 1;
        }
        more = to + 1;
        if (to < x->text->len && (x->text->at[to] | 32) == 'e') {
            more += looking_at(x, more, "+") || looking_at(x, more, "-");
            if (digits(x, more) > more) {
                to = digits(x, more);
                real = 1;
            }
        }
    }
    t = add(x, real ? JI_T_FLOAT : JI_T_INT);
    s = (ji_str){ x->text->at + from, to - from, JI_UNKNOWN, NULL, 0 };
    t->value.kind = real ? JI_FLOAT : JI_INT;
    x->r->line = x->line;
    if (real ? !ji_parse_float(x->r, &s, &t->value.u.f)
             : !ji_parse_int(x->r, &s, s.len > 1 && s.at[1] > '9' &&
                                               s.at[1] != '_'
                                           ? 0 : 10, &t->value.u.i))
        fail(x, "not a number");
    move(x, to);
}

/* \xhh, \uhhhh, \Uhhhhhhhh at AT (behind the letter). */
static size_t hex_escape(lexer *x, ji_buf *b, size_t at, int n)
{
    char text[9] = "", utf8[8], *end;
    unsigned long code;

    if (x->text->len - at < (size_t)n)
        fail(x, "a truncated \\ escape in a string");
    memcpy(text, x->text->at + at, (size_t)n);
    code = strtoul(text, &end, 16);
    if (*end || text[0] == '-' || text[0] == '+' || text[0] == ' ' ||
        code > 0x10FFFF)
        fail(x, "a broken \\ escape in a string");
    if (code >= 0xD800 && code < 0xE000)
        fail(x, "half a surrogate pair in a string");
    ji_put(x->r, b, utf8, (size_t)ji_encode((uint32_t)code, utf8));
    return at + (size_t)n;
}

/* The escape whose backslash is at AT; behind it. */
static size_t read_escape(lexer *x, ji_buf *b, size_t at)
{
    static const char names[] = "\\'\"abfnrtv\n";
    static const char to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = x->text->at[at + 1];
    const char *found = c ? strchr(names, c) : NULL;
    char utf8[8];
    unsigned code = 0;
    int n = 0;

    if (c == '\n')
        return at + 2;
    if (found) {
        ji_put(x->r, b, to + (found - names), 1);
        return at + 2;
    }
    if (c == 'x' || c == 'u' || c == 'U')
        return hex_escape(x, b, at + 2, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    if (c == 'N')
        fail(x, "\\N{...} in a string is not supported; write \\uXXXX");
    for (at++; n < 3 && x->text->at[at] >= '0' && x->text->at[at] <= '7'; n++)
        code = 8 * code + (unsigned)(x->text->at[at++] - '0');
    if (n)
        ji_put(x->r, b, utf8, (size_t)ji_encode(code, utf8));
    else
        ji_puts(x->r, b, "\\");
    return at;
}

static void read_string(lexer *x)
{
    char quote = x->text->at[x->at];
    size_t at = x->at + 1;
    ji_buf b = { NULL, 0, 0 };

    while (at < x->text->len && x->text->at[at] != quote) {
        if (x->text->at[at] == '\\' && at + 1 < x->text->len) {
            at = read_escape(x, &b, at);
        } else {
            ji_put(x->r, &b, x->text->at + at, 1);
            at++;
        }
    }
    if (at >= x->text->len)
        fail(x, "a string that does not end");
    add(x, JI_T_STRING)->text = ji_take(x->r, &b);
    move(x, at + 1);
}

/* Longest first. Pushes on and pops from BRACES. */
static void read_operator(lexer *x, char *braces, int *depth)
{
    static const char *const ops[] = { "//", "**", "==", "!=", ">=", "<=" };
    static const char open[] = "([{", shut[] = ")]}";
    const char *at = x->text->at + x->at, *which;
    size_t n = 1;
    ji_token *t;

    for (int i = 0; i < 6; i++)
        if (looking_at(x, x->at, ops[i]))
            n = 2;
    if (!*at || !strchr("+-/*%~[](){}><=.:|,;!", *at) ||
        (*at == '!' && n == 1))
        fail(x, ji_format(x->r, "unexpected char '%.*s'",
                          (unsigned char)*at < 128 ? 1 : 4, at));
    if ((which = strchr(open, *at)) != NULL) {
        if (*depth == JI_DEPTH_MAX)
            fail(x, "brackets nested too deep");
        braces[(*depth)++] = shut[which - open];
    } else if (strchr(shut, *at)) {
        if (!*depth || braces[*depth - 1] != *at)
            fail(x, ji_format(x->r, "unexpected '%c'", *at));
        --*depth;
    }
    t = add(x, JI_T_OP);
    memcpy(t->op, at, n);
    move(x, x->at + n);
}

/* Tokens up to the tag's end, which brackets hide. */
static void read_tag(lexer *x, const char *end, ji_token_kind ends)
{
    char braces[JI_DEPTH_MAX];
    int depth = 0;

    for (;;) {
        size_t behind;
        int bytes;
        uint32_t c;

        move(x, skip_white(x, x->at));
        if (x->at >= x->text->len)
            fail(x, "a tag that does not end");
        ji_step(x->r, 1);
        behind = depth ? 0 : tag_end(x, x->at, end, ends == JI_T_BLOCK_END);
        if (behind) {
            add(x, ends);
            move(x, behind);
            return;
        }
        c = code_at(x, x->at, &bytes);
        if (c >= '0' && c <= '9')
            read_number(x);
        else if (is_word(c))
            read_name(x);
        else if (c == '"' || c == '\'')
            read_string(x);
        else
            read_operator(x, braces, &depth);
    }
}

/* --------------------------------------------------------------- the whole */

/* \r\n and \r are newlines; one at the very end does not count. */
static ji_str *normalized(ji_run *r, const char *text, size_t len)
{
    ji_buf b = { NULL, 0, 0 };

    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\r') {
            ji_puts(r, &b, "\n");
            i += i + 1 < len && text[i + 1] == '\n';
        } else {
            ji_put(r, &b, text + i, 1);
        }
    }
    if (b.len && b.at[b.len - 1] == '\n')
        b.len--;
    ji_put(r, &b, "", 1); /* a NUL to stop at */
    b.len--;
    return ji_take(r, &b);
}

static void read_block(lexer *x, size_t at)
{
    char kind = x->text->at[at + 1], sign = sign_at(x, at + 2);
    size_t raw = kind == '%' ? raw_begin(x, at, "raw") : 0;

    if (raw)
        raw = looking_at(x, raw, "-%}") ? skip_white(x, raw + 3)
              : looking_at(x, raw, "%}") ? raw + 2 : 0;
    add_data(x, at, sign, kind != '{');
    move(x, at);
    if (raw) {
        move(x, raw);
        read_raw(x);
    } else if (kind == '#') {
        read_comment(x, at);
    } else {
        add(x, kind == '%' ? JI_T_BLOCK_BEGIN : JI_T_VAR_BEGIN);
        move(x, at + 2 + (sign != 0));
        if (kind == '%')
            read_tag(x, "%}", JI_T_BLOCK_END);
        else
            read_tag(x, "}}", JI_T_VAR_END);
    }
}

ji_token *ji_lex(ji_run *r, const char *text, size_t len)
{
    lexer x = { .r = r, .line = 1, .line_start = 1 };
    size_t at = 0;

    x.text = normalized(r, text, len);
    while (at < x.text->len) {
        const char *next = memchr(x.text->at + at, '{', x.text->len - at);

        if (!next)
            break;
        at = (size_t)(next - x.text->at);
        if (at + 1 < x.text->len && (next[1] == '{' || next[1] == '%' ||
                                     next[1] == '#')) {
            read_block(&x, at);
            at = x.at;
        } else {
            at++;
        }
    }
    if (x.at < x.text->len)
        add(&x, JI_T_DATA)->text = ji_wrap(r, x.text->at + x.at,
                                           x.text->len - x.at);
    add(&x, JI_T_END);
    return x.token;
}

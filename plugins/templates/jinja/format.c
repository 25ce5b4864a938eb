/* SPDX-License-Identifier: MIT
 *
 * format.c -- "%s" % x and "{}".format(x), with Python's formats of texts and
 * numbers.
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"

typedef struct {
    char fill[5]; /* UTF-8 */
    char align, sign, type; /* 0: not given */
    int alternate, zero, comma; /* comma: ',' or '_' */
    int width, precision; /* precision -1: not given */
} spec;

enum { WIDTH_MAX = 1000000 };

static const char *read_int(ji_run *r, const char *at, const char *end,
                            int *out)
{
    int64_t n = 0;

    for (; at < end && isdigit((unsigned char)*at); at++) {
        n = 10 * n + (*at - '0');
        if (n > WIDTH_MAX)
            ji_fail(r, "a width or precision of more than %d", WIDTH_MAX);
    }
    *out = (int)n;
    return at;
}

/* TEXT, padded to the width; a number's sign stays in front of zeros. */
static void put_padded(ji_run *r, ji_buf *b, const spec *f, ji_str *text,
                       char align)
{
    int64_t more = f->width - (int64_t)ji_chars(text), left;
    size_t sign = 0;

    if (f->align)
        align = f->align;
    left = align == '>' || align == '=' ? more
           : align == '^' ? more / 2 : 0;
    if (align == '=' && text->len && strchr("+- ", text->at[0]))
        sign = 1;
    ji_put(r, b, text->at, sign);
    for (int64_t i = 0; i < more; i++) {
        ji_step(r, 1);
        if (i == left)
            ji_put(r, b, text->at + sign, text->len - sign);
        ji_puts(r, b, f->fill[0] ? f->fill : " ");
    }
    if (more <= 0 || left >= more)
        ji_put(r, b, text->at + sign, text->len - sign);
}

/* ----------------------------------------------------------------- numbers */

/* Digits in groups of three, or of four for _ in other bases. */
static char *grouped(ji_run *r, const char *digits, char comma, int size)
{
    size_t n = strcspn(digits, ".eE%"), len = strlen(digits);
    char *to = ji_alloc(r, 2 * len + 2), *at = to;

    for (size_t i = 0; i < n; i++) {
        if (i && (n - i) % (size_t)size == 0)
            *at++ = comma;
        *at++ = digits[i];
    }
    strcpy(at, digits + n);
    return to;
}

static char *in_base(ji_run *r, uint64_t n, unsigned base, int upper)
{
    char text[68];
    int at = 67;

    text[at] = 0;
    do
        text[--at] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[n %
                                                                       base];
    while (n /= base);
    return ji_format(r, "%s", text + at);
}

static char *int_digits(ji_run *r, const spec *f, int64_t v)
{
    uint64_t n = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    unsigned base = f->type == 'x' || f->type == 'X' ? 16
                    : f->type == 'o'                 ? 8
                    : f->type == 'b'                 ? 2
                                                     : 10;
    char *digits = in_base(r, n, base, f->type == 'X');

    if (f->precision > 0) /* of %5.3d */
        digits = ji_format(r, "%0*llu", f->precision > 700 ? 700
                                                           : f->precision,
                           (unsigned long long)n);
    if (f->comma)
        digits = grouped(r, digits, (char)f->comma, base == 10 ? 3 : 4);
    if (f->alternate && base != 10)
        digits = ji_format(r, "0%c%s", f->type, digits);
    return digits;
}

/* %g drops zeros at the end; Python's own "no type" keeps ".0". */
static char *float_digits(ji_run *r, const spec *f, double v)
{
    char how[16], *text;
    char type = f->type == '%' ? 'f' : f->type ? f->type : 'g';
    int precision = f->precision < 0 ? 6 : f->precision;
    ji_buf b = { NULL, 0, 0 };

    v = fabs(v);
    if (isnan(v) || isinf(v)) {
        text = ji_format(r, "%s", isnan(v) ? "nan" : "inf");
        if (isupper((unsigned char)type))
            for (char *c = text; *c; c++)
                *c = (char)toupper((unsigned char)*c);
        return text;
    }
    if (f->type == '%')
        v *= 100;
    if (!f->type && f->precision < 0) {
        ji_put_float(r, &b, v);
        ji_put(r, &b, "", 1);
        text = b.at;
    } else {
        int n;

        snprintf(how, sizeof how, f->alternate ? "%%#.*%c" : "%%.*%c", type);
        n = snprintf(NULL, 0, how, precision, v);
        text = ji_alloc(r, (size_t)n + 3);
        snprintf(text, (size_t)n + 1, how, precision, v);
        if (!f->type && !strpbrk(text, ".e"))
            strcat(text, ".0");
    }
    if (f->comma)
        text = grouped(r, text, (char)f->comma, 3);
    return f->type == '%' ? ji_format(r, "%s%%", text) : text;
}

static void put_number(ji_run *r, ji_buf *b, spec *f, ji_val v)
{
    int real = (f->type && strchr("eEfFgG%", f->type)) ||
               (v.kind == JI_FLOAT && (!f->type || f->type == 'n'));
    double d = ji_double(v);
    int negative = v.kind == JI_FLOAT ? signbit(d) != 0 : v.u.i < 0;
    ji_buf text = { NULL, 0, 0 };

    if (v.kind == JI_FLOAT && !real)
        ji_fail(r, "unknown format code '%c' for a float", f->type);
    if (f->type == 'n')
        f->type = 0;
    ji_puts(r, &text, negative ? "-" : f->sign == '+' ? "+"
                      : f->sign == ' ' ? " " : "");
    ji_puts(r, &text, real ? float_digits(r, f, d) : int_digits(r, f, v.u.i));
    if (f->zero && !f->align) {
        f->align = '=';
        strcpy(f->fill, "0");
    }
    put_padded(r, b, f, ji_take(r, &text), '>');
}

static ji_str *character(ji_run *r, ji_val v)
{
    char text[8];
    int64_t code = ji_index(r, v);

    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        ji_fail(r, "%%c: not a character");
    return ji_text(r, text, (size_t)ji_encode((uint32_t)code, text));
}

static ji_str *cut(ji_run *r, ji_str *s, int precision)
{
    if (precision < 0 || (int64_t)ji_chars(s) <= precision)
        return s;
    return ji_part(r, s, 0, ji_offset(s, (size_t)precision));
}

/* --------------------------------------------------------- {:spec} of format */

static const char *read_align(ji_run *r, spec *f, const char *at,
                              const char *end)
{
    int bytes = 1;

    if (at < end)
        ji_code(at, &bytes);
    if (at + bytes < end && at[bytes] && strchr("<>=^", at[bytes])) {
        snprintf(f->fill, sizeof f->fill, "%.*s", bytes, at);
        f->align = at[bytes];
        return at + bytes + 1;
    }
    if (at < end && *at && strchr("<>=^", *at))
        f->align = *at++;
    (void)r;
    return at;
}

void ji_put_spec(ji_run *r, ji_buf *b, ji_val v, const ji_str *text)
{
    spec f = { .precision = -1 };
    const char *end = text->at + text->len;
    const char *at = read_align(r, &f, text->at, end);

    if (at < end && *at && strchr("+- ", *at))
        f.sign = *at++;
    if (at < end && *at == '#')
        f.alternate = (at++, 1);
    if (at < end && *at == '0')
        f.zero = (at++, 1);
    at = read_int(r, at, end, &f.width);
    if (at < end && (*at == ',' || *at == '_'))
        f.comma = *at++;
    if (at < end && *at == '.')
        at = read_int(r, at + 1, end, &f.precision);
    f.type = at < end ? *at++ : 0;
    if (at < end)
        ji_fail(r, "format: an invalid format specifier");
    if (text->len && v.kind != JI_STR && !ji_number(v))
        ji_fail(r, "format: unsupported format string for %s", ji_type(v));
    if (v.kind == JI_STR || !text->len || (v.kind == JI_BOOL && !f.type)) {
        if ((f.type && f.type != 's') || f.align == '=' || f.sign)
            ji_fail(r, "format: an invalid format for a text");
        put_padded(r, b, &f, cut(r, ji_tostr(r, v), f.precision), '<');
    } else if (f.type == 'c') {
        put_padded(r, b, &f, character(r, v), '<');
    } else if (f.type && !strchr("bdoxXneEfFgG%", f.type)) {
        ji_fail(r, "format: unknown format code '%c'", f.type);
    } else {
        put_number(r, b, &f, v);
    }
}

/* --------------------------------------------------------------- "%s" % x */

ji_str *ji_repr_of(ji_run *r, ji_val v)
{
    ji_buf b = { NULL, 0, 0 };

    ji_repr(r, &b, v);
    return ji_take(r, &b);
}

typedef struct {
    ji_val args;
    size_t next;
} source;

static ji_val next_arg(ji_run *r, source *s)
{
    if (s->args.kind != JI_TUPLE) {
        if (s->next++)
            ji_fail(r, "not enough arguments for format string");
        return s->args;
    }
    if (s->next >= s->args.u.l->n)
        ji_fail(r, "not enough arguments for format string");
    return s->args.u.l->at[s->next++];
}

/* A number, or * for the next argument. */
static const char *star_or_int(ji_run *r, const char *at, const char *end,
                               source *s, int *out)
{
    int64_t n;

    if (at == end || *at != '*')
        return read_int(r, at, end, out);
    n = ji_index(r, next_arg(r, s));
    if (n < -WIDTH_MAX || n > WIDTH_MAX)
        ji_fail(r, "a width or precision of more than %d", WIDTH_MAX);
    *out = (int)n;
    return at + 1;
}

static void put_conversion(ji_run *r, ji_buf *b, spec *f, ji_val v)
{
    switch (f->type) {
    case 's':
        put_padded(r, b, f, cut(r, ji_tostr(r, v), f->precision), '>');
        return;
    case 'r':
    case 'a':
        put_padded(r, b, f, cut(r, ji_repr_of(r, v), f->precision), '>');
        return;
    case 'c':
        if (v.kind == JI_STR && ji_chars(v.u.s) != 1)
            ji_fail(r, "%%c requires int or char");
        put_padded(r, b, f, v.kind == JI_STR ? v.u.s : character(r, v), '>');
        return;
    default:
        break;
    }
    if (!strchr("diuxXoeEfFgG", f->type) || !f->type)
        ji_fail(r, "unsupported format character '%c'", f->type);
    if (v.kind == JI_UNDEF)
        ji_fail(r, "%s", v.u.why);
    if (!ji_number(v))
        ji_fail(r, "%%%c format: a real number is required, not %s", f->type,
                ji_type(v));
    if (strchr("diu", f->type)) {
        if (v.kind == JI_FLOAT) {
            if (!(fabs(v.u.f) < 9.2e18))
                ji_fail(r, "a whole number beyond 64 bits");
            v = ji_int((int64_t)v.u.f);
        }
        f->type = 'd';
    }
    put_number(r, b, f, v);
}

/* One conversion, behind its %. */
static const char *conversion(ji_run *r, ji_buf *b, const char *at,
                              const char *end, source *s)
{
    spec f = { .precision = -1 };
    const char *name = NULL, *shut;
    ji_val v, *found;

    if (at < end && *at == '%') {
        ji_puts(r, b, "%");
        return at + 1;
    }
    if (at < end && *at == '(') {
        shut = memchr(at, ')', (size_t)(end - at));
        if (!shut || s->args.kind != JI_DICT)
            ji_fail(r, "format requires a mapping");
        name = at + 1;
        at = shut + 1;
    }
    for (; at < end && *at && strchr("#0- +", *at); at++) {
        f.alternate |= *at == '#';
        f.zero |= *at == '0';
        if (*at == '-')
            f.align = '<';
        if (*at == '+' || (*at == ' ' && !f.sign))
            f.sign = *at;
    }
    at = star_or_int(r, at, end, s, &f.width);
    if (f.width < 0) {
        f.align = '<';
        f.width = -f.width;
    }
    if (at < end && *at == '.')
        at = star_or_int(r, at + 1, end, s, &f.precision);
    while (at < end && *at && strchr("hlL", *at))
        at++;
    if (at == end)
        ji_fail(r, "incomplete format");
    if (name) {
        found = ji_get(r, s->args.u.d,
                       ji_string(ji_wrap(r, name, (size_t)(shut - name))));
        if (!found)
            ji_fail(r, "no such key in the mapping of a format");
        v = *found;
        s->next = 1;
    } else {
        v = next_arg(r, s);
    }
    f.type = *at;
    put_conversion(r, b, &f, v);
    return at + 1;
}

ji_str *ji_percent(ji_run *r, ji_str *s, ji_val args)
{
    const char *at = s->at, *end = at + s->len;
    source from = { args, 0 };
    ji_buf b = { NULL, 0, 0 };
    ji_str *out;

    while (at < end) {
        const char *sign = memchr(at, '%', (size_t)(end - at));

        ji_step(r, 1);
        ji_put(r, &b, at, (size_t)((sign ? sign : end) - at));
        at = sign ? conversion(r, &b, sign + 1, end, &from) : end;
    }
    if (args.kind == JI_TUPLE ? from.next < args.u.l->n
                              : args.kind != JI_DICT &&
                                    args.kind != JI_LIST && !from.next)
        ji_fail(r, "not all arguments converted during string formatting");
    out = ji_take(r, &b);
    out->markup = s->markup;
    return out;
}

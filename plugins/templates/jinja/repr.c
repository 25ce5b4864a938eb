/* SPDX-License-Identifier: MIT
 *
 * repr.c -- str() and repr() of values, and the numbers of int() and float().
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "jinja.h"

/* The shortest digits that give the same double, laid out as Python does. */
void ji_put_float(ji_run *r, ji_buf *b, double f)
{
    char text[40], digits[24], *e;
    int exponent, n = 0, precision = 1;

    if (isnan(f) || isinf(f)) {
        ji_puts(r, b, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    for (; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision - 1, f);
        if (strtod(text, NULL) == f)
            break;
    }
    e = strchr(text, 'e');
    exponent = atoi(e + 1);
    for (char *c = text; c < e; c++)
        if (*c >= '0' && *c <= '9')
            digits[n++] = *c;
    if (signbit(f))
        ji_puts(r, b, "-");
    if (exponent < -4 || exponent >= 16) {
        ji_put(r, b, digits, 1);
        if (n > 1)
            ji_puts(r, b, ".");
        ji_put(r, b, digits + 1, (size_t)n - 1);
        snprintf(text, sizeof text, "e%+03d", exponent);
        ji_puts(r, b, text);
        return;
    }
    if (exponent < 0) {
        ji_puts(r, b, "0.");
        for (int i = -1; i > exponent; i--)
            ji_puts(r, b, "0");
        ji_put(r, b, digits, (size_t)n);
        return;
    }
    for (int i = 0; i < n || i <= exponent; i++) {
        ji_put(r, b, i < n ? digits + i : "0", 1);
        if (i == exponent)
            ji_puts(r, b, ".");
    }
    if (n <= exponent + 1)
        ji_puts(r, b, "0");
}

/* ---------------------------------------------------------- texts in quotes */

static int printable(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return 0;
    case UTF8PROC_CATEGORY_ZS:
        return c == ' ';
    default:
        return 1;
    }
}

static void put_quoted(ji_run *r, ji_buf *b, const ji_str *s)
{
    int single = memchr(s->at, '\'', s->len) != NULL;
    char quote = single && !memchr(s->at, '"', s->len) ? '"' : '\'';
    char code[16];

    ji_put(r, b, &quote, 1);
    for (size_t i = 0; i < s->len;) {
        int bytes;
        uint32_t c = ji_code(s->at + i, &bytes);

        if (c == (unsigned char)quote || c == '\\')
            snprintf(code, sizeof code, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            snprintf(code, sizeof code, "\\%c",
                     c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (printable(c))
            snprintf(code, sizeof code, "%.*s", bytes, s->at + i);
        else
            snprintf(code, sizeof code,
                     c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x"
                                                         : "\\U%08x", c);
        ji_puts(r, b, code);
        i += (size_t)bytes;
    }
    ji_put(r, b, &quote, 1);
}

/* ---------------------------------------------------------------- repr, str */

static void put_list(ji_run *r, ji_buf *b, const ji_list *l, const char *ends)
{
    ji_put(r, b, ends, 1);
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            ji_puts(r, b, ", ");
        ji_repr(r, b, l->at[i]);
    }
    if (ends[0] == '(' && l->n == 1)
        ji_puts(r, b, ",");
    ji_put(r, b, ends + 1, 1);
}

static void put_dict(ji_run *r, ji_buf *b, const ji_dict *d)
{
    ji_puts(r, b, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            ji_puts(r, b, ", ");
        ji_repr(r, b, d->at[i].key);
        ji_puts(r, b, ": ");
        ji_repr(r, b, d->at[i].value);
    }
    ji_puts(r, b, "}");
}

static void put_other(ji_run *r, ji_buf *b, ji_val v)
{
    if (v.kind == JI_RANGE) {
        const ji_range *g = v.u.range;

        ji_puts(r, b, ji_format(r, g->step == 1 ? "range(%lld, %lld)"
                                                : "range(%lld, %lld, %lld)",
                                (long long)g->start, (long long)g->stop,
                                (long long)g->step));
    } else if (v.kind == JI_VIEW) {
        ji_puts(r, b, ji_type(v));
        ji_puts(r, b, "(");
        put_list(r, b, ji_items(r, v), "[]");
        ji_puts(r, b, ")");
    } else if (v.kind == JI_SPACE) {
        ji_puts(r, b, "<Namespace ");
        put_dict(r, b, v.u.d);
        ji_puts(r, b, ">");
    } else if (v.kind == JI_MACRO && v.u.macro->node->name) {
        ji_puts(r, b, "<Macro ");
        put_quoted(r, b, v.u.macro->node->name);
        ji_puts(r, b, ">");
    } else if (v.kind == JI_MACRO) {
        ji_puts(r, b, "<Macro anonymous>");
    } else { /* Python would write an address */
        ji_puts(r, b, ji_format(r, "<%s object>", ji_type(v)));
    }
}

void ji_repr(ji_run *r, ji_buf *b, ji_val v)
{
    ji_step(r, 1);
    ji_deeper(r);
    switch (v.kind) {
    case JI_UNDEF:
        ji_puts(r, b, "Undefined");
        break;
    case JI_NONE:
        ji_puts(r, b, "None");
        break;
    case JI_BOOL:
        ji_puts(r, b, v.u.i ? "True" : "False");
        break;
    case JI_INT:
        ji_puts(r, b, ji_format(r, "%lld", (long long)v.u.i));
        break;
    case JI_FLOAT:
        ji_put_float(r, b, v.u.f);
        break;
    case JI_STR:
        if (v.u.s->markup)
            ji_puts(r, b, "Markup(");
        put_quoted(r, b, v.u.s);
        if (v.u.s->markup)
            ji_puts(r, b, ")");
        break;
    case JI_LIST:
    case JI_TUPLE:
        put_list(r, b, v.u.l, v.kind == JI_LIST ? "[]" : "()");
        break;
    case JI_DICT:
        put_dict(r, b, v.u.d);
        break;
    default:
        put_other(r, b, v);
    }
    r->depth--;
}

ji_str *ji_tostr(ji_run *r, ji_val v)
{
    ji_buf b = { NULL, 0, 0 };

    if (v.kind == JI_STR)
        return v.u.s;
    if (v.kind == JI_UNDEF)
        return ji_wrap(r, "", 0);
    ji_repr(r, &b, v);
    return ji_take(r, &b);
}

/* ----------------------------------------------------------------- numbers */

/* The text without white space around it and single _ between digits, as
 * Python reads numbers; NULL: no number. */
static char *number_text(ji_run *r, const ji_str *s)
{
    ji_str *t = ji_strip(r, (ji_str *)s, NULL, 3);
    char *to = ji_alloc(r, t->len + 1);
    size_t n = 0;

    for (size_t i = 0; i < t->len; i++) {
        char c = t->at[i];

        if (c == '_' && (!i || i + 1 == t->len || t->at[i - 1] == '_'))
            return NULL;
        if (!c || c < 0)
            return NULL;
        if (c != '_')
            to[n++] = c;
    }
    return n ? to : NULL;
}

int ji_parse_int(ji_run *r, const ji_str *s, int base, int64_t *out)
{
    char *text = number_text(r, s), *end, *digits;

    if (!text || base == 1 || base < 0 || base > 36)
        return 0;
    digits = text + (*text == '-' || *text == '+');
    if (base == 10 && (digits[0] < '0' || digits[0] > '9'))
        return 0;
    if (digits[0] == '0' && (digits[1] == 'b' || digits[1] == 'B' ||
                             digits[1] == 'o' || digits[1] == 'O')) {
        int of = digits[1] == 'b' || digits[1] == 'B' ? 2 : 8;

        if (base != 0 && base != of)
            return 0;
        memmove(digits, digits + 2, strlen(digits + 2) + 1);
        base = of;
    }
    errno = 0;
    *out = strtoll(text, &end, base);
    if (errno == ERANGE)
        ji_fail(r, "a whole number beyond 64 bits: %.40s", text);
    return end != text && !*end && *text != ' ';
}

int ji_parse_float(ji_run *r, const ji_str *s, double *out)
{
    char *text = number_text(r, s), *end;

    if (!text || strpbrk(text, "xXpP(\t "))
        return 0;
    *out = strtod(text, &end);
    return end != text && !*end;
}

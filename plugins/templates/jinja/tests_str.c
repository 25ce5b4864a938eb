/* SPDX-License-Identifier: MIT
 *
 * tests_str.c -- the methods of str that ask what its characters are.
 */
#include <utf8proc.h>

#include "jinja.h"

typedef utf8proc_category_t category;

static category of(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c);
}

static int alpha(uint32_t c)
{
    return of(c) >= UTF8PROC_CATEGORY_LU && of(c) <= UTF8PROC_CATEGORY_LO;
}

static int decimal(uint32_t c)
{
    return of(c) == UTF8PROC_CATEGORY_ND;
}

/* Superscripts and the like count as digits, fractions do not. */
static int digit(uint32_t c)
{
    return decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 ||
           (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089) ||
           (c >= 0x2460 && c <= 0x2468) || (c >= 0x2474 && c <= 0x247C) ||
           (c >= 0x2488 && c <= 0x2490);
}

static int numeric(uint32_t c)
{
    return of(c) >= UTF8PROC_CATEGORY_ND && of(c) <= UTF8PROC_CATEGORY_NO;
}

static int alnum(uint32_t c)
{
    return alpha(c) || numeric(c);
}

static int ascii(uint32_t c)
{
    return c < 128;
}

/* Whether all characters are such, and there are any. */
static ji_val all(ji_run *r, const ji_str *s, int (*is)(uint32_t))
{
    ji_step(r, s->len / 16);
    for (size_t i = 0; i < s->len;) {
        int bytes;

        if (!is(ji_code(s->at + i, &bytes)))
            return ji_bool(0);
        i += (size_t)bytes;
    }
    return ji_bool(s->len > 0);
}

#define ASK(NAME, IS)                                                          \
    static ji_val NAME(ji_run *r, ji_val v, const ji_args *a, ji_val *p)       \
    {                                                                          \
        (void)a, (void)p;                                                      \
        return all(r, v.u.s, IS);                                              \
    }

ASK(all_alnum, alnum)
ASK(all_alpha, alpha)
ASK(all_decimal, decimal)
ASK(all_digit, digit)
ASK(all_numeric, numeric)
ASK(all_space, ji_space)

static ji_val all_ascii(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return v.u.s->len ? all(r, v.u.s, ascii) : ji_bool(1);
}

/* At least one letter with a case, and none of the wrong one. */
static ji_val one_case(ji_run *r, const ji_str *s, category want)
{
    int any = 0;

    ji_step(r, s->len / 16);
    for (size_t i = 0; i < s->len;) {
        int bytes;
        uint32_t c = ji_code(s->at + i, &bytes);

        if (ji_has_case(c) && of(c) != want)
            return ji_bool(0);
        any |= ji_has_case(c);
        i += (size_t)bytes;
    }
    return ji_bool(any);
}

static ji_val in_lower(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return one_case(r, v.u.s, UTF8PROC_CATEGORY_LL);
}

static ji_val in_upper(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return one_case(r, v.u.s, UTF8PROC_CATEGORY_LU);
}

static ji_val in_title(ji_run *r, ji_val v, const ji_args *a, ji_val *p)
{
    const ji_str *s = v.u.s;
    int any = 0, in_word = 0;

    (void)a, (void)p;
    ji_step(r, s->len / 16);
    for (size_t i = 0; i < s->len;) {
        int bytes;
        uint32_t c = ji_code(s->at + i, &bytes);

        if (ji_has_case(c) && (of(c) == UTF8PROC_CATEGORY_LL) != in_word)
            return ji_bool(0);
        in_word = ji_has_case(c);
        any |= in_word;
        i += (size_t)bytes;
    }
    return ji_bool(any);
}

const ji_def ji_str_tests[] = {
    { "isalnum", "", 0, all_alnum },
    { "isalpha", "", 0, all_alpha },
    { "isascii", "", 0, all_ascii },
    { "isdecimal", "", 0, all_decimal },
    { "isdigit", "", 0, all_digit },
    { "islower", "", 0, in_lower },
    { "isnumeric", "", 0, all_numeric },
    { "isspace", "", 0, all_space },
    { "istitle", "", 0, in_title },
    { "isupper", "", 0, in_upper },
    { NULL, NULL, 0, NULL },
};

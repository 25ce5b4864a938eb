/* SPDX-License-Identifier: MIT
 *
 * value.c -- one value as JSON: numbers as they are, texts, dates and times in
 * ISO 8601, decimals as texts of all their digits, what no number can say (not
 * a number, infinity) as null.
 */
#include "parquet.h"

#include <math.h>

enum { MOST_DECIMAL = 64, DAY = 86400 };

static uint64_t little(const slice *s, uint32_t from, uint32_t bytes)
{
    uint64_t x = 0;

    for (uint32_t i = 0; i < bytes; i++)
        x |= (uint64_t)s->data[from + i] << 8 * i;
    return x;
}

static int64_t integer(const slice *s)
{
    return s->bytes == 4 ? (int32_t)(uint32_t)little(s, 0, 4)
                         : (int64_t)little(s, 0, 8);
}

/* The shortest digits that give the number back. */
static void write_real(row_text *t, double x, int single)
{
    char digits[40];

    if (!isfinite(x)) {
        row_words(t, "null");
        return;
    }
    for (int n = single ? 6 : 15; n <= 17; n++) {
        snprintf(digits, sizeof digits, "%.*g", n, x);
        if (single ? strtof(digits, NULL) == (float)x
                   : strtod(digits, NULL) == x)
            break;
    }
    row_words(t, digits);
    if (!strpbrk(digits, ".e"))
        row_words(t, ".0");
}

static double half(uint32_t bits)
{
    int exponent = (int)(bits >> 10 & 31), sign = bits >> 15 ? -1 : 1;
    double x = bits & 1023;

    if (exponent == 31)
        return x != 0 ? NAN : sign * INFINITY;
    x = exponent ? 1024 + x : x;
    for (exponent = exponent ? exponent - 25 : -24; exponent; )
        if (exponent < 0) {
            x /= 2;
            exponent++;
        } else {
            x *= 2;
            exponent--;
        }
    return sign * x;
}

/* ------------------------------------------------------------------ decimals */

/* Digits of a two's complement number, the highest byte first. */
static int digits_of(const uint8_t *from, uint32_t bytes, char *to, int room)
{
    uint8_t x[MOST_DECIMAL];
    int negative = bytes && from[0] >> 7, carry = negative, n = 0, any = 1;

    for (uint32_t i = bytes; i-- > 0;) {
        int byte = (negative ? from[i] ^ 255 : from[i]) + carry;

        carry = byte >> 8;
        x[i] = (uint8_t)byte;
    }
    while (any && n < room) {
        int rest = 0;

        any = 0;
        for (uint32_t i = 0; i < bytes; i++) {
            int part = rest << 8 | x[i];

            x[i] = (uint8_t)(part / 10);
            rest = part % 10;
            any |= x[i];
        }
        to[n++] = (char)('0' + rest);
    }
    return negative ? -n : n;
}

static int write_decimal(parquet *p, const column *c, const slice *s)
{
    uint8_t turned[8];
    char digits[MOST_DECIMAL * 3];
    const uint8_t *from = s->data;
    int scale = c->leaf->scale, n;
    row_text *t = &p->text;

    if (s->bytes > MOST_DECIMAL || scale < 0 || scale > 150)
        return parquet_fail(p, c, "a decimal of %u bytes with scale %d, which "
                            "hone does not read", (unsigned)s->bytes, scale);
    if (c->leaf->type == P_INT32 || c->leaf->type == P_INT64) {
        for (uint32_t i = 0; i < s->bytes; i++)
            turned[s->bytes - 1 - i] = s->data[i];
        from = turned;
    }
    n = digits_of(from, s->bytes, digits, sizeof digits);
    row_byte(t, '"');
    if (n < 0)
        row_byte(t, '-');
    n = n < 0 ? -n : n;
    while (n <= scale)
        digits[n++] = '0';
    while (n-- > 0) {
        row_byte(t, digits[n]);
        if (n && n == scale)
            row_byte(t, '.');
    }
    row_byte(t, '"');
    return 1;
}

/* ------------------------------------------------------------ dates and times */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* The Gregorian calendar of a day since 1970, in eras of 400 years (Hinnant,
 * chrono-Compatible Low-Level Date Algorithms). */
static void add_date(char *to, size_t room, int64_t day)
{
    int64_t z = day + 719468, era = floor_div(z, 146097);
    int64_t in_era = z - era * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 -
                    in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * in_year + 2) / 153;
    int64_t of_month = in_year - (153 * month + 2) / 5 + 1;

    month += month < 10 ? 3 : -9;
    snprintf(to, room, "%04lld-%02lld-%02lld",
             (long long)(year + era * 400 + (month <= 2)), (long long)month,
             (long long)of_month);
}

static void add_time(char *to, size_t room, int64_t second, int64_t part,
                     int64_t unit)
{
    int n = snprintf(to, room, "%02lld:%02lld:%02lld",
                     (long long)(second / 3600), (long long)(second / 60 % 60),
                     (long long)(second % 60));
    int width = unit == 1000 ? 3 : unit == 1000000 ? 6 : 9;

    if (part)
        snprintf(to + n, room - (size_t)n, ".%0*lld", width, (long long)part);
}

/* A day and a time of that day in UNITs of a second. */
static void write_stamp(row_text *t, int64_t day, int64_t time, int64_t unit,
                        int utc)
{
    char text[96];
    size_t n;

    add_date(text, sizeof text, day);
    n = strlen(text);
    text[n++] = 'T';
    add_time(text + n, sizeof text - n, time / unit, time % unit, unit);
    row_byte(t, '"');
    row_words(t, text);
    if (utc)
        row_byte(t, 'Z');
    row_byte(t, '"');
}

/* 12 bytes: nanoseconds of a day, the day since 4713 BC. */
static int write_int96(parquet *p, const column *c, const slice *s)
{
    int64_t day = (int64_t)little(s, 8, 4) - 2440588;
    uint64_t nanos = little(s, 0, 8);

    if (nanos >= (uint64_t)DAY * 1000000000)
        return parquet_fail(p, c, "a time of day beyond a day");
    write_stamp(&p->text, day, (int64_t)nanos, 1000000000, 0);
    return 1;
}

static int write_when(parquet *p, const column *c, const slice *s)
{
    const node *n = c->leaf;
    char text[96];
    int64_t x = integer(s), day;

    if (n->means == M_STAMP) {
        day = floor_div(x, n->unit * DAY);
        write_stamp(&p->text, day, x - day * n->unit * DAY, n->unit, n->utc);
        return 1;
    }
    if (n->means == M_DATE)
        add_date(text, sizeof text, x);
    else if (x < 0 || x / n->unit >= DAY)
        return parquet_fail(p, c, "a time of day beyond a day");
    else
        add_time(text, sizeof text, x / n->unit, x % n->unit, n->unit);
    row_byte(&p->text, '"');
    row_words(&p->text, text);
    row_byte(&p->text, '"');
    return 1;
}

static void write_uuid(row_text *t, const slice *s)
{
    char two[3];

    row_byte(t, '"');
    for (uint32_t i = 0; i < s->bytes; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            row_byte(t, '-');
        snprintf(two, sizeof two, "%02x", s->data[i]);
        row_words(t, two);
    }
    row_byte(t, '"');
}

/* ----------------------------------------------------------------- all types */

static int write_integer(parquet *p, const column *c, const node *n,
                         const slice *s)
{
    char digits[32];

    if (n->means == M_DATE ||
        ((n->means == M_TIME || n->means == M_STAMP) && n->unit))
        return write_when(p, c, s);
    if (n->means == M_UNSIGNED) {
        uint64_t x = little(s, 0, s->bytes);

        /* as a real where the engine knows no whole number so large */
        snprintf(digits, sizeof digits, "%llu%s", (unsigned long long)x,
                 x > INT64_MAX ? ".0" : "");
    } else {
        snprintf(digits, sizeof digits, "%lld", (long long)integer(s));
    }
    row_words(&p->text, digits);
    return 1;
}

int value_write(parquet *p, const column *c, const node *n, const slice *s)
{
    row_text *t = &p->text;
    uint64_t bits;
    double real;
    float single;
    uint32_t small;

    if (n->means == M_DECIMAL && n->type != P_BOOLEAN && n->type != P_INT96 &&
        n->type != P_FLOAT && n->type != P_DOUBLE)
        return write_decimal(p, c, s);
    switch (n->type) {
    case P_BOOLEAN:
        row_words(t, s->data[0] ? "true" : "false");
        return 1;
    case P_INT32:
    case P_INT64:
        return write_integer(p, c, n, s);
    case P_INT96:
        return write_int96(p, c, s);
    case P_FLOAT:
        small = (uint32_t)little(s, 0, 4);
        memcpy(&single, &small, sizeof single);
        write_real(t, (double)single, 1);
        return 1;
    case P_DOUBLE:
        bits = little(s, 0, 8);
        memcpy(&real, &bits, sizeof real);
        write_real(t, real, 0);
        return 1;
    default:
        if (n->means == M_FLOAT16 && s->bytes == 2)
            write_real(t, half((uint32_t)little(s, 0, 2)), 1);
        else if (n->means == M_UUID && s->bytes == 16)
            write_uuid(t, s);
        else
            row_string(t, s->data, s->bytes);
        return 1;
    }
}

/* SPDX-License-Identifier: MIT
 *
 * arith.c -- arithmetic as Python's: whole numbers do not wrap (beyond 64 bits
 * they are refused), // and % round down, + and * also take texts and lists.
 */
#include <math.h>
#include <string.h>

#include "jinja.h"

_Noreturn static void unsupported(ji_run *r, const char *op, ji_val a,
                                  ji_val b)
{
    if (a.kind == JI_UNDEF || b.kind == JI_UNDEF)
        ji_fail(r, "%s", a.kind == JI_UNDEF ? a.u.why : b.u.why);
    ji_fail(r, "unsupported operand type(s) for %s: '%s' and '%s'", op,
            ji_type(a), ji_type(b));
}

_Noreturn static void too_large(ji_run *r)
{
    ji_fail(r, "a whole number beyond 64 bits");
}

static int64_t floor_quotient(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

static double float_mod(double a, double b)
{
    double m = fmod(a, b);

    if (m == 0)
        return copysign(0.0, b);
    return (m < 0) != (b < 0) ? m + b : m;
}

static ji_val whole(ji_run *r, char op, int64_t a, int64_t b)
{
    int64_t n = 0;
    int over = op == '+'   ? __builtin_add_overflow(a, b, &n)
               : op == '-' ? __builtin_sub_overflow(a, b, &n)
                           : __builtin_mul_overflow(a, b, &n);

    if (over)
        too_large(r);
    return ji_int(n);
}

static ji_val numbers(ji_run *r, char op, ji_val a, ji_val b)
{
    int ints = a.kind != JI_FLOAT && b.kind != JI_FLOAT;
    double x = ji_double(a), y = ji_double(b);

    if ((op == '/' || op == '%') && y == 0)
        ji_fail(r, "division by zero");
    if (op == '/' && ints) /* 64 bits of mantissa hold both */
        return ji_float((double)((long double)a.u.i / (long double)b.u.i));
    if (op == '/')
        return ji_float(x / y);
    if (op == '%' && ints && b.u.i == -1)
        return ji_int(0);
    if (op == '%')
        return ints ? ji_int(a.u.i - b.u.i * floor_quotient(a.u.i, b.u.i))
                    : ji_float(float_mod(x, y));
    if (ints)
        return whole(r, op, a.u.i, b.u.i);
    return ji_float(op == '+' ? x + y : op == '-' ? x - y : x * y);
}

static ji_val repeat(ji_run *r, ji_val v, int64_t times)
{
    ji_buf b = { NULL, 0, 0 };
    ji_list *l;

    if (v.kind == JI_STR) {
        ji_str *s;

        for (int64_t i = 0; i < times && v.u.s->len; i++) {
            ji_step(r, 1 + v.u.s->len / 64);
            ji_put(r, &b, v.u.s->at, v.u.s->len);
        }
        s = ji_take(r, &b);
        s->markup = v.u.s->markup;
        return ji_string(s);
    }
    l = ji_list_new(r, 0);
    for (int64_t i = 0; i < times && v.u.l->n; i++)
        for (size_t k = 0; k < v.u.l->n; k++)
            ji_push(r, l, v.u.l->at[k]);
    return (ji_val){ .kind = v.kind, .u.l = l };
}

static ji_val add(ji_run *r, ji_val a, ji_val b)
{
    ji_list *l;

    if (a.kind == JI_STR && b.kind == JI_STR) {
        int markup = a.u.s->markup || b.u.s->markup;
        ji_str *s = markup ? ji_join(r, ji_escape(r, a.u.s),
                                     ji_escape(r, b.u.s))
                           : ji_join(r, a.u.s, b.u.s);
        s->markup = markup;
        return ji_string(s);
    }
    if (a.kind != b.kind || (a.kind != JI_LIST && a.kind != JI_TUPLE))
        unsupported(r, "+", a, b);
    l = ji_list_new(r, a.u.l->n + b.u.l->n);
    for (size_t i = 0; i < a.u.l->n; i++)
        ji_push(r, l, a.u.l->at[i]);
    for (size_t i = 0; i < b.u.l->n; i++)
        ji_push(r, l, b.u.l->at[i]);
    return (ji_val){ .kind = a.kind, .u.l = l };
}

static int sequence(ji_val v)
{
    return v.kind == JI_STR || v.kind == JI_LIST || v.kind == JI_TUPLE;
}

ji_val ji_binary(ji_run *r, char op, ji_val a, ji_val b)
{
    char name[2] = { op, 0 };

    ji_step(r, 1);
    if (a.kind == JI_UNDEF || b.kind == JI_UNDEF)
        unsupported(r, name, a, b);
    if (op == '%' && a.kind == JI_STR)
        return ji_string(ji_percent(r, a.u.s, b));
    if (ji_number(a) && ji_number(b))
        return numbers(r, op, a, b);
    if (op == '+')
        return add(r, a, b);
    if (op == '*' && sequence(a) && (b.kind == JI_INT || b.kind == JI_BOOL))
        return repeat(r, a, b.u.i);
    if (op == '*' && sequence(b) && (a.kind == JI_INT || a.kind == JI_BOOL))
        return repeat(r, b, a.u.i);
    unsupported(r, name, a, b);
}

ji_val ji_floor_div(ji_run *r, ji_val a, ji_val b)
{
    if (!ji_number(a) || !ji_number(b))
        unsupported(r, "//", a, b);
    if (ji_double(b) == 0)
        ji_fail(r, "division by zero");
    if (a.kind != JI_FLOAT && b.kind != JI_FLOAT) {
        if (b.u.i == -1)
            return whole(r, '-', 0, a.u.i);
        return ji_int(floor_quotient(a.u.i, b.u.i));
    }
    return ji_float(floor((ji_double(a) - float_mod(ji_double(a),
                                                    ji_double(b))) /
                              ji_double(b) + 0.5));
}

ji_val ji_power(ji_run *r, ji_val a, ji_val b)
{
    int64_t n = 1, base, times;

    if (!ji_number(a) || !ji_number(b))
        unsupported(r, "**", a, b);
    if (a.kind == JI_FLOAT || b.kind == JI_FLOAT || b.u.i < 0) {
        double x = ji_double(a), y = ji_double(b);

        if (x == 0 && y < 0)
            ji_fail(r, "0 cannot be raised to a negative power");
        if (x < 0 && y != floor(y))
            ji_fail(r, "a complex number: (%g) ** %g", x, y);
        return ji_float(pow(x, y));
    }
    base = a.u.i;
    times = b.u.i;
    if (base == 0 || base == 1)
        return ji_int(times ? base : 1);
    if (base == -1)
        return ji_int(times % 2 ? -1 : 1);
    while (times-- > 0)
        if (__builtin_mul_overflow(n, base, &n))
            too_large(r);
    return ji_int(n);
}

ji_val ji_negative(ji_run *r, ji_val v)
{
    if (v.kind == JI_UNDEF)
        ji_fail(r, "%s", v.u.why);
    if (!ji_number(v))
        ji_fail(r, "bad operand type for unary -: '%s'", ji_type(v));
    if (v.kind == JI_FLOAT)
        return ji_float(-v.u.f);
    return whole(r, '-', 0, v.u.i);
}

/* round(): to the nearest, halves to the even one, exact in decimal. */
ji_val ji_round_to(ji_run *r, ji_val v, int64_t digits)
{
    char text[400];

    if (!ji_number(v))
        ji_fail(r, "type %s doesn't define __round__ method", ji_type(v));
    if (v.kind != JI_FLOAT) {
        int64_t unit = 1, down, left;

        if (digits >= 0)
            return ji_int(v.u.i);
        if (digits < -18)
            return ji_int(0);
        for (int64_t i = digits; i < 0; i++)
            unit *= 10;
        down = floor_quotient(v.u.i, unit);
        left = v.u.i - down * unit;
        if (left > unit - left || (left == unit - left && down % 2))
            down++;
        return whole(r, '*', down, unit);
    }
    if (isnan(v.u.f) || isinf(v.u.f) || digits > 300)
        return v;
    if (digits >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)digits, v.u.f);
        sscanf(text, "%lf", &v.u.f);
        return v;
    }
    if (digits < -300)
        return ji_float(0 * v.u.f);
    return ji_float(nearbyint(v.u.f / pow(10, (double)-digits)) *
                    pow(10, (double)-digits));
}

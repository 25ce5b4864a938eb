/* SPDX-License-Identifier: MIT
 *
 * tests.c -- what stands behind `is`, and where filters, tests and functions
 * are found by name.
 */
#include <string.h>

#include "jinja.h"

const ji_def *ji_def_in(const ji_def *table, const ji_str *name)
{
    for (; table->name; table++)
        if (ji_is(name, table->name))
            return table;
    return NULL;
}

const ji_def *ji_find_filter(const ji_str *name)
{
    const ji_def *const tables[] = { ji_text_filters, ji_list_filters,
                                     ji_pick_filters, ji_number_filters };

    for (int i = 0; i < 4; i++) {
        const ji_def *def = ji_def_in(tables[i], name);
        if (def)
            return def;
    }
    return NULL;
}

/* ------------------------------------------------------------------- kinds */

#define TEST(NAME, CONDITION)                                                  \
    static ji_val NAME(ji_run *r, ji_val v, const ji_args *a, ji_val *p)       \
    {                                                                          \
        (void)r, (void)a, (void)p;                                             \
        return ji_bool(CONDITION);                                             \
    }

static int callable(ji_val v)
{
    switch (v.kind) {
    case JI_UNDEF: /* its error is an attribute, so Python says yes */
    case JI_MACRO:
    case JI_LOOP:
    case JI_METHOD:
    case JI_FUNCTION:
    case JI_JOINER:
        return 1;
    default:
        return 0;
    }
}

static int sequence(ji_val v)
{
    return v.kind == JI_UNDEF || v.kind == JI_STR || v.kind == JI_LIST ||
           v.kind == JI_TUPLE || v.kind == JI_DICT || v.kind == JI_RANGE;
}

/* Python's `is`: small numbers and constants are the same wherever. */
static int same_object(ji_val a, ji_val b)
{
    if (a.kind != b.kind)
        return 0;
    if (a.kind == JI_NONE)
        return 1;
    if (a.kind == JI_BOOL || a.kind == JI_INT)
        return a.u.i == b.u.i;
    if (a.kind == JI_FLOAT)
        return 0;
    return a.u.l == b.u.l;
}

TEST(is_defined, v.kind != JI_UNDEF)
TEST(is_undefined, v.kind == JI_UNDEF)
TEST(is_none, v.kind == JI_NONE)
TEST(is_boolean, v.kind == JI_BOOL)
TEST(is_true, v.kind == JI_BOOL && v.u.i)
TEST(is_false, v.kind == JI_BOOL && !v.u.i)
TEST(is_integer, v.kind == JI_INT)
TEST(is_float, v.kind == JI_FLOAT)
TEST(is_number, ji_number(v))
TEST(is_string, v.kind == JI_STR)
TEST(is_mapping, v.kind == JI_DICT)
TEST(is_sequence, sequence(v))
TEST(is_iterable, ji_iterable(v) || v.kind == JI_LOOP)
TEST(is_callable, callable(v))
TEST(is_escaped, v.kind == JI_STR && v.u.s->markup)
TEST(is_sameas, same_object(v, p[0]))
TEST(is_in, ji_contains(r, p[0], v))
TEST(is_equal, ji_equal(r, v, p[0]))
TEST(is_unequal, !ji_equal(r, v, p[0]))
TEST(is_less, ji_compare(r, v, p[0], "<") < 0)
TEST(is_at_most, ji_compare(r, v, p[0], "<=") <= 0)
TEST(is_greater, ji_compare(r, v, p[0], ">") > 0)
TEST(is_at_least, ji_compare(r, v, p[0], ">=") >= 0)
TEST(is_odd, ji_equal(r, ji_binary(r, '%', v, ji_int(2)), ji_int(1)))
TEST(is_even, ji_equal(r, ji_binary(r, '%', v, ji_int(2)), ji_int(0)))
TEST(is_divisible, ji_equal(r, ji_binary(r, '%', v, p[0]), ji_int(0)))
TEST(is_filter, v.kind == JI_STR && ji_find_filter(v.u.s))
TEST(is_test, v.kind == JI_STR && ji_find_test(v.u.s))

static ji_val of_text(ji_run *r, ji_val v, const char *method)
{
    ji_str name = { method, strlen(method), JI_UNKNOWN, NULL, 0 };
    ji_args none = { NULL, 0, NULL, NULL, 0 };

    return ji_call_def(r, ji_def_in(ji_str_tests, &name),
                       ji_string(ji_tostr(r, v)), &none);
}

TEST(is_lower, of_text(r, v, "islower").u.i)
TEST(is_upper, of_text(r, v, "isupper").u.i)

const ji_def *ji_find_test(const ji_str *name)
{
    static const ji_def table[] = {
        { "!=", "other", 1, is_unequal },
        { "<", "other", 1, is_less },
        { "<=", "other", 1, is_at_most },
        { "==", "other", 1, is_equal },
        { ">", "other", 1, is_greater },
        { ">=", "other", 1, is_at_least },
        { "boolean", "", 0, is_boolean },
        { "callable", "", 0, is_callable },
        { "defined", "", 0, is_defined },
        { "divisibleby", "num", 1, is_divisible },
        { "eq", "other", 1, is_equal },
        { "equalto", "other", 1, is_equal },
        { "escaped", "", 0, is_escaped },
        { "even", "", 0, is_even },
        { "false", "", 0, is_false },
        { "filter", "", 0, is_filter },
        { "float", "", 0, is_float },
        { "ge", "other", 1, is_at_least },
        { "greaterthan", "other", 1, is_greater },
        { "gt", "other", 1, is_greater },
        { "in", "seq", 1, is_in },
        { "integer", "", 0, is_integer },
        { "iterable", "", 0, is_iterable },
        { "le", "other", 1, is_at_most },
        { "lessthan", "other", 1, is_less },
        { "lower", "", 0, is_lower },
        { "lt", "other", 1, is_less },
        { "mapping", "", 0, is_mapping },
        { "ne", "other", 1, is_unequal },
        { "none", "", 0, is_none },
        { "number", "", 0, is_number },
        { "odd", "", 0, is_odd },
        { "sameas", "other", 1, is_sameas },
        { "sequence", "", 0, is_sequence },
        { "string", "", 0, is_string },
        { "test", "", 0, is_test },
        { "true", "", 0, is_true },
        { "undefined", "", 0, is_undefined },
        { "upper", "", 0, is_upper },
        { NULL, NULL, 0, NULL },
    };

    return ji_def_in(table, name);
}

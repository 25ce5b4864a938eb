/* SPDX-License-Identifier: MIT
 *
 * test_option.c -- option tables: defaults, setting, ranges, suggestions.
 */
#include "option.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

typedef struct {
    int64_t rows;
    double lr;
    int on, state;
    const char *name;
    int64_t every;
} config;

static const char *const states[] = { "fp32", "bf16", "int8", NULL };

static const hone_option table[] = {
    HONE_OPT_INT(config, rows, 8, 1, 100, "rows"),
    HONE_OPT_REAL(config, lr, 1e-4, 0, 1, "rate"),
    HONE_OPT_BOOL(config, on, 1, "on"),
    HONE_OPT_ENUM(config, state, "bf16", states, "state"),
    HONE_OPT_STR(config, name, "x", "name"),
    { "eval.every", "steps", HONE_INT, 0, offsetof(config, every), 0, 0, 9e15,
      NULL, NULL },
    HONE_OPT_END
};

static hone_arena arena;

static const hone_option *row(const char *name)
{
    const hone_option *o = hone_option_find(table, name);

    assert_non_null(o);
    return o;
}

static void test_defaults(void **state)
{
    config c;

    (void)state;
    memset(&c, 0xff, sizeof c);
    hone_option_defaults(table, &c);
    assert_int_equal(c.rows, 8);
    assert_true(c.lr == 1e-4);
    assert_int_equal(c.on, 1);
    assert_int_equal(c.state, 1);
    assert_string_equal(c.name, "x");
    assert_int_equal(c.every, 0);
    hone_option_defaults(NULL, NULL);
    assert_null(hone_option_find(table, "nothing"));
    assert_null(hone_option_find(NULL, "rows"));
}

/* What is typed behind --set, and what is said: NULL is accepted. */
static const struct {
    const char *option, *text, *message;
} parsed[] = {
    { "rows", "12", NULL },
    { "rows", "1e1", NULL },
    { "rows", "1.5", "'rows' expects a whole number, got 1.5" },
    { "rows", "0", "'rows' is 0, must be in [1, 100]" },
    { "rows", "many", "'rows' expects a whole number, got \"many\"" },
    { "rows", "", "'rows' expects a whole number, got \"\"" },
    { "rows", "5x", "'rows' expects a whole number, got \"5x\"" },
    { "rows", "nan", "'rows' expects a whole number, got NaN" },
    { "lr", "2", "'lr' is 2, must be in [0, 1]" },
    { "lr", "0.30000000000000004", NULL },
    { "lr", "inf", "'lr' expects a number, got infinity" },
    { "on", "false", NULL },
    { "on", "1", "'on' expects true or false, got \"1\"" },
    { "state", "int8", NULL },
    { "state", "fp23", "'state' is \"fp23\", did you mean \"fp32\"?" },
    { "state", "exact",
      "'state' is \"exact\", must be one of \"fp32\", \"bf16\", \"int8\"" },
    { "name", "anything at all", NULL },
    { "eval.every", "-1", "'eval.every' is -1, must be at least 0" },
    { "eval.every", "1e16", "'eval.every' is 1e+16, too large" },
};

static void test_parse(void **state)
{
    config c;

    (void)state;
    hone_option_defaults(table, &c);
    for (size_t i = 0; i < sizeof parsed / sizeof *parsed; i++) {
        hone_err err = { 0 };
        hone_status s = hone_option_parse(row(parsed[i].option), &c,
                                          parsed[i].text, &arena, &err);
        if (parsed[i].message) {
            assert_int_equal(s, HONE_EINVAL);
            assert_string_equal(err.msg, parsed[i].message);
        } else {
            assert_int_equal(s, HONE_OK);
        }
    }
    assert_int_equal(c.rows, 10);
    assert_true(c.lr == 0.30000000000000004);
    assert_int_equal(c.on, 0);
    assert_int_equal(c.state, 2);
    assert_string_equal(c.name, "anything at all");
}

static void test_wrong_type(void **state)
{
    config c;
    hone_err err;

    (void)state;
    assert_int_equal(hone_option_set_num(row("name"), &c, 3, 1, &err),
                     HONE_EINVAL);
    assert_string_equal(err.msg, "'name' expects a string, got the number 3");
    assert_int_equal(hone_option_set_str(row("lr"), &c, "1", &arena, &err),
                     HONE_EINVAL);
    assert_string_equal(err.msg, "'lr' expects a number, got \"1\"");
    assert_int_equal(hone_option_set_bool(row("rows"), &c, 1, &err),
                     HONE_EINVAL);
    assert_string_equal(err.msg, "'rows' expects a whole number, got true");
    assert_int_equal(hone_option_set_num(row("rows"), &c, 4.0, 0, &err),
                     HONE_OK);
}

static void check_text(const config *c, const char *option, const char *text)
{
    char to[64];

    hone_option_text(row(option), c, to, sizeof to);
    assert_string_equal(to, text);
}

static void test_text(void **state)
{
    config c;
    char small[8];

    (void)state;
    hone_option_defaults(table, &c);
    check_text(&c, "rows", "8");
    check_text(&c, "lr", "0.0001");
    check_text(&c, "on", "true");
    check_text(&c, "state", "\"bf16\"");
    c.lr = 1.0 / 3;
    check_text(&c, "lr", "0.3333333333333333");
    c.name = "a \"b\"\n";
    check_text(&c, "name", "\"a \\\"b\\\"\\n\"");
    hone_option_text(row("name"), &c, small, sizeof small);
    assert_true(strlen(small) < sizeof small);
    c.name = NULL;
    check_text(&c, "name", "nil");
}

static void test_nearest(void **state)
{
    static const char *const names[] = { "weight_decay", "lr", "beta1", "beta2",
                                         "alpha", "rank", NULL };

    (void)state;
    assert_string_equal(hone_nearest("alfa", names), "alpha");
    assert_null(hone_nearest("rate", names));
    assert_null(hone_nearest("bias", names));
    assert_string_equal(hone_nearest("weigth_decay", names), "weight_decay");
    assert_string_equal(hone_nearest("weightdecay", names), "weight_decay");
    assert_string_equal(hone_nearest("rl", names), "lr");
    assert_string_equal(hone_nearest("beta", names), "beta1");
    assert_null(hone_nearest("x", names));
    assert_null(hone_nearest("", names));
    assert_null(hone_nearest("something_else", names));
}

static void check_suggestion(const char *name, const char *expected)
{
    char to[256];

    hone_option_suggest(table, name, to, sizeof to);
    assert_string_equal(to, expected);
}

static void test_suggest(void **state)
{
    char small[16];

    (void)state;
    check_suggestion("rosw", ", did you mean 'rows'?");
    check_suggestion("evl", ", did you mean 'eval'?");
    check_suggestion("eval.evry", ", did you mean 'eval.every'?");
    check_suggestion("colour", "; options: rows, lr, on, state, name, eval");
    hone_option_suggest(table, "colour", small, sizeof small);
    assert_int_equal(strlen(small), sizeof small - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_parse),
        cmocka_unit_test(test_wrong_type), cmocka_unit_test(test_text),
        cmocka_unit_test(test_nearest), cmocka_unit_test(test_suggest),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    hone_arena_free(&arena);
    return failed;
}

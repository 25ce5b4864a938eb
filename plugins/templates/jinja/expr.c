/* SPDX-License-Identifier: MIT
 *
 * expr.c -- expressions, by falling precedence: inline if, or, and, not,
 * comparisons, + -, ~, * / // %, **, signs, and filters, tests and calls.
 */
#include <string.h>

#include "jinja.h"

static ji_node *unary(ji_parser *, int with_filters);

static ji_node *two(ji_parser *p, ji_syntax kind, ji_node *a, ji_node *b)
{
    ji_node *n = ji_node_new(p, kind);

    n->line = a->line;
    n->a = a;
    n->b = b;
    return n;
}

/* -------------------------------------------------------------- precedence */

static ji_node *power(ji_parser *p)
{
    ji_node *n = unary(p, 1);

    while (ji_skip_op(p, "**")) {
        n = two(p, JI_BINARY, n, unary(p, 1));
        n->op = '^';
    }
    return n;
}

static ji_node *product(ji_parser *p)
{
    ji_node *n = power(p);
    static const char *const ops[] = { "*", "/", "%", "//" };

    for (int i = 0; i < 4; i++)
        if (ji_skip_op(p, ops[i])) {
            n = two(p, JI_BINARY, n, power(p));
            n->op = i == 3 ? '|' : ops[i][0];
            i = -1;
        }
    return n;
}

static ji_node *concat(ji_parser *p)
{
    ji_node *first = product(p), *n;

    if (!ji_at_op(p, "~"))
        return first;
    n = ji_node_new(p, JI_CONCAT);
    ji_kid(p, &n->kids, first);
    while (ji_skip_op(p, "~"))
        ji_kid(p, &n->kids, product(p));
    return n;
}

static ji_node *sum(ji_parser *p)
{
    ji_node *n = concat(p);

    while (ji_at_op(p, "+") || ji_at_op(p, "-")) {
        int op = p->at->op[0];

        p->at++;
        n = two(p, JI_BINARY, n, concat(p));
        n->op = op;
    }
    return n;
}

/* The operator of a comparison at hand, skipped: its first byte, or 'i' in,
 * 'n' not in, and in capitals the two-byte ones (L <=, G >=); 0: none. */
static int comparison(ji_parser *p)
{
    static const struct {
        const char *text;
        int op;
    } table[] = { { "==", '=' }, { "!=", '!' }, { "<=", 'L' },
                  { ">=", 'G' }, { "<", '<' },  { ">", '>' } };

    for (int i = 0; i < 6; i++)
        if (ji_skip_op(p, table[i].text))
            return table[i].op;
    if (ji_skip_name(p, "in"))
        return 'i';
    if (ji_at_name(p, "not") && p->at[1].kind == JI_T_NAME &&
        ji_is(p->at[1].text, "in")) {
        p->at += 2;
        return 'n';
    }
    return 0;
}

static ji_node *compare(ji_parser *p)
{
    ji_node *first = sum(p), *n = NULL;
    int op;

    while ((op = comparison(p)) != 0) {
        ji_node *with;

        if (!n) {
            n = ji_node_new(p, JI_COMPARE);
            n->a = first;
        }
        with = ji_node_new(p, JI_UNARY);
        with->op = op;
        with->a = sum(p);
        ji_kid(p, &n->kids, with);
    }
    return n ? n : first;
}

static ji_node *not_test(ji_parser *p)
{
    ji_node *n;

    if (!ji_skip_name(p, "not"))
        return compare(p);
    ji_deeper(p->r);
    n = ji_node_new(p, JI_NOT);
    n->a = not_test(p);
    p->r->depth--;
    return n;
}

static ji_node *and_test(ji_parser *p)
{
    ji_node *n = not_test(p);

    while (ji_skip_name(p, "and"))
        n = two(p, JI_AND, n, not_test(p));
    return n;
}

ji_node *ji_or_test(ji_parser *p)
{
    ji_node *n = and_test(p);

    while (ji_skip_name(p, "or"))
        n = two(p, JI_OR, n, and_test(p));
    return n;
}

ji_node *ji_expression(ji_parser *p)
{
    ji_node *n;

    ji_deeper(p->r);
    n = ji_or_test(p);
    while (ji_skip_name(p, "if")) {
        n = two(p, JI_COND, n, ji_or_test(p));
        if (ji_skip_name(p, "else"))
            n->c = ji_expression(p);
    }
    p->r->depth--;
    return n;
}

/* ------------------------------------------------------------------ values */

static ji_node *constant(ji_parser *p, ji_val v)
{
    ji_node *n = ji_node_new(p, JI_CONST);

    if (v.kind == JI_STR)
        ji_chars(v.u.s);
    n->value = v;
    return n;
}

/* `loop` asks for the loop's bookkeeping, the others for what a macro must be
 * given. */
static void note_name(ji_parser *p, ji_str *name)
{
    int which = ji_is(name, "caller")    ? 0
                : ji_is(name, "kwargs")  ? 1
                : ji_is(name, "varargs") ? 2
                                         : 3;

    if (p->loop && ji_is(name, "loop"))
        p->loop->flags |= JI_EXTENDED;
    for (int i = 0; which < 3 && i < p->macros; i++) {
        p->macro[i]->flags |= JI_CALLER << which;
        p->macro[i]->special[which] = name;
    }
}

static ji_node *name_node(ji_parser *p, int with_namespace)
{
    ji_str *name;
    ji_node *n;

    if (ji_skip_name(p, "true") || ji_skip_name(p, "True"))
        return constant(p, ji_bool(1));
    if (ji_skip_name(p, "false") || ji_skip_name(p, "False"))
        return constant(p, ji_bool(0));
    if (ji_skip_name(p, "none") || ji_skip_name(p, "None"))
        return constant(p, ji_none());
    n = ji_node_new(p, JI_NAME);
    name = n->name = ji_expect_name(p);
    if (with_namespace && ji_skip_op(p, ".")) {
        n->kind = JI_NSREF;
        n->value = ji_string(ji_expect_name(p));
    }
    note_name(p, name);
    return n;
}

static ji_node *string_node(ji_parser *p)
{
    ji_str *s = (p->at++)->text;

    while (p->at->kind == JI_T_STRING)
        s = ji_join(p->r, s, (p->at++)->text);
    s->room = NULL; /* a constant: never added to in place */
    return constant(p, ji_string(ji_intern(p, s)));
}

static ji_node *list_node(ji_parser *p)
{
    ji_node *n = ji_node_new(p, JI_LIST_OF);

    p->at++;
    while (!ji_at_op(p, "]")) {
        if (n->kids.n)
            ji_expect_op(p, ",");
        if (ji_at_op(p, "]"))
            break;
        ji_kid(p, &n->kids, ji_expression(p));
    }
    ji_expect_op(p, "]");
    return n;
}

static ji_node *dict_node(ji_parser *p)
{
    ji_node *n = ji_node_new(p, JI_DICT_OF);

    p->at++;
    while (!ji_at_op(p, "}")) {
        if (n->kids.n)
            ji_expect_op(p, ",");
        if (ji_at_op(p, "}"))
            break;
        ji_kid(p, &n->kids, ji_expression(p));
        ji_expect_op(p, ":");
        ji_kid(p, &n->more, ji_expression(p));
    }
    ji_expect_op(p, "}");
    return n;
}

ji_node *ji_primary(ji_parser *p, int with_namespace)
{
    ji_node *n;

    p->r->line = p->at->line;
    switch (p->at->kind) {
    case JI_T_NAME:
        return name_node(p, with_namespace);
    case JI_T_STRING:
        return string_node(p);
    case JI_T_INT:
    case JI_T_FLOAT:
        return constant(p, (p->at++)->value);
    default:
        break;
    }
    if (ji_skip_op(p, "(")) {
        n = ji_tuple(p, 0, 1, NULL, 1, 0);
        ji_expect_op(p, ")");
        return n;
    }
    if (ji_at_op(p, "["))
        return list_node(p);
    if (ji_at_op(p, "{"))
        return dict_node(p);
    ji_unexpected(p, "an expression");
}

static int tuple_ends(const ji_parser *p, const char *until)
{
    return p->at->kind == JI_T_VAR_END || p->at->kind == JI_T_BLOCK_END ||
           ji_at_op(p, ")") || (until && ji_at_name(p, until));
}

ji_node *ji_tuple(ji_parser *p, int simple, int cond, const char *until,
                  int parens, int with_namespace)
{
    ji_node *n = ji_node_new(p, JI_TUPLE_OF);
    int commas = 0;

    ji_deeper(p->r);
    for (;;) {
        if (n->kids.n)
            ji_expect_op(p, ",");
        if (tuple_ends(p, until))
            break;
        ji_kid(p, &n->kids, simple ? ji_primary(p, with_namespace)
                            : cond ? ji_expression(p)
                                   : ji_or_test(p));
        if (!ji_at_op(p, ","))
            break;
        commas = 1;
    }
    p->r->depth--;
    if (commas)
        return n;
    if (n->kids.n)
        return n->kids.at[0];
    if (!parens)
        ji_unexpected(p, "an expression");
    return n;
}

/* --------------------------------------- behind a value: . [ ( and | and is */

static ji_node *subscript_part(ji_parser *p)
{
    ji_node *n = ji_node_new(p, JI_SLICE_OF), *first = NULL;

    if (!ji_at_op(p, ":")) {
        first = ji_expression(p);
        if (!ji_at_op(p, ":"))
            return first;
    }
    n->a = first;
    ji_expect_op(p, ":");
    if (!ji_at_op(p, ":") && !ji_at_op(p, "]") && !ji_at_op(p, ","))
        n->b = ji_expression(p);
    if (ji_skip_op(p, ":") && !ji_at_op(p, "]") && !ji_at_op(p, ","))
        n->c = ji_expression(p);
    return n;
}

static ji_node *subscript(ji_parser *p, ji_node *of)
{
    ji_node *n = ji_node_new(p, JI_ITEM), *many;

    n->a = of;
    if (ji_skip_op(p, ".")) {
        if (p->at->kind == JI_T_INT) {
            n->b = constant(p, (p->at++)->value);
            return n;
        }
        n->kind = JI_ATTR;
        n->name = ji_expect_name(p);
        return n;
    }
    ji_expect_op(p, "[");
    n->b = subscript_part(p);
    if (ji_at_op(p, ",")) {
        many = ji_node_new(p, JI_TUPLE_OF);
        ji_kid(p, &many->kids, n->b);
        while (ji_skip_op(p, ","))
            ji_kid(p, &many->kids, subscript_part(p));
        n->b = many;
    }
    ji_expect_op(p, "]");
    return n;
}

/* Arguments into n->args: plain ones, then those with a name, * and **. */
static void arguments(ji_parser *p, ji_node *n)
{
    ji_expect_op(p, "(");
    while (!ji_at_op(p, ")")) {
        ji_node *arg;
        int star = 0;
        ji_str *name = NULL;

        if (n->args.n)
            ji_expect_op(p, ",");
        if (ji_at_op(p, ")"))
            break;
        if (ji_skip_op(p, "*"))
            star = JI_STAR;
        else if (ji_skip_op(p, "**"))
            star = JI_STAR_STAR;
        else if (p->at->kind == JI_T_NAME && p->at[1].kind == JI_T_OP &&
                 !strcmp(p->at[1].op, "=")) {
            name = ji_expect_name(p);
            p->at++;
        } else if (n->flags) {
            ji_unexpected(p, "an argument with a name");
        }
        n->flags |= star ? star : name ? JI_KWARGS : 0;
        arg = ji_node_new(p, JI_NAME); /* holds name and value apart */
        arg->name = name;
        arg->flags = star;
        arg->a = ji_expression(p);
        ji_kid(p, &n->args, arg);
    }
    ji_expect_op(p, ")");
}

static ji_node *call(ji_parser *p, ji_node *of)
{
    ji_node *n = ji_node_new(p, JI_CALL);

    n->a = of;
    arguments(p, n);
    return n;
}

/* A chain of these is a tree as deep as it is long. */
static ji_node *postfix(ji_parser *p, ji_node *n, int *depth)
{
    for (;;) {
        if (ji_at_op(p, ".") || ji_at_op(p, "["))
            n = subscript(p, n);
        else if (ji_at_op(p, "("))
            n = call(p, n);
        else
            return n;
        ji_deeper(p->r);
        ++*depth;
    }
}

/* a.b.c, the name of a filter or test */
static ji_str *dotted(ji_parser *p)
{
    ji_str *name = ji_expect_name(p);

    while (ji_skip_op(p, ".")) {
        name = ji_join(p->r, name, ji_wrap(p->r, ".", 1));
        name = ji_join(p->r, name, ji_expect_name(p));
    }
    return name;
}

ji_node *ji_filters(ji_parser *p, ji_node *n, int inline_start)
{
    while (inline_start || ji_at_op(p, "|")) {
        ji_node *f;

        p->at += !inline_start;
        f = ji_node_new(p, JI_FILTER);
        f->a = n;
        f->name = dotted(p);
        f->def = ji_find_filter(f->name);
        if (ji_at_op(p, "("))
            arguments(p, f);
        n = f;
        inline_start = 0;
    }
    return n;
}

static ji_node *test(ji_parser *p, ji_node *of)
{
    ji_node *n = ji_node_new(p, JI_TEST), *not;
    int negated, depth = 0;

    p->at++;
    negated = ji_skip_name(p, "not");
    n->a = of;
    n->name = dotted(p);
    n->def = ji_find_test(n->name);
    if (ji_at_op(p, "(")) {
        arguments(p, n);
    } else if (p->at->kind == JI_T_NAME || p->at->kind == JI_T_STRING ||
               p->at->kind == JI_T_INT || p->at->kind == JI_T_FLOAT ||
               ji_at_op(p, "[") || ji_at_op(p, "{")) {
        if (ji_at_name(p, "is"))
            ji_unexpected(p, "no second test: tests cannot be chained");
        if (!ji_at_name(p, "else") && !ji_at_name(p, "or") &&
            !ji_at_name(p, "and")) {
            ji_node *arg = ji_node_new(p, JI_NAME);

            arg->a = postfix(p, ji_primary(p, 0), &depth);
            ji_kid(p, &n->args, arg);
        }
    }
    p->r->depth -= depth;
    if (!negated)
        return n;
    not = ji_node_new(p, JI_NOT);
    not->a = n;
    return not;
}

static ji_node *filter_chain(ji_parser *p, ji_node *n, int *depth)
{
    for (;;) {
        if (ji_at_op(p, "|"))
            n = ji_filters(p, n, 0);
        else if (ji_at_name(p, "is"))
            n = test(p, n);
        else if (ji_at_op(p, "("))
            n = call(p, n);
        else
            return n;
        ji_deeper(p->r);
        ++*depth;
    }
}

static ji_node *unary(ji_parser *p, int with_filters)
{
    ji_node *n;
    int depth = 1;

    ji_deeper(p->r);
    if (ji_at_op(p, "-") || ji_at_op(p, "+")) {
        n = ji_node_new(p, JI_UNARY);
        n->op = (p->at++)->op[0];
        n->a = unary(p, 0);
    } else {
        n = ji_primary(p, 0);
    }
    n = postfix(p, n, &depth);
    if (with_filters)
        n = filter_chain(p, n, &depth);
    p->r->depth -= depth;
    return n;
}

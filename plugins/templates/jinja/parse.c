/* SPDX-License-Identifier: MIT
 *
 * parse.c -- statements: what stands between {% and %}, and the texts and
 * outputs around them.
 */
#include <string.h>

#include "jinja.h"

ji_node *ji_node_new(ji_parser *p, ji_syntax kind)
{
    ji_node *n = ji_alloc(p->r, sizeof *n);

    ji_step(p->r, 1);
    n->kind = kind;
    n->line = p->at->line;
    return n;
}

void ji_kid(ji_parser *p, struct ji_nodes *list, ji_node *kid)
{
    list->at = ji_grow(p->r, list->at, sizeof *list->at, list->n, &list->cap);
    list->at[list->n++] = kid;
}

/* ------------------------------------------------------------------ tokens */

_Noreturn void ji_unexpected(ji_parser *p, const char *wanted)
{
    const ji_token *t = p->at;
    const char *got = t->kind == JI_T_END         ? "the template's end"
                      : t->kind == JI_T_BLOCK_END ? "'%}'"
                      : t->kind == JI_T_VAR_END   ? "'}}'"
                      : t->kind == JI_T_OP        ? t->op
                      : t->text ? ji_format(p->r, "'%.*s'",
                                            (int)(t->text->len % 60),
                                            t->text->at)
                                : "a number";

    p->r->line = t->line;
    ji_fail(p->r, "expected %s, got %s", wanted, got);
}

int ji_at_op(const ji_parser *p, const char *op)
{
    return p->at->kind == JI_T_OP && !strcmp(p->at->op, op);
}

int ji_at_name(const ji_parser *p, const char *name)
{
    return p->at->kind == JI_T_NAME && ji_is(p->at->text, name);
}

int ji_skip_op(ji_parser *p, const char *op)
{
    int is = ji_at_op(p, op);

    p->at += is;
    return is;
}

int ji_skip_name(ji_parser *p, const char *name)
{
    int is = ji_at_name(p, name);

    p->at += is;
    return is;
}

void ji_expect_op(ji_parser *p, const char *op)
{
    if (!ji_skip_op(p, op))
        ji_unexpected(p, ji_format(p->r, "'%s'", op));
}

ji_str *ji_intern(ji_parser *p, ji_str *s)
{
    ji_val *known = ji_get(p->r, p->names, ji_string(s));

    if (known)
        return known->u.s;
    ji_chars(s); /* shared by threads later on: nothing is left to fill in */
    ji_set(p->r, p->names, ji_string(s), ji_string(s));
    return s;
}

ji_str *ji_expect_name(ji_parser *p)
{
    if (p->at->kind != JI_T_NAME)
        ji_unexpected(p, "a name");
    if (p->at->text->at[0] >= '0' && p->at->text->at[0] <= '9')
        ji_unexpected(p, "a name");
    return ji_intern(p, (p->at++)->text);
}

static void expect(ji_parser *p, ji_token_kind kind, const char *text)
{
    if (p->at->kind != kind)
        ji_unexpected(p, text);
    p->at++;
}

static void body(ji_parser *p, struct ji_nodes *to, const char *const *ends);

/* "%}", the statements, and the word that ends them, not its "%}". */
static void block(ji_parser *p, struct ji_nodes *to, const char *const *ends)
{
    expect(p, JI_T_BLOCK_END, "'%}'");
    body(p, to, ends);
}

static void block_until(ji_parser *p, struct ji_nodes *to, const char *end)
{
    const char *const ends[] = { end, NULL };

    block(p, to, ends);
    p->at++;
}

/* Its text is kept, so a loop around it cannot be left from inside. */
static void captured_until(ji_parser *p, struct ji_nodes *to, const char *end)
{
    int loops = p->loops;

    p->loops = 0;
    block_until(p, to, end);
    p->loops = loops;
}

/* -------------------------------------------------------------- statements */

static ji_node *read_if(ji_parser *p)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    ji_node *n = ji_node_new(p, JI_IF);

    n->a = ji_tuple(p, 0, 0, NULL, 0, 0);
    block(p, &n->kids, ends);
    if (ji_skip_name(p, "elif")) {
        ji_deeper(p->r); /* one level of the tree an elif */
        ji_kid(p, &n->more, read_if(p));
        p->r->depth--;
    } else if (ji_skip_name(p, "else")) {
        block_until(p, &n->more, "endif");
    } else {
        p->at++;
    }
    return n;
}

static ji_node *target(ji_parser *p, const char *until, int with_namespace)
{
    ji_node *n = ji_tuple(p, 1, 0, until, 0, with_namespace);
    const struct ji_nodes *k = &n->kids;

    if (n->kind == JI_TUPLE_OF)
        for (size_t i = 0; i < k->n; i++)
            if (k->at[i]->kind != JI_NAME && k->at[i]->kind != JI_NSREF &&
                k->at[i]->kind != JI_TUPLE_OF)
                ji_unexpected(p, "a name to assign to");
    if (n->kind != JI_TUPLE_OF && n->kind != JI_NAME && n->kind != JI_NSREF)
        ji_unexpected(p, "a name to assign to");
    return n;
}

static ji_node *read_for(ji_parser *p)
{
    static const char *const ends[] = { "endfor", "else", NULL };
    ji_node *n = ji_node_new(p, JI_FOR), *outer = p->loop;

    n->name = ji_intern(p, ji_wrap(p->r, "loop", 4));
    n->a = target(p, "in", 0);
    if (!ji_skip_name(p, "in"))
        ji_unexpected(p, "'in'");
    n->b = ji_tuple(p, 0, 0, "recursive", 0, 0);
    if (ji_skip_name(p, "if"))
        n->c = ji_expression(p);
    if (ji_skip_name(p, "recursive"))
        n->flags |= JI_RECURSIVE | JI_EXTENDED;
    p->loop = n;
    p->loops++;
    block(p, &n->kids, ends);
    p->loop = outer;
    p->loops--;
    if (ji_skip_name(p, "else"))
        block_until(p, &n->more, "endfor");
    else
        p->at++;
    return n;
}

static ji_node *read_set(ji_parser *p)
{
    ji_node *n = ji_node_new(p, JI_SET);

    n->a = target(p, NULL, 1);
    if (ji_skip_op(p, "=")) {
        n->b = ji_tuple(p, 0, 1, NULL, 0, 0);
        return n;
    }
    n->kind = JI_SET_BLOCK;
    n->b = ji_filters(p, NULL, 0);
    captured_until(p, &n->kids, "endset");
    return n;
}

/* (a, b=1): names in more, their defaults in args. */
static void signature(ji_parser *p, ji_node *n)
{
    ji_expect_op(p, "(");
    while (!ji_at_op(p, ")")) {
        ji_node *name;

        if (n->more.n)
            ji_expect_op(p, ",");
        name = ji_node_new(p, JI_NAME);
        name->name = ji_expect_name(p);
        if (ji_skip_op(p, "="))
            ji_kid(p, &n->args, ji_expression(p));
        else if (n->args.n)
            ji_unexpected(p, "a default, as the parameter before has one");
        ji_kid(p, &n->more, name);
    }
    ji_expect_op(p, ")");
}

/* The body of N, a macro of its own. */
static void macro_body(ji_parser *p, ji_node *n, const char *end)
{
    if (p->macros == (int)(sizeof p->macro / sizeof *p->macro))
        ji_fail(p->r, "macros nested too deep");
    p->macro[p->macros++] = n;
    captured_until(p, &n->kids, end);
    p->macros--;
}

static ji_node *read_macro(ji_parser *p)
{
    ji_node *n = ji_node_new(p, JI_MACRO_DEF);

    n->name = ji_expect_name(p);
    signature(p, n);
    macro_body(p, n, "endmacro");
    return n;
}

static ji_node *read_call(ji_parser *p)
{
    ji_node *n = ji_node_new(p, JI_CALL_BLOCK);

    n->b = ji_node_new(p, JI_MACRO_DEF); /* the caller, without a name */
    if (ji_at_op(p, "("))
        signature(p, n->b);
    n->a = ji_expression(p);
    if (n->a->kind != JI_CALL)
        ji_unexpected(p, "a call");
    macro_body(p, n->b, "endcall");
    return n;
}

static ji_node *read_filter(ji_parser *p)
{
    ji_node *n = ji_node_new(p, JI_FILTER_BLOCK);

    n->a = ji_filters(p, NULL, 1);
    captured_until(p, &n->kids, "endfilter");
    return n;
}

static ji_node *read_with(ji_parser *p)
{
    ji_node *n = ji_node_new(p, JI_WITH);

    while (p->at->kind != JI_T_BLOCK_END) {
        if (n->more.n)
            ji_expect_op(p, ",");
        ji_kid(p, &n->more, target(p, NULL, 0));
        ji_expect_op(p, "=");
        ji_kid(p, &n->args, ji_expression(p));
    }
    block_until(p, &n->kids, "endwith");
    return n;
}

static ji_node *read_print(ji_parser *p)
{
    ji_node *n = ji_node_new(p, JI_OUTPUT);

    while (p->at->kind != JI_T_BLOCK_END) {
        if (n->kids.n)
            ji_expect_op(p, ",");
        ji_kid(p, &n->kids, ji_expression(p));
    }
    return n;
}

static ji_node *read_generation(ji_parser *p)
{
    ji_node *n = ji_node_new(p, JI_GENERATION);

    p->has_generation = 1;
    captured_until(p, &n->kids, "endgeneration");
    return n;
}

static ji_node *leave_loop(ji_parser *p, ji_syntax kind)
{
    if (!p->loops)
        ji_fail(p->r, "break or continue outside of a loop");
    return ji_node_new(p, kind);
}

static ji_node *read_break(ji_parser *p)
{
    return leave_loop(p, JI_BREAK);
}

static ji_node *read_continue(ji_parser *p)
{
    return leave_loop(p, JI_CONTINUE);
}

static ji_node *statement(ji_parser *p)
{
    static const struct {
        const char *name;
        ji_node *(*read)(ji_parser *);
    } known[] = { { "if", read_if },
                  { "for", read_for },
                  { "set", read_set },
                  { "macro", read_macro },
                  { "call", read_call },
                  { "filter", read_filter },
                  { "with", read_with },
                  { "print", read_print },
                  { "generation", read_generation },
                  { "break", read_break },
                  { "continue", read_continue } };
    static const char *const others[] = { "include", "import", "from",
                                          "extends", "block", "autoescape" };
    ji_node *n;

    p->r->line = p->at->line;
    if (p->at->kind != JI_T_NAME)
        ji_unexpected(p, "the name of a tag");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ji_skip_name(p, known[i].name)) {
            ji_deeper(p->r);
            n = known[i].read(p);
            p->r->depth--;
            return n;
        }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (ji_at_name(p, others[i]))
            ji_fail(p->r, "{%% %s %%} is not supported: a chat template is "
                    "one file", others[i]);
    ji_fail(p->r, "unknown tag '%.*s'", (int)(p->at->text->len % 60),
            p->at->text->at);
}

static ji_node *data_node(ji_parser *p)
{
    ji_node *n = ji_node_new(p, JI_DATA);

    n->value = ji_string(p->at->text);
    p->at++;
    return n;
}

static ji_node *output_node(ji_parser *p)
{
    ji_node *n = ji_node_new(p, JI_OUTPUT);

    p->at++;
    ji_kid(p, &n->kids, ji_tuple(p, 0, 1, NULL, 0, 0));
    expect(p, JI_T_VAR_END, "'}}'");
    return n;
}

/* Statements up to a block that begins with one of ENDS, which is left to be
 * read; NULL: to the end. */
static void body(ji_parser *p, struct ji_nodes *to, const char *const *ends)
{
    for (;;) {
        if (p->at->kind == JI_T_END) {
            if (ends)
                ji_unexpected(p, ji_format(p->r, "'{%% %s %%}'", ends[0]));
            return;
        }
        if (p->at->kind == JI_T_DATA) {
            ji_kid(p, to, data_node(p));
        } else if (p->at->kind == JI_T_VAR_BEGIN) {
            ji_kid(p, to, output_node(p));
        } else {
            p->at++;
            for (int i = 0; ends && ends[i]; i++)
                if (ji_at_name(p, ends[i]))
                    return;
            ji_kid(p, to, statement(p));
            expect(p, JI_T_BLOCK_END, "'%}'");
        }
    }
}

void ji_parse(ji_run *r, const char *text, size_t len, ji_template *t)
{
    ji_parser p = { .r = r };

    p.names = ji_dict_new(r);
    p.at = ji_lex(r, text, len);
    body(&p, &t->body, NULL);
    t->names = p.names;
    t->has_generation = p.has_generation;
}

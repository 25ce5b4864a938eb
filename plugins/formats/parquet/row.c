/* SPDX-License-Identifier: MIT
 *
 * row.c -- a row from the entries of all columns. An entry's definition level
 * says how much of its path is there, its repetition level which list it goes
 * on with; columns below the same list must agree about both.
 */
#include "parquet.h"

/* The entry that comes next; 0 with P's error: it cannot be loaded. END: no
 * entries are left. */
enum { FAILED, THERE, END };

static int peek(parquet *p, column *c)
{
    if (c->i < c->count)
        return THERE;
    if (!c->left)
        return END;
    return page_next(p, c) ? THERE : FAILED;
}

static int def_of(const column *c)
{
    return c->def ? c->def[c->i] : 0;
}

static int rep_of(const column *c)
{
    return c->rep ? c->rep[c->i] : 0;
}

static int disagree(parquet *p, const column *c)
{
    return parquet_fail(p, c, "its levels do not fit those of the columns "
                        "beside it, or its rows");
}

/* Whether what N is in this row is there: all columns below say the same. */
static int is_there(parquet *p, const node *n, int *there)
{
    for (int i = n->leaf; i < n->leaf + n->leaves; i++) {
        column *c = &p->columns[i];
        int found = peek(p, c);

        if (found != THERE)
            return found == FAILED ? 0 : disagree(p, c);
        if (i > n->leaf && *there != (def_of(c) >= n->def))
            return disagree(p, c);
        *there = def_of(c) >= n->def;
    }
    return 1;
}

/* Whether the list that N repeats goes on: the next entries say so. */
static int goes_on(parquet *p, const node *n, int *on)
{
    for (int i = n->leaf; i < n->leaf + n->leaves; i++) {
        column *c = &p->columns[i];
        int found = peek(p, c), rep = found == THERE ? rep_of(c) : 0;

        if (found == FAILED)
            return 0;
        if (rep > n->rep || (i > n->leaf && *on != (rep == n->rep)))
            return disagree(p, c);
        *on = rep == n->rep;
    }
    return 1;
}

/* One entry of every column below, which has no value. */
static void pass(parquet *p, const node *n)
{
    for (int i = n->leaf; i < n->leaf + n->leaves; i++)
        p->columns[i].i++;
}

static int write_leaf(parquet *p, const node *n)
{
    column *c = &p->columns[n->leaf];
    int found = peek(p, c);

    if (found != THERE)
        return found == FAILED ? 0 : disagree(p, c);
    if (def_of(c) != n->def || c->v >= c->values)
        return disagree(p, c);
    c->i++;
    return value_write(p, c, n, &c->value[c->v++]);
}

static int write_node(parquet *p, const node *n);
static int write_content(parquet *p, const node *n);

/* "key": of a map: a text, or a number or truth between quotes. */
static int write_key(parquet *p, const node *key)
{
    row_text *t = &p->text;
    size_t at = t->bytes;

    if (!write_node(p, key))
        return 0;
    if (!t->too_long && t->data[at] != '"') {
        row_byte(t, '"');
        row_byte(t, '"');
        if (!t->too_long) {
            memmove(t->data + at + 1, t->data + at, t->bytes - at - 2);
            t->data[at] = '"';
        }
    }
    row_byte(t, ':');
    return 1;
}

static int write_pair(parquet *p, const node *pair)
{
    const node *key = &p->nodes[pair->child];

    return write_key(p, key) && write_node(p, &p->nodes[key->next]);
}

/* What N repeats: ELEMENT each time, or a pair of a map. */
static int write_repeated(parquet *p, const node *n, const node *element,
                          int is_map)
{
    int on, first = 1;

    if (!is_there(p, n, &on))
        return 0;
    row_byte(&p->text, is_map ? '{' : '[');
    if (!on)
        pass(p, n);
    while (on) {
        if (!first)
            row_byte(&p->text, ',');
        first = 0;
        if (!(is_map ? write_pair(p, n)
              : element == n ? write_content(p, n) : write_node(p, element)) ||
            !goes_on(p, n, &on))
            return 0;
    }
    row_byte(&p->text, is_map ? '}' : ']');
    return 1;
}

static int write_fields(parquet *p, const node *n)
{
    int child = n->child;

    row_byte(&p->text, '{');
    for (int i = 0; i < n->children; i++, child = p->nodes[child].next) {
        const node *field = &p->nodes[child];

        if (i)
            row_byte(&p->text, ',');
        row_add(&p->text, field->key.data, field->key.bytes);
        if (!write_node(p, field))
            return 0;
    }
    row_byte(&p->text, '}');
    return 1;
}

/* N without its own repetition. */
static int write_content(parquet *p, const node *n)
{
    int is_repeated, element;

    if (n->type >= 0)
        return write_leaf(p, n);
    if (n->means == M_MAP)
        return write_repeated(p, &p->nodes[n->child], NULL, 1);
    if (n->means == M_LIST) {
        element = list_element(p, n, &is_repeated);
        return write_repeated(p, &p->nodes[n->child], &p->nodes[element], 0);
    }
    return write_fields(p, n);
}

static int write_node(parquet *p, const node *n)
{
    int there = 1;

    if (n->repetition == R_REPEATED)
        return write_repeated(p, n, n, 0);
    if (n->repetition == R_OPTIONAL && !is_there(p, n, &there))
        return 0;
    if (there)
        return write_content(p, n);
    pass(p, n);
    row_words(&p->text, "null");
    return 1;
}

int row_read(parquet *p)
{
    for (int i = 0; i < p->column_count; i++) {
        column *c = &p->columns[i];
        int found = peek(p, c);

        if (found != THERE)
            return found == FAILED ? 0
                                   : parquet_fail(p, c, "fewer rows than the "
                                                  "file says");
        if (rep_of(c))
            return disagree(p, c);
    }
    row_begin(&p->text);
    return write_fields(p, &p->nodes[0]);
}

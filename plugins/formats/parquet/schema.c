/* SPDX-License-Identifier: MIT
 *
 * schema.c -- the tree of columns: elements in preorder, each with the number
 * of its children, become nodes with their levels and what they mean.
 */
#include "parquet.h"

/* Converted types, the older way to say what a column means. */
enum { C_MAP = 1, C_MAP_KEY_VALUE, C_LIST, C_DECIMAL = 5, C_DATE, C_TIME_MS,
       C_TIME_US, C_STAMP_MS, C_STAMP_US, C_UINT_8, C_UINT_64 = 14 };
/* Logical types, the newer one: fields of a union. */
enum { G_MAP = 2, G_LIST, G_DECIMAL = 5, G_DATE, G_TIME, G_STAMP,
       G_INTEGER = 10, G_UUID = 14, G_FLOAT16 };

static const int64_t second_in[] = { 0, 1000, 1000000, 1000000000 };

/* TimeUnit: a union of three empty structs. */
static int64_t read_unit(thrift *t, int type)
{
    int id = 0, inner;
    int64_t unit = 0;

    if (!thrift_enter(t, type))
        return 0;
    while (thrift_field(t, &id, &inner)) {
        if (id >= 1 && id <= 3)
            unit = second_in[id];
        thrift_skip(t, inner);
    }
    thrift_leave(t);
    return unit;
}

/* The struct inside the union LogicalType: field 1 and 2 of each. */
static void read_details(thrift *t, int kind, int type, node *n)
{
    int id = 0, inner;

    if (!thrift_enter(t, type))
        return;
    while (thrift_field(t, &id, &inner)) {
        if (kind == G_DECIMAL && id == 1)
            n->scale = (int)thrift_int(t, inner);
        else if ((kind == G_TIME || kind == G_STAMP) && id == 1)
            n->utc = thrift_bool(t, inner);
        else if ((kind == G_TIME || kind == G_STAMP) && id == 2)
            n->unit = read_unit(t, inner);
        else if (kind == G_INTEGER && id == 2)
            n->means = thrift_bool(t, inner) ? M_PLAIN : M_UNSIGNED;
        else
            thrift_skip(t, inner);
    }
    thrift_leave(t);
}

static void read_logical(thrift *t, int type, node *n)
{
    static const meaning means[] = {
        [G_MAP] = M_MAP,     [G_LIST] = M_LIST, [G_DECIMAL] = M_DECIMAL,
        [G_DATE] = M_DATE,   [G_TIME] = M_TIME, [G_STAMP] = M_STAMP,
        [G_UUID] = M_UUID,   [G_FLOAT16] = M_FLOAT16,
    };
    int id = 0, inner;

    if (!thrift_enter(t, type))
        return;
    while (thrift_field(t, &id, &inner)) {
        if (id > 0 && id <= G_FLOAT16)
            n->means = means[id] ? means[id] : M_PLAIN;
        read_details(t, id, inner, n);
    }
    thrift_leave(t);
}

/* Logical types, if there are any, were read or come later: they win. */
static void set_converted(node *n, int64_t c)
{
    if (n->means)
        return;
    n->means = M_PLAIN;
    if (c == C_MAP || c == C_MAP_KEY_VALUE)
        n->means = M_MAP;
    else if (c == C_LIST)
        n->means = M_LIST;
    else if (c == C_DECIMAL)
        n->means = M_DECIMAL;
    else if (c == C_DATE)
        n->means = M_DATE;
    else if (c == C_TIME_MS || c == C_TIME_US)
        n->means = M_TIME;
    else if (c == C_STAMP_MS || c == C_STAMP_US)
        n->means = M_STAMP;
    else if (c >= C_UINT_8 && c <= C_UINT_64)
        n->means = M_UNSIGNED;
    n->unit = second_in[c == C_TIME_MS || c == C_STAMP_MS ? 1 : 2];
    n->utc = 1;
}

/* One SchemaElement; its name lies in the footer. */
static int read_element(parquet *p, thrift *t, node *n, const uint8_t **name,
                        uint32_t *name_bytes)
{
    int id = 0, type;
    int64_t converted = -1, width = 0, children = 0;

    *n = (node){ .type = -1 };
    *name = NULL;
    *name_bytes = 0;
    if (!thrift_enter(t, T_STRUCT))
        return parquet_fail(p, NULL, "the schema is damaged");
    while (thrift_field(t, &id, &type)) {
        switch (id) {
        case 1: n->type = (int)thrift_int(t, type); break;
        case 2: width = thrift_int(t, type); break;
        case 3: n->repetition = (int)thrift_int(t, type); break;
        case 4: *name = thrift_bytes(t, type, name_bytes); break;
        case 5: children = thrift_int(t, type); break;
        case 6: converted = thrift_int(t, type); break;
        case 7: n->scale = (int)thrift_int(t, type); break;
        case 10: read_logical(t, type, n); break;
        default: thrift_skip(t, type);
        }
    }
    thrift_leave(t);
    set_converted(n, converted);
    if (t->bad || !*name || n->type >= P_TYPES || n->repetition < 0 ||
        n->repetition > R_REPEATED || children < 0 || children > MOST_NODES ||
        width < 0 || width > MOST_PAGE || (n->type < 0) != (children > 0))
        return parquet_fail(p, NULL, "the schema is damaged");
    n->children = (int)children;
    n->width = (int)width;
    return 1;
}

static int bytes_of(const node *n)
{
    static const int width[] = { 1, 4, 8, 12, 4, 8, 0, 0 };

    return n->type == P_FIXED ? n->width : width[n->type];
}

/* ------------------------------------------------------------------ the tree */

typedef struct {
    parquet *p;
    thrift *t;
    uint32_t left;       /* elements */
    char *name_at;
    size_t name_room;
} builder;

static const char *keep_text(builder *b, const char *before, const char *dot,
                             const uint8_t *text, uint32_t bytes)
{
    size_t n = strlen(before) + strlen(dot);
    char *to = b->name_at;

    if (n + bytes + 1 > b->name_room || memchr(text, 0, bytes)) {
        parquet_fail(b->p, NULL, "the names of its columns are too long, or "
                     "have a zero byte in them");
        return NULL;
    }
    sprintf(to, "%s%s", before, dot);
    memcpy(to + n, text, bytes);
    to[n + bytes] = 0;
    b->name_at += n + bytes + 1;
    b->name_room -= n + bytes + 1;
    return to;
}

static int has_sibling(const parquet *p, const node *parent, int child)
{
    int at = parent->child;

    for (; at != child; at = p->nodes[at].next)
        if (!strcmp(p->nodes[at].name, p->nodes[child].name))
            return 1;
    return 0;
}

static int read_node(builder *b, int parent, int depth, int *index);

static int read_children(builder *b, int self, int depth)
{
    int last = 0, child;

    for (int i = 0; i < b->p->nodes[self].children; i++) {
        if (!read_node(b, self, depth + 1, &child))
            return 0;
        if (i)
            b->p->nodes[last].next = child;
        else
            b->p->nodes[self].child = child;
        if (has_sibling(b->p, &b->p->nodes[self], child))
            return parquet_fail(b->p, NULL, "two columns are called '%s'",
                                b->p->nodes[child].path);
        last = child;
    }
    return 1;
}

/* Levels and names follow from those of the parent; -1: the root. */
static int read_node(builder *b, int parent, int depth, int *index)
{
    parquet *p = b->p;
    node *n, *up;
    const uint8_t *name;
    uint32_t bytes;

    if (!b->left-- || depth > MOST_DEPTH)
        return parquet_fail(p, NULL, "its schema is damaged, or deeper than "
                            "%d levels", MOST_DEPTH);
    *index = p->node_count++;
    n = &p->nodes[*index];
    if (!read_element(p, b->t, n, &name, &bytes))
        return 0;
    up = parent < 0 ? NULL : &p->nodes[parent];
    if (up) {
        n->def = up->def + (n->repetition != R_REQUIRED);
        n->rep = up->rep + (n->repetition == R_REPEATED);
        n->name = keep_text(b, "", "", name, bytes);
        n->path = n->name && parent ? keep_text(b, up->path, ".", name, bytes)
                                    : n->name;
        if (!n->path)
            return 0;
        row_string(&n->key, name, bytes);
        row_byte(&n->key, ':');
    }
    n->leaf = p->column_count;
    if (n->type >= 0) {
        n->width = bytes_of(n);
        if (n->type == P_FIXED && !n->width)
            return parquet_fail(p, NULL, "column '%s' has values of 0 bytes",
                                n->path ? n->path : "");
        p->column_count++;
    } else if (!read_children(b, *index, depth)) {
        return 0;
    }
    n = &p->nodes[*index];
    n->leaves = p->column_count - n->leaf;
    return 1;
}

/* A list or a map that is not shaped like one is an ordinary group; a map that
 * has keys alone is the list of them. */
static void check_meaning(parquet *p, node *n)
{
    const node *inner = n->children == 1 ? &p->nodes[n->child] : NULL;
    int fits = n->type < 0 && inner && inner->repetition == R_REPEATED;

    if (n->means == M_MAP && fits && inner->children == 1)
        n->means = M_LIST;
    if (n->means == M_MAP)
        fits = fits && inner->children == 2 &&
               p->nodes[inner->child].type >= 0 &&
               p->nodes[inner->child].repetition != R_REPEATED;
    if ((n->means == M_LIST || n->means == M_MAP) && !fits)
        n->means = M_PLAIN;
    if (n->type < 0 && n->means != M_LIST && n->means != M_MAP)
        n->means = M_PLAIN;
}

/* Names take what they take in the footer; a path is at most as deep as the
 * schema may be. */
int schema_read(parquet *p, thrift *t, int type)
{
    int element, root;
    uint32_t n = thrift_list(t, type, &element);
    builder b = { .p = p, .t = t, .left = n };

    if (p->nodes || t->bad || n < 2 || n > MOST_NODES || element != T_STRUCT)
        return parquet_fail(p, NULL, "its schema is damaged, or has more than "
                            "%d columns", MOST_NODES);
    b.name_room = (size_t)(t->end - t->at) * 2 + 4 * MOST_NODES;
    p->nodes = calloc(n, sizeof *p->nodes);
    p->names = b.name_at = malloc(b.name_room);
    if (!p->nodes || !p->names)
        return parquet_fail(p, NULL, "out of host memory");
    if (!read_node(&b, -1, 0, &root))
        return 0;
    if (b.left || p->nodes[0].type >= 0)
        return parquet_fail(p, NULL, "its schema is damaged");
    for (int i = 0; i < p->node_count; i++)
        check_meaning(p, &p->nodes[i]);
    return 1;
}

/* What the repeated group of a list is: the element itself in files of older
 * writers (their rules: LogicalTypes.md of the format), else its only child. */
int list_element(const parquet *p, const node *n, int *is_repeated)
{
    const node *r = &p->nodes[n->child];
    size_t bytes = strlen(n->name);
    int is_tuple = !strncmp(r->name, n->name, bytes) &&
                   !strcmp(r->name + bytes, "_tuple");

    *is_repeated = r->children != 1 || is_tuple || !strcmp(r->name, "array") ||
                   p->nodes[r->child].repetition == R_REPEATED;
    return *is_repeated ? n->child : r->child;
}

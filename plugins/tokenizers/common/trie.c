/* SPDX-License-Identifier: MIT
 *
 * trie.c -- see trie.h. A node's children need a base for which all their
 * places are free; free places are a ring, and only some of them are tried.
 */
#include "trie.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256, TRIES = 24 };

typedef struct {
    tk_node *node;
    uint32_t *next, *prev; /* the ring of free places; 0 is its head */
    size_t count, cap, cap_next, cap_prev;
    const tk_trie_key *key;
} builder;

static int by_text(const void *x, const void *y)
{
    const tk_trie_key *a = x, *b = y;
    size_t n = a->text.len < b->text.len ? a->text.len : b->text.len;
    int order = memcmp(a->text.at, b->text.at, n);

    if (order)
        return order;
    if (a->text.len != b->text.len)
        return a->text.len < b->text.len ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

static void grow(builder *b)
{
    size_t n = b->count + BLOCK;
    void *node = b->node, *next = b->next, *prev = b->prev;

    tk_room(&node, &b->cap, n, sizeof *b->node, b->count);
    tk_room(&next, &b->cap_next, n, sizeof *b->next, b->count);
    tk_room(&prev, &b->cap_prev, n, sizeof *b->prev, b->count);
    b->node = node;
    b->next = next;
    b->prev = prev;
    for (size_t i = b->count; i < n; i++) {
        b->node[i] = (tk_node){ 0, (uint32_t)i, -1, 0 };
        if (i == TK_ROOT) {
            b->next[0] = b->prev[0] = 0;
            continue;
        }
        b->prev[i] = b->prev[0]; /* at the end of the ring */
        b->next[i] = 0;
        b->next[b->prev[0]] = (uint32_t)i;
        b->prev[0] = (uint32_t)i;
    }
    b->count = n;
}

static int is_free(const builder *b, uint32_t i)
{
    return i != TK_ROOT && b->node[i].parent == i;
}

static void take(builder *b, uint32_t i, uint32_t parent)
{
    b->next[b->prev[i]] = b->next[i];
    b->prev[b->next[i]] = b->prev[i];
    b->node[i] = (tk_node){ 0, parent, -1, 0 };
}

static int fits(const builder *b, uint32_t base, const unsigned char *label,
                int count)
{
    for (int i = 0; i < count; i++)
        if (!is_free(b, base ^ label[i]))
            return 0;
    return 1;
}

/* A block that no try finds room in is passed over, from the newest on. */
static uint32_t find_base(builder *b, const unsigned char *label, int count)
{
    uint32_t at = b->prev[0];

    for (int i = 0; i < TRIES && at; i++, at = b->prev[at]) {
        uint32_t base = at ^ label[0];
        if (fits(b, base, label, count))
            return base;
    }
    at = (uint32_t)b->count;
    grow(b);
    return at; /* of a new block every place but the root's is free */
}

/* The first key behind those from LO on that agree at DEPTH. */
static size_t same_label(const builder *b, size_t lo, size_t hi, size_t depth)
{
    char c = b->key[lo].text.at[depth];

    while (lo < hi && b->key[lo].text.at[depth] == c)
        lo++;
    return lo;
}

/* The children of PARENT: keys [lo, hi) that agree in their first DEPTH
 * bytes. As deep as the longest key. */
static void add(builder *b, uint32_t parent, size_t lo, size_t hi, size_t depth)
{
    unsigned char label[256];
    int count = 0;
    uint32_t base;

    for (; lo < hi && b->key[lo].text.len == depth; lo++)
        b->node[parent].id = b->key[lo].id;
    if (lo == hi)
        return;
    for (size_t i = lo; i < hi; i = same_label(b, i, hi, depth))
        label[count++] = (unsigned char)b->key[i].text.at[depth];
    base = find_base(b, label, count);
    b->node[parent].base = base;
    for (int i = 0; i < count; i++)
        take(b, base ^ label[i], parent);
    for (size_t i = lo, end; i < hi; i = end) {
        end = same_label(b, i, hi, depth);
        add(b, base ^ (unsigned char)b->key[i].text.at[depth], i, end,
            depth + 1);
    }
}

void tk_trie_make(tk_trie *t, tk_trie_key *keys, size_t count)
{
    builder b = { .key = keys };

    if (count)
        qsort(keys, count, sizeof *keys, by_text);
    grow(&b);
    grow(&b); /* so that the root's children have a block without the root */
    add(&b, TK_ROOT, 0, count, 0);
    free(b.next);
    free(b.prev);
    b.node[TK_ROOT].parent = UINT32_MAX;
    t->count = (uint32_t)b.count;
    t->node = b.node; /* a whole number of blocks: base ^ c is inside */
}

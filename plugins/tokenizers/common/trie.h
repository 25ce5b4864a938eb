/* SPDX-License-Identifier: MIT
 *
 * trie.h -- pieces by their bytes, for finding all that begin at a place of a
 * text: a double array, one step a byte.
 */
#ifndef TK_TRIE_H
#define TK_TRIE_H

#include "memory.h"

typedef struct tk_node {
    uint32_t base;   /* child of byte c: base ^ c, always a node */
    uint32_t parent; /* who it belongs to; itself if it is free; the root's is
                        none */
    int32_t id;      /* of the piece that ends here, or -1 */
    float score;     /* its owner's to set */
} tk_node;

typedef struct tk_trie {
    tk_node *node;
    uint32_t count;
} tk_trie;

typedef struct tk_trie_key {
    tk_text text; /* not empty */
    int32_t id;
} tk_trie_key;

enum { TK_ROOT = 0, TK_LONGEST_PIECE = 4096 };

/* Sorts KEYS, none longer than TK_LONGEST_PIECE bytes; of equal ones the last
 * holds. Free node[] with free(). */
void tk_trie_make(tk_trie *, tk_trie_key *keys, size_t count);

/* The child of NODE by byte C; TK_ROOT: none. */
static inline uint32_t tk_trie_step(const tk_trie *t, uint32_t node,
                                    unsigned char c)
{
    uint32_t next = t->node[node].base ^ c;

    return t->node[next].parent == node ? next : TK_ROOT;
}

#endif

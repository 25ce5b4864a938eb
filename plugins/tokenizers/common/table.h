/* SPDX-License-Identifier: MIT
 *
 * table.h -- a flat hash table of texts to ids.
 */
#ifndef TK_TABLE_H
#define TK_TABLE_H

#include <string.h>

#include "memory.h"

typedef struct tk_entry {
    tk_text key;
    uint32_t hash;
    int32_t id; /* -1: a free slot */
} tk_entry;

typedef struct tk_table {
    tk_entry *slot;
    size_t mask, count;
    uint64_t seed; /* keeps a hostile file from choosing collisions */
} tk_table;

void tk_table_make(tk_table *, tk_arena *, size_t count);
/* The last id given to a key wins. Keys are not copied. Returns the id that
 * the key had before, or -1. */
int32_t tk_table_put(tk_table *, tk_text key, int32_t id);
int32_t tk_table_find(const tk_table *, const char *, size_t len);
size_t tk_slots_for(size_t count);
uint64_t tk_process_seed(void);

static inline uint64_t tk_mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
    h *= 0xBF58476D1CE4E5B9u;
    return h ^ h >> 32;
}

static inline uint64_t tk_hash(const char *text, size_t len, uint64_t h)
{
    uint64_t word;

    h ^= len * 0x9E3779B97F4A7C15u;
    for (; len >= 8; text += 8, len -= 8) {
        memcpy(&word, text, 8);
        h = tk_mix(h ^ word);
    }
    word = 0;
    if (len)
        memcpy(&word, text, len);
    return tk_mix(h ^ word);
}

#endif

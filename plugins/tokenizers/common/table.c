/* SPDX-License-Identifier: MIT
 *
 * table.c -- see table.h: open addressing, at most half full.
 */
#include "table.h"

#include <sys/random.h>

uint64_t tk_process_seed(void)
{
    uint64_t seed;

    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
        seed = (uint64_t)(uintptr_t)&seed;
    return seed;
}

size_t tk_slots_for(size_t count)
{
    size_t n = 16;

    while (n < 2 * count + 2)
        n *= 2;
    return n;
}

void tk_table_make(tk_table *t, tk_arena *a, size_t count)
{
    size_t n = tk_slots_for(count);

    t->slot = tk_alloc(a, n * sizeof *t->slot);
    for (size_t i = 0; i < n; i++)
        t->slot[i] = (tk_entry){ { NULL, 0 }, 0, -1 };
    t->mask = n - 1;
    t->count = 0;
    t->seed = tk_process_seed();
}

static tk_entry *probe(const tk_table *t, const char *text, size_t len,
                       uint64_t hash)
{
    size_t i = hash & t->mask;

    while (t->slot[i].id >= 0 &&
           (t->slot[i].hash != (uint32_t)(hash >> 32) ||
            t->slot[i].key.len != len ||
            memcmp(t->slot[i].key.at, text, len) != 0))
        i = (i + 1) & t->mask;
    return &t->slot[i];
}

int32_t tk_table_put(tk_table *t, tk_text key, int32_t id)
{
    uint64_t hash = tk_hash(key.at, key.len, t->seed);
    tk_entry *e = probe(t, key.at, key.len, hash);
    int32_t before = e->id;

    t->count += before < 0;
    *e = (tk_entry){ key, (uint32_t)(hash >> 32), id };
    return before;
}

int32_t tk_table_find(const tk_table *t, const char *text, size_t len)
{
    return probe(t, text, len, tk_hash(text, len, t->seed))->id;
}

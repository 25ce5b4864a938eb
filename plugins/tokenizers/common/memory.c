/* SPDX-License-Identifier: MIT
 *
 * memory.c -- see memory.h: the memory of a tokenizer, and of one call.
 */
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tk_block {
    struct tk_block *next;
    size_t used, size;
};

enum {
    HEAD = (sizeof(struct tk_block) + 15) & ~15,
    BLOCK = 32 << 10,
    KEPT_BYTES = 4 << 20 /* a block up to this size survives a reset */
};

static void *need(void *at, size_t bytes)
{
    if (!at) {
        fprintf(stderr, "tokenizer: out of memory for %zu bytes\n", bytes);
        abort();
    }
    return at;
}

static struct tk_block *block_open(size_t bytes, struct tk_block *next)
{
    struct tk_block *b =
        need(bytes > SIZE_MAX / 2 ? NULL : malloc(HEAD + bytes), bytes);

    b->next = next;
    b->used = 0;
    b->size = bytes;
    return b;
}

void *tk_alloc(tk_arena *a, size_t bytes)
{
    struct tk_block *b = a->first;
    char *at;

    bytes = (bytes + 15) & ~(size_t)15;
    if (!b || b->size - b->used < bytes) {
        size_t size = b ? 2 * b->size : BLOCK;
        if (size > 64 * (size_t)BLOCK)
            size = 64 * (size_t)BLOCK;
        a->first = b = block_open(bytes > size ? bytes : size, b);
    }
    at = (char *)b + HEAD + b->used;
    b->used += bytes;
    return at;
}

void *tk_zeroed(tk_arena *a, size_t bytes)
{
    return memset(tk_alloc(a, bytes), 0, bytes);
}

static void free_blocks(struct tk_block *b)
{
    while (b) {
        struct tk_block *next = b->next;
        free(b);
        b = next;
    }
}

void tk_free(tk_arena *a)
{
    free_blocks(a->first);
    a->first = NULL;
}

void tk_reset(tk_arena *a)
{
    struct tk_block *b = a->first;

    if (!b)
        return;
    free_blocks(b->next);
    b->next = NULL;
    b->used = 0;
    if (b->size > KEPT_BYTES)
        tk_free(a);
}

void tk_room(void **at, size_t *cap, size_t count, size_t size, size_t keep)
{
    void *to;

    if (count <= *cap)
        return;
    if (count < 2 * *cap)
        count = 2 * *cap;
    if (count < 64)
        count = 64;
    to = need(count > SIZE_MAX / 2 / size ? NULL : malloc(count * size),
              count * size);
    if (keep)
        memcpy(to, *at, keep * size);
    free(*at);
    *at = to;
    *cap = count;
}

tk_text tk_keep(tk_arena *a, const char *text, size_t len)
{
    char *to = tk_alloc(a, len + 1);

    if (len)
        memcpy(to, text, len);
    to[len] = 0;
    return (tk_text){ to, len };
}

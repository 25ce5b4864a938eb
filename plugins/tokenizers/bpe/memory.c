/* SPDX-License-Identifier: MIT
 *
 * memory.c -- blocks of memory that are freed together: the tokenizer's own,
 * and the scratch of one call.
 */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"

struct bpe_block {
    struct bpe_block *next;
    size_t used, size;
};

enum { HEAD = (sizeof(struct bpe_block) + 15) & ~15, BLOCK = 32 << 10 };

static struct bpe_block *block_open(size_t bytes, struct bpe_block *next)
{
    struct bpe_block *b = bytes > SIZE_MAX / 2 ? NULL : malloc(HEAD + bytes);

    if (!b) {
        fprintf(stderr, "bpe: out of memory for %zu bytes\n", bytes);
        abort();
    }
    b->next = next;
    b->used = 0;
    b->size = bytes;
    return b;
}

void *bpe_alloc(bpe_arena *a, size_t bytes)
{
    struct bpe_block *b = a->first;
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

void *bpe_zeroed(bpe_arena *a, size_t bytes)
{
    return memset(bpe_alloc(a, bytes), 0, bytes);
}

void bpe_free(bpe_arena *a)
{
    while (a->first) {
        struct bpe_block *next = a->first->next;
        free(a->first);
        a->first = next;
    }
}

bpe_text bpe_keep(bpe_arena *a, const char *text, size_t len)
{
    char *to = bpe_alloc(a, len + 1);

    if (len)
        memcpy(to, text, len);
    to[len] = 0;
    return (bpe_text){ to, len };
}

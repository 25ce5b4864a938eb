/* SPDX-License-Identifier: MIT
 *
 * arena.c -- see arena.h. Blocks double in size up to 1 MiB, so that a plan of
 * a large model costs few of them and a small recipe little memory.
 */
#include "arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hone_arena_block {
    struct hone_arena_block *next;
    size_t used, size;
};

enum { HEAD = (sizeof(struct hone_arena_block) + 15) / 16 * 16 };

/* A spare block of that size comes first. */
static int take_spare(hone_arena *a, size_t bytes)
{
    for (struct hone_arena_block **at = &a->spare, *b; (b = *at);
         at = &b->next)
        if (b->size - HEAD >= bytes) {
            *at = b->next;
            b->next = a->first;
            a->first = b;
            return 1;
        }
    return 0;
}

void *hone_alloc(hone_arena *a, size_t bytes)
{
    struct hone_arena_block *b = a->first;
    void *p;

    bytes = (bytes + 15) / 16 * 16;
    if ((!b || b->size - b->used < bytes) && take_spare(a, bytes))
        b = a->first;
    if (!b || b->size - b->used < bytes) {
        size_t size = b && b->size < 1 << 20 ? 2 * b->size : 16384;
        if (b && b->size >= 1 << 20)
            size = b->size;
        if (size < bytes + HEAD)
            size = bytes + HEAD;
        b = calloc(1, size);
        if (!b) {
            fprintf(stderr, "hone: out of host memory (%zu bytes)\n", size);
            abort();
        }
        b->next = a->first;
        b->used = HEAD;
        b->size = size;
        a->first = b;
        a->bytes += size;
    }
    p = (char *)b + b->used;
    b->used += bytes;
    return p;
}

void *hone_copy(hone_arena *a, const void *from, size_t count, size_t cap,
                size_t size)
{
    void *p = hone_alloc(a, cap * size);

    if (count)
        memcpy(p, from, count * size);
    return p;
}

char *hone_text(hone_arena *a, const char *s)
{
    size_t n = strlen(s) + 1;

    return hone_copy(a, s, n, n, 1);
}

char *hone_format_text(hone_arena *a, const char *fmt, ...)
{
    va_list ap;
    int n;
    char *p;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    p = hone_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

void hone_put(char *to, size_t bytes, size_t *at, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (*at < bytes)
        *at += (size_t)vsnprintf(to + *at, bytes - *at, fmt, ap);
    va_end(ap);
}

void hone_arena_clear(hone_arena *a)
{
    for (struct hone_arena_block *b; (b = a->first);) {
        memset((char *)b + HEAD, 0, b->used - HEAD);
        b->used = HEAD;
        a->first = b->next;
        b->next = a->spare;
        a->spare = b;
    }
}

static void free_blocks(struct hone_arena_block *b)
{
    while (b) {
        struct hone_arena_block *next = b->next;
        free(b);
        b = next;
    }
}

void hone_arena_free(hone_arena *a)
{
    free_blocks(a->first);
    free_blocks(a->spare);
    *a = (hone_arena){ 0 };
}

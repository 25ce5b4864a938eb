/* SPDX-License-Identifier: MIT
 *
 * memory.h -- blocks of memory that are freed together, and texts in them.
 */
#ifndef TK_MEMORY_H
#define TK_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* An allocation never fails towards the caller: it says so and aborts. Not
 * zeroed, aligned to 16 bytes. */
typedef struct tk_arena {
    struct tk_block *first;
} tk_arena;

void *tk_alloc(tk_arena *, size_t bytes);
void *tk_zeroed(tk_arena *, size_t bytes);
void tk_free(tk_arena *);
/* Forgets all of it, but keeps one block of moderate size for the next use. */
void tk_reset(tk_arena *);
/* Room for COUNT items of SIZE bytes at *AT, of which *CAP says how many fit
 * so far; grows at least twofold and keeps the first KEEP items. */
void tk_room(void **at, size_t *cap, size_t count, size_t size, size_t keep);

typedef struct tk_text {
    const char *at;
    size_t len;
} tk_text;

/* A copy with a NUL behind it. */
tk_text tk_keep(tk_arena *, const char *, size_t len);

#endif

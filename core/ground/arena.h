/* SPDX-License-Identifier: MIT
 *
 * arena.h -- memory by lifetime: blocks that are freed together. Allocation
 * never fails towards the caller: it says so and aborts the process.
 * Zeroed, aligned to 16 bytes. One thread at a time.
 */
#ifndef HONE_ARENA_H
#define HONE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

typedef struct hone_arena {
    struct hone_arena_block *first, *spare;
    size_t bytes; /* taken from the system, headers included */
} hone_arena;

void *hone_alloc(hone_arena *, size_t bytes);
/* A copy of COUNT items of SIZE bytes, with room for CAP (>= COUNT). */
void *hone_copy(hone_arena *, const void *from, size_t count, size_t cap,
                size_t size);
char *hone_text(hone_arena *, const char *);
char *hone_format_text(hone_arena *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Appends at AT to a text of BYTES that is cut, not overrun, when it is full:
 * AT may then be past its end. */
void hone_put(char *to, size_t bytes, size_t *at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void hone_arena_free(hone_arena *);
/* All that was taken is gone, but its memory stays for what is taken next. */
void hone_arena_clear(hone_arena *);

/* Makes room for one more item in an array that grows by doubling. */
#define hone_push(arena, array, count, cap)                                    \
    ((count) < (cap)                                                           \
         ? (void)0                                                             \
         : (void)((cap) = (cap) ? 2 * (cap) : 16,                              \
                  (array) = hone_copy((arena), (array), (size_t)(count),       \
                                      (size_t)(cap), sizeof *(array))))

#endif

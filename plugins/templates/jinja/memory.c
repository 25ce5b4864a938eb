/* SPDX-License-Identifier: MIT
 *
 * memory.c -- what a rendering stands on: memory that is freed as a whole and
 * has a cap, errors that jump, counted steps, growing text.
 */
#include <stdlib.h>
#include <string.h>

#include "jinja.h"

struct ji_block {
    struct ji_block *next;
    size_t used, size;
};

enum { HEAD = (sizeof(struct ji_block) + 15) & ~15, BLOCK = 32 << 10 };

/* ------------------------------------------------------------------ errors */

_Noreturn void ji_leave(ji_run *r, const char *message, int raised)
{
    r->message = message;
    r->raised = raised;
    longjmp(*r->trap, 1);
}

_Noreturn void ji_fail(ji_run *r, const char *fmt, ...)
{
    size_t most = r->arena.most, n;
    char text[800], *kept;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->arena.most = SIZE_MAX; /* the message itself fits in any case */
    n = strlen(text) + 32;
    kept = ji_alloc(r, n);
    snprintf(kept, n, "line %d: %s", r->line, text);
    r->arena.most = most;
    ji_leave(r, kept, 0);
}

_Noreturn void ji_raise(ji_run *r, const char *text)
{
    ji_leave(r, text, 1);
}

int ji_try(ji_run *r, void (*f)(ji_run *, void *), void *data)
{
    jmp_buf here, *const outer = r->trap;
    ji_buf *const out = r->out;
    const int depth = r->depth;
    int failed = 1;

    r->trap = &here;
    if (setjmp(here) == 0) {
        f(r, data);
        failed = 0;
    }
    r->trap = outer;
    r->out = out;
    r->depth = depth;
    return failed;
}

void ji_step(ji_run *r, size_t n)
{
    r->steps += n > JI_STEPS_MAX ? JI_STEPS_MAX : (int64_t)n;
    if (r->steps > JI_STEPS_MAX)
        ji_fail(r, "the template takes more than %d steps: is there a loop in "
                "it that never ends?", JI_STEPS_MAX);
}

void ji_deeper(ji_run *r)
{
    if (++r->depth > JI_DEPTH_MAX)
        ji_fail(r, "nested more than %d deep", JI_DEPTH_MAX);
}

/* ------------------------------------------------------------------ memory */

static struct ji_block *block_open(ji_run *r, size_t bytes)
{
    ji_arena *a = &r->arena;
    struct ji_block *b;

    if (a->bytes + bytes > a->most)
        ji_fail(r, "the template uses more than %zu MiB of memory",
                a->most >> 20);
    b = malloc(HEAD + bytes);
    if (!b) {
        fprintf(stderr, "jinja: out of memory for %zu bytes\n", bytes);
        abort();
    }
    a->bytes += bytes;
    b->next = a->first;
    b->used = 0;
    b->size = bytes;
    return b;
}

void *ji_alloc(ji_run *r, size_t bytes)
{
    ji_arena *a = &r->arena;
    struct ji_block *b = a->first;
    char *at;

    if (bytes > JI_MEMORY_MAX)
        ji_fail(r, "one value of more than %zu MiB", JI_MEMORY_MAX >> 20);
    bytes = (bytes + 15) & ~(size_t)15;
    if (!b || b->size - b->used < bytes) {
        size_t size = b ? 2 * b->size : BLOCK;

        if (size > 64 * (size_t)BLOCK)
            size = 64 * (size_t)BLOCK;
        a->first = b = block_open(r, bytes > size ? bytes : size);
    }
    at = (char *)b + HEAD + b->used;
    b->used += bytes;
    return memset(at, 0, bytes);
}

void *ji_grow(ji_run *r, void *old, size_t size, size_t n, size_t *cap)
{
    void *to;

    if (n < *cap)
        return old;
    *cap = *cap ? 2 * *cap : 8;
    to = ji_alloc(r, *cap * size);
    if (n)
        memcpy(to, old, n * size);
    return to;
}

void ji_arena_free(ji_arena *a)
{
    while (a->first) {
        struct ji_block *next = a->first->next;
        free(a->first);
        a->first = next;
    }
    a->bytes = 0;
}

char *ji_format(ji_run *r, const char *fmt, ...)
{
    char text[800], *to;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    to = ji_alloc(r, strlen(text) + 1);
    return strcpy(to, text);
}

/* ------------------------------------------------------------ growing text */

void ji_put(ji_run *r, ji_buf *b, const char *text, size_t len)
{
    if (!len)
        return;
    if (b->len + len > JI_OUTPUT_MAX)
        ji_fail(r, "a text of more than %zu MiB", JI_OUTPUT_MAX >> 20);
    if (b->len + len > b->cap) {
        size_t cap = 2 * (b->len + len) + 64;
        char *to = ji_alloc(r, cap);

        if (b->len)
            memcpy(to, b->at, b->len);
        b->at = to;
        b->cap = cap;
    }
    memcpy(b->at + b->len, text, len);
    b->len += len;
}

void ji_puts(ji_run *r, ji_buf *b, const char *text)
{
    ji_put(r, b, text, strlen(text));
}

ji_str *ji_take(ji_run *r, ji_buf *b)
{
    ji_str *s = ji_wrap(r, b->len ? b->at : "", b->len);

    *b = (ji_buf){ NULL, 0, 0 };
    return s;
}

/* SPDX-License-Identifier: MIT
 *
 * row_text.h -- the JSON text of one row while it is made: it grows up to the
 * limit of a row, and what is beyond is dropped and remembered.
 */
#ifndef HONE_FORMATS_ROW_TEXT_H
#define HONE_FORMATS_ROW_TEXT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROW_MOST = 64 << 20 };

typedef struct {
    char *data;
    size_t bytes, cap;
    int too_long;
} row_text;

static inline void row_begin(row_text *t)
{
    t->bytes = 0;
    t->too_long = 0;
}

static inline int row_room(row_text *t, size_t bytes)
{
    size_t cap = t->cap ? t->cap : 4096;
    char *data;

    if (bytes > ROW_MOST - t->bytes) {
        t->too_long = 1;
        return 0;
    }
    if (t->bytes + bytes <= t->cap)
        return 1;
    while (cap < t->bytes + bytes)
        cap *= 2;
    data = realloc(t->data, cap);
    if (!data) {
        t->too_long = 1;
        return 0;
    }
    t->data = data;
    t->cap = cap;
    return 1;
}

static inline void row_add(row_text *t, const void *data, size_t bytes)
{
    if (!t->too_long && row_room(t, bytes)) {
        memcpy(t->data + t->bytes, data, bytes);
        t->bytes += bytes;
    }
}

static inline void row_byte(row_text *t, int c)
{
    if (t->too_long || (t->bytes == t->cap && !row_room(t, 1)))
        return;
    t->data[t->bytes++] = (char)c;
}

static inline void row_words(row_text *t, const char *words)
{
    row_add(t, words, strlen(words));
}

/* One byte of what stands between the quotes of a JSON string. */
static inline void row_escaped(row_text *t, int c)
{
    char code[8];

    if (c == '"' || c == '\\') {
        row_byte(t, '\\');
        row_byte(t, c);
    } else if (c == '\n') {
        row_words(t, "\\n");
    } else if (c < ' ') {
        snprintf(code, sizeof code, "\\u%04x", c);
        row_words(t, code);
    } else {
        row_byte(t, c);
    }
}

static inline void row_string(row_text *t, const void *data, size_t bytes)
{
    const uint8_t *at = data, *end = at + bytes;

    row_byte(t, '"');
    while (at < end && !t->too_long) {
        const uint8_t *from = at;

        while (at < end && *at >= ' ' && *at != '"' && *at != '\\')
            at++;
        row_add(t, from, (size_t)(at - from));
        if (at < end)
            row_escaped(t, *at++);
    }
    row_byte(t, '"');
}

#endif

/* SPDX-License-Identifier: MIT
 *
 * json.h -- reads JSON into a read-only tree in an arena. Tokenizer files hold
 * half a million small texts: this is 20 times as fast as a tree of allocated
 * objects, keeps texts where they lie, and reads numbers as the library does.
 */
#ifndef TK_JSON_H
#define TK_JSON_H

#include "memory.h"

typedef enum {
    TK_NULL = 1, TK_FALSE, TK_TRUE, TK_INTEGER, TK_REAL, TK_STRING, TK_LIST,
    TK_OBJECT
} tk_json_type;

typedef struct tk_json {
    uint32_t type;
    uint32_t count; /* of a list's items, an object's pairs, a text's bytes */
    union {
        const struct tk_json *item; /* an object: key, value, key, value... */
        const char *text;           /* ends with a NUL that is not counted */
        int64_t integer;
        double real;
    } u;
} tk_json;

/* TEXT, which it changes, must outlive the tree. NULL: *WHY and *LINE say
 * what is wrong and where. */
const tk_json *tk_json_read(tk_arena *, char *text, size_t bytes,
                            const char **why, int *line);

/* NULL for what is not there, or J that is NULL or of another type. */
const tk_json *tk_json_get(const tk_json *j, const char *key);
static inline uint32_t tk_json_count(const tk_json *j)
{
    return j && (j->type == TK_LIST || j->type == TK_OBJECT) ? j->count : 0;
}

static inline const tk_json *tk_json_at(const tk_json *j, uint32_t i)
{
    return j && j->type == TK_LIST && i < j->count ? &j->u.item[i] : NULL;
}

static inline int tk_json_is(const tk_json *j, tk_json_type t)
{
    return j && j->type == (uint32_t)t;
}

/* Absent or null. */
static inline int tk_json_none(const tk_json *j)
{
    return !j || j->type == TK_NULL;
}

static inline const char *tk_json_string(const tk_json *j)
{
    return tk_json_is(j, TK_STRING) ? j->u.text : NULL;
}

static inline tk_text tk_json_text(const tk_json *j)
{
    return tk_json_is(j, TK_STRING) ? (tk_text){ j->u.text, j->count }
                                    : (tk_text){ NULL, 0 };
}

#endif

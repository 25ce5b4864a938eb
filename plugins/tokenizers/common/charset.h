/* SPDX-License-Identifier: MIT
 *
 * charset.h -- sets of characters by the names that Oniguruma gives them, with
 * the library's members. For dialect.c.
 */
#ifndef TK_CHARSET_H
#define TK_CHARSET_H

#include "memory.h"
#include "unicode.h"

typedef struct tk_charset {
    uint64_t word[0x110000 / 64];
} tk_charset;

static inline int tk_charset_has(const tk_charset *s, int32_t c)
{
    return (int)(s->word[c / 64] >> (c % 64) & 1);
}

void tk_charset_range(tk_charset *, int32_t first, int32_t last);
/* Adds what \p{NAME} means. PCRE: how PCRE2 spells nearly the same, in a class
 * (at most 64 bytes). Returns 0 if there is no such name. */
int tk_charset_named(tk_charset *, tk_text name, char pcre[64]);
/* The same for the letters of \s \w \h \d. */
int tk_charset_letter(tk_charset *, char letter, int in_class, char pcre[64]);
/* And for [:NAME:]. */
int tk_charset_posix(tk_charset *, tk_text name, char pcre[64]);

#endif

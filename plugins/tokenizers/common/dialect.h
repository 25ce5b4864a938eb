/* SPDX-License-Identifier: MIT
 *
 * dialect.h -- a regular expression on its way from Oniguruma to PCRE2, for
 * dialect.c (its structure) and charclass.c (its classes of characters).
 */
#ifndef TK_DIALECT_H
#define TK_DIALECT_H

#include "tok.h"

enum { TK_DEPTH = 250, TK_CLASSES = 256 };

typedef struct tk_rewriter {
    const char *at, *end;
    char *out; /* grows */
    size_t used, cap;
    int depth;
    size_t item;          /* where the last item began, for a '{' behind it */
    size_t group[TK_DEPTH];  /* where the open groups began */
    int closes[TK_DEPTH + 1]; /* lone flags opened groups that end with them */
    int classes; /* so far */
    const char *why;
} tk_rewriter;

void tk_put(tk_rewriter *, const char *text, size_t n);
void tk_say(tk_rewriter *, const char *text);
void tk_refuse(tk_rewriter *, const char *why);
/* Digits of a hexadecimal number at AT, MOST of them; how many there are. */
int tk_hex_digits(const char *at, const char *end, int most, int32_t *to);

/* charclass.c: rewrites the class at r->at... */
void tk_rewrite_class(tk_rewriter *);
/* ...the kind of characters there, \p{L} or \s... */
void tk_rewrite_kind(tk_rewriter *);
/* ...and writes \w, \s, \h or \d by its letter. */
void tk_put_kind(tk_rewriter *, char letter);

#endif

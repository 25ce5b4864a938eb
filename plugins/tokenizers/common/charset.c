/* SPDX-License-Identifier: MIT
 *
 * charset.c -- see charset.h.
 */
#include "charset.h"

#include <stdio.h>
#include <string.h>

void tk_charset_range(tk_charset *s, int32_t first, int32_t last)
{
    for (int32_t c = first; c <= last; c++)
        s->word[c / 64] |= (uint64_t)1 << (c % 64);
}

static void add_runs(tk_charset *s, const char *packed, int is_map,
                     uint64_t wanted)
{
    for (tk_runs r = tk_runs_of(packed, is_map); tk_next_run(&r);)
        if (is_map ? r.value < 64 && (wanted >> r.value & 1) : r.value)
            tk_charset_range(s, r.start, r.end - 1);
}

#define K(x) ((uint64_t)1 << TK_##x)
#define LETTERS (K(LU) | K(LL) | K(LT) | K(LM) | K(LO))
#define CASED (K(LU) | K(LL) | K(LT))
#define MARKS (K(MN) | K(MC) | K(ME))
#define NUMBERS (K(ND) | K(NL) | K(NO))
#define PUNCTUATION (K(PC) | K(PD) | K(PS) | K(PE) | K(PI) | K(PF) | K(PO))
#define SYMBOLS (K(SM) | K(SC) | K(SK) | K(SO))
#define SEPARATORS (K(ZS) | K(ZL) | K(ZP))
#define OTHER (1u | K(CC) | K(CF) | K(CS) | K(CO))

static const struct {
    const char *name, *more; /* without case, spaces, '_' and '-' */
    uint64_t kinds;
    const char *pcre;
} categories[] = {
    { "l", "letter", LETTERS, "\\p{L}" },
    { "lc", "casedletter", CASED, "\\p{L&}" },
    { "lu", "uppercaseletter", K(LU), "\\p{Lu}" },
    { "ll", "lowercaseletter", K(LL), "\\p{Ll}" },
    { "lt", "titlecaseletter", K(LT), "\\p{Lt}" },
    { "lm", "modifierletter", K(LM), "\\p{Lm}" },
    { "lo", "otherletter", K(LO), "\\p{Lo}" },
    { "m", "mark", MARKS, "\\p{M}" },
    { "mn", "nonspacingmark", K(MN), "\\p{Mn}" },
    { "mc", "spacingmark", K(MC), "\\p{Mc}" },
    { "me", "enclosingmark", K(ME), "\\p{Me}" },
    { "n", "number", NUMBERS, "\\p{N}" },
    { "nd", "decimalnumber", K(ND), "\\p{Nd}" },
    { "nl", "letternumber", K(NL), "\\p{Nl}" },
    { "no", "othernumber", K(NO), "\\p{No}" },
    { "p", "punctuation", PUNCTUATION, "\\p{P}" },
    { "pc", "connectorpunctuation", K(PC), "\\p{Pc}" },
    { "pd", "dashpunctuation", K(PD), "\\p{Pd}" },
    { "ps", "openpunctuation", K(PS), "\\p{Ps}" },
    { "pe", "closepunctuation", K(PE), "\\p{Pe}" },
    { "pi", "initialpunctuation", K(PI), "\\p{Pi}" },
    { "pf", "finalpunctuation", K(PF), "\\p{Pf}" },
    { "po", "otherpunctuation", K(PO), "\\p{Po}" },
    { "s", "symbol", SYMBOLS, "\\p{S}" },
    { "sm", "mathsymbol", K(SM), "\\p{Sm}" },
    { "sc", "currencysymbol", K(SC), "\\p{Sc}" },
    { "sk", "modifiersymbol", K(SK), "\\p{Sk}" },
    { "so", "othersymbol", K(SO), "\\p{So}" },
    { "z", "separator", SEPARATORS, "\\p{Z}" },
    { "zs", "spaceseparator", K(ZS), "\\p{Zs}" },
    { "zl", "lineseparator", K(ZL), "\\p{Zl}" },
    { "zp", "paragraphseparator", K(ZP), "\\p{Zp}" },
    { "c", "other", OTHER, "\\p{C}" },
    { "cc", "control", K(CC), "\\p{Cc}" },
    { "cf", "format", K(CF), "\\p{Cf}" },
    { "co", "privateuse", K(CO), "\\p{Co}" },
    { "cn", "unassigned", 1u, "\\p{Cn}" },
};

#define WORD "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}"
#define SPACE "\\x{9}-\\x{d}\\x{85}\\p{Z}"

static const struct {
    const char *name;
    const char *packed; /* NULL: the categories */
    uint64_t kinds;
    const char *pcre;
} kinds[] = {
    { "alphabetic", tk_packed_alpha, 0, "\\p{L}\\p{Nl}" },
    { "alpha", tk_packed_alpha, 0, "\\p{L}\\p{Nl}" },
    { "lowercase", tk_packed_lowercase, 0, "\\p{Ll}" },
    { "lower", tk_packed_lowercase, 0, "\\p{Ll}" },
    { "uppercase", tk_packed_uppercase, 0, "\\p{Lu}" },
    { "upper", tk_packed_uppercase, 0, "\\p{Lu}" },
    { "word", tk_packed_word, 0, WORD },
    { "digit", NULL, K(ND), "\\p{Nd}" },
    { "cntrl", NULL, K(CC), "\\p{Cc}" },
    { "assigned", NULL, ~(uint64_t)1, "\\P{Cn}" },
};

/* NAME without case, spaces, '_' and '-'; 0: too long. */
static int plain_name(tk_text name, char to[64])
{
    size_t n = 0;

    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];

        if (c == ' ' || c == '_' || c == '-')
            continue;
        if (n == 63)
            return 0;
        to[n++] = c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
    }
    to[n] = 0;
    return n > 0;
}

static int add_kind(tk_charset *s, const char *name, char pcre[64])
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].name, name)) {
            if (kinds[i].packed)
                add_runs(s, kinds[i].packed, 0, 0);
            else
                add_runs(s, tk_packed_category, 1, kinds[i].kinds);
            snprintf(pcre, 64, "%s", kinds[i].pcre);
            return 1;
        }
    return 0;
}

static void add_white(tk_charset *s, char pcre[64])
{
    tk_charset_range(s, 9, 13);
    tk_charset_range(s, 0x85, 0x85);
    add_runs(s, tk_packed_category, 1, SEPARATORS);
    snprintf(pcre, 64, "%s", SPACE);
}

static int add_script(tk_charset *s, const char *name, char pcre[64])
{
    char known[64];

    for (uint32_t i = 1; tk_scripts[i]; i++) {
        tk_text full = { tk_scripts[i], strlen(tk_scripts[i]) };

        if (!plain_name(full, known) || strcmp(known, name) != 0)
            continue;
        for (tk_runs r = tk_runs_of(tk_packed_script, 1); tk_next_run(&r);)
            if (r.value == i)
                tk_charset_range(s, r.start, r.end - 1);
        pcre[0] = 0; /* an older PCRE2 may not know it */
        return 1;
    }
    return 0;
}

int tk_charset_named(tk_charset *s, tk_text name, char pcre[64])
{
    char plain[64];

    if (!plain_name(name, plain))
        return 0;
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++)
        if (!strcmp(categories[i].name, plain) ||
            !strcmp(categories[i].more, plain)) {
            add_runs(s, tk_packed_category, 1, categories[i].kinds);
            snprintf(pcre, 64, "%s", categories[i].pcre);
            return 1;
        }
    if (!strcmp(plain, "any")) {
        tk_charset_range(s, 0, 0x10FFFF);
        pcre[0] = 0;
        return 1;
    }
    if (!strcmp(plain, "space") || !strcmp(plain, "whitespace")) {
        add_white(s, pcre);
        return 1;
    }
    return add_kind(s, plain, pcre) || add_script(s, plain, pcre);
}

int tk_charset_letter(tk_charset *s, char letter, int in_class, char pcre[64])
{
    switch (letter) {
    case 's':
        add_white(s, pcre);
        return 1;
    case 'd':
        return add_kind(s, "digit", pcre);
    case 'w':
        add_kind(s, "word", pcre);
        /* Oniguruma counts these as \w, but not inside a class. */
        for (int32_t c = 0xB2; in_class && c <= 0xBE; c++)
            if (c <= 0xB3 || c == 0xB9 || c >= 0xBC)
                s->word[c / 64] &= ~((uint64_t)1 << (c % 64));
        return 1;
    case 'h':
        tk_charset_range(s, '0', '9');
        tk_charset_range(s, 'a', 'f');
        tk_charset_range(s, 'A', 'F');
        snprintf(pcre, 64, "0-9a-fA-F");
        return 1;
    default:
        return 0;
    }
}

int tk_charset_posix(tk_charset *s, tk_text name, char pcre[64])
{
    char plain[64];

    if (!plain_name(name, plain))
        return 0;
    if (!strcmp(plain, "word"))
        return tk_charset_letter(s, 'w', 1, pcre);
    if (!strcmp(plain, "xdigit"))
        return tk_charset_letter(s, 'h', 1, pcre);
    if (!strcmp(plain, "alnum")) {
        add_runs(s, tk_packed_category, 1, K(ND));
        add_kind(s, "alpha", pcre);
        snprintf(pcre, 64, "\\p{L}\\p{Nl}\\p{Nd}");
        return 1;
    }
    if (!strcmp(plain, "blank")) {
        tk_charset_range(s, 9, 9);
        add_runs(s, tk_packed_category, 1, K(ZS));
        snprintf(pcre, 64, "\\x{9}\\p{Zs}");
        return 1;
    }
    if (!strcmp(plain, "space")) {
        add_white(s, pcre);
        return 1;
    }
    return !strcmp(plain, "alpha") || !strcmp(plain, "digit") ||
                   !strcmp(plain, "upper") || !strcmp(plain, "lower") ||
                   !strcmp(plain, "cntrl")
               ? add_kind(s, plain, pcre)
               : 0;
}

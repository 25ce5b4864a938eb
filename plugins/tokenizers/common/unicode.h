/* SPDX-License-Identifier: MIT
 *
 * unicode.h -- UTF-8, and the properties of characters as the library whose
 * ids we give has them: of several versions of Unicode, so from tables of our
 * own (unicode_tables.c), never from what a distribution ships.
 */
#ifndef TK_UNICODE_H
#define TK_UNICODE_H

#include <stddef.h>
#include <stdint.h>

/* General categories, in the order of unicode_make.py. */
typedef enum {
    TK_LU = 1, TK_LL, TK_LT, TK_LM, TK_LO, TK_MN, TK_MC, TK_ME, TK_ND, TK_NL,
    TK_NO, TK_PC, TK_PD, TK_PS, TK_PE, TK_PI, TK_PF, TK_PO, TK_SM, TK_SC,
    TK_SK, TK_SO, TK_ZS, TK_ZL, TK_ZP, TK_CC, TK_CF, TK_CS, TK_CO, TK_CATEGORIES
} tk_category;

/* Properties as bits of one word a character. */
enum {
    TK_IS_LETTER = 1 << 0,   /* \p{L} */
    TK_IS_NUMBER = 1 << 1,   /* \p{N} */
    TK_IS_WHITE = 1 << 2,    /* White_Space, and \s of every engine */
    TK_IS_NEWLINE = 1 << 3,  /* \r and \n */
    TK_IS_UPPER = 1 << 4,    /* Lu Lt Lm Lo M */
    TK_IS_LOWER = 1 << 5,    /* Ll Lm Lo M */
    TK_IS_M = 1 << 6,        /* \p{M} */
    TK_IS_RE_WORD = 1 << 7,  /* \w of Rust's regular expressions */
    TK_IS_PUNCT = 1 << 8,    /* Punctuation, BertPreTokenizer */
    TK_IS_NUMERIC = 1 << 9,  /* Digits */
    TK_IS_MARK = 1 << 10,    /* StripAccents */
    TK_IS_BERT_MARK = 1 << 11,
    TK_IS_BERT_CONTROL = 1 << 12,
    TK_JOINS = 1 << 13,      /* a grapheme goes on here */
    TK_LEADS = 1 << 14,      /* a grapheme goes on behind it */
    TK_NORM_NEW = 1 << 15    /* normalization does not know it */
};

extern const char tk_packed_category[], tk_packed_script[],
    tk_packed_split_script[], tk_packed_lower[], tk_packed_word[],
    tk_packed_alpha[], tk_packed_lowercase[], tk_packed_uppercase[],
    tk_packed_re_word[], tk_packed_punct[], tk_packed_numeric[],
    tk_packed_mark[], tk_packed_bert_mark[], tk_packed_bert_control[],
    tk_packed_joins[], tk_packed_leads[], tk_packed_norm_new[];
extern const char *const tk_scripts[]; /* by number, from 1 on; ends NULL */

/* Unpacks the tables; once, before anything below is asked for. */
void tk_unicode_open(void);

enum { TK_PAGE = 128, TK_PAGES = 0x110000 / TK_PAGE };
extern uint16_t tk_bit_page[TK_PAGES];
extern uint16_t (*tk_bits)[TK_PAGE];

static inline uint32_t tk_is(int32_t c)
{
    return tk_bits[tk_bit_page[c / TK_PAGE]][c % TK_PAGE];
}

static inline int tk_is_white(int32_t c)
{
    return (tk_is(c) & TK_IS_WHITE) != 0;
}

/* The code point at TEXT (valid UTF-8, not empty); its length into *LEN. */
static inline int32_t tk_char(const char *text, size_t *len)
{
    const unsigned char *t = (const unsigned char *)text;

    if (t[0] < 0x80) {
        *len = 1;
        return t[0];
    }
    if (t[0] < 0xE0) {
        *len = 2;
        return (t[0] & 0x1F) << 6 | (t[1] & 0x3F);
    }
    if (t[0] < 0xF0) {
        *len = 3;
        return (t[0] & 0x0F) << 12 | (t[1] & 0x3F) << 6 | (t[2] & 0x3F);
    }
    *len = 4;
    return (t[0] & 0x07) << 18 | (t[1] & 0x3F) << 12 | (t[2] & 0x3F) << 6 |
           (t[3] & 0x3F);
}

static inline size_t tk_put_char(int32_t c, char *to) /* at most 4 bytes */
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xC0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xE0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3F));
        to[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    to[0] = (char)(0xF0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 0x3F));
    to[2] = (char)(0x80 | (c >> 6 & 0x3F));
    to[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* Where the character before AT begins; AT is not 0. */
static inline size_t tk_char_before(const char *text, size_t at)
{
    do
        at--;
    while (at && ((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

/* The lower case of a character: one code point, or i and U+0307. */
int32_t tk_lower(int32_t);
/* The script as UnicodeScripts sees it; 0: any. */
int tk_split_script(int32_t);

/* GPT-2's alphabet: every byte as a printable character, and back (-1). */
int32_t tk_byte_char(unsigned char byte);
int tk_char_byte(int32_t code);

/* Walks through the runs of a packed set or map. */
typedef struct tk_runs {
    const char *at;
    int32_t start, end; /* of the run at hand */
    uint32_t value;
    int is_map;
} tk_runs;

tk_runs tk_runs_of(const char *packed, int is_map);
int tk_next_run(tk_runs *); /* 0: there are no more */

#endif

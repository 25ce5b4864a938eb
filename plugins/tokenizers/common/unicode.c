/* SPDX-License-Identifier: MIT
 *
 * unicode.c -- see unicode.h. What is asked for at every character is unpacked
 * into pages of 128 characters, of which equal ones are kept once.
 */
#include "unicode.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PAGES = 1536 };

uint16_t tk_bit_page[TK_PAGES];
uint16_t (*tk_bits)[TK_PAGE];
static uint16_t bit_pages[MAX_PAGES][TK_PAGE];

/* ----------------------------------------------------------------- runs */

/* unicode_make.py: 5 bits a letter, the lowest first, the sixth says that
 * more follow. */
static uint32_t number(const char **at)
{
    uint32_t v = 0, shift = 0, d;

    do {
        char c = *(*at)++;

        d = c >= 'A' && c <= 'Z'   ? (uint32_t)(c - 'A')
            : c >= 'a' && c <= 'z' ? (uint32_t)(c - 'a' + 26)
            : c >= '0' && c <= '9' ? (uint32_t)(c - '0' + 52)
                                   : c == '+' ? 62u : 63u;
        v |= (d & 31) << shift;
        shift += 5;
    } while (d & 32);
    return v;
}

tk_runs tk_runs_of(const char *packed, int is_map)
{
    return (tk_runs){ .at = packed, .is_map = is_map, .value = !is_map };
}

int tk_next_run(tk_runs *r)
{
    if (!*r->at)
        return 0;
    r->start = r->end;
    r->end += (int32_t)number(&r->at);
    r->value = r->is_map ? number(&r->at) : !r->value;
    return 1;
}

/* ------------------------------------------------------------- the bits */

static uint16_t category_bits(uint32_t k, int32_t c)
{
    uint16_t bits = 0;

    if (k >= TK_LU && k <= TK_LO)
        bits |= TK_IS_LETTER;
    if (k >= TK_ND && k <= TK_NO)
        bits |= TK_IS_NUMBER;
    if (k >= TK_MN && k <= TK_ME)
        bits |= TK_IS_M | TK_IS_UPPER | TK_IS_LOWER;
    if (k == TK_LU || (k >= TK_LT && k <= TK_LO))
        bits |= TK_IS_UPPER;
    if (k == TK_LL || k == TK_LM || k == TK_LO)
        bits |= TK_IS_LOWER;
    if (k == 0) /* unassigned: whatever a newer Unicode says of it */
        bits |= TK_NORM_NEW;
    if ((k >= TK_ZS && k <= TK_ZP) || (c >= 9 && c <= 13) || c == 0x85)
        bits |= TK_IS_WHITE;
    if (c == '\n' || c == '\r')
        bits |= TK_IS_NEWLINE;
    return bits;
}

static void set_bits(uint16_t *all, const char *packed, unsigned bit)
{
    for (tk_runs r = tk_runs_of(packed, 0); tk_next_run(&r);)
        for (int32_t c = r.start; r.value && c < r.end; c++)
            all[c] |= (uint16_t)bit;
}

static void fill(uint16_t *all)
{
    static const struct {
        const char *packed;
        unsigned bit;
    } sets[] = {
        { tk_packed_re_word, TK_IS_RE_WORD },
        { tk_packed_punct, TK_IS_PUNCT },
        { tk_packed_numeric, TK_IS_NUMERIC },
        { tk_packed_mark, TK_IS_MARK },
        { tk_packed_bert_mark, TK_IS_BERT_MARK },
        { tk_packed_bert_control, TK_IS_BERT_CONTROL },
        { tk_packed_joins, TK_JOINS },
        { tk_packed_leads, TK_LEADS },
        { tk_packed_norm_new, TK_NORM_NEW },
    };

    for (tk_runs r = tk_runs_of(tk_packed_category, 1); tk_next_run(&r);)
        for (int32_t c = r.start; c < r.end; c++)
            all[c] = category_bits(r.value, c);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        set_bits(all, sets[i].packed, sets[i].bit);
}

/* A page that is there already is found by its hash. */
static void fold(const uint16_t *all)
{
    static int16_t slot[4096];
    int count = 0;

    memset(slot, 0xFF, sizeof slot);
    for (int p = 0; p < TK_PAGES; p++) {
        const uint16_t *page = all + p * TK_PAGE;
        uint32_t h = 1;

        for (int i = 0; i < TK_PAGE; i++)
            h = (h ^ page[i]) * 0x9E3779B1u;
        h >>= 20;
        while (slot[h] >= 0 &&
               memcmp(bit_pages[slot[h]], page, sizeof *bit_pages) != 0)
            h = (h + 1) & 4095;
        if (slot[h] < 0) {
            if (count == MAX_PAGES)
                abort(); /* the tables are constant: a test would see it */
            memcpy(bit_pages[count], page, sizeof *bit_pages);
            slot[h] = (int16_t)count++;
        }
        tk_bit_page[p] = (uint16_t)slot[h];
    }
}

/* ------------------------------------------- what is asked for less often */

typedef struct {
    int32_t start;
    uint32_t value;
} span;

static span *lower_span, *script_span;
static int lower_count, script_count;

static span *unpack(const char *packed, int *count)
{
    span *to = NULL;
    int cap = 0;

    *count = 0;
    for (tk_runs r = tk_runs_of(packed, 1); tk_next_run(&r);) {
        if (*count == cap) {
            cap = cap ? 2 * cap : 1024;
            to = realloc(to, (size_t)cap * sizeof *to);
            if (!to)
                abort();
        }
        to[(*count)++] = (span){ r.start, r.value };
    }
    return to;
}

static uint32_t span_value(const span *s, int count, int32_t c)
{
    int lo = 0, hi = count; /* the last that does not start behind C */

    while (hi - lo > 1) {
        int mid = lo + (hi - lo) / 2;
        if (s[mid].start <= c)
            lo = mid;
        else
            hi = mid;
    }
    return s[lo].value;
}

int32_t tk_lower(int32_t c)
{
    uint32_t v;

    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c | 32 : c;
    v = span_value(lower_span, lower_count, c);
    return v & 1 ? c - (int32_t)((v + 1) / 2) : c + (int32_t)(v / 2);
}

int tk_split_script(int32_t c)
{
    return (int)span_value(script_span, script_count, c);
}

static void open_once(void)
{
    uint16_t *all = calloc(0x110000, sizeof *all);

    if (!all)
        abort();
    fill(all);
    fold(all);
    tk_bits = bit_pages;
    free(all);
    lower_span = unpack(tk_packed_lower, &lower_count);
    script_span = unpack(tk_packed_split_script, &script_count);
}

void tk_unicode_open(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, open_once);
}

/* ----------------------------------------------------- GPT-2's alphabet */

static int prints(int32_t c)
{
    return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) ||
           (c >= 0xAE && c <= 0xFF);
}

/* Bytes that do not print take the characters from U+0100 on, in order:
 * 0x00-0x20, 0x7F-0xA0, 0xAD. */
int32_t tk_byte_char(unsigned char b)
{
    if (prints(b))
        return b;
    if (b <= 0x20)
        return 0x100 + b;
    return b == 0xAD ? 0x143 : 0x121 + (b - 0x7F);
}

int tk_char_byte(int32_t c)
{
    if (c < 0x100)
        return prints(c) ? c : -1;
    if (c <= 0x120)
        return c - 0x100;
    if (c <= 0x142)
        return c - 0x121 + 0x7F;
    return c == 0x143 ? 0xAD : -1;
}

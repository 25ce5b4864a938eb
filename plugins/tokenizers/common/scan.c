/* SPDX-License-Identifier: MIT
 *
 * scan.c -- the regular expressions that published models cut text with,
 * written out by hand: 10 times as fast as the general way, and proved equal
 * to it by tests/test_tokenizer. They form one family; a tk_scanner says which
 * member is meant. Each alternative of an expression is a few lines below, in
 * the expression's order.
 */
#include "tok.h"

/* How letters are taken together. */
typedef enum {
    WITH_SPACE = 1, /* " ?\p{L}+" and " ?\p{N}+": GPT-2 */
    WITH_ANY,       /* "[^\r\n\p{L}\p{N}]?\p{L}+": Llama 3, Qwen */
    WITH_MARKS,     /* "[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+": newer Qwen */
    BY_CASE         /* capitals, then small letters: o200k, Tekken */
} letters;

typedef enum {
    NO_CLITICS = 1,
    PLAIN_FIRST,  /* 's|'t|... before all else */
    ANYCASE_FIRST, /* (?i:'s|'t|...) before all else */
    ANYCASE_LAST   /* (?i:'s|'t|...)? behind the letters */
} clitics;

struct tk_scanner {
    const char *regex;
    letters letters;
    clitics clitics;
    int digits;     /* at most; 0: any number */
    int newlines;   /* punctuation takes what of "\r\n/" follows it: 0 none,
                       1 newlines, 2 the slash too */
    int to_newline; /* white space is cut behind its last newline */
    int at_end;     /* white space that ends the text is one piece */
};

#define CLITICS "'s|'t|'re|'ve|'m|'ll|'d"
#define MARKED "\\p{Lm}\\p{Lo}\\p{M}"
#define UPPER "[\\p{Lu}\\p{Lt}" MARKED "]"
#define LOWER "[\\p{Ll}" MARKED "]"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define OTHERS "| ?[^\\s\\p{L}\\p{N}]+"
#define WHITE "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define TAILED "(?i:" CLITICS ")?"
#define GPT2 " ?\\p{L}+| ?\\p{N}+" OTHERS "|\\s+(?!\\S)|\\s+"

#define CL100K(more)                                                           \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}" more   \
    "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s"

static const tk_scanner scanners[] = {
    { CLITICS "|" GPT2, WITH_SPACE, PLAIN_FIRST, 0, 0, 0, 0 },
    { "'(?:[sdmt]|ll|ve|re)|" GPT2, WITH_SPACE, PLAIN_FIRST, 0, 0, 0, 0 },
    /* tiktoken's gpt2, r50k_base and p50k_base */
    { "'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?\\p{N}++| ?[^\\s\\p{L}\\p{N}]++"
      "|\\s++$|\\s+(?!\\S)|\\s",
      WITH_SPACE, PLAIN_FIRST, 0, 0, 0, 1 },
    { "(?i:" CLITICS ")|" LEAD "\\p{L}+|\\p{N}{1,3}" OTHERS "[\\r\\n]*" WHITE,
      WITH_ANY, ANYCASE_FIRST, 3, 1, 1, 0 },
    { "(?i:" CLITICS ")|" LEAD "\\p{L}+|\\p{N}" OTHERS "[\\r\\n]*" WHITE,
      WITH_ANY, ANYCASE_FIRST, 1, 1, 1, 0 },
    { "(?i:" CLITICS ")|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}"
      "\\p{N}]+[\\r\\n]*" WHITE,
      WITH_MARKS, ANYCASE_FIRST, 1, 1, 1, 0 },
    /* tiktoken's cl100k_base; its {1,3}+ is one number of any length to
     * Oniguruma, and {1,3} to tiktoken, which tiktoken_read.c writes so */
    { CL100K("+"), WITH_ANY, ANYCASE_FIRST, 0, 1, 1, 1 },
    { CL100K(""), WITH_ANY, ANYCASE_FIRST, 3, 1, 1, 1 },
    { LEAD UPPER "*" LOWER "+" TAILED "|" LEAD UPPER "+" LOWER "*" TAILED
      "|\\p{N}{1,3}" OTHERS "[\\r\\n/]*" WHITE,
      BY_CASE, ANYCASE_LAST, 3, 2, 1, 0 },
    { LEAD UPPER "*" LOWER "+|" LEAD UPPER "+" LOWER "*"
      "|\\p{N}" OTHERS "[\\r\\n/]*" WHITE,
      BY_CASE, NO_CLITICS, 1, 2, 1, 0 },
};

const tk_scanner *tk_scanner_find(tk_text regex)
{
    for (size_t i = 0; i < sizeof scanners / sizeof *scanners; i++)
        if (strlen(scanners[i].regex) == regex.len &&
            !memcmp(scanners[i].regex, regex.at, regex.len))
            return &scanners[i];
    return NULL;
}

/* ---------------------------------------------------------------- parts */

typedef struct {
    const char *text;
    size_t len;
} input;

/* The properties of the character at AT, its bytes to *LEN; 0 at the end. */
static inline uint32_t bits_at(const input *in, size_t at, size_t *len)
{
    *len = 0;
    return at < in->len ? tk_is(tk_char(in->text + at, len)) : 0;
}

/* Where the run of characters with one of BITS and none of NOT ends. */
static inline size_t run(const input *in, size_t at, uint32_t bits)
{
    size_t len;

    while (at < in->len) {
        unsigned char c = (unsigned char)in->text[at];

        if (c < 0x80) {
            if (!(tk_bits[tk_bit_page[0]][c] & bits))
                break;
            at++;
        } else {
            if (!(bits_at(in, at, &len) & bits))
                break;
            at += len;
        }
    }
    return at;
}

static inline size_t run_without(const input *in, size_t at, uint32_t bits)
{
    size_t len;

    while (at < in->len && !(bits_at(in, at, &len) & bits))
        at += len;
    return at;
}

/* Where the clitic ends that begins with the apostrophe at AT; 0: none. With
 * ANYCASE the long s (U+017F) counts as an s. */
static size_t clitic(const input *in, size_t at, int anycase)
{
    const char *t = in->text + at;
    size_t n = in->len - at;
    char a, b;

    if (n < 2 || t[0] != '\'')
        return 0;
    if (anycase && n > 2 && (unsigned char)t[1] == 0xC5 &&
        (unsigned char)t[2] == 0xBF)
        return at + 3;
    a = anycase && t[1] >= 'A' && t[1] <= 'Z' ? (char)(t[1] | 32) : t[1];
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return at + 2;
    if (n < 3)
        return 0;
    b = anycase && t[2] >= 'A' && t[2] <= 'Z' ? (char)(t[2] | 32) : t[2];
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') ||
        (a == 'l' && b == 'l'))
        return at + 3;
    return 0;
}

/* White space from AT on: up to behind its last newline if TO_NEWLINE; else
 * all but its last character, which belongs to what follows, if anything. */
static size_t white(const tk_scanner *p, const input *in, size_t at)
{
    size_t end = run(in, at, TK_IS_WHITE), last = end;

    if (p->at_end && end == in->len)
        return end;
    while (p->to_newline && last > at) {
        char c = in->text[last - 1];
        if (c == '\n' || c == '\r')
            return last;
        last--;
    }
    if (end == in->len)
        return end;
    last = tk_char_before(in->text, end);
    return last > at ? last : end;
}

/* [UPPER]*[LOWER]+ from AT on; 0: no match. Capitals are given back until one
 * is found that counts as a small letter too. */
static size_t small_word(const input *in, size_t at)
{
    size_t end = run(in, at, TK_IS_UPPER), q = end, len;

    if (bits_at(in, end, &len) & TK_IS_LOWER)
        return run(in, end, TK_IS_LOWER);
    while (q > at) {
        size_t before = tk_char_before(in->text, q);

        if (bits_at(in, before, &len) & TK_IS_LOWER)
            return q;
        q = before;
    }
    return 0;
}

/* [UPPER]+[LOWER]* from AT on; 0: no match. */
static size_t capital_word(const input *in, size_t at)
{
    size_t end = run(in, at, TK_IS_UPPER);

    return end > at ? run(in, end, TK_IS_LOWER) : 0;
}

/* Letters by case from AT on, whose character has BITS and LEN bytes. */
static size_t word_by_case(const tk_scanner *p, const input *in, size_t at,
                           uint32_t bits, size_t len)
{
    const uint32_t inside = TK_IS_NEWLINE | TK_IS_LETTER | TK_IS_NUMBER;
    int lead = !(bits & inside);
    size_t end = lead ? small_word(in, at + len) : 0, more;

    if (!end)
        end = small_word(in, at);
    if (!end && lead)
        end = capital_word(in, at + len);
    if (!end)
        end = capital_word(in, at);
    if (!end || p->clitics != ANYCASE_LAST)
        return end;
    more = clitic(in, end, 1);
    return more ? more : end;
}

/* Letters, with the one character that may lead them; 0: no match. */
static size_t word(const tk_scanner *p, const input *in, size_t at,
                   uint32_t bits, size_t len)
{
    uint32_t letter = TK_IS_LETTER, next;
    size_t n;

    if (p->letters == BY_CASE)
        return word_by_case(p, in, at, bits, len);
    if (p->letters == WITH_MARKS)
        letter |= TK_IS_M;
    next = bits_at(in, at + len, &n);
    if (p->letters == WITH_SPACE) {
        if (bits & letter)
            return run(in, at + len, letter);
        return in->text[at] == ' ' && (next & letter)
                   ? run(in, at + len + n, letter)
                   : 0;
    }
    if (!(bits & (TK_IS_NEWLINE | TK_IS_LETTER | TK_IS_NUMBER)) &&
        (next & letter))
        return run(in, at + len + n, letter);
    return bits & letter ? run(in, at + len, letter) : 0;
}

static size_t digits(const tk_scanner *p, const input *in, size_t at,
                     uint32_t bits, size_t len)
{
    size_t n;

    if (p->letters == WITH_SPACE) {
        if (bits & TK_IS_NUMBER)
            return run(in, at + len, TK_IS_NUMBER);
        return in->text[at] == ' ' &&
                       (bits_at(in, at + len, &n) & TK_IS_NUMBER)
                   ? run(in, at + len + n, TK_IS_NUMBER)
                   : 0;
    }
    if (!(bits & TK_IS_NUMBER))
        return 0;
    at += len;
    for (int i = 1; !p->digits || i < p->digits; i++) {
        if (!(bits_at(in, at, &len) & TK_IS_NUMBER))
            break;
        at += len;
    }
    return at;
}

/* " ?" and what is neither white nor letter nor number; 0: no match. */
static size_t others(const tk_scanner *p, const input *in, size_t at,
                     uint32_t bits, size_t len)
{
    uint32_t not = TK_IS_WHITE | TK_IS_LETTER | TK_IS_NUMBER;
    size_t n, end;

    if (p->letters == WITH_MARKS)
        not |= TK_IS_M;
    if (bits & not) {
        if (in->text[at] != ' ' || at + len == in->len ||
            (bits_at(in, at + len, &n) & not))
            return 0;
        len += n;
    }
    end = run_without(in, at + len, not);
    while (p->newlines && end < in->len &&
           (in->text[end] == '\n' || in->text[end] == '\r' ||
            (p->newlines == 2 && in->text[end] == '/')))
        end++;
    return end;
}

size_t tk_scan(const tk_scanner *p, const char *text, size_t len, size_t at)
{
    const input in = { text, len };
    size_t n, end = 0;
    uint32_t bits = bits_at(&in, at, &n);

    if (p->clitics == PLAIN_FIRST || p->clitics == ANYCASE_FIRST)
        end = clitic(&in, at, p->clitics == ANYCASE_FIRST);
    if (!end)
        end = word(p, &in, at, bits, n);
    if (!end)
        end = digits(p, &in, at, bits, n);
    if (!end)
        end = others(p, &in, at, bits, n);
    return end ? end : white(p, &in, at);
}

/* SPDX-License-Identifier: MIT
 *
 * unicode.c -- UTF-8 and the few properties of characters that tokenizers ask
 * for; general categories come from utf8proc.
 */
#include <utf8proc.h>

#include "bpe.h"

int32_t bpe_char(const char *text, size_t *len)
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

size_t bpe_put_char(int32_t code, char *to)
{
    return (size_t)utf8proc_encode_char(code, (utf8proc_uint8_t *)to);
}

int bpe_is_white(int32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

int bpe_is_mark(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);

    return k >= UTF8PROC_CATEGORY_MN && k <= UTF8PROC_CATEGORY_ME;
}

int bpe_is_number(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);

    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

int bpe_is_punct(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);

    if (c < 0x80) /* ASCII counts its symbols too: $ + < = > ^ ` | ~ */
        return c > 0x20 && c < 0x7F &&
               !((c | 32) >= 'a' && (c | 32) <= 'z') && !(c >= '0' && c <= '9');
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

/* Alphabetic, M, Nd, Pc and the two joiners; the ranges are the symbols that
 * Unicode lists as alphabetic (circled and squared letters). */
int bpe_is_word(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);

    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NL) ||
           k == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D ||
           (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
           (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

int32_t bpe_lower(int32_t c)
{
    return utf8proc_tolower(c);
}

/* Table 3-7 of the Unicode standard: what may follow each first byte. */
size_t bpe_utf8_step(const char *text, size_t len, int *ok)
{
    const unsigned char *t = (const unsigned char *)text;
    unsigned char low = 0x80, high = 0xBF;
    size_t need, i;

    *ok = 1;
    if (t[0] < 0x80)
        return 1;
    *ok = 0;
    if (t[0] < 0xC2 || t[0] > 0xF4)
        return 1;
    need = t[0] < 0xE0 ? 2 : t[0] < 0xF0 ? 3 : 4;
    if (t[0] == 0xE0)
        low = 0xA0;
    else if (t[0] == 0xED)
        high = 0x9F;
    else if (t[0] == 0xF0)
        low = 0x90;
    else if (t[0] == 0xF4)
        high = 0x8F;
    for (i = 1; i < need && i < len && t[i] >= low && t[i] <= high; i++) {
        low = 0x80;
        high = 0xBF;
    }
    *ok = i == need;
    return i;
}

static int prints(int32_t c)
{
    return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) ||
           (c >= 0xAE && c <= 0xFF);
}

/* Bytes that do not print take the characters from U+0100 on, in order:
 * 0x00-0x20, 0x7F-0xA0, 0xAD. */
int32_t bpe_byte_char(unsigned char b)
{
    if (prints(b))
        return b;
    if (b <= 0x20)
        return 0x100 + b;
    return b == 0xAD ? 0x143 : 0x121 + (b - 0x7F);
}

int bpe_char_byte(int32_t c)
{
    if (c < 0x100)
        return prints(c) ? c : -1;
    if (c <= 0x120)
        return c - 0x100;
    if (c <= 0x142)
        return c - 0x121 + 0x7F;
    return c == 0x143 ? 0xAD : -1;
}

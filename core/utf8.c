/* SPDX-License-Identifier: MIT
 *
 * utf8.c -- text from outside made valid: each maximal subpart of broken
 * UTF-8 becomes one U+FFFD, as the Unicode standard recommends (chapter 3.9).
 */
#include "tokens.h"

#include <string.h>

/* Bytes of the character at T, or of the broken part there: then *OK is 0.
 * LOW and HIGH bound the second byte, as table 3-7 of the standard has it. */
static size_t step(const unsigned char *t, size_t left, int *ok)
{
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
    for (i = 1; i < need && i < left && t[i] >= low && t[i] <= high; i++) {
        low = 0x80;
        high = 0xBF;
    }
    *ok = i == need;
    return i;
}

/* Bytes of ASCII from T on, eight at a time. */
static size_t ascii_run(const unsigned char *t, size_t left)
{
    size_t i = 0;
    uint64_t eight;

    for (; i + 8 <= left; i += 8) {
        memcpy(&eight, t + i, 8);
        if (eight & 0x8080808080808080u)
            break;
    }
    while (i < left && t[i] < 0x80)
        i++;
    return i;
}

static size_t count_broken(const unsigned char *t, size_t bytes)
{
    size_t broken = 0;
    int ok;

    for (size_t i = 0; i < bytes;) {
        i += ascii_run(t + i, bytes - i);
        if (i == bytes)
            break;
        i += step(t + i, bytes - i, &ok);
        broken += !ok;
    }
    return broken;
}

const char *hone_utf8_repair(hone_arena *a, const char *text, size_t bytes,
                             size_t *out_bytes)
{
    const unsigned char *t = (const unsigned char *)text;
    size_t broken = count_broken(t, bytes);
    char *to, *out;
    int ok;

    *out_bytes = bytes;
    if (!broken)
        return text;
    out = to = hone_alloc(a, bytes + 3 * broken);
    for (size_t i = 0, n; i < bytes; i += n) {
        n = step(t + i, bytes - i, &ok);
        memcpy(out, ok ? text + i : "\xEF\xBF\xBD", ok ? n : 3);
        out += ok ? n : 3;
    }
    *out_bytes = (size_t)(out - to);
    return to;
}

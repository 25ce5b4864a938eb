/* SPDX-License-Identifier: MIT
 *
 * utf8.c -- text from outside made valid: each maximal subpart of broken
 * UTF-8 becomes one U+FFFD, as the Unicode standard recommends (chapter 3.9).
 */
#include "tokens.h"

#include <string.h>

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

static size_t count_broken(const char *text, size_t bytes)
{
    const unsigned char *t = (const unsigned char *)text;
    size_t broken = 0;
    int ok;

    for (size_t i = 0; i < bytes;) {
        i += ascii_run(t + i, bytes - i);
        if (i == bytes)
            break;
        i += hone_utf8_step(text + i, bytes - i, &ok);
        broken += !ok;
    }
    return broken;
}

const char *hone_utf8_repair(hone_arena *a, const char *text, size_t bytes,
                             size_t *out_bytes)
{
    size_t broken = count_broken(text, bytes);
    char *to, *out;
    int ok;

    *out_bytes = bytes;
    if (!broken)
        return text;
    out = to = hone_alloc(a, bytes + 3 * broken);
    for (size_t i = 0, n; i < bytes; i += n) {
        n = hone_utf8_step(text + i, bytes - i, &ok);
        memcpy(out, ok ? text + i : "\xEF\xBF\xBD", ok ? n : 3);
        out += ok ? n : 3;
    }
    *out_bytes = (size_t)(out - to);
    return to;
}

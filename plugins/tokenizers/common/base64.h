/* SPDX-License-Identifier: MIT
 *
 * base64.h -- base 64 without line breaks.
 */
#ifndef TK_BASE64_H
#define TK_BASE64_H

#include <string.h>

#include "memory.h"

/* TO has room for 3/4 of the text. 0: it is not base 64. */
static inline int tk_base64(tk_text t, char *to, size_t *n)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop"
                                  "qrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    int have = 0;

    *n = 0;
    while (t.len && t.at[t.len - 1] == '=')
        t.len--;
    for (size_t i = 0; i < t.len; i++) {
        const char *p = t.at[i] ? strchr(letters, t.at[i]) : NULL;

        if (!p)
            return 0;
        bits = bits << 6 | (uint32_t)(p - letters);
        have += 6;
        if (have >= 8) {
            have -= 8;
            to[(*n)++] = (char)(bits >> have & 0xFF);
        }
    }
    return 1;
}

#endif

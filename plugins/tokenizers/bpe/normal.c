/* SPDX-License-Identifier: MIT
 *
 * normal.c -- normalizers: text to text, in the order of the file.
 */
#include <string.h>
#include <utf8proc.h>

#include "bpe.h"

/* Every character below U+0300 (UTF-8: 0xCC 0x80) is composed already and
 * begins a sequence, so such a text is its own NFC. */
static int is_plain(bpe_text t, unsigned char below)
{
    for (size_t i = 0; i < t.len; i++)
        if ((unsigned char)t.at[i] >= below)
            return 0;
    return 1;
}

static bpe_text unicode_form(bpe_scratch *s, bpe_text t, int kind)
{
    int options = UTF8PROC_STABLE;
    utf8proc_ssize_t n;
    int32_t *codes;

    options |= kind == BPE_NFC || kind == BPE_NFKC ? UTF8PROC_COMPOSE
                                                   : UTF8PROC_DECOMPOSE;
    if (kind == BPE_NFKC || kind == BPE_NFKD)
        options |= UTF8PROC_COMPAT;
    if (is_plain(t, kind == BPE_NFC ? 0xCC : 0x80))
        return t;
    n = utf8proc_decompose((const utf8proc_uint8_t *)t.at,
                           (utf8proc_ssize_t)t.len, NULL, 0, options);
    if (n < 0)
        return t;
    /* The last step writes UTF-8 over the codes, and a NUL behind it. */
    codes = bpe_alloc(&s->arena, ((size_t)n + 1) * sizeof *codes);
    n = utf8proc_decompose((const utf8proc_uint8_t *)t.at,
                           (utf8proc_ssize_t)t.len, codes, n, options);
    n = utf8proc_reencode(codes, n, options);
    return n < 0 ? t : (bpe_text){ (const char *)codes, (size_t)n };
}

static bpe_text lowercase(bpe_scratch *s, bpe_text t)
{
    char *to = bpe_alloc(&s->arena, 3 * t.len + 1), *out = to;

    for (size_t i = 0, len; i < t.len; i += len) {
        int32_t c = bpe_char(t.at + i, &len);

        if (c == 0x130) { /* the one letter whose small form is two */
            memcpy(out, "i\xCC\x87", 3);
            out += 3;
        } else {
            out += bpe_put_char(bpe_lower(c), out);
        }
    }
    return (bpe_text){ to, (size_t)(out - to) };
}

static bpe_text strip_accents(bpe_scratch *s, bpe_text t)
{
    char *to = bpe_alloc(&s->arena, t.len), *out = to;

    for (size_t i = 0, len; i < t.len; i += len) {
        if (bpe_is_mark(bpe_char(t.at + i, &len)))
            continue;
        memcpy(out, t.at + i, len);
        out += len;
    }
    return (bpe_text){ to, (size_t)(out - to) };
}

static bpe_text strip(bpe_text t, int left, int right)
{
    size_t len;

    while (left && t.len && bpe_is_white(bpe_char(t.at, &len))) {
        t.at += len;
        t.len -= len;
    }
    while (right && t.len) {
        size_t i = t.len - 1;
        while (i && ((unsigned char)t.at[i] & 0xC0) == 0x80)
            i--;
        if (!bpe_is_white(bpe_char(t.at + i, &len)))
            break;
        t.len = i;
    }
    return t;
}

static bpe_text prepend(bpe_scratch *s, bpe_text t, bpe_text prefix)
{
    char *to;

    if (!t.len)
        return t;
    to = bpe_alloc(&s->arena, prefix.len + t.len);
    memcpy(to, prefix.at, prefix.len);
    memcpy(to + prefix.len, t.at, t.len);
    return (bpe_text){ to, prefix.len + t.len };
}

bpe_text bpe_normalize(bpe_scratch *s, bpe_text t)
{
    const bpe_steps *steps = &s->tok->normal;

    for (int i = 0; i < steps->count; i++) {
        const bpe_step *step = &steps->step[i];

        switch (step->kind) {
        case BPE_PREPEND:
            t = prepend(s, t, step->text);
            break;
        case BPE_REPLACE:
            t = bpe_replace(s, &step->pattern, t, step->text);
            break;
        case BPE_LOWERCASE:
            t = lowercase(s, t);
            break;
        case BPE_STRIP:
            t = strip(t, step->left != 0, step->right != 0);
            break;
        case BPE_STRIP_ACCENTS:
            t = strip_accents(s, t);
            break;
        default:
            t = unicode_form(s, t, step->kind);
        }
    }
    return t;
}

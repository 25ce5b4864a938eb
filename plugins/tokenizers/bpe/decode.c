/* SPDX-License-Identifier: MIT
 *
 * decode.c -- ids to text: the pieces as a list of texts that each decoder
 * changes in turn, in the order of the file.
 */
#include <string.h>

#include "bpe.h"

typedef struct {
    bpe_text *text;
    size_t n;
} texts;

static size_t total(const texts *t)
{
    size_t bytes = 0;

    for (size_t i = 0; i < t->n; i++)
        bytes += t->text[i].len;
    return bytes;
}

static bpe_text join(bpe_scratch *s, const texts *t, const char *gap)
{
    size_t step = strlen(gap);
    char *to = bpe_alloc(&s->arena, total(t) + t->n * step), *out = to;

    for (size_t i = 0; i < t->n; i++) {
        memcpy(out, gap, i ? step : 0);
        out += i ? step : 0;
        memcpy(out, t->text[i].at, t->text[i].len);
        out += t->text[i].len;
    }
    return (bpe_text){ to, (size_t)(out - to) };
}

static void fuse(bpe_scratch *s, texts *t, bpe_text all)
{
    t->text = bpe_alloc(&s->arena, sizeof *t->text);
    t->text[0] = all;
    t->n = 1;
}

/* Each broken part of UTF-8 becomes U+FFFD. */
static bpe_text repaired(bpe_scratch *s, bpe_text t)
{
    size_t broken = 0, step;
    char *to, *out;
    int ok;

    for (size_t i = 0; i < t.len; i += step) {
        step = bpe_utf8_step(t.at + i, t.len - i, &ok);
        broken += !ok;
    }
    if (!broken)
        return t;
    out = to = bpe_alloc(&s->arena, t.len + 3 * broken);
    for (size_t i = 0; i < t.len; i += step) {
        step = bpe_utf8_step(t.at + i, t.len - i, &ok);
        memcpy(out, ok ? t.at + i : "\xEF\xBF\xBD", ok ? step : 3);
        out += ok ? step : 3;
    }
    return (bpe_text){ to, (size_t)(out - to) };
}

/* A piece in GPT-2's alphabet gives its bytes, another one stays as it is. */
static size_t piece_bytes(bpe_text t, char *to)
{
    size_t n = 0;

    for (size_t i = 0, len; i < t.len; i += len) {
        int byte = bpe_char_byte(bpe_char(t.at + i, &len));
        if (byte < 0) {
            memcpy(to, t.at, t.len);
            return t.len;
        }
        to[n++] = (char)byte;
    }
    return n;
}

static void byte_level(bpe_scratch *s, texts *t)
{
    char *to = bpe_alloc(&s->arena, total(t));
    size_t n = 0;

    for (size_t i = 0; i < t->n; i++)
        n += piece_bytes(t->text[i], to + n);
    fuse(s, t, repaired(s, (bpe_text){ to, n }));
}

static void metaspace(bpe_scratch *s, texts *t, const bpe_step *step)
{
    const bpe_pattern mark = { .literal = step->text };

    for (size_t i = 0; i < t->n; i++) {
        int gone = i == 0 && step->scheme != BPE_NEVER;
        t->text[i] = bpe_replace(s, &mark, t->text[i],
                                 (bpe_text){ " ", gone ? 0 : 1 });
    }
}

/* "<0xE2>" is the byte 0xE2; -1: an ordinary piece. */
static int fallback_byte(bpe_text t)
{
    int value = 0;

    if (t.len != 6 || memcmp(t.at, "<0x", 3) != 0 || t.at[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        char c = t.at[i];

        if (c >= '0' && c <= '9')
            value = 16 * value + c - '0';
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            value = 16 * value + (c | 32) - 'a' + 10;
        else
            return -1;
    }
    return value;
}

/* A run of bytes is a text if it is valid UTF-8 as a whole; else each of its
 * bytes becomes U+FFFD. */
static void close_run(texts *out, const char *run, size_t n)
{
    int ok = 1;

    for (size_t i = 0; ok && i < n;)
        i += bpe_utf8_step(run + i, n - i, &ok);
    if (n && ok)
        out->text[out->n++] = (bpe_text){ run, n };
    for (size_t i = 0; !ok && i < n; i++)
        out->text[out->n++] = (bpe_text){ "\xEF\xBF\xBD", 3 };
}

static void byte_fallback(bpe_scratch *s, texts *t)
{
    texts out = { bpe_alloc(&s->arena, (t->n + 1) * sizeof *out.text), 0 };
    char *bytes = bpe_alloc(&s->arena, t->n);
    size_t run = 0, n = 0;

    for (size_t i = 0; i < t->n; i++) {
        int byte = fallback_byte(t->text[i]);

        if (byte >= 0) {
            bytes[n++] = (char)byte;
            continue;
        }
        close_run(&out, bytes + run, n - run);
        run = n;
        out.text[out.n++] = t->text[i];
    }
    close_run(&out, bytes + run, n - run);
    *t = out;
}

static bpe_text strip(bpe_text t, const bpe_step *step)
{
    bpe_text c = step->text;

    for (int64_t i = 0; i < step->left && t.len >= c.len; i++) {
        if (memcmp(t.at, c.at, c.len) != 0)
            break;
        t.at += c.len;
        t.len -= c.len;
    }
    for (int64_t i = 0; i < step->right && t.len >= c.len; i++) {
        if (memcmp(t.at + t.len - c.len, c.at, c.len) != 0)
            break;
        t.len -= c.len;
    }
    return t;
}

static void apply(bpe_scratch *s, texts *t, const bpe_step *step)
{
    switch (step->kind) {
    case BPE_DEC_BYTE_LEVEL:
        byte_level(s, t);
        break;
    case BPE_DEC_METASPACE:
        metaspace(s, t, step);
        break;
    case BPE_DEC_REPLACE:
        for (size_t i = 0; i < t->n; i++)
            t->text[i] = bpe_replace(s, &step->pattern, t->text[i], step->text);
        break;
    case BPE_DEC_BYTE_FALLBACK:
        byte_fallback(s, t);
        break;
    case BPE_DEC_FUSE:
        fuse(s, t, join(s, t, ""));
        break;
    default:
        for (size_t i = 0; i < t->n; i++)
            t->text[i] = strip(t->text[i], step);
    }
}

bpe_text bpe_decode_ids(bpe_scratch *s, const int32_t *ids, int64_t n,
                        uint32_t flags)
{
    const bpe_tok *tok = s->tok;
    texts t = { bpe_alloc(&s->arena, (size_t)n * sizeof *t.text), 0 };

    for (int64_t i = 0; i < n; i++) {
        const bpe_piece *p;

        if (ids[i] < 0 || ids[i] >= tok->vocab)
            continue;
        p = &tok->piece[ids[i]];
        if (p->text.at &&
            !((flags & HONE_SKIP_SPECIALS) && (p->flags & BPE_SPECIAL)))
            t.text[t.n++] = p->text;
    }
    for (int i = 0; i < tok->decode.count; i++)
        apply(s, &t, &tok->decode.step[i]);
    return join(s, &t, tok->decode.count ? "" : " ");
}

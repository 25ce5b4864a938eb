/* SPDX-License-Identifier: MIT
 *
 * decode.c -- ids to text: the pieces as a list of texts that each decoder
 * changes in turn, in the order of the file.
 */
#include "tok.h"

typedef struct {
    tk_text *text;
    size_t n;
} texts;

static size_t total(const texts *t)
{
    size_t bytes = 0;

    for (size_t i = 0; i < t->n; i++)
        bytes += t->text[i].len;
    return bytes;
}

static tk_text join(tk_scratch *s, const texts *t, const char *gap)
{
    size_t step = strlen(gap);
    char *to = tk_alloc(&s->arena, total(t) + t->n * step), *out = to;

    for (size_t i = 0; i < t->n; i++) {
        memcpy(out, gap, i ? step : 0);
        out += i ? step : 0;
        memcpy(out, t->text[i].at, t->text[i].len);
        out += t->text[i].len;
    }
    return (tk_text){ to, (size_t)(out - to) };
}

static void fuse(tk_scratch *s, texts *t, tk_text all)
{
    t->text = tk_alloc(&s->arena, sizeof *t->text);
    t->text[0] = all;
    t->n = 1;
}

/* Each broken part of UTF-8 becomes U+FFFD. */
tk_text tk_repaired(tk_scratch *s, tk_text t)
{
    size_t broken = 0, step;
    char *to, *out;
    int ok;

    for (size_t i = 0; i < t.len; i += step) {
        step = hone_utf8_step(t.at + i, t.len - i, &ok);
        broken += !ok;
    }
    if (!broken)
        return t;
    out = to = tk_alloc(&s->arena, t.len + 3 * broken);
    for (size_t i = 0; i < t.len; i += step) {
        step = hone_utf8_step(t.at + i, t.len - i, &ok);
        memcpy(out, ok ? t.at + i : "\xEF\xBF\xBD", ok ? step : 3);
        out += ok ? step : 3;
    }
    return (tk_text){ to, (size_t)(out - to) };
}

/* A piece in GPT-2's alphabet gives its bytes, another one stays as it is. */
static size_t piece_bytes(tk_text t, char *to)
{
    size_t n = 0;

    for (size_t i = 0, len; i < t.len; i += len) {
        int byte = tk_char_byte(tk_char(t.at + i, &len));
        if (byte < 0) {
            memcpy(to, t.at, t.len);
            return t.len;
        }
        to[n++] = (char)byte;
    }
    return n;
}

static void byte_level(tk_scratch *s, texts *t)
{
    char *to = tk_alloc(&s->arena, total(t));
    size_t n = 0;

    for (size_t i = 0; i < t->n; i++)
        n += piece_bytes(t->text[i], to + n);
    fuse(s, t, tk_repaired(s, (tk_text){ to, n }));
}

static void metaspace(tk_scratch *s, texts *t, const tk_step *step)
{
    const tk_pattern mark = { .literal = step->text };

    for (size_t i = 0; i < t->n; i++) {
        int gone = i == 0 && step->scheme != TK_NEVER;
        t->text[i] = tk_replace(s, &mark, t->text[i],
                                 (tk_text){ " ", gone ? 0 : 1 });
    }
}

/* "<0xE2>" is the byte 0xE2; -1: an ordinary piece. */
static int fallback_byte(tk_text t)
{
    int value = 0;

    if (t.len != 6 || memcmp(t.at, "<0x", 3) != 0 || t.at[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        char c = t.at[i];

        if (i == 3 && c == '+')
            continue; /* the library's reader of numbers takes it */
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
        i += hone_utf8_step(run + i, n - i, &ok);
    if (n && ok)
        out->text[out->n++] = (tk_text){ run, n };
    for (size_t i = 0; !ok && i < n; i++)
        out->text[out->n++] = (tk_text){ "\xEF\xBF\xBD", 3 };
}

static void byte_fallback(tk_scratch *s, texts *t)
{
    texts out = { tk_alloc(&s->arena, (t->n + 1) * sizeof *out.text), 0 };
    char *bytes = tk_alloc(&s->arena, t->n);
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

/* TEXT with FROM replaced by TO, everywhere. */
static tk_text with(tk_scratch *s, tk_text t, const char *from, const char *to)
{
    const tk_pattern p = { .literal = { from, strlen(from) } };

    return p.literal.len ? tk_replace(s, &p, t, (tk_text){ to, strlen(to) })
                         : t;
}

/* English without the spaces that cutting at punctuation brought. */
static tk_text clean_up(tk_scratch *s, tk_text t)
{
    static const char *const changes[][2] = {
        { " .", "." },       { " ?", "?" },     { " !", "!" },
        { " ,", "," },       { " ' ", "'" },    { " n't", "n't" },
        { " 'm", "'m" },     { " do not", " don't" }, { " 's", "'s" },
        { " 've", "'ve" },   { " 're", "'re" }
    };

    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        t = with(s, t, changes[i][0], changes[i][1]);
    return t;
}

static void wordpiece(tk_scratch *s, texts *t, const tk_step *step)
{
    tk_text prefix = step->text;

    for (size_t i = 0; i < t->n; i++) {
        tk_text p = t->text[i];
        char *to;

        if (i > 0 && p.len >= prefix.len &&
            !memcmp(p.at, prefix.at, prefix.len)) {
            p.at += prefix.len;
            p.len -= prefix.len;
        } else if (i > 0) {
            to = tk_alloc(&s->arena, p.len + 1);
            to[0] = ' ';
            memcpy(to + 1, p.at, p.len);
            p = (tk_text){ to, p.len + 1 };
        }
        t->text[i] = step->clean ? clean_up(s, p) : p;
    }
}

/* The suffix is a space, but at the end. An empty one stands between all
 * characters. */
static void bpe_suffix(tk_scratch *s, texts *t, const tk_step *step)
{
    const tk_pattern p = { .literal = step->text };

    for (size_t i = 0; i < t->n; i++) {
        int last = i + 1 == t->n;
        tk_text *piece = &t->text[i];
        char *to, *out;

        if (p.literal.len) {
            *piece = tk_replace(s, &p, *piece, (tk_text){ " ", !last });
        } else if (!last) {
            out = to = tk_alloc(&s->arena, 2 * piece->len + 1);
            *out++ = ' ';
            for (size_t k = 0, len; k < piece->len; k += len) {
                tk_char(piece->at + k, &len);
                memcpy(out, piece->at + k, len);
                out += len;
                *out++ = ' ';
            }
            *piece = (tk_text){ to, (size_t)(out - to) };
        }
    }
}

static int same(tk_text a, tk_text b)
{
    return a.len == b.len && !memcmp(a.at, b.at, a.len);
}

/* Repeated pieces count once, padding not at all. */
static void ctc(tk_scratch *s, texts *t, const tk_step *step)
{
    tk_text last = { NULL, 0 };
    size_t n = 0;

    for (size_t i = 0; i < t->n; i++) {
        tk_text p = t->text[i];

        if (last.at && same(p, last))
            continue;
        last = p;
        p = with(s, p, step->text.at, "");
        if (step->clean)
            p = with(s, clean_up(s, p), step->more.at, " ");
        if (p.len)
            t->text[n++] = p;
    }
    t->n = n;
}

static tk_text strip(tk_text t, const tk_step *step)
{
    tk_text c = step->text;

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

static void apply(tk_scratch *s, texts *t, const tk_step *step)
{
    switch (step->kind) {
    case TK_DEC_BYTE_LEVEL:
        byte_level(s, t);
        break;
    case TK_DEC_METASPACE:
        metaspace(s, t, step);
        break;
    case TK_DEC_REPLACE:
        for (size_t i = 0; i < t->n; i++)
            t->text[i] = tk_replace(s, &step->pattern, t->text[i], step->text);
        break;
    case TK_DEC_BYTE_FALLBACK:
        byte_fallback(s, t);
        break;
    case TK_DEC_FUSE:
        fuse(s, t, join(s, t, ""));
        break;
    case TK_DEC_WORDPIECE:
        wordpiece(s, t, step);
        break;
    case TK_DEC_BPE:
        bpe_suffix(s, t, step);
        break;
    case TK_DEC_CTC:
        ctc(s, t, step);
        break;
    default:
        for (size_t i = 0; i < t->n; i++)
            t->text[i] = strip(t->text[i], step);
    }
}

tk_text tk_decode_ids(tk_scratch *s, const int32_t *ids, int64_t n,
                        uint32_t flags)
{
    const tk_tok *tok = s->tok;
    texts t = { tk_alloc(&s->arena, (size_t)n * sizeof *t.text), 0 };

    for (int64_t i = 0; i < n; i++) {
        const tk_piece *p;

        if (ids[i] < 0 || ids[i] >= tok->highest)
            continue;
        p = &tok->piece[ids[i]];
        if (p->text.at &&
            !((flags & HONE_SKIP_SPECIALS) && (p->flags & TK_SKIPPED)))
            t.text[t.n++] = p->text;
    }
    for (int i = 0; i < tok->decode.count; i++)
        apply(s, &t, &tok->decode.step[i]);
    return join(s, &t, tok->decode.count ? "" : " ");
}

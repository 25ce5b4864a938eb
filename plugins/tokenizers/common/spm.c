/* SPDX-License-Identifier: MIT
 *
 * spm.c -- encoding and decoding as the library sentencepiece (0.2.3) does it.
 * Sums of scores are made in single precision, so equal sums end the same.
 */
#include <math.h>
#include <stdlib.h>

#include "spm.h"

/* ------------------------------------------------------------- unigram */

#define FAR 100000.0f /* a sum of scores beyond this, or -FAR, is rebased */

typedef struct {
    float score;
    uint32_t start; /* where its last piece begins; its end: none yet */
    int32_t id;
} way;

/* The score of a way that is none is no number: whatever comes is better. */
static void offer(way *to, float score, size_t start, int32_t id)
{
    if (!(score <= to->score))
        *to = (way){ score, (uint32_t)start, id };
}

/* All pieces that begin at AT. */
static void offer_pieces(const tk_spm *m, tk_text t, way *best, size_t at,
                         size_t len)
{
    const tk_trie trie = m->trie;
    float here = best[at].score;
    uint32_t node = TK_ROOT;
    int single = 0;

    for (size_t end = at; end < t.len;) {
        const tk_node *n;

        node = tk_trie_step(&trie, node, (unsigned char)t.at[end++]);
        if (node == TK_ROOT)
            break;
        n = &trie.node[node];
        if (n->id < 0)
            continue;
        offer(&best[end], n->score + here, at, n->id);
        single |= end == at + len;
    }
    if (!single)
        offer(&best[at + len], m->unk_score + here, at, m->unk);
}

static void emit_bytes(tk_scratch *s, const tk_spm *m, tk_text t)
{
    for (size_t i = 0; i < t.len; i++)
        tk_emit(s, m->bpe.fallback[(unsigned char)t.at[i]]);
}

/* Long texts start again from zero now and then: far from it single precision
 * could not tell ways apart. */
static void rebase(const tk_spm *m, tk_text t, way *best, size_t at)
{
    float base = best[at].score;

    for (size_t i = at; i <= t.len && i <= at + m->longest; i++)
        if (best[i].start != i)
            best[i].score -= base;
}

static void unigram(tk_scratch *s, const tk_spm *m, tk_text t)
{
    way *best;
    uint32_t *ends;
    size_t n = 0, at, len;
    int unknown_before = 0;

    tk_room(&s->room[0], &s->room_cap[0], t.len + 1, sizeof *best, 0);
    tk_room(&s->room[1], &s->room_cap[1], t.len + 1, sizeof *ends, 0);
    best = s->room[0];
    ends = s->room[1];
    best[0] = (way){ 0, 0, -1 };
    for (size_t i = 1; i <= t.len; i++)
        best[i] = (way){ NAN, (uint32_t)i, -1 };
    for (at = 0; at < t.len; at += len) {
        tk_char(t.at + at, &len);
        if (best[at].score < -FAR || best[at].score > FAR)
            rebase(m, t, best, at);
        offer_pieces(m, t, best, at, len);
    }
    for (at = t.len; at > 0; at = best[at].start)
        ends[n++] = (uint32_t)at;
    while (n > 0) {
        uint32_t end = ends[--n], start = best[end].start;
        int unknown = best[end].id == m->unk;

        if (unknown && m->byte_fallback)
            emit_bytes(s, m, (tk_text){ t.at + start, end - start });
        else if (!unknown || !unknown_before)
            tk_emit(s, best[end].id);
        unknown_before = unknown;
    }
}

/* ----------------------------------------------------------------- text */

void tk_spm_text(tk_scratch *s, tk_text t)
{
    const tk_spm *m = s->tok->model.self;

    t = tk_spm_normalize(s, m, t);
    if (!t.len)
        return;
    if (!m->is_bpe)
        unigram(s, m, t);
    else if (m->bpe.joints)
        tk_bpe_cut(s, t, tk_bpe_merge_word);
    else
        tk_bpe_merge_word(s, t);
}

/* ------------------------------------------------------------- decoding */

typedef struct {
    char *at;
    size_t used;
} output;

static void put(output *out, tk_text t)
{
    memcpy(out->at + out->used, t.at, t.len);
    out->used += t.len;
}

/* The piece with spaces for U+2581. */
static void put_spaced(output *out, tk_text t)
{
    for (size_t i = 0; i < t.len; i++) {
        if (t.len - i >= 3 && !memcmp(t.at + i, "\xE2\x96\x81", 3)) {
            out->at[out->used++] = ' ';
            i += 2;
        } else {
            out->at[out->used++] = t.at[i];
        }
    }
}

/* A byte that is not part of a character is a U+FFFD. */
static void put_bytes(output *out, const char *bytes, size_t n)
{
    size_t step;
    int ok;

    for (size_t i = 0; i < n; i += ok ? step : 1) {
        step = hone_utf8_step(bytes + i, n - i, &ok);
        put(out, ok ? (tk_text){ bytes + i, step }
                    : (tk_text){ "\xEF\xBF\xBD", 3 });
    }
}

/* Most bytes that the ids can become. */
static size_t most_bytes(const tk_tok *tok, const tk_spm *m, const int32_t *ids,
                         int64_t n)
{
    size_t bytes = 16;

    for (int64_t i = 0; i < n; i++)
        if (ids[i] >= 0 && ids[i] < tok->highest)
            bytes += tok->piece[ids[i]].text.len + m->unk_surface.len + 3;
    return bytes;
}

typedef struct {
    const tk_tok *tok;
    const tk_spm *m;
    output out;
    uint32_t flags;
    int at_start, mark_seen; /* a leading U+2581 is the dummy prefix */
} decoder;

static void decode_piece(decoder *d, int32_t id)
{
    const tk_spm *m = d->m;
    const tk_piece *p = &d->tok->piece[id];
    tk_text t = p->text;
    int has_mark = 0;

    if (id >= m->count || m->piece[id].type == TK_SP_CONTROL) {
        d->mark_seen = 0;
        if (id >= m->count && !(d->flags & HONE_SKIP_SPECIALS &&
                                p->flags & TK_SPECIAL))
            put(&d->out, t);
        return;
    }
    if (id == m->unk) {
        d->mark_seen = 0;
        put(&d->out, m->unk_surface);
        return;
    }
    if (d->at_start && (m->dummy_prefix || m->remove_extra) && t.len >= 3 &&
        !memcmp(t.at, "\xE2\x96\x81", 3)) {
        t.at += 3;
        t.len -= 3;
        has_mark = !m->remove_extra;
    }
    d->mark_seen = has_mark;
    put_spaced(&d->out, t);
}

tk_text tk_spm_decode(tk_scratch *s, const int32_t *ids, int64_t n,
                      uint32_t flags)
{
    const tk_spm *m = s->tok->model.self;
    decoder d = { .tok = s->tok, .m = m, .flags = flags, .at_start = 1 };
    char *bytes = tk_alloc(&s->arena, (size_t)n + 1);
    size_t run = 0;

    d.out.at = tk_alloc(&s->arena, most_bytes(s->tok, m, ids, n));
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= s->tok->highest ||
            !s->tok->piece[ids[i]].text.at)
            continue;
        if (ids[i] < m->count && m->piece[ids[i]].type == TK_SP_BYTE) {
            char text[3] = { m->piece[ids[i]].text.at[3],
                             m->piece[ids[i]].text.at[4], 0 };
            bytes[run++] = (char)strtol(text, NULL, 16);
            continue;
        }
        put_bytes(&d.out, bytes, run);
        run = 0;
        if (d.mark_seen || d.out.used)
            d.at_start = 0;
        decode_piece(&d, ids[i]);
    }
    put_bytes(&d.out, bytes, run);
    return (tk_text){ d.out.at, d.out.used };
}

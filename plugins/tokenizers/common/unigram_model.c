/* SPDX-License-Identifier: MIT
 *
 * unigram_model.c -- Unigram (Kudo, 2018, arXiv:1804.10959): of all ways to
 * cut a text into pieces the one with the highest sum of scores, by Viterbi's
 * algorithm. Sums are made in double precision from the left, and a later way
 * wins only if it is better, as in the library: so equal sums end the same.
 */
#include <stdlib.h>

#include "models.h"
#include "trie.h"

#define UNKNOWN_PENALTY 10.0 /* below the lowest score of all pieces */

typedef struct {
    tk_trie trie;
    double *score; /* [pieces] */
    double unk_score;
    int32_t unk, fallback[256];
    int byte_fallback;
} unigram;

/* The best way to what ends here. */
typedef struct {
    double score;
    uint32_t start; /* where its last piece begins; itself: none yet */
    int32_t id;
} way;

static void offer(way *to, double score, size_t start, size_t end, int32_t id)
{
    if (to->start == end || score > to->score)
        *to = (way){ score, (uint32_t)start, id };
}

static void find_ways(const unigram *m, tk_text t, way *best)
{
    size_t len;

    best[0] = (way){ 0, 0, -1 };
    for (size_t i = 1; i <= t.len; i++)
        best[i] = (way){ 0, (uint32_t)i, -1 };
    for (size_t at = 0; at < t.len; at += len) {
        double here = best[at].score;
        uint32_t node = TK_ROOT;
        int single = 0;

        tk_char(t.at + at, &len);
        for (size_t end = at; end < t.len;) {
            int32_t id;

            node = tk_trie_step(&m->trie, node, (unsigned char)t.at[end++]);
            if (node == TK_ROOT)
                break;
            id = m->trie.node[node].id;
            if (id < 0)
                continue;
            offer(&best[end], m->score[id] + here, at, end, id);
            single |= end == at + len;
        }
        if (!single)
            offer(&best[at + len], m->unk_score + here, at, at + len, m->unk);
    }
}

/* A run of unknown characters is one token, or the bytes of it. */
static void emit_unknown(tk_scratch *s, const unigram *m, tk_text t)
{
    int32_t id = tk_table_find(&s->tok->vocab, t.at, t.len);
    size_t i = 0;

    while (m->byte_fallback && id < 0 && i < t.len &&
           m->fallback[(unsigned char)t.at[i]] >= 0)
        i++;
    if (id >= 0 || i < t.len || !m->byte_fallback) {
        tk_emit(s, id >= 0 ? id : m->unk);
        return;
    }
    for (i = 0; i < t.len; i++)
        tk_emit(s, m->fallback[(unsigned char)t.at[i]]);
}

static void word(tk_scratch *s, tk_text t)
{
    const unigram *m = s->tok->model.self;
    way *best;
    uint32_t *ends;
    size_t n = 0, at;

    tk_room(&s->room[0], &s->room_cap[0], t.len + 1, sizeof *best, 0);
    tk_room(&s->room[1], &s->room_cap[1], t.len + 1, sizeof *ends, 0);
    best = s->room[0];
    ends = s->room[1];
    find_ways(m, t, best);
    for (at = t.len; at > 0; at = best[at].start)
        ends[n++] = (uint32_t)at;
    while (n > 0) {
        uint32_t end = ends[--n], start = (uint32_t)at;

        if (best[end].id != m->unk) {
            tk_emit(s, best[end].id);
        } else {
            while (n > 0 && best[ends[n - 1]].id == m->unk)
                end = ends[--n];
            emit_unknown(s, m, (tk_text){ t.at + start, end - start });
        }
        at = end;
    }
}

static void close_model(void *self)
{
    free(((unigram *)self)->trie.node);
}

static hone_status read_piece(const tk_json *item, uint32_t i, tk_text *piece,
                              double *score, hone_err *err)
{
    const tk_json *text = tk_json_at(item, 0), *v = tk_json_at(item, 1);

    if (tk_json_count(item) != 2 || !tk_json_is(text, TK_STRING) ||
        !(tk_json_is(v, TK_REAL) || tk_json_is(v, TK_INTEGER)))
        return hone_fail(err, HONE_EINVAL,
                         "model: vocab: entry %u must be [piece, score]", i);
    *piece = tk_json_text(text);
    *score = v->type == TK_REAL ? v->u.real : (double)v->u.integer;
    return HONE_OK;
}

/* Ids are places in the list; a piece named twice has the later one. */
static hone_status read_vocab(tk_tok *tok, unigram *m, const tk_json *vocab,
                              hone_err *err)
{
    uint32_t n = tk_json_count(vocab);
    double lowest = 0;

    if (!tk_json_is(vocab, TK_LIST) || n >= TK_MAX_ID)
        return hone_fail(err, HONE_EINVAL,
                         "model: 'vocab' must be a list of fewer than %d "
                         "[piece, score]", TK_MAX_ID);
    tk_table_make(&tok->vocab, &tok->arena, n);
    m->score = tk_alloc(&tok->arena, n * sizeof *m->score);
    tok->piece = tk_zeroed(&tok->arena, (n + 1) * sizeof *tok->piece);
    for (uint32_t i = 0; i < n; i++) {
        tk_text piece;

        hone_try(read_piece(tk_json_at(vocab, i), i + 1, &piece, &m->score[i],
                            err));
        if (piece.len > TK_LONGEST_PIECE)
            return hone_fail(err, HONE_ENOSUP,
                             "model: vocab: entry %u has more than %d bytes",
                             i + 1, TK_LONGEST_PIECE);
        piece = tk_keep(&tok->arena, piece.at, piece.len);
        tk_table_put(&tok->vocab, piece, (int32_t)i);
        tok->piece[i].text = piece;
        if (i == 0 || m->score[i] < lowest)
            lowest = m->score[i];
    }
    tok->highest = tok->vocab_size = (int32_t)n;
    m->unk_score = lowest - UNKNOWN_PENALTY;
    return HONE_OK;
}

static void make_trie(const tk_tok *tok, unigram *m)
{
    const tk_table *v = &tok->vocab;
    tk_trie_key *key = malloc((v->count + 1) * sizeof *key);
    char text[8];
    size_t n = 0;

    if (!key)
        abort();
    for (size_t i = 0; i <= v->mask; i++)
        if (v->slot[i].id >= 0 && v->slot[i].key.len)
            key[n++] = (tk_trie_key){ v->slot[i].key, v->slot[i].id };
    tk_trie_make(&m->trie, key, n);
    free(key);
    for (int b = 0; b < 256; b++) {
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        m->fallback[b] = tk_table_find(v, text, 6);
    }
}

hone_status tk_unigram_read(tk_tok *tok, const tk_json *model, hone_err *err)
{
    const tk_json *unk = tk_json_get(model, "unk_id");
    unigram *m = tk_zeroed(&tok->arena, sizeof *m);

    hone_try(tk_get_flag(model, "byte_fallback", 0, &m->byte_fallback, "model",
                         err));
    hone_try(read_vocab(tok, m, tk_json_get(model, "vocab"), err));
    if (!tk_json_is(unk, TK_INTEGER) || unk->u.integer < 0 ||
        unk->u.integer >= tok->vocab_size)
        return hone_fail(err, HONE_EINVAL,
                         "model: 'unk_id' must be the place of a piece in the "
                         "vocabulary: any character may be unknown");
    m->unk = (int32_t)unk->u.integer;
    make_trie(tok, m);
    tok->model = (tk_model){ word, 1, m, close_model };
    return HONE_OK;
}

/* SPDX-License-Identifier: MIT
 *
 * spm_read.c -- reads sentencepiece's .model file: a protocol buffer of
 * pieces, with the settings of training and of normalization. What the library
 * refuses is refused here. The file may hold anything.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "protobuf.h"
#include "spm.h"

enum { UNIGRAM = 1, BPE = 2, LONGEST = 1024 /* halved in every way */ };

typedef struct {
    tk_tok *tok;
    tk_spm *m;
    tk_text trainer, normalizer;
    int model_type, denormalizes;
    hone_err *err;
} reader;

static hone_status broken(reader *r, const char *what)
{
    return hone_fail(r->err, HONE_EINVAL, "not a sentencepiece model: %s",
                     what);
}

/* ---------------------------------------------------------- the messages */

static hone_status read_piece(reader *r, tk_text bytes)
{
    tk_proto p = tk_proto_of(bytes);
    tk_sp_piece *to = &r->m->piece[r->m->count];

    *to = (tk_sp_piece){ { NULL, 0 }, 0, TK_SP_NORMAL };
    while (tk_proto_next(&p)) {
        if (p.number == 1 && p.wire == 2)
            to->text = p.bytes;
        else if (p.number == 2 && p.wire == 5)
            to->score = tk_proto_float(&p);
        else if (p.number == 3 && p.wire == 0)
            to->type = p.value <= TK_SP_BYTE ? (int)p.value : 0;
    }
    if (p.broken || !to->text.len || !to->type)
        return broken(r, "a piece is damaged or empty");
    if (to->text.len > LONGEST)
        return hone_fail(r->err, HONE_ENOSUP,
                         "sentencepiece: a piece of more than %d bytes",
                         LONGEST);
    for (size_t i = 0, n; i < to->text.len; i += n) {
        int ok;
        n = hone_utf8_step(to->text.at + i, to->text.len - i, &ok);
        if (!ok)
            return broken(r, "a piece is not UTF-8");
    }
    to->text = tk_keep(&r->tok->arena, to->text.at, to->text.len);
    r->m->count++;
    return HONE_OK;
}

static hone_status read_trainer(reader *r)
{
    tk_proto p = tk_proto_of(r->trainer);

    r->model_type = UNIGRAM;
    r->m->unk_surface = (tk_text){ " \xE2\x81\x87 ", 5 };
    while (tk_proto_next(&p)) {
        if (p.number == 3 && p.wire == 0)
            r->model_type = p.value < 100 ? (int)p.value : 100;
        else if (p.number == 24 && p.wire == 0)
            r->m->as_suffix = p.value != 0;
        else if (p.number == 35 && p.wire == 0)
            r->m->byte_fallback = p.value != 0;
        else if (p.number == 44 && p.wire == 2)
            r->m->unk_surface =
                tk_keep(&r->tok->arena, p.bytes.at, p.bytes.len);
    }
    if (p.broken)
        return broken(r, "its settings of training are damaged");
    if (r->model_type != UNIGRAM && r->model_type != BPE)
        return hone_fail(r->err, HONE_ENOSUP,
                         "sentencepiece: model type %d is not supported, only "
                         "unigram (1) and BPE (2) are", r->model_type);
    r->m->is_bpe = r->model_type == BPE;
    return HONE_OK;
}

static hone_status read_normalizer(reader *r)
{
    tk_proto p = tk_proto_of(r->normalizer);
    tk_text map = { NULL, 0 };
    tk_spm *m = r->m;

    m->dummy_prefix = m->remove_extra = m->escape = 1;
    while (tk_proto_next(&p)) {
        if (p.number == 2 && p.wire == 2)
            map = p.bytes;
        else if (p.number == 3 && p.wire == 0)
            m->dummy_prefix = p.value != 0;
        else if (p.number == 4 && p.wire == 0)
            m->remove_extra = p.value != 0;
        else if (p.number == 5 && p.wire == 0)
            m->escape = p.value != 0;
    }
    if (p.broken)
        return broken(r, "its settings of normalization are damaged");
    if (map.len)
        hone_try(tk_charsmap_read(&r->tok->arena, &m->map, map,
                                  "sentencepiece", r->err));
    for (int c = 0; c < 128; c++) {
        char two[2] = { (char)c, 0 };
        size_t used;

        m->plain[c] = 1;
        for (int d = 0; d < 128 && m->plain[c]; d++) {
            two[1] = (char)d;
            if (tk_charsmap_find(&m->map, (tk_text){ two, 2 }, 1, &used).at)
                m->plain[c] = 0;
        }
    }
    return HONE_OK;
}

/* ------------------------------------------------------ what pieces mean */

static int is_piece(const tk_sp_piece *p)
{
    return p->type == TK_SP_NORMAL || p->type == TK_SP_USER ||
           p->type == TK_SP_UNUSED;
}

static int byte_of(tk_text t)
{
    char again[8];
    long v;

    if (t.len != 6 || memcmp(t.at, "<0x", 3) != 0)
        return -1;
    v = strtol(t.at + 3, NULL, 16);
    snprintf(again, sizeof again, "<0x%02lX>", v & 0xFF);
    return memcmp(again, t.at, 6) ? -1 : (int)v;
}

static hone_status take_piece(reader *r, tk_table *reserved, int32_t id)
{
    tk_spm *m = r->m;
    const tk_sp_piece *p = &m->piece[id];
    int byte = p->type == TK_SP_BYTE ? byte_of(p->text) : 0;
    tk_table *to = is_piece(p) ? &r->tok->vocab : reserved;

    if (tk_table_put(to, p->text, id) >= 0)
        return hone_fail(r->err, HONE_EINVAL,
                         "sentencepiece: piece '%.60s' is there twice",
                         p->text.at);
    if (!isfinite(p->score))
        return broken(r, "a score is no number");
    if (p->type == TK_SP_UNKNOWN && m->unk >= 0)
        return broken(r, "it has two unknown tokens");
    if (p->type == TK_SP_UNKNOWN)
        m->unk = id;
    if (p->type == TK_SP_BYTE && (byte < 0 || !m->byte_fallback))
        return broken(r, "a byte piece is wrong or unexpected");
    if (p->type == TK_SP_BYTE)
        m->bpe.fallback[byte] = id;
    m->has_user |= p->type == TK_SP_USER;
    m->has_unused |= p->type == TK_SP_UNUSED;
    return HONE_OK;
}

/* Pieces of the text go into the vocabulary; control pieces, the unknown and
 * the bytes are looked up first, so they are put over them in the end. */
static hone_status take_pieces(reader *r)
{
    tk_spm *m = r->m;
    tk_table reserved;

    tk_table_make(&r->tok->vocab, &r->tok->arena, (size_t)m->count);
    tk_table_make(&reserved, &r->tok->arena, (size_t)m->count);
    m->unk = -1;
    for (int b = 0; b < 256; b++)
        m->bpe.fallback[b] = -1;
    for (int32_t i = 0; i < m->count; i++)
        hone_try(take_piece(r, &reserved, i));
    if (m->unk < 0)
        return broken(r, "it has no unknown token");
    for (int b = 0; b < 256 && m->byte_fallback; b++)
        if (m->bpe.fallback[b] < 0)
            return broken(r, "it lacks a byte piece");
    return HONE_OK;
}

static tk_trie_key *keys_of(const tk_spm *m, int user_only, size_t *n)
{
    tk_trie_key *key = malloc(((size_t)m->count + 1) * sizeof *key);

    if (!key)
        abort();
    *n = 0;
    for (int32_t i = 0; i < m->count; i++)
        if (m->piece[i].type == TK_SP_USER ||
            (m->piece[i].type == TK_SP_NORMAL && !user_only))
            key[(*n)++] = (tk_trie_key){ m->piece[i].text, i };
    return key;
}

static void make_trie(const tk_spm *m, tk_trie *to, int user_only)
{
    size_t n;
    tk_trie_key *key = keys_of(m, user_only, &n);

    tk_trie_make(to, key, n);
    free(key);
}

/* A symbol of the user's is above every piece, and the longer the better. */
static float score_of(const tk_sp_piece *p)
{
    return p->type == TK_SP_USER ? (float)(0.1 * (double)(p->text.len - 1))
                                 : p->score;
}

static void make_unigram(tk_spm *m)
{
    float low = FLT_MAX;

    for (int32_t i = 0; i < m->count; i++) {
        if (m->piece[i].text.len > m->longest)
            m->longest = m->piece[i].text.len;
        if (m->piece[i].type == TK_SP_NORMAL && m->piece[i].score < low)
            low = m->piece[i].score;
    }
    m->unk_score = low - 10.0f;
    make_trie(m, &m->trie, 0);
    for (uint32_t i = 0; i < m->trie.count; i++)
        if (m->trie.node[i].id >= 0)
            m->trie.node[i].score = score_of(&m->piece[m->trie.node[i].id]);
}

/* -------------------------------------------------------------------- BPE */

static int by_score(const void *x, const void *y)
{
    float a = *(const float *)x, b = *(const float *)y;

    return (a < b) - (a > b);
}

/* Places of scores from the highest on; equal ones share theirs. */
static uint32_t rank_of(const float *scores, int32_t n, float score)
{
    int32_t lo = 0, hi = n;

    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        if (scores[mid] > score)
            lo = mid + 1;
        else
            hi = mid;
    }
    return (uint32_t)lo;
}

/* A character of some piece that is no piece itself still takes part. */
static void add_characters(tk_tok *tok, tk_spm *m)
{
    size_t cap = 0, len;
    void *extra = NULL;

    for (int32_t i = 0; i < m->count; i++) {
        tk_text t = m->piece[i].text;

        for (size_t k = 0; is_piece(&m->piece[i]) && k < t.len; k += len) {
            tk_char(t.at + k, &len);
            if (len == t.len ||
                tk_table_find(&m->bpe.bytes, t.at + k, len) >= 0)
                continue;
            tk_room(&extra, &cap, (size_t)m->extra_count + 1,
                    sizeof *m->extra, (size_t)m->extra_count);
            ((tk_text *)extra)[m->extra_count] = (tk_text){ t.at + k, len };
            tk_table_put(&m->bpe.bytes, (tk_text){ t.at + k, len },
                         m->count + m->extra_count++);
        }
    }
    m->extra = tk_alloc(&tok->arena,
                        ((size_t)m->extra_count + 1) * sizeof *m->extra);
    if (m->extra_count)
        memcpy(m->extra, extra, (size_t)m->extra_count * sizeof *m->extra);
    free(extra);
}

/* Every way to halve every piece into symbols is a merge. */
static void add_halves(tk_spm *m, int32_t id, uint32_t rank, tk_joints *joints,
                       size_t *count)
{
    tk_text t = m->piece[id].text;
    size_t len;

    for (size_t k = 0; k < t.len; k += len) {
        int32_t left, right;

        tk_char(t.at + k, &len);
        if (k == 0)
            continue;
        left = tk_table_find(&m->bpe.bytes, t.at, k);
        right = left < 0 ? -1
                         : tk_table_find(&m->bpe.bytes, t.at + k, t.len - k);
        if (right < 0)
            continue;
        ++*count;
        if (!joints)
            continue;
        tk_bpe_put(&m->bpe, left, right, rank, id, 1);
        tk_joints_add(joints, (tk_text){ t.at, k },
                      (tk_text){ t.at + k, t.len - k });
    }
}

/* bpe.bytes: symbols by their text, pieces and lone characters. */
static void make_bpe(tk_tok *tok, tk_spm *m)
{
    float *scores = malloc(((size_t)m->count + 1) * sizeof *scores);
    tk_joints *joints = tk_alloc(&tok->arena, sizeof *joints);
    size_t chars = 0, halves = 0, made = 0;

    if (!scores)
        abort();
    for (int32_t i = 0; i < m->count; i++) {
        scores[i] = m->piece[i].score;
        chars += m->piece[i].text.len;
    }
    if (m->count)
        qsort(scores, (size_t)m->count, sizeof *scores, by_score);
    tk_table_make(&m->bpe.bytes, &tok->arena, chars);
    for (int32_t i = 0; i < m->count; i++)
        if (is_piece(&m->piece[i]))
            tk_table_put(&m->bpe.bytes, m->piece[i].text, i);
    add_characters(tok, m);
    for (int32_t i = 0; i < m->count; i++)
        if (is_piece(&m->piece[i]))
            add_halves(m, i, 0, NULL, &halves);
    tk_bpe_merges(&m->bpe, &tok->arena, halves);
    tk_joints_make(joints, &tok->arena, halves);
    for (int32_t i = 0; i < m->count; i++)
        if (is_piece(&m->piece[i]))
            add_halves(m, i, rank_of(scores, m->count, m->piece[i].score),
                       joints, &made);
    free(scores);
    if (!m->has_user && !m->has_unused && !m->extra_count)
        m->bpe.joints = joints;
}

static const uint8_t *unused_pieces(tk_tok *tok, const tk_spm *m)
{
    uint8_t *unused = tk_zeroed(&tok->arena, (size_t)m->count + 1);

    for (int32_t i = 0; i < m->count; i++)
        unused[i] = m->piece[i].type == TK_SP_UNUSED;
    return unused;
}

static void index_bpe(tk_tok *tok, tk_spm *m)
{
    tk_bpe *b = &m->bpe;
    int32_t fallback[256];

    b->tok = tok;
    b->unk = m->unk;
    b->fuse_unk = 1;
    b->byte_fallback = m->byte_fallback;
    memcpy(fallback, b->fallback, sizeof fallback);
    tk_bpe_index(b, tok);
    memcpy(b->fallback, fallback, sizeof fallback);
    b->complete = m->byte_fallback;
    if (m->has_user || m->has_unused || m->extra_count) {
        b->symbols = tk_spm_symbols;
        b->emit = tk_spm_emit;
    }
    if (m->has_unused)
        b->unused = unused_pieces(tok, m);
    for (int32_t i = 0; i < m->extra_count; i++) {
        size_t len;
        int32_t c = tk_char(m->extra[i].at, &len);
        if (c < 0x10000)
            b->chars[c] = m->count + i;
    }
}

/* ------------------------------------------------------------------ all */

static void name_pieces(tk_tok *tok, tk_spm *m)
{
    tok->piece = tk_zeroed(&tok->arena,
                           ((size_t)m->count + 1) * sizeof *tok->piece);
    for (int32_t i = 0; i < m->count; i++) {
        int type = m->piece[i].type;

        tok->piece[i].text = m->piece[i].text;
        if (type == TK_SP_CONTROL || type == TK_SP_UNKNOWN)
            tok->piece[i].flags = TK_SPECIAL;
        if (!is_piece(&m->piece[i]))
            tk_table_put(&tok->vocab, m->piece[i].text, i);
    }
    tok->highest = tok->vocab_size = m->count;
}

static void close_spm(void *self)
{
    tk_spm *m = self;

    free(m->trie.node);
    free(m->user.node);
}

hone_status tk_spm_read(tk_tok *tok, tk_text model, hone_err *err)
{
    tk_spm *m = tk_zeroed(&tok->arena, sizeof *m);
    reader r = { .tok = tok, .m = m, .err = err };
    tk_proto p = tk_proto_of(model);
    size_t most = 0;

    tok->model = (tk_model){ tk_spm_text, 0, m, close_spm };
    tok->decode_ids = tk_spm_decode;
    while (tk_proto_next(&p))
        most += p.number == 1 && p.wire == 2;
    if (p.broken || most == 0 || most >= TK_MAX_ID)
        return broken(&r, "it is damaged or holds no pieces");
    m->piece = tk_alloc(&tok->arena, most * sizeof *m->piece);
    for (p = tk_proto_of(model); tk_proto_next(&p);) {
        if (p.number == 1 && p.wire == 2)
            hone_try(read_piece(&r, p.bytes));
        else if (p.number == 2 && p.wire == 2)
            r.trainer = p.bytes;
        else if (p.number == 3 && p.wire == 2)
            r.normalizer = p.bytes;
        else if (p.number == 5 && p.wire == 2)
            r.denormalizes = p.bytes.len > 0;
    }
    hone_try(read_trainer(&r));
    hone_try(read_normalizer(&r));
    hone_try(take_pieces(&r));
    if (m->has_user)
        make_trie(m, &m->user, 1);
    if (m->is_bpe) {
        make_bpe(tok, m);
        index_bpe(tok, m);
    } else {
        make_unigram(m);
    }
    name_pieces(tok, m);
    return HONE_OK;
}

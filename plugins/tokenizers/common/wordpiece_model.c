/* SPDX-License-Identifier: MIT
 *
 * wordpiece_model.c -- WordPiece: the longest piece that a word begins with,
 * then the longest with the prefix of continuations, and so on; a word that
 * does not come out even is unknown as a whole.
 */
#include <stdlib.h>

#include "tok.h"
#include "trie.h"
#include "models.h"

typedef struct {
    tk_trie trie;
    uint32_t inner; /* where the prefix of continuations leads */
    int has_inner;
    int32_t unk;
    int64_t most_chars;
} wordpiece;

static int64_t count_chars(tk_text t)
{
    int64_t n = 0;

    for (size_t i = 0; i < t.len; i++)
        n += ((unsigned char)t.at[i] & 0xC0) != 0x80;
    return n;
}

/* The longest piece from AT on, walking from NODE; its end, or 0. */
static size_t longest(const wordpiece *m, tk_text t, size_t at, uint32_t node,
                      int32_t *id)
{
    size_t end = 0;

    while (at < t.len) {
        node = tk_trie_step(&m->trie, node, (unsigned char)t.at[at++]);
        if (node == TK_ROOT)
            break;
        if (m->trie.node[node].id >= 0) {
            *id = m->trie.node[node].id;
            end = at;
        }
    }
    return end;
}

static void word(tk_scratch *s, tk_text t)
{
    const wordpiece *m = s->tok->model.self;
    int64_t from = s->count;
    size_t at = 0;
    int32_t id = 0;

    if ((int64_t)t.len > m->most_chars && count_chars(t) > m->most_chars) {
        tk_emit(s, m->unk);
        return;
    }
    while (at < t.len) {
        size_t end = at == 0      ? longest(m, t, 0, TK_ROOT, &id)
                     : m->has_inner ? longest(m, t, at, m->inner, &id)
                                    : 0;
        if (!end) {
            s->count = from; /* what was found is taken back */
            tk_emit(s, m->unk);
            return;
        }
        tk_emit(s, id);
        at = end;
    }
}

static void close_model(void *self)
{
    free(((wordpiece *)self)->trie.node);
}

static hone_status no_long_pieces(const tk_table *v, hone_err *err)
{
    for (size_t i = 0; i <= v->mask; i++)
        if (v->slot[i].id >= 0 && v->slot[i].key.len > TK_LONGEST_PIECE)
            return hone_fail(err, HONE_ENOSUP,
                             "model: vocab: '%.60s...' has more than %d bytes",
                             v->slot[i].key.at, TK_LONGEST_PIECE);
    return HONE_OK;
}

static void make_trie(tk_tok *tok, wordpiece *m, tk_text prefix)
{
    const tk_table *v = &tok->vocab;
    tk_trie_key *key = malloc((v->count + 1) * sizeof *key);
    size_t n = 0;

    if (!key)
        abort();
    for (size_t i = 0; i <= v->mask; i++)
        if (v->slot[i].id >= 0 && v->slot[i].key.len)
            key[n++] = (tk_trie_key){ v->slot[i].key, v->slot[i].id };
    tk_trie_make(&m->trie, key, n);
    free(key);
    m->inner = TK_ROOT;
    m->has_inner = 1;
    for (size_t i = 0; i < prefix.len && m->has_inner; i++) {
        m->inner = tk_trie_step(&m->trie, m->inner,
                                (unsigned char)prefix.at[i]);
        m->has_inner = m->inner != TK_ROOT;
    }
}

hone_status tk_unknown_read(tk_tok *tok, const tk_json *model, int32_t *to,
                            hone_err *err)
{
    tk_text unk = { NULL, 0 };

    hone_try(tk_get_text(model, "unk_token", &unk, "model", err));
    if (!unk.at)
        return hone_fail(err, HONE_EINVAL, "model: 'unk_token' is missing");
    *to = tk_table_find(&tok->vocab, unk.at, unk.len);
    if (*to < 0)
        return hone_fail(err, HONE_EINVAL,
                         "model: unk_token '%.100s' is not in the vocabulary",
                         unk.at);
    return HONE_OK;
}

hone_status tk_wordpiece_read(tk_tok *tok, const tk_json *model, hone_err *err)
{
    const tk_json *most = tk_json_get(model, "max_input_chars_per_word");
    wordpiece *m = tk_zeroed(&tok->arena, sizeof *m);
    tk_text prefix = { NULL, 0 };

    hone_try(tk_get_text(model, "continuing_subword_prefix", &prefix, "model",
                         err));
    if (!prefix.at)
        return hone_fail(err, HONE_EINVAL,
                         "model: 'continuing_subword_prefix' is missing");
    if (!tk_json_is(most, TK_INTEGER) || most->u.integer < 0)
        return hone_fail(err, HONE_EINVAL,
                         "model: 'max_input_chars_per_word' must be a whole "
                         "number, 0 or more");
    hone_try(tk_vocab_read(tok, tk_json_get(model, "vocab"), err));
    hone_try(tk_unknown_read(tok, model, &m->unk, err));
    hone_try(no_long_pieces(&tok->vocab, err));
    m->most_chars = most->u.integer;
    make_trie(tok, m, prefix);
    tok->model = (tk_model){ word, 1, m, close_model };
    return HONE_OK;
}

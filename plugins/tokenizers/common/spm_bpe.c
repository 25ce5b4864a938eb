/* SPDX-License-Identifier: MIT
 *
 * spm_bpe.c -- the rarer kinds of pieces of a BPE model of sentencepiece:
 * pieces of the user, which never merge; unused ones, which go back into their
 * halves; characters that only occur inside of pieces. A character that is
 * none of these is its code point above TK_NO_SYMBOL.
 */
#include "spm.h"

size_t tk_spm_symbols(tk_scratch *s, tk_text t, int32_t *to)
{
    const tk_spm *m = s->tok->model.self;
    size_t n = 0, len;

    if (m->has_unused)
        tk_room(&s->room[TK_HALVES_ROOM], &s->room_cap[TK_HALVES_ROOM],
                (size_t)m->count + 1, sizeof(uint64_t), 0);
    for (size_t i = 0; i < t.len; i += len) {
        tk_text rest = { t.at + i, t.len - i };
        int32_t id, c;

        len = tk_spm_user(m, rest, &id);
        if (len) {
            to[n++] = TK_FROZEN + id;
            continue;
        }
        c = tk_char(rest.at, &len);
        id = tk_table_find(&m->bpe.bytes, rest.at, len);
        to[n++] = id >= 0 ? id : TK_NO_SYMBOL + c;
    }
    return n;
}

/* One unknown for a run of them, or their bytes. */
static void unknown(tk_scratch *s, const tk_spm *m, tk_text t, int *before)
{
    for (size_t i = 0; m->byte_fallback && i < t.len; i++)
        tk_emit(s, m->bpe.fallback[(unsigned char)t.at[i]]);
    if (!m->byte_fallback && !*before)
        tk_emit(s, m->unk);
    *before = 1;
}

/* More than one character: it can only have come from a merge. */
static int is_halved(tk_text t)
{
    size_t len;

    tk_char(t.at, &len);
    return len < t.len;
}

static void emit_one(tk_scratch *s, const tk_spm *m, int32_t symbol,
                     int *before)
{
    const uint64_t *halves = s->room[TK_HALVES_ROOM];
    char text[4];

    if (symbol >= TK_NO_SYMBOL && symbol < TK_FROZEN) {
        size_t n = tk_put_char(symbol - TK_NO_SYMBOL, text);
        unknown(s, m, (tk_text){ text, n }, before);
    } else if (symbol < TK_FROZEN && symbol >= m->count) {
        unknown(s, m, m->extra[symbol - m->count], before);
    } else if (symbol < m->count && m->piece[symbol].type == TK_SP_UNUSED &&
               is_halved(m->piece[symbol].text)) {
        emit_one(s, m, (int32_t)(halves[symbol] >> 32), before);
        emit_one(s, m, (int32_t)(uint32_t)halves[symbol], before);
    } else {
        tk_emit(s, symbol >= TK_FROZEN ? symbol - TK_FROZEN : symbol);
        *before = 0;
    }
}

void tk_spm_emit(tk_scratch *s, const int32_t *symbol, size_t n)
{
    const tk_spm *m = s->tok->model.self;
    int before = 0;

    for (size_t i = 0; i < n; i++)
        emit_one(s, m, symbol[i], &before);
}

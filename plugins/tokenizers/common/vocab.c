/* SPDX-License-Identifier: MIT
 *
 * vocab.c -- the vocabulary of a model: {piece: id}. The file may be hostile:
 * ids are bounded.
 */
#include "tok.h"

size_t tk_spell_bytes(tk_text t, char *to)
{
    size_t n = 0;

    for (size_t i = 0; i < t.len; i++)
        n += tk_put_char(tk_byte_char((unsigned char)t.at[i]), to + n);
    return n;
}

hone_status tk_vocab_read(tk_tok *tok, const tk_json *vocab, hone_err *err)
{
    uint32_t n = tk_json_count(vocab);

    if (!tk_json_is(vocab, TK_OBJECT))
        return hone_fail(err, HONE_EINVAL,
                         "model: 'vocab' must be an object of piece: id");
    tk_table_make(&tok->vocab, &tok->arena, n);
    for (uint32_t i = 0; i < n; i++) {
        const tk_json *key = &vocab->u.item[2 * i], *value = key + 1;
        int64_t id = value->type == TK_INTEGER ? value->u.integer : -1;
        tk_text piece;

        if (id < 0 || id >= TK_MAX_ID)
            return hone_fail(err, HONE_EINVAL,
                             "model: vocab: '%.100s' needs a whole number from "
                             "0 to %d", key->u.text, TK_MAX_ID - 1);
        piece = tk_keep(&tok->arena, key->u.text, key->count);
        tk_table_put(&tok->vocab, piece, (int32_t)id);
        if (id >= tok->highest)
            tok->highest = (int32_t)id + 1;
    }
    tok->vocab_size = (int32_t)tok->vocab.count;
    return HONE_OK;
}

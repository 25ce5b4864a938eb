/* SPDX-License-Identifier: MIT
 *
 * wordlevel_model.c -- WordLevel: a word is a piece or unknown.
 */
#include "models.h"

static void word(tk_scratch *s, tk_text t)
{
    int32_t id = tk_table_find(&s->tok->vocab, t.at, t.len);
    const int32_t *unk = s->tok->model.self;

    tk_emit(s, id >= 0 ? id : *unk);
}

hone_status tk_wordlevel_read(tk_tok *tok, const tk_json *model, hone_err *err)
{
    int32_t *unk = tk_alloc(&tok->arena, sizeof *unk);

    hone_try(tk_vocab_read(tok, tk_json_get(model, "vocab"), err));
    hone_try(tk_unknown_read(tok, model, unk, err));
    tok->model = (tk_model){ .word = word, .self = unk };
    return HONE_OK;
}

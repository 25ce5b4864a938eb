/* SPDX-License-Identifier: MIT
 *
 * spm.h -- a sentencepiece model, as its own .model file has it: the ids of
 * the library sentencepiece, not of a tokenizer.json made from it.
 */
#ifndef TK_SPM_H
#define TK_SPM_H

#include "bpe_model.h"
#include "trie.h"

typedef enum {
    TK_SP_NORMAL = 1, TK_SP_UNKNOWN, TK_SP_CONTROL, TK_SP_USER, TK_SP_UNUSED,
    TK_SP_BYTE
} tk_sp_type;

typedef struct tk_sp_piece {
    tk_text text;
    float score;
    int type;
} tk_sp_piece;

typedef struct tk_spm {
    tk_bpe bpe; /* first: the BPE code takes the model for one */
    tk_sp_piece *piece;
    int32_t count;
    int is_bpe, byte_fallback;
    /* normalization */
    tk_charsmap map;
    int dummy_prefix, remove_extra, escape, as_suffix;
    uint8_t plain[128]; /* no rule begins with it and an ASCII character */
    tk_trie user;       /* pieces that nothing changes or cuts */
    int has_user;
    tk_text unk_surface;
    int32_t unk, bos, eos; /* -1: none */
    /* Unigram */
    tk_trie trie;
    float unk_score;
    size_t longest; /* bytes of a piece */
    /* BPE: symbols from COUNT on are characters without a piece of their own;
     * frozen symbols of user pieces are FROZEN + id. */
    tk_text *extra;
    int32_t extra_count;
    int has_unused;
} tk_spm;

/* What stands in for a symbol that has no piece. */

enum { TK_NO_SYMBOL = TK_MAX_ID, TK_FROZEN = 2 * TK_MAX_ID };

/* spm_bpe.c: for models with user pieces, unused ones or lone characters. */
size_t tk_spm_symbols(tk_scratch *, tk_text, int32_t *to);
void tk_spm_emit(tk_scratch *, const int32_t *symbol, size_t n);

/* spm_read.c: reads a .model file into TOK. */
hone_status tk_spm_read(tk_tok *tok, tk_text model, hone_err *err);
/* spm.c: the model's function for words, and decoding. */
void tk_spm_text(tk_scratch *, tk_text);
tk_text tk_spm_decode(tk_scratch *, const int32_t *ids, int64_t n,
                      uint32_t flags);
/* spm_normal.c: the text as the model wants it, in room of the scratch. */
tk_text tk_spm_normalize(tk_scratch *, const tk_spm *, tk_text);
/* Bytes of the longest user piece that TEXT begins with, or 0. */
size_t tk_spm_user(const tk_spm *, tk_text, int32_t *id);

#endif

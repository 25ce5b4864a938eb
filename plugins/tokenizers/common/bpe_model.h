/* SPDX-License-Identifier: MIT
 *
 * bpe_model.h -- byte pair encoding (Sennrich et al., 2016, arXiv:1508.07909):
 * the pair with the lowest rank merges first, the leftmost of equals before
 * others. Pieces are ids from the start, so a merge is one look into a flat
 * table of pairs of ids.
 */
#ifndef TK_BPE_MODEL_H
#define TK_BPE_MODEL_H

#include "tok.h"

typedef struct tk_merge {
    uint64_t key; /* left id << 32 | right id */
    uint64_t to;  /* rank << 32 | id of the merged piece */
} tk_merge;

#define TK_NO_PAIR UINT64_MAX

/* Pairs of characters that a merge may join: between all others a text can
 * be cut. Rows and columns: ASCII, then U+2581 as 128. */
typedef struct tk_joints {
    uint64_t plain[129][3];
    uint64_t *slot; /* the other pairs, 0: free */
    size_t mask;
    /* Raw bytes: some merges take parts of characters. For these, pairs of
     * the last byte before and the first behind. */
    uint64_t part[256][4];
} tk_joints;

typedef struct tk_bpe {
    const tk_tok *tok;
    tk_merge *merge; /* open addressing */
    size_t merge_mask;
    uint64_t *filter; /* a bit for each pair: most pairs are none */
    size_t filter_mask;
    uint64_t seed;
    uint64_t *byte_pair;   /* [65536] raw bytes: what two bytes merge to */
    int32_t *chars;        /* [65536] id of a piece of one character, or -1 */
    int32_t byte[256];     /* id of a byte, or of its character, or -1 */
    int32_t fallback[256]; /* <0x00>..., or -1 */
    tk_table bytes;        /* raw bytes: pieces by the bytes they stand for */
    const tk_table *whole; /* words that are a piece need no merging */
    tk_text prefix, suffix;
    int32_t unk;           /* -1: unknown characters vanish */
    int fuse_unk, byte_fallback, raw, ignore_merges;
    int complete;          /* no text needs the unknown token */
    int unk_missing;       /* it is named, but there is none */
    tk_joints *joints;     /* NULL: a word is not cut */
    /* sentencepiece: pieces that may be merged to, but not be left: they go
     * back into the halves that a scratch remembers. NULL: none. */
    const uint8_t *unused;
    /* Instead of what is usual: the word's symbols, and ids of what is left. */
    size_t (*symbols)(tk_scratch *, tk_text, int32_t *to);
    void (*emit)(tk_scratch *, const int32_t *symbol, size_t n);
} tk_bpe;

/* Room for so many merges; then put them, the later of two equal pairs wins
 * with REPLACE. */
void tk_bpe_merges(tk_bpe *, tk_arena *, size_t count);
void tk_bpe_put(tk_bpe *, int32_t left, int32_t right, uint32_t rank,
                int32_t to, int replace);
/* Fills chars, byte, fallback, byte_pair from vocabulary and merges. */
void tk_bpe_index(tk_bpe *, tk_tok *);
/* byte_pair alone, from byte and merges. */
void tk_bpe_byte_pairs(tk_bpe *, tk_tok *);
/* bpe_cut.c: ADD says that a merge joins LEFT with RIGHT. */
void tk_joints_make(tk_joints *, tk_arena *, size_t count);
void tk_joints_add(tk_joints *, tk_text left, tk_text right);
/* The same for pieces of any bytes. */
void tk_joints_add_bytes(tk_joints *, tk_text left, tk_text right);
void tk_bpe_cut(tk_scratch *, tk_text, tk_word_fn *each);

enum { TK_HALVES_ROOM = 7 }; /* of the scratch: left << 32 | right, by id */

/* The model's function for words, and the one for what cannot be cut. */
void tk_bpe_word(tk_scratch *, tk_text);
void tk_bpe_merge_word(tk_scratch *, tk_text);

/* The tk_model_read of tokenizer.json. */
hone_status tk_bpe_read(tk_tok *, const tk_json *model, hone_err *);

static inline uint64_t tk_bpe_pair(const tk_bpe *m, int32_t left,
                                   int32_t right)
{
    uint64_t key = (uint64_t)left << 32 | (uint32_t)right;
    uint64_t h = tk_mix(key ^ m->seed);
    size_t i = h & m->merge_mask, bit = (h >> 36) & m->filter_mask;

    if (!(m->filter[bit / 64] >> (bit % 64) & 1))
        return TK_NO_PAIR;
    while (m->merge[i].key != key) {
        if (m->merge[i].key == TK_NO_PAIR)
            return TK_NO_PAIR;
        i = (i + 1) & m->merge_mask;
    }
    return m->merge[i].to;
}

static inline int32_t tk_bpe_char(const tk_bpe *m, const char *text,
                                  size_t len, int32_t code)
{
    return code < 0x10000 ? m->chars[code]
                          : tk_table_find(&m->tok->vocab, text, len);
}

#endif

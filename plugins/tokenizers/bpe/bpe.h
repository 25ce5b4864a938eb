/* SPDX-License-Identifier: MIT
 *
 * bpe.h -- the parts of the tokenizer plugin "bpe": tokenizer.json files whose
 * model is BPE, byte-level (GPT-2, Llama 3, Qwen, SmolLM) or SentencePiece's
 * (Llama 2, Mistral, Gemma). A text passes through: added tokens that match
 * the raw text, normalizers, added tokens that match the normalized text,
 * pre-tokenizers, the model, the template of special tokens. Everything is
 * read-only after load; a call's own memory is its bpe_scratch.
 */
#ifndef BPE_H
#define BPE_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>

#include "hone/plugin.h"

/* ------------------------------------------------------------ memory.c */

/* Blocks that are freed together; an allocation never fails towards the
 * caller: it says so and aborts. Not zeroed, aligned to 16 bytes. */
typedef struct bpe_arena {
    struct bpe_block *first;
} bpe_arena;

void *bpe_alloc(bpe_arena *, size_t bytes);
void *bpe_zeroed(bpe_arena *, size_t bytes);
void bpe_free(bpe_arena *);

typedef struct bpe_text {
    const char *at;
    size_t len;
} bpe_text;

bpe_text bpe_keep(bpe_arena *, const char *, size_t len);

/* ----------------------------------------------------------- unicode.c */

/* The code point at TEXT (valid UTF-8, not empty); its length into *LEN. */
int32_t bpe_char(const char *text, size_t *len);
size_t bpe_put_char(int32_t code, char *to); /* at most 4 bytes */
int bpe_is_white(int32_t);  /* White_Space */
int bpe_is_word(int32_t);   /* \w of Unicode's regular expressions */
int bpe_is_number(int32_t); /* categories N* */
int bpe_is_punct(int32_t);  /* ASCII punctuation and categories P* */
int bpe_is_mark(int32_t);   /* categories M* */
int32_t bpe_lower(int32_t);
/* Bytes of the first character, or of the maximal subpart that is broken:
 * then *OK is 0. */
size_t bpe_utf8_step(const char *text, size_t len, int *ok);
/* GPT-2's alphabet: every byte as a printable character, and back (-1). */
int32_t bpe_byte_char(unsigned char byte);
int bpe_char_byte(int32_t code);

/* ----------------------------------------------------------- pattern.c */

/* What a splitter or a replacement looks for: one of the three. */
typedef struct bpe_pattern {
    pcre2_code *regex;
    bpe_text literal;
    int (*is)(int32_t code);
} bpe_pattern;

/* The state of one search through one text. */
typedef struct bpe_search {
    const bpe_pattern *pattern;
    const char *text;
    size_t len, at, last_end;
    int started;
} bpe_search;

/* REGEX is Oniguruma's, and ends with NUL. */
hone_status bpe_regex(bpe_pattern *, bpe_text regex, const char *where,
                      hone_err *);
/* dialect.c: REGEX as PCRE2 writes it, in memory of the arena. */
hone_status bpe_dialect(bpe_arena *, bpe_text *regex, const char *where,
                        hone_err *);
void bpe_pattern_free(bpe_pattern *);

/* ------------------------------------------------------------- model.c */

typedef struct bpe_entry {
    bpe_text key;
    uint64_t hash;
    int32_t id; /* -1: a free slot */
} bpe_entry;

typedef struct bpe_table {
    bpe_entry *slot;
    size_t mask, count;
    uint64_t seed; /* keeps a hostile file from choosing collisions */
} bpe_table;

void bpe_table_make(bpe_table *, bpe_arena *, size_t count);
/* The last id given to a key wins. Keys are not copied. */
void bpe_table_put(bpe_table *, bpe_text key, int32_t id);
int32_t bpe_table_find(const bpe_table *, const char *, size_t len);
size_t bpe_slots_for(size_t count);

typedef struct bpe_merge {
    uint64_t key; /* left id << 32 | right id */
    uint64_t to;  /* rank << 32 | id of the merged piece */
} bpe_merge;

#define BPE_NONE UINT64_MAX
#define BPE_MAX_ID (1 << 24)

typedef struct bpe_model {
    bpe_table vocab;     /* by the piece as the file spells it */
    bpe_table bytes;     /* byte-level: by the bytes that a piece stands for */
    bpe_merge *merge;    /* open addressing */
    size_t merge_mask;
    uint64_t seed;       /* of the merges, as in bpe_table */
    int32_t *chars;      /* [65536] id of a piece of one character, or -1 */
    int32_t byte[256];   /* byte-level: id of a byte's character, or -1 */
    int32_t fallback[256]; /* <0x00>..., or -1 */
    int32_t unk;         /* -1: unknown characters vanish */
    int fuse_unk, byte_fallback, byte_level, ignore_merges;
} bpe_model;

/* ------------------------------------------------------------- added.c */

enum { BPE_SPECIAL = 1, BPE_LSTRIP = 2, BPE_RSTRIP = 4, BPE_WORD = 8,
       BPE_NORMALIZED = 16 };

typedef struct bpe_added {
    bpe_text content; /* as in the file */
    bpe_text pattern; /* what is looked for: normalized if its flag says so */
    int32_t id;
    uint32_t flags;
} bpe_added;

/* Patterns in the order of their bytes; those that begin with byte b are
 * first[b] to first[b + 1]. */
typedef struct bpe_added_set {
    const bpe_added **list;
    uint32_t count, first[257];
} bpe_added_set;

/* --------------------------------------------------------------- steps */

typedef enum {
    BPE_NFC = 1, BPE_NFD, BPE_NFKC, BPE_NFKD, BPE_PREPEND, BPE_REPLACE,
    BPE_LOWERCASE, BPE_STRIP, BPE_STRIP_ACCENTS
} bpe_normal_kind;

typedef enum { BPE_SPLIT = 1, BPE_BYTE_LEVEL, BPE_METASPACE } bpe_pre_kind;

typedef enum {
    BPE_REMOVED = 1, BPE_ISOLATED, BPE_PREVIOUS, BPE_NEXT, BPE_CONTIGUOUS
} bpe_behaviour;

typedef enum { BPE_ALWAYS = 1, BPE_FIRST, BPE_NEVER } bpe_scheme;

typedef enum {
    BPE_DEC_BYTE_LEVEL = 1, BPE_DEC_METASPACE, BPE_DEC_REPLACE,
    BPE_DEC_BYTE_FALLBACK, BPE_DEC_FUSE, BPE_DEC_STRIP
} bpe_decode_kind;

typedef struct bpe_step {
    int kind;
    bpe_pattern pattern;
    bpe_text text;           /* content, prefix, Metaspace's replacement */
    bpe_behaviour behaviour; /* splitters */
    int invert;
    int split;               /* Metaspace: split; ByteLevel: GPT-2's regex */
    int prefix;              /* ByteLevel: add_prefix_space */
    bpe_scheme scheme;
    int64_t left, right;     /* strips: how many characters, at most */
} bpe_step;

#define BPE_STEPS 32

typedef struct bpe_steps {
    bpe_step step[BPE_STEPS];
    int count;
} bpe_steps;

#define BPE_TEMPLATE 64

typedef struct bpe_piece {
    bpe_text text; /* as decoders see it; at NULL: no such id */
    uint32_t flags;
} bpe_piece;

typedef struct bpe_tok {
    bpe_arena arena;
    const hone_host *host;
    bpe_model model;
    bpe_steps normal, pre, decode;
    bpe_added *added;
    uint32_t added_count;
    bpe_table added_ids; /* content -> index in added */
    bpe_added_set raw, normalized;
    bpe_piece *piece; /* [vocab] */
    int32_t vocab;    /* highest id + 1 */
    int32_t before[BPE_TEMPLATE], after[BPE_TEMPLATE];
    int before_count, after_count;
    pcre2_match_context *limits;
} bpe_tok;

/* What one call to encode or decode owns. */
typedef struct bpe_scratch {
    const bpe_tok *tok;
    bpe_arena arena;
    pcre2_match_data *match;
    int32_t *ids; /* the caller's */
    int64_t count, cap;
    /* Symbols of the word at hand; room for word_cap of them. */
    size_t word_cap;
    int32_t *symbol;
    uint64_t *pair, *heap;
    uint32_t *next, *prev;
} bpe_scratch;

void bpe_begin(bpe_scratch *, const bpe_tok *);
void bpe_end(bpe_scratch *);
static inline void bpe_emit(bpe_scratch *s, int32_t id)
{
    if (s->count < s->cap)
        s->ids[s->count] = id;
    s->count++;
}

/* The next match from s->at on: 1 with *START and *END, or 0. */
int bpe_next(bpe_search *s, bpe_scratch *scratch, size_t *start, size_t *end);
/* TEXT with every match replaced by WITH. */
bpe_text bpe_replace(bpe_scratch *, const bpe_pattern *, bpe_text text,
                     bpe_text with);

/* normal.c: TEXT itself or memory of the scratch. */
bpe_text bpe_normalize(bpe_scratch *, bpe_text);
/* split.c: pre-tokenizers from step K on, then the model. FIRST: the piece
 * begins where the whole text begins. */
void bpe_pre_tokenize(bpe_scratch *, int k, bpe_text, int first);
/* model.c: one word to ids. */
void bpe_word(bpe_scratch *, bpe_text);
bpe_merge *bpe_merge_slot(const bpe_model *, uint64_t key);
/* added.c: the whole text to ids, without the template. */
void bpe_encode_text(bpe_scratch *, bpe_text);
int32_t bpe_find_id(const bpe_tok *, const char *piece, size_t len);
hone_status bpe_added_read(bpe_tok *, json_t *list, hone_err *);
/* vocab.c */
hone_status bpe_model_read(bpe_tok *, json_t *model, hone_err *);
/* read.c: normalizers, pre-tokenizers, decoders. */
hone_status bpe_steps_read(bpe_tok *, json_t *root, hone_err *);
/* template.c: the special tokens around a text. */
hone_status bpe_template_read(bpe_tok *, json_t *post, hone_err *);
/* decode.c */
bpe_text bpe_decode_ids(bpe_scratch *, const int32_t *ids, int64_t n,
                        uint32_t flags);

/* read.c: small accessors; a key of the wrong type is an error with WHERE. */
hone_status bpe_get_flag(json_t *, const char *key, int fallback, int *to,
                         const char *where, hone_err *);
hone_status bpe_get_text(bpe_arena *, json_t *, const char *key, bpe_text *to,
                         const char *where, hone_err *);

#endif

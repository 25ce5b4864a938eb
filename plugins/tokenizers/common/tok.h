/* SPDX-License-Identifier: MIT
 *
 * tok.h -- the parts that the tokenizer plugins share. A text passes through:
 * added tokens that match the raw text, normalizers, added tokens that match
 * the normalized text, pre-tokenizers, the model, the template of special
 * tokens. Everything is read-only after load; a call's own memory is its
 * tk_scratch, which the tokenizer keeps for the next call.
 */
#ifndef TK_TOK_H
#define TK_TOK_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdatomic.h>
#include <string.h>

#include "hone/plugin.h"
#include "json.h"
#include "memory.h"
#include "table.h"
#include "unicode.h"

typedef struct tk_tok tk_tok;
typedef struct tk_scratch tk_scratch;

/* ---------------------------------------------------- pattern.c, scan.c */

typedef struct tk_scanner tk_scanner;

/* What a splitter or a replacement looks for: the first that is set. */
typedef struct tk_pattern {
    const tk_scanner *scan; /* a well-known regular expression, by hand */
    pcre2_code *regex;
    uint32_t bits;          /* characters with one of these properties */
    tk_text literal;
} tk_pattern;

/* The state of one search through one text. */
typedef struct tk_search {
    const tk_pattern *pattern;
    const char *text;
    size_t len, at, last_end;
    int started;
} tk_search;

/* REGEX is Oniguruma's, and ends with NUL. */
hone_status tk_regex(tk_pattern *, tk_text regex, const char *where,
                     hone_err *);
/* dialect.c: REGEX as PCRE2 writes it, in memory of the arena. */
hone_status tk_dialect(tk_arena *, tk_text *regex, const char *where,
                       hone_err *);
void tk_pattern_free(tk_pattern *);
/* The scanner that does what REGEX says, or NULL. */
const tk_scanner *tk_scanner_find(tk_text regex);
/* Where the match ends that begins at AT (AT < LEN); every text is matched
 * without gaps. */
size_t tk_scan(const tk_scanner *, const char *text, size_t len, size_t at);

/* ------------------------------------------------------------- added.c */

enum { TK_SPECIAL = 1, TK_LSTRIP = 2, TK_RSTRIP = 4, TK_WORD = 8,
       TK_NORMALIZED = 16, TK_SKIPPED = 32 /* decoding leaves it out */ };

typedef struct tk_added {
    tk_text content; /* as in the file */
    tk_text pattern; /* what is looked for: normalized if its flag says so */
    int32_t id;
    uint32_t flags;
} tk_added;

/* Patterns in the order of their bytes; those that begin with byte b are
 * first[b] to first[b + 1]. */
typedef struct tk_added_set {
    const tk_added **list;
    uint32_t count, first[257];
    unsigned char only; /* the one first byte of all, or 0 */
} tk_added_set;

/* --------------------------------------------------------------- steps */

typedef enum {
    TK_NFC = 1, TK_NFD, TK_NFKC, TK_NFKD, TK_PREPEND, TK_REPLACE,
    TK_LOWERCASE, TK_STRIP, TK_STRIP_ACCENTS, TK_NMT, TK_BERT, TK_CHARSMAP,
    TK_SPELL_BYTES
} tk_normal_kind;

typedef enum {
    TK_SPLIT = 1, TK_BYTE_LEVEL, TK_METASPACE, TK_WORDS, TK_SCRIPTS, TK_FIXED
} tk_pre_kind;

typedef enum {
    TK_REMOVED = 1, TK_ISOLATED, TK_PREVIOUS, TK_NEXT, TK_CONTIGUOUS
} tk_behaviour;

typedef enum { TK_ALWAYS = 1, TK_FIRST, TK_NEVER } tk_scheme;

typedef enum {
    TK_DEC_BYTE_LEVEL = 1, TK_DEC_METASPACE, TK_DEC_REPLACE,
    TK_DEC_BYTE_FALLBACK, TK_DEC_FUSE, TK_DEC_STRIP, TK_DEC_WORDPIECE,
    TK_DEC_BPE, TK_DEC_CTC
} tk_decode_kind;

/* A charsmap of sentencepiece: a trie (Darts) of what is replaced, and the
 * texts, each ended by NUL, that replace it. */
typedef struct tk_charsmap {
    const uint32_t *unit;
    size_t units;
    tk_text texts;
} tk_charsmap;

typedef struct tk_step {
    int kind;
    tk_pattern pattern;
    tk_text text;           /* content, prefix, Metaspace's replacement */
    tk_text more;           /* CTC: the delimiter of words */
    tk_behaviour behaviour; /* splitters */
    int invert;
    int split;               /* Metaspace: split; ByteLevel: GPT-2's regex */
    int prefix;              /* ByteLevel: add_prefix_space */
    int spell;               /* ByteLevel: pieces in GPT-2's alphabet */
    int clean, chinese, accents, lower; /* BERT; clean: also decoders */
    tk_scheme scheme;
    int64_t left, right;     /* strips: how many characters, at most */
    tk_charsmap map;
} tk_step;

#define TK_STEPS 64

typedef struct tk_steps {
    tk_step step[TK_STEPS];
    int count;
} tk_steps;

/* ----------------------------------------------------- models, pool.c */

/* What a word of at most 16 bytes became; a cache is an array of them. */
typedef struct tk_line {
    uint64_t key[2];
    uint8_t len, count;
    uint16_t unused;
    int32_t id[11];
} tk_line;

/* The same for longer words. */
typedef struct tk_long_line {
    uint64_t hash;
    uint32_t len, count, kind;
    char key[96];
    int32_t id[35];
} tk_long_line;

enum { TK_LINES = 1 << 15, TK_LONG_LINES = 1 << 12 };

typedef void tk_word_fn(tk_scratch *, tk_text word);

typedef struct tk_model {
    tk_word_fn *word; /* appends the ids of one word */
    int cached;       /* the ids depend on nothing but the word */
    void *self;       /* the model's own, in the tokenizer's arena */
    void (*close)(void *self);
} tk_model;

typedef struct tk_piece {
    tk_text text; /* as decoders see it; at NULL: no such id */
    uint32_t flags;
} tk_piece;

#define TK_TEXT_HERE (-1) /* in a template: the ids of the text */
#define TK_TEMPLATE 256

typedef struct tk_template {
    int32_t item[TK_TEMPLATE];
    int count;
} tk_template;

#define TK_MAX_ID (1 << 24)
#define TK_SLOTS 64

/* Where a thread leaves its scratch: far from what others write and read. */
typedef struct {
    char apart[128 - sizeof(void *)];
    _Atomic(tk_scratch *) left;
} tk_slot;

struct tk_tok {
    tk_arena arena;
    const hone_host *host;
    tk_model model;
    tk_table vocab;      /* by the piece as the file spells it */
    int32_t vocab_size;  /* as the library counts it: added tokens follow */
    int32_t next_id;
    int takes_bytes;     /* the model knows GPT-2's alphabet... */
    int raw_bytes;       /* ...and gets bytes: the last step is ByteLevel */
    tk_steps normal, pre, decode;
    tk_added *added;
    uint32_t added_count;
    tk_table added_ids; /* content -> index in added */
    tk_added_set raw, normalized;
    tk_table specials;  /* texts that decoding leaves out */
    tk_piece *piece; /* [highest] */
    int32_t highest; /* highest id + 1 */
    tk_template plain, full;
    pcre2_match_context *limits;
    /* Instead of the steps above, for models that are not of the library. */
    void (*encode)(tk_scratch *, tk_text);
    tk_text (*decode_ids)(tk_scratch *, const int32_t *, int64_t,
                          uint32_t flags);
    tk_slot slot[TK_SLOTS];
};

/* What one call to encode or decode owns. */
struct tk_scratch {
    const tk_tok *tok;
    tk_arena arena;
    pcre2_match_data *match;
    int32_t *ids; /* the caller's */
    int64_t count, cap;
    tk_line *line;
    tk_long_line *long_line;
    /* Room of the model for the word at hand. */
    void *room[8];
    size_t room_cap[8];
};

tk_scratch *tk_begin(const tk_tok *);
void tk_end(tk_scratch *);
void tk_scratch_free(tk_scratch *);

static inline void tk_emit(tk_scratch *s, int32_t id)
{
    if (s->count < s->cap)
        s->ids[s->count] = id;
    s->count++;
}

/* The ids of WORD by FN, or what the cache remembers of it. A part of a word
 * may have other ids than the same text as a word: KIND keeps them apart. */
enum { TK_WHOLE = 0, TK_PART = 1 };
void tk_cached(tk_scratch *, tk_text word, tk_word_fn *fn, int kind);
static inline void tk_word(tk_scratch *s, tk_text t)
{
    const tk_model *m = &s->tok->model;

    if (m->cached)
        tk_cached(s, t, m->word, TK_WHOLE);
    else
        m->word(s, t);
}

/* The next match from s->at on: 1 with *START and *END, or 0. */
int tk_next(tk_search *s, tk_scratch *scratch, size_t *start, size_t *end);
/* TEXT with every match replaced by WITH. */
tk_text tk_replace(tk_scratch *, const tk_pattern *, tk_text text,
                   tk_text with);

/* normal.c: TEXT itself or memory of the scratch. *FIRST: how many leading
 * bytes stem from where the whole text begins; kept up to date. */
tk_text tk_normalize(tk_scratch *, tk_text, size_t *first);
tk_text tk_unicode_form(tk_scratch *, tk_text, tk_normal_kind);
/* charsmap.c */
tk_text tk_charsmap_apply(tk_scratch *, const tk_charsmap *, tk_text,
                          size_t *first);
hone_status tk_charsmap_read(tk_arena *, tk_charsmap *, tk_text blob,
                             const char *where, hone_err *);
/* The text that replaces the shortest (LONGEST: longest) key that TEXT begins
 * with; *USED: the key's bytes. at NULL: none. */
tk_text tk_charsmap_find(const tk_charsmap *, tk_text, int longest,
                         size_t *used);

/* split.c: pre-tokenizers from step K on, then the model. FIRST: as above. */
void tk_pre_tokenize(tk_scratch *, int k, tk_text, size_t first);

/* added.c: the whole text to ids, without the template. */
void tk_encode_text(tk_scratch *, tk_text);
int32_t tk_find_id(const tk_tok *, const char *piece, size_t len);
hone_status tk_added_read(tk_tok *, const tk_json *list, hone_err *);
/* The same piece by piece: open for so many, put in order, close. */
void tk_added_open(tk_tok *, uint32_t most);
hone_status tk_added_put(tk_tok *, const tk_added *, hone_err *);
hone_status tk_added_close(tk_tok *, hone_err *);
/* Copies TEXT in GPT-2's alphabet to TO, at most twice its bytes. */
size_t tk_spell_bytes(tk_text, char *to);

/* read.c: normalizers, pre-tokenizers, decoders. */
hone_status tk_steps_read(tk_tok *, const tk_json *root, hone_err *);
/* template.c: the special tokens around a text. */
hone_status tk_template_read(tk_tok *, const tk_json *post, hone_err *);
/* decode.c */
tk_text tk_decode_ids(tk_scratch *, const int32_t *ids, int64_t n,
                      uint32_t flags);
/* TEXT with every broken part of UTF-8 as U+FFFD. */
tk_text tk_repaired(tk_scratch *, tk_text);

/* vocab.c: the object {piece: id} of most models. */
hone_status tk_vocab_read(tk_tok *, const tk_json *vocab, hone_err *);

/* read.c: small accessors; a key of the wrong type is an error with WHERE. */
hone_status tk_get_flag(const tk_json *, const char *key, int fallback,
                        int *to, const char *where, hone_err *);
hone_status tk_get_text(const tk_json *, const char *key, tk_text *to,
                        const char *where, hone_err *);

/* ---------------------------------------------------------- tokenizer.c */

/* Whether TEXT is an object whose "model" is of the type TYPE. */
int tk_probe_model(const char *text, size_t bytes, const char *type);
typedef hone_status tk_model_read(tk_tok *, const tk_json *model, hone_err *);
/* Loads a tokenizer.json whose model MODEL reads. TAKES_BYTES: that model can
 * do without pieces in GPT-2's alphabet, as ByteLevel spells them. */
hone_status tk_load_json(const hone_host *, const char *text, size_t bytes,
                         tk_model_read *model, int takes_bytes, void **to,
                         hone_err *err);
/* The model needs the alphabet after all. */
void tk_spell_again(tk_tok *);
tk_tok *tk_open(const hone_host *);
void tk_unload(void *);
int64_t tk_encode(const void *, const char *text, size_t bytes,
                  uint32_t flags, int32_t *ids, int64_t cap);
int64_t tk_decode(const void *, const int32_t *ids, int64_t n, uint32_t flags,
                  char *text, int64_t cap);
int32_t tk_vocab(const void *);
int32_t tk_find(const void *, const char *piece);
int tk_is_special(const void *, int32_t id);

/* The functions of a component that are the same for all. */
#define TK_SHARED_OPS                                                          \
    .unload = tk_unload, .encode = tk_encode, .decode = tk_decode,             \
    .vocab = tk_vocab, .find = tk_find, .is_special = tk_is_special

#endif

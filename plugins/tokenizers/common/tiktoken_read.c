/* SPDX-License-Identifier: MIT
 *
 * tiktoken_read.c -- see tiktoken_read.h. Such a file says neither how a text
 * is cut nor what its special tokens are: a "pat_str" in tokenizer_config.json
 * does, or the model is known by the file's name or the number of its pieces.
 */
#include "tiktoken_read.h"

#include <stdlib.h>

#include "base64.h"
#include "bpe_model.h"
#include "settings.h"

enum { LONGEST = 1400, SPECIALS = 8 }; /* bytes of a line */

#define CLITICS "'s|'t|'re|'ve|'m|'ll|'d"
#define WHITE "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LETTERS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define OTHERS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" WHITE
#define LLAMA3 "(?i:" CLITICS ")" LETTERS "|\\p{N}{1,3}" OTHERS
#define QWEN "(?i:" CLITICS ")" LETTERS "|\\p{N}" OTHERS
#define R50K                                                                   \
    "'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?\\p{N}++| ?[^\\s\\p{L}\\p{N}]++|\\s++$" \
    "|\\s+(?!\\S)|\\s"
#define CL100K                                                                 \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}"        \
    "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define O200K                                                                  \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+(?i:" CLITICS ")?"              \
    "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*(?i:" CLITICS ")?"             \
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" WHITE

typedef struct {
    const char *name; /* how the file's name begins */
    uint32_t pieces;
    const char *regex;
    struct {
        const char *text;
        int32_t id;
    } special[SPECIALS];
    int bos; /* the first special token stands before a text */
} known;

static const known models[] = {
    { "gpt2", 50256, R50K, { { "<|endoftext|>", 50256 } }, 0 },
    { "r50k_base", 50256, R50K, { { "<|endoftext|>", 50256 } }, 0 },
    { "p50k_base", 50280, R50K, { { "<|endoftext|>", 50256 } }, 0 },
    { "cl100k_base", 100256, CL100K,
      { { "<|endoftext|>", 100257 },
        { "<|fim_prefix|>", 100258 },
        { "<|fim_middle|>", 100259 },
        { "<|fim_suffix|>", 100260 },
        { "<|endofprompt|>", 100276 } }, 0 },
    { "o200k_base", 199998, O200K,
      { { "<|endoftext|>", 199999 }, { "<|endofprompt|>", 200018 } }, 0 },
    { "qwen", 151643, QWEN,
      { { "<|endoftext|>", 151643 },
        { "<|im_start|>", 151644 },
        { "<|im_end|>", 151645 } }, 0 },
    { "llama3", 128000, LLAMA3,
      { { "<|begin_of_text|>", 128000 },
        { "<|end_of_text|>", 128001 },
        { "<|start_header_id|>", 128006 },
        { "<|end_header_id|>", 128007 },
        { "<|eot_id|>", 128009 } }, 1 },
};

/* What Transformers takes where it does not know better. */
static const known unknown = { "", 0, LLAMA3, { { NULL, 0 } }, 0 };

/* -------------------------------------------------------------- the lines */

typedef struct {
    tk_tok *tok;
    tk_bpe *m;
    uint32_t pieces;
    hone_err *err;
} reader;

/* "piece rank"; the line without its end. */
static int parse_line(tk_text line, tk_text *coded, int64_t *rank)
{
    const char *gap = memchr(line.at, ' ', line.len);

    if (!gap || gap == line.at)
        return 0;
    *coded = (tk_text){ line.at, (size_t)(gap - line.at) };
    *rank = 0;
    for (const char *p = gap + 1; p < line.at + line.len; p++) {
        if (*p < '0' || *p > '9' || *rank >= TK_MAX_ID)
            return 0;
        *rank = *rank * 10 + (*p - '0');
    }
    return gap + 1 < line.at + line.len && *rank < TK_MAX_ID;
}

static tk_text next_line(tk_text t, size_t *at)
{
    const char *end = memchr(t.at + *at, '\n', t.len - *at);
    tk_text line = { t.at + *at, end ? (size_t)(end - t.at) - *at
                                     : t.len - *at };

    *at += line.len + 1;
    if (line.len && line.at[line.len - 1] == '\r')
        line.len--;
    return line;
}

int tk_tiktoken_probe(const char *text, size_t bytes)
{
    tk_text t = { text, bytes }, coded;
    char piece[LONGEST];
    int64_t rank;
    size_t at = 0, n;

    for (int i = 0; i < 3 && at < bytes; i++) {
        tk_text line = next_line(t, &at);
        if (line.len >= LONGEST || !parse_line(line, &coded, &rank) ||
            !tk_base64(coded, piece, &n) || !n)
            return 0;
    }
    return at > 0;
}

static hone_status read_line(reader *r, tk_text line, uint32_t number)
{
    tk_tok *tok = r->tok;
    tk_text coded, piece;
    int64_t rank;
    char bytes[LONGEST];
    size_t n;

    if (line.len >= LONGEST || !parse_line(line, &coded, &rank) ||
        !tk_base64(coded, bytes, &n) || !n)
        return hone_fail(r->err, HONE_EINVAL,
                         "line %u: not a piece in base 64 and its rank",
                         number);
    piece = tk_keep(&tok->arena, bytes, n);
    if (tk_table_put(&tok->vocab, piece, (int32_t)rank) >= 0)
        return hone_fail(r->err, HONE_EINVAL, "line %u: a piece that was there "
                         "before", number);
    if (n == 1)
        r->m->byte[(unsigned char)bytes[0]] = (int32_t)rank;
    if (rank >= tok->highest)
        tok->highest = (int32_t)rank + 1;
    r->pieces++;
    return HONE_OK;
}

static hone_status read_lines(reader *r, tk_text t)
{
    uint32_t lines = 1, number = 0;

    for (size_t i = 0; i < t.len; i++)
        lines += t.at[i] == '\n';
    tk_table_make(&r->tok->vocab, &r->tok->arena, lines);
    memset(r->m->byte, 0xFF, sizeof r->m->byte);
    for (size_t at = 0; at < t.len;) {
        tk_text line = next_line(t, &at);

        number++;
        if (line.len)
            hone_try(read_line(r, line, number));
    }
    for (int b = 0; b < 256; b++)
        if (r->m->byte[b] < 0)
            return hone_fail(r->err, HONE_EINVAL,
                             "the byte 0x%02X has no rank: not every text "
                             "could be encoded", (unsigned)b);
    return HONE_OK;
}

/* ---------------------------------------------------------------- merges */

/* Every way to halve a piece into pieces is a merge with its rank. */
static size_t halves(tk_bpe *m, const tk_table *vocab, const tk_entry *e,
                     tk_joints *put)
{
    size_t n = 0;

    for (size_t k = 1; k < e->key.len; k++) {
        int32_t left = tk_table_find(vocab, e->key.at, k), right;

        if (left < 0)
            continue;
        right = tk_table_find(vocab, e->key.at + k, e->key.len - k);
        if (right < 0)
            continue;
        n++;
        if (!put)
            continue;
        tk_bpe_put(m, left, right, (uint32_t)e->id, e->id, 1);
        tk_joints_add_bytes(put, (tk_text){ e->key.at, k },
                            (tk_text){ e->key.at + k, e->key.len - k });
    }
    return n;
}

static void make_merges(tk_tok *tok, tk_bpe *m)
{
    const tk_table *v = &tok->vocab;
    size_t count = 0;

    for (size_t i = 0; i <= v->mask; i++)
        if (v->slot[i].id >= 0)
            count += halves(m, v, &v->slot[i], NULL);
    tk_bpe_merges(m, &tok->arena, count);
    m->joints = tk_alloc(&tok->arena, sizeof *m->joints);
    tk_joints_make(m->joints, &tok->arena, count);
    for (size_t i = 0; i <= v->mask; i++)
        if (v->slot[i].id >= 0)
            halves(m, v, &v->slot[i], m->joints);
    tk_bpe_byte_pairs(m, tok);
}

static tk_text decode(tk_scratch *s, const int32_t *ids, int64_t n,
                      uint32_t flags)
{
    const tk_tok *tok = s->tok;
    size_t bytes = 0;
    char *to, *out;

    for (int i = 0; i < 2; i++) {
        out = to = i ? tk_alloc(&s->arena, bytes) : NULL;
        for (int64_t k = 0; k < n; k++) {
            const tk_piece *p = &tok->piece[ids[k]];

            if (ids[k] < 0 || ids[k] >= tok->highest || !p->text.at ||
                ((flags & HONE_SKIP_SPECIALS) && (p->flags & TK_SPECIAL)))
                continue;
            if (i) {
                memcpy(out, p->text.at, p->text.len);
                out += p->text.len;
            } else {
                bytes += p->text.len;
            }
        }
    }
    return tk_repaired(s, (tk_text){ to, bytes });
}

/* ------------------------------------------------------------------- all */

static const known *find_model(const char *name, uint32_t pieces)
{
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (!strncmp(name, models[i].name, strlen(models[i].name)))
            return &models[i];
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (models[i].pieces == pieces)
            return &models[i];
    return &unknown;
}

static hone_status read_pattern(tk_tok *tok, const char *regex,
                                const hone_file *file, uint32_t count,
                                hone_err *err)
{
    tk_arena work = { NULL };
    const tk_json *config = NULL;
    tk_step *step = &tok->pre.step[tok->pre.count++];
    hone_status s = tk_settings_file(&work, file, count,
                                     "tokenizer_config.json", &config, err);
    tk_text own = tk_json_text(tk_json_get(config, "pat_str"));

    step->kind = TK_SPLIT;
    if (s == HONE_OK)
        s = tk_regex(&step->pattern,
                     own.at ? own : (tk_text){ regex, strlen(regex) },
                     "pat_str", err);
    /* What the pattern passes over is lost, but ours pass over nothing. */
    step->behaviour = step->pattern.scan ? TK_ISOLATED : TK_REMOVED;
    step->invert = !step->pattern.scan;
    tk_free(&work);
    return s;
}

static hone_status put_specials(tk_tok *tok, const void *self, hone_err *err)
{
    const known *k = self;


    for (int i = 0; i < SPECIALS && k->special[i].text; i++) {
        tk_added a = { .flags = TK_SPECIAL };

        a.content = (tk_text){ k->special[i].text,
                               strlen(k->special[i].text) };
        tok->next_id = k->special[i].id;
        hone_try(tk_added_put(tok, &a, err));
    }
    return HONE_OK;
}

hone_status tk_tiktoken_read(tk_tok *tok, const hone_file *file, uint32_t count,
                             hone_err *err)
{
    tk_bpe *m = tk_zeroed(&tok->arena, sizeof *m);
    reader r = { tok, m, 0, err };
    const known *k;

    m->tok = tok;
    m->raw = m->ignore_merges = m->complete = 1;
    m->unk = -1;
    m->whole = &tok->vocab;
    tok->model = (tk_model){ .word = tk_bpe_word, .cached = 1, .self = m };
    tok->decode_ids = decode;
    hone_try(read_lines(&r, (tk_text){ file[0].text, file[0].bytes }));
    tok->vocab_size = (int32_t)tok->vocab.count;
    make_merges(tok, m);
    k = find_model(file[0].name, r.pieces);
    hone_try(read_pattern(tok, k->regex, file, count, err));
    return tk_settings_read(tok, file, count, put_specials, k,
                            k->bos ? k->special[0].text : NULL, NULL,
                            count > 1 && k->bos, err);
}

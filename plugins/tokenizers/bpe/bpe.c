/* SPDX-License-Identifier: MIT
 *
 * bpe.c -- the component: loads a tokenizer.json with a BPE model, gives the
 * ids of the Hugging Face library `tokenizers`, and decodes them. What a call
 * needs beside the read-only tokenizer lies in its own scratch, so any number
 * of threads may encode and decode at once.
 */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"

/* Patterns come from the file: these bound what one match may cost. */
enum { MATCH_LIMIT = 10000000, HEAP_LIMIT_KIB = 256 << 10 };

void bpe_begin(bpe_scratch *s, const bpe_tok *tok)
{
    memset(s, 0, sizeof *s);
    s->tok = tok;
}

void bpe_end(bpe_scratch *s)
{
    pcre2_match_data_free(s->match);
    bpe_free(&s->arena);
}

static const char *skip_white(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' ||
                        *at == '\r'))
        at++;
    return at;
}

/* Whether the text has a key "merges" that is no number: a BPE model. */
static int probe(const char *text, size_t bytes)
{
    static const char key[] = "\"merges\"";
    const char *end = text + bytes, *at = skip_white(text, end);

    if (at == end || *at != '{')
        return 0;
    while ((at = memmem(at, (size_t)(end - at), key, sizeof key - 1))) {
        const char *next = skip_white(at += sizeof key - 1, end);

        if (next < end && *next == ':') {
            next = skip_white(next + 1, end);
            if (next < end && (*next == '[' || *next == '{'))
                return 1;
        }
    }
    return 0;
}

static void close_steps(bpe_steps *steps)
{
    for (int i = 0; i < BPE_STEPS; i++)
        bpe_pattern_free(&steps->step[i].pattern);
}

static void unload(void *self)
{
    bpe_tok *tok = self;

    if (!tok)
        return;
    close_steps(&tok->normal);
    close_steps(&tok->pre);
    close_steps(&tok->decode);
    pcre2_match_context_free(tok->limits);
    bpe_free(&tok->arena);
    free(tok);
}

/* Settings of the library that would cut or fill every text. */
static hone_status refuse_lengths(json_t *root, hone_err *err)
{
    static const char *const keys[] = { "truncation", "padding" };

    for (int i = 0; i < 2; i++) {
        json_t *v = json_object_get(root, keys[i]);
        if (v && !json_is_null(v))
            return hone_fail(err, HONE_ENOSUP,
                             "'%s' is set: hone cuts and pads rows itself; "
                             "set it to null in the file", keys[i]);
    }
    return HONE_OK;
}

static hone_status read_all(bpe_tok *tok, json_t *root, hone_err *err)
{
    const char *version = json_string_value(json_object_get(root, "version"));

    if (version && strcmp(version, "1.0") != 0)
        return hone_fail(err, HONE_ENOSUP,
                         "version '%.30s' is not supported, only 1.0 is",
                         version);
    hone_try(refuse_lengths(root, err));
    hone_try(bpe_steps_read(tok, root, err));
    hone_try(bpe_model_read(tok, json_object_get(root, "model"), err));
    hone_try(bpe_added_read(tok, json_object_get(root, "added_tokens"), err));
    return bpe_template_read(tok, json_object_get(root, "post_processor"), err);
}

static hone_status load(const hone_host *host, const char *text, size_t bytes,
                        void **to, hone_err *err)
{
    bpe_tok *tok = calloc(1, sizeof *tok);
    json_error_t where;
    json_t *root = NULL;
    hone_status status;

    if (!tok || !(tok->limits = pcre2_match_context_create(NULL))) {
        free(tok);
        return hone_fail(err, HONE_EIO, "out of memory");
    }
    tok->host = host;
    pcre2_set_match_limit(tok->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(tok->limits, HEAP_LIMIT_KIB);
    root = json_loadb(text, bytes, JSON_ALLOW_NUL, &where);
    if (root && json_is_object(root))
        status = read_all(tok, root, err);
    else
        status = hone_fail(err, HONE_EINVAL, "line %d: %s",
                           root ? 1 : where.line,
                           root ? "not an object" : where.text);
    json_decref(root);
    if (status == HONE_OK)
        *to = tok;
    else
        unload(tok);
    return status;
}

static int64_t encode(const void *self, const char *text, size_t bytes,
                      uint32_t flags, int32_t *ids, int64_t cap)
{
    const bpe_tok *tok = self;
    bpe_scratch s;

    bpe_begin(&s, tok);
    s.ids = ids;
    s.cap = cap;
    for (int i = 0; (flags & HONE_SPECIALS) && i < tok->before_count; i++)
        bpe_emit(&s, tok->before[i]);
    bpe_encode_text(&s, (bpe_text){ text, bytes });
    for (int i = 0; (flags & HONE_SPECIALS) && i < tok->after_count; i++)
        bpe_emit(&s, tok->after[i]);
    bpe_end(&s);
    return s.count;
}

static int64_t decode(const void *self, const int32_t *ids, int64_t n,
                      uint32_t flags, char *text, int64_t cap)
{
    bpe_scratch s;
    bpe_text t;

    bpe_begin(&s, self);
    t = bpe_decode_ids(&s, ids, n, flags);
    if (cap > 0)
        memcpy(text, t.at, (int64_t)t.len < cap ? t.len : (size_t)cap);
    bpe_end(&s);
    return (int64_t)t.len;
}

static int32_t vocab(const void *self)
{
    return ((const bpe_tok *)self)->vocab;
}

static int32_t find(const void *self, const char *piece)
{
    return bpe_find_id(self, piece, strlen(piece));
}

static int is_special(const void *self, int32_t id)
{
    const bpe_tok *tok = self;

    return id >= 0 && id < tok->vocab && (tok->piece[id].flags & BPE_SPECIAL);
}

static const hone_tokenizer ops = {
    .size = sizeof ops,
    .probe = probe,
    .load = load,
    .unload = unload,
    .encode = encode,
    .decode = decode,
    .vocab = vocab,
    .find = find,
    .is_special = is_special,
};

static const hone_component bpe = {
    .size = sizeof bpe,
    .kind = HONE_KIND_TOKENIZER,
    .name = "bpe",
    .help = "tokenizer.json with a BPE model: byte-level or SentencePiece",
    .ops = &ops,
};

HONE_PLUGIN("bpe", "1.0", &bpe)

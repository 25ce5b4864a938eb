/* SPDX-License-Identifier: MIT
 *
 * tokenizer.c -- what the tokenizer components have in common: loading a
 * tokenizer.json, encoding and decoding as the Hugging Face library
 * `tokenizers` does. What a call needs beside the read-only tokenizer lies in
 * its own scratch, so any number of threads may encode and decode at once.
 */
#include <stdlib.h>

#include "tok.h"

/* Patterns come from the file: these bound what one match may cost. */
enum { MATCH_LIMIT = 10000000, HEAP_LIMIT_KIB = 256 << 10 };

tk_tok *tk_open(const hone_host *host)
{
    tk_tok *tok = calloc(1, sizeof *tok);

    tk_unicode_open();
    if (!tok || !(tok->limits = pcre2_match_context_create(NULL))) {
        free(tok);
        return NULL;
    }
    tok->host = host;
    pcre2_set_match_limit(tok->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(tok->limits, HEAP_LIMIT_KIB);
    return tok;
}

static void close_steps(tk_steps *steps)
{
    for (int i = 0; i < TK_STEPS; i++)
        tk_pattern_free(&steps->step[i].pattern);
}

void tk_unload(void *self)
{
    tk_tok *tok = self;

    if (!tok)
        return;
    for (int i = 0; i < TK_SLOTS; i++)
        tk_scratch_free(tok->slot[i].left);
    if (tok->model.close)
        tok->model.close(tok->model.self);
    close_steps(&tok->normal);
    close_steps(&tok->pre);
    close_steps(&tok->decode);
    pcre2_match_context_free(tok->limits);
    tk_free(&tok->arena);
    free(tok);
}

/* -------------------------------------------------------------- loading */

/* Settings of the library that would cut or fill every text. */
static hone_status refuse_lengths(const tk_json *root, hone_err *err)
{
    static const char *const keys[] = { "truncation", "padding" };

    for (int i = 0; i < 2; i++)
        if (!tk_json_none(tk_json_get(root, keys[i])))
            return hone_fail(err, HONE_ENOSUP,
                             "'%s' is set: hone cuts and pads rows itself; "
                             "set it to null in the file", keys[i]);
    return HONE_OK;
}

/* The last ByteLevel costs nothing where the model takes bytes as they are. */
static void drop_spelling(tk_tok *tok)
{
    tk_steps *pre = &tok->pre;
    tk_step *last = pre->count ? &pre->step[pre->count - 1] : NULL;

    if (!last || last->kind != TK_BYTE_LEVEL)
        return;
    tok->raw_bytes = 1;
    last->spell = 0;
    if (!last->prefix && !last->split)
        pre->count--;
}

void tk_spell_again(tk_tok *tok)
{
    tk_steps *pre = &tok->pre;

    if (!tok->raw_bytes)
        return;
    if (pre->count == TK_STEPS || pre->step[pre->count].kind != TK_BYTE_LEVEL)
        pre->count--;
    pre->step[pre->count++].spell = 1;
    tok->raw_bytes = 0;
}

static hone_status read_all(tk_tok *tok, const tk_json *root,
                            tk_model_read *model, hone_err *err)
{
    const char *version = tk_json_string(tk_json_get(root, "version"));

    if (version && strcmp(version, "1.0") != 0)
        return hone_fail(err, HONE_ENOSUP,
                         "version '%.30s' is not supported, only 1.0 is",
                         version);
    if (!tk_json_is(tk_json_get(root, "model"), TK_OBJECT))
        return hone_fail(err, HONE_EINVAL, "'model' must be an object");
    hone_try(refuse_lengths(root, err));
    hone_try(tk_steps_read(tok, root, err));
    if (tok->takes_bytes)
        drop_spelling(tok);
    hone_try(model(tok, tk_json_get(root, "model"), err));
    hone_try(tk_added_read(tok, tk_json_get(root, "added_tokens"), err));
    return tk_template_read(tok, tk_json_get(root, "post_processor"), err);
}

hone_status tk_load_json(const hone_host *host, const char *text, size_t bytes,
                         tk_model_read *model, int takes_bytes, void **to,
                         hone_err *err)
{
    tk_tok *tok = tk_open(host);
    tk_arena work = { NULL };
    const char *why = NULL;
    const tk_json *root;
    char *copy = malloc(bytes + 1);
    int line = 1;
    hone_status status;

    if (!tok || !copy) {
        free(copy);
        tk_unload(tok);
        return hone_fail(err, HONE_EIO, "out of memory");
    }
    tok->takes_bytes = takes_bytes;
    memcpy(copy, text, bytes);
    root = tk_json_read(&work, copy, bytes, &why, &line);
    if (root && root->type == TK_OBJECT)
        status = read_all(tok, root, model, err);
    else
        status = hone_fail(err, HONE_EINVAL, "line %d: %s", line,
                           root ? "not an object" : why);
    tk_free(&work);
    free(copy);
    if (status == HONE_OK)
        *to = tok;
    else
        tk_unload(tok);
    return status;
}

static const char *skip_white(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' ||
                        *at == '\r'))
        at++;
    return at;
}

/* The next place behind KEY and a colon from AT on; NULL: none. */
static const char *behind_key(const char *at, const char *end, const char *key)
{
    while ((at = memmem(at, (size_t)(end - at), key, strlen(key)))) {
        at = skip_white(at + strlen(key), end);
        if (at < end && *at == ':')
            return skip_white(at + 1, end);
    }
    return NULL;
}

/* Cheap: looks for "type": "TYPE". Old files have no type: they are BPE if
 * they have merges, Unigram if the vocabulary is a list, WordPiece if they
 * have a prefix, else WordLevel. */
int tk_probe_model(const char *text, size_t bytes, const char *type)
{
    static const char *const types[] = { "BPE", "Unigram", "WordPiece",
                                         "WordLevel" };
    const char *end = text + bytes, *at = skip_white(text, end), *p = at;
    char quoted[32];

    if (at == end || *at != '{')
        return 0;
    for (int i = 0; i < 4; i++) {
        size_t n = (size_t)snprintf(quoted, sizeof quoted, "\"%s\"", types[i]);

        for (p = at; (p = behind_key(p, end, "\"type\""));)
            if ((size_t)(end - p) >= n && !memcmp(p, quoted, n))
                /* the decoder's type may be WordPiece, too */
                if (strcmp(types[i], "WordPiece") != 0 ||
                    behind_key(at, end, "\"max_input_chars_per_word\""))
                    return !strcmp(type, types[i]);
    }
    p = behind_key(at, end, "\"merges\"");
    if (p && p < end && (*p == '[' || *p == '{'))
        return !strcmp(type, "BPE");
    if (!behind_key(at, end, "\"vocab\""))
        return 0;
    if (behind_key(at, end, "\"max_input_chars_per_word\""))
        return !strcmp(type, "WordPiece");
    p = behind_key(at, end, "\"vocab\"");
    return !strcmp(type, p < end && *p == '[' ? "Unigram" : "WordLevel");
}

/* ------------------------------------------------------------- the calls */

int64_t tk_encode(const void *self, const char *text, size_t bytes,
                  uint32_t flags, int32_t *ids, int64_t cap)
{
    const tk_tok *tok = self;
    const tk_template *t = flags & HONE_SPECIALS ? &tok->full : &tok->plain;
    tk_scratch *s = tk_begin(tok);
    int64_t count;

    s->ids = ids;
    s->cap = cap;
    for (int i = 0; i < t->count; i++) {
        if (t->item[i] != TK_TEXT_HERE)
            tk_emit(s, t->item[i]);
        else if (tok->encode)
            tok->encode(s, (tk_text){ text, bytes });
        else
            tk_encode_text(s, (tk_text){ text, bytes });
    }
    count = s->count;
    tk_end(s);
    return count;
}

int64_t tk_decode(const void *self, const int32_t *ids, int64_t n,
                  uint32_t flags, char *text, int64_t cap)
{
    const tk_tok *tok = self;
    tk_scratch *s = tk_begin(tok);
    tk_text t = tok->decode_ids ? tok->decode_ids(s, ids, n, flags)
                                : tk_decode_ids(s, ids, n, flags);

    if (cap > 0)
        memcpy(text, t.at, (int64_t)t.len < cap ? t.len : (size_t)cap);
    tk_end(s);
    return (int64_t)t.len;
}

int32_t tk_vocab(const void *self)
{
    return ((const tk_tok *)self)->highest;
}

int32_t tk_find(const void *self, const char *piece)
{
    return tk_find_id(self, piece, strlen(piece));
}

int tk_is_special(const void *self, int32_t id)
{
    const tk_tok *tok = self;

    return id >= 0 && id < tok->highest &&
           (tok->piece[id].flags & TK_SPECIAL);
}

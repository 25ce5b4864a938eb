/* SPDX-License-Identifier: MIT
 *
 * read.c -- the normalizers, pre-tokenizers and decoders of a tokenizer.json
 * as lists of steps. A type that is not known here is refused by its name:
 * leaving it out would give other ids without a word.
 */
#include <stdlib.h>

#include "base64.h"
#include "tok.h"

/* GPT-2's pattern, which ByteLevel applies unless use_regex is false. */
static const char gpt2_regex[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
    "|\\s+(?!\\S)|\\s+";

/* ----------------------------------------------------------- accessors */

hone_status tk_get_flag(const tk_json *obj, const char *key, int fallback,
                        int *to, const char *where, hone_err *err)
{
    const tk_json *v = tk_json_get(obj, key);

    *to = tk_json_none(v) ? fallback : v->type == TK_TRUE;
    if (!tk_json_none(v) && v->type != TK_TRUE && v->type != TK_FALSE)
        return hone_fail(err, HONE_EINVAL, "%s: '%s' must be true or false",
                         where, key);
    return HONE_OK;
}

hone_status tk_get_text(const tk_json *obj, const char *key, tk_text *to,
                        const char *where, hone_err *err)
{
    const tk_json *v = tk_json_get(obj, key);

    if (tk_json_none(v))
        return HONE_OK;
    if (v->type != TK_STRING)
        return hone_fail(err, HONE_EINVAL, "%s: '%s' must be a text", where,
                         key);
    *to = tk_json_text(v);
    return HONE_OK;
}

static hone_status need_text(const tk_json *obj, const char *key, tk_text *to,
                             const char *where, hone_err *err)
{
    hone_try(tk_get_text(obj, key, to, where, err));
    if (!to->at)
        return hone_fail(err, HONE_EINVAL, "%s needs '%s'", where, key);
    return HONE_OK;
}

static hone_status need_char(const tk_json *obj, const char *key, tk_text *to,
                             const char *where, hone_err *err)
{
    size_t len = 0;

    hone_try(need_text(obj, key, to, where, err));
    if (to->len)
        tk_char(to->at, &len);
    if (!len || len != to->len)
        return hone_fail(err, HONE_EINVAL, "%s: '%s' must be one character",
                         where, key);
    return HONE_OK;
}

static hone_status get_count(const tk_json *obj, const char *key, int64_t usual,
                             int64_t *to, const char *where, hone_err *err)
{
    const tk_json *v = tk_json_get(obj, key);

    *to = tk_json_is(v, TK_INTEGER) ? v->u.integer : usual;
    if ((v && v->type != TK_INTEGER) || *to < 0)
        return hone_fail(err, HONE_EINVAL,
                         "%s: '%s' must be a whole number, 0 or more", where,
                         key);
    return HONE_OK;
}

/* {"String": "..."} or {"Regex": "..."} */
static hone_status read_pattern(const tk_json *obj, tk_pattern *to,
                                const char *where, hone_err *err)
{
    const tk_json *p = tk_json_get(obj, "pattern");
    tk_text regex = { NULL, 0 };

    hone_try(tk_get_text(p, "String", &to->literal, where, err));
    hone_try(tk_get_text(p, "Regex", &regex, where, err));
    if (to->literal.at && !to->literal.len)
        regex = (tk_text){ "(?:)", 4 }; /* matches everywhere */
    if (regex.at)
        return tk_regex(to, regex, where, err);
    if (!to->literal.len)
        return hone_fail(err, HONE_EINVAL,
                         "%s needs a pattern, {\"String\": ...} or "
                         "{\"Regex\": ...}", where);
    return HONE_OK;
}

/* ------------------------------------------------------------- readers */

typedef hone_status read_fn(tk_tok *, const tk_json *, tk_step *,
                            const char *where, hone_err *);

typedef struct {
    const char *type;
    int kind;
    read_fn *read; /* NULL: no options */
} reader;

static hone_status need_flag(const tk_json *obj, const char *key, int *to,
                             const char *where, hone_err *err)
{
    if (tk_json_none(tk_json_get(obj, key)))
        return hone_fail(err, HONE_EINVAL, "%s needs '%s'", where, key);
    return tk_get_flag(obj, key, 0, to, where, err);
}

static hone_status read_prepend(tk_tok *tok, const tk_json *obj, tk_step *to,
                                const char *where, hone_err *err)
{
    (void)tok;
    return need_text(obj, "prepend", &to->text, where, err);
}

static hone_status read_replace(tk_tok *tok, const tk_json *obj, tk_step *to,
                                const char *where, hone_err *err)
{
    (void)tok;
    hone_try(need_text(obj, "content", &to->text, where, err));
    return read_pattern(obj, &to->pattern, where, err);
}

static hone_status read_sides(tk_tok *tok, const tk_json *obj, tk_step *to,
                              const char *where, hone_err *err)
{
    int left = 0, right = 0;

    (void)tok;
    hone_try(need_flag(obj, "strip_left", &left, where, err));
    hone_try(need_flag(obj, "strip_right", &right, where, err));
    to->left = left;
    to->right = right;
    return HONE_OK;
}

static hone_status read_bert(tk_tok *tok, const tk_json *obj, tk_step *to,
                             const char *where, hone_err *err)
{
    (void)tok;
    hone_try(need_flag(obj, "clean_text", &to->clean, where, err));
    hone_try(need_flag(obj, "handle_chinese_chars", &to->chinese, where, err));
    hone_try(need_flag(obj, "lowercase", &to->lower, where, err));
    return tk_get_flag(obj, "strip_accents", to->lower, &to->accents, where,
                       err);
}

static hone_status read_charsmap(tk_tok *tok, const tk_json *obj, tk_step *to,
                                 const char *where, hone_err *err)
{
    tk_text coded = { NULL, 0 };
    hone_status s;
    size_t n;
    char *blob;

    hone_try(need_text(obj, "precompiled_charsmap", &coded, where, err));
    blob = malloc(coded.len + 1);
    if (!blob)
        return hone_fail(err, HONE_EIO, "out of memory");
    if (tk_base64(coded, blob, &n))
        s = tk_charsmap_read(&tok->arena, &to->map, (tk_text){ blob, n },
                             where, err);
    else
        s = hone_fail(err, HONE_EINVAL,
                      "%s: 'precompiled_charsmap' is not base 64", where);
    free(blob);
    return s;
}

static hone_status read_behaviour(const tk_json *obj, tk_step *to,
                                  const char *where, hone_err *err)
{
    static const char *const names[] = { "Removed", "Isolated",
                                         "MergedWithPrevious", "MergedWithNext",
                                         "Contiguous" };
    tk_text name = { NULL, 0 };

    hone_try(tk_get_text(obj, "behavior", &name, where, err));
    to->behaviour = TK_ISOLATED;
    if (!name.at)
        return HONE_OK;
    for (int i = 0; i < 5; i++)
        if (!strcmp(name.at, names[i])) {
            to->behaviour = (tk_behaviour)(i + 1);
            return HONE_OK;
        }
    return hone_fail(err, HONE_ENOSUP,
                     "%s: behavior '%.60s' is not supported", where, name.at);
}

static hone_status read_split(tk_tok *tok, const tk_json *obj, tk_step *to,
                              const char *where, hone_err *err)
{
    (void)tok;
    hone_try(read_behaviour(obj, to, where, err));
    hone_try(need_flag(obj, "invert", &to->invert, where, err));
    return read_pattern(obj, &to->pattern, where, err);
}

static hone_status read_digits(tk_tok *tok, const tk_json *obj, tk_step *to,
                               const char *where, hone_err *err)
{
    int single = 0;

    (void)tok;
    hone_try(need_flag(obj, "individual_digits", &single, where, err));
    to->behaviour = single ? TK_ISOLATED : TK_CONTIGUOUS;
    to->pattern.bits = TK_IS_NUMERIC;
    return HONE_OK;
}

static hone_status read_punctuation(tk_tok *tok, const tk_json *obj,
                                    tk_step *to, const char *where,
                                    hone_err *err)
{
    (void)tok;
    to->pattern.bits = TK_IS_PUNCT;
    return read_behaviour(obj, to, where, err);
}

static hone_status read_white(tk_tok *tok, const tk_json *obj, tk_step *to,
                              const char *where, hone_err *err)
{
    (void)tok, (void)obj, (void)where, (void)err;
    to->pattern.bits = TK_IS_WHITE;
    to->behaviour = TK_REMOVED;
    return HONE_OK;
}

/* BertPreTokenizer: white space goes, then punctuation stands alone. */
static hone_status read_bert_split(tk_tok *tok, const tk_json *obj,
                                   tk_step *to, const char *where,
                                   hone_err *err)
{
    tk_step *second;

    hone_try(read_white(tok, obj, to, where, err));
    if (tok->pre.count == TK_STEPS)
        return hone_fail(err, HONE_ENOSUP, "%s: more than %d steps", where,
                         TK_STEPS);
    second = &tok->pre.step[tok->pre.count++];
    second->kind = TK_SPLIT;
    second->pattern.bits = TK_IS_PUNCT;
    second->behaviour = TK_ISOLATED;
    return HONE_OK;
}

static hone_status read_delimiter(tk_tok *tok, const tk_json *obj, tk_step *to,
                                  const char *where, hone_err *err)
{
    (void)tok;
    to->behaviour = TK_REMOVED;
    return need_char(obj, "delimiter", &to->pattern.literal, where, err);
}

static hone_status read_fixed(tk_tok *tok, const tk_json *obj, tk_step *to,
                              const char *where, hone_err *err)
{
    (void)tok;
    hone_try(get_count(obj, "length", 5, &to->left, where, err));
    if (to->left == 0)
        return hone_fail(err, HONE_EINVAL, "%s: 'length' must not be 0", where);
    return HONE_OK;
}

static hone_status read_byte_level(tk_tok *tok, const tk_json *obj, tk_step *to,
                                   const char *where, hone_err *err)
{
    (void)tok;
    to->spell = 1;
    hone_try(need_flag(obj, "add_prefix_space", &to->prefix, where, err));
    hone_try(tk_get_flag(obj, "use_regex", 1, &to->split, where, err));
    if (!to->split)
        return HONE_OK;
    return tk_regex(&to->pattern,
                    (tk_text){ gpt2_regex, sizeof gpt2_regex - 1 }, where, err);
}

/* Older files say add_prefix_space, newer ones prepend_scheme. */
static hone_status read_metaspace(tk_tok *tok, const tk_json *obj, tk_step *to,
                                  const char *where, hone_err *err)
{
    static const char *const names[] = { "always", "first", "never" };
    tk_text scheme = { "always", 6 };
    int prefix;

    (void)tok;
    hone_try(need_char(obj, "replacement", &to->text, where, err));
    to->pattern.literal = to->text;
    hone_try(tk_get_flag(obj, "split", 1, &to->split, where, err));
    hone_try(tk_get_flag(obj, "add_prefix_space", 1, &prefix, where, err));
    hone_try(tk_get_text(obj, "prepend_scheme", &scheme, where, err));
    for (int i = 0; i < 3; i++)
        if (!strcmp(scheme.at, names[i]))
            to->scheme = (tk_scheme)(i + 1);
    if (!to->scheme)
        return hone_fail(err, HONE_ENOSUP,
                         "%s: prepend_scheme '%.60s' is not supported", where,
                         scheme.at);
    if (!prefix && tk_json_get(obj, "prepend_scheme") &&
        to->scheme != TK_NEVER)
        return hone_fail(err, HONE_EINVAL,
                         "%s: add_prefix_space contradicts prepend_scheme",
                         where);
    if (!prefix)
        to->scheme = TK_NEVER;
    return HONE_OK;
}

static hone_status read_cut(tk_tok *tok, const tk_json *obj, tk_step *to,
                            const char *where, hone_err *err)
{
    (void)tok;
    hone_try(need_char(obj, "content", &to->text, where, err));
    hone_try(get_count(obj, "start", 0, &to->left, where, err));
    return get_count(obj, "stop", 0, &to->right, where, err);
}

static hone_status read_wordpiece(tk_tok *tok, const tk_json *obj, tk_step *to,
                                  const char *where, hone_err *err)
{
    (void)tok;
    hone_try(need_text(obj, "prefix", &to->text, where, err));
    return need_flag(obj, "cleanup", &to->clean, where, err);
}

static hone_status read_suffix(tk_tok *tok, const tk_json *obj, tk_step *to,
                               const char *where, hone_err *err)
{
    (void)tok;
    return need_text(obj, "suffix", &to->text, where, err);
}

static hone_status read_ctc(tk_tok *tok, const tk_json *obj, tk_step *to,
                            const char *where, hone_err *err)
{
    (void)tok;
    hone_try(need_text(obj, "pad_token", &to->text, where, err));
    hone_try(need_text(obj, "word_delimiter_token", &to->more, where, err));
    return need_flag(obj, "cleanup", &to->clean, where, err);
}

static const reader normalizers[] = {
    { "NFC", TK_NFC, NULL },
    { "NFD", TK_NFD, NULL },
    { "NFKC", TK_NFKC, NULL },
    { "NFKD", TK_NFKD, NULL },
    { "Nmt", TK_NMT, NULL },
    { "BertNormalizer", TK_BERT, read_bert },
    { "Prepend", TK_PREPEND, read_prepend },
    { "Replace", TK_REPLACE, read_replace },
    { "Lowercase", TK_LOWERCASE, NULL },
    { "Strip", TK_STRIP, read_sides },
    { "StripAccents", TK_STRIP_ACCENTS, NULL },
    { "Precompiled", TK_CHARSMAP, read_charsmap },
    { "ByteLevel", TK_SPELL_BYTES, NULL },
    { NULL, 0, NULL },
};

static const reader pre_tokenizers[] = {
    { "Split", TK_SPLIT, read_split },
    { "ByteLevel", TK_BYTE_LEVEL, read_byte_level },
    { "Metaspace", TK_METASPACE, read_metaspace },
    { "Digits", TK_SPLIT, read_digits },
    { "Punctuation", TK_SPLIT, read_punctuation },
    { "Whitespace", TK_WORDS, NULL },
    { "WhitespaceSplit", TK_SPLIT, read_white },
    { "BertPreTokenizer", TK_SPLIT, read_bert_split },
    { "CharDelimiterSplit", TK_SPLIT, read_delimiter },
    { "UnicodeScripts", TK_SCRIPTS, NULL },
    { "FixedLength", TK_FIXED, read_fixed },
    { NULL, 0, NULL },
};

static const reader decoders[] = {
    { "ByteLevel", TK_DEC_BYTE_LEVEL, NULL },
    { "Metaspace", TK_DEC_METASPACE, read_metaspace },
    { "Replace", TK_DEC_REPLACE, read_replace },
    { "ByteFallback", TK_DEC_BYTE_FALLBACK, NULL },
    { "Fuse", TK_DEC_FUSE, NULL },
    { "Strip", TK_DEC_STRIP, read_cut },
    { "WordPiece", TK_DEC_WORDPIECE, read_wordpiece },
    { "BPEDecoder", TK_DEC_BPE, read_suffix },
    { "CTC", TK_DEC_CTC, read_ctc },
    { NULL, 0, NULL },
};

/* --------------------------------------------------------------- lists */

typedef struct {
    const char *key;      /* in the file: "normalizer" */
    const char *children; /* of a Sequence: "normalizers" */
    const reader *readers;
    tk_steps *to;
} list;

static hone_status unknown_type(const list *l, const char *type, hone_err *err)
{
    char names[320] = "Sequence";
    size_t n = strlen(names);

    for (const reader *r = l->readers; r->type && n < sizeof names; r++)
        n += (size_t)snprintf(names + n, sizeof names - n, ", %s", r->type);
    return hone_fail(err, HONE_ENOSUP,
                     "%s: type '%.60s' is not supported; known are %s", l->key,
                     type, names);
}

static hone_status read_steps(tk_tok *tok, const tk_json *obj, const list *l,
                              hone_err *err)
{
    const char *type = tk_json_string(tk_json_get(obj, "type"));
    const reader *r = l->readers;
    char where[80];
    const tk_json *children;
    tk_step *step;

    if (tk_json_none(obj))
        return HONE_OK;
    if (!type)
        return hone_fail(err, HONE_EINVAL, "%s: 'type' is missing", l->key);
    if (!strcmp(type, "Sequence")) {
        children = tk_json_get(obj, l->children);
        if (!tk_json_is(children, TK_LIST))
            return hone_fail(err, HONE_EINVAL, "%s: Sequence needs '%s'",
                             l->key, l->children);
        for (uint32_t i = 0; i < children->count; i++)
            hone_try(read_steps(tok, tk_json_at(children, i), l, err));
        return HONE_OK;
    }
    while (r->type && strcmp(r->type, type) != 0)
        r++;
    if (!r->type)
        return unknown_type(l, type, err);
    if (l->to->count == TK_STEPS)
        return hone_fail(err, HONE_ENOSUP, "%s: more than %d steps", l->key,
                         TK_STEPS);
    snprintf(where, sizeof where, "%s: %s", l->key, type);
    step = &l->to->step[l->to->count++];
    step->kind = r->kind;
    return r->read ? r->read(tok, obj, step, where, err) : HONE_OK;
}

/* The texts of the steps outlive the file's text. */
static void keep_texts(tk_tok *tok, tk_steps *steps)
{
    for (int i = 0; i < steps->count; i++) {
        tk_step *s = &steps->step[i];
        tk_text *const texts[] = { &s->text, &s->more, &s->pattern.literal };

        for (int k = 0; k < 3; k++)
            if (texts[k]->at)
                *texts[k] = tk_keep(&tok->arena, texts[k]->at, texts[k]->len);
    }
}

hone_status tk_steps_read(tk_tok *tok, const tk_json *root, hone_err *err)
{
    const list lists[] = {
        { "normalizer", "normalizers", normalizers, &tok->normal },
        { "pre_tokenizer", "pretokenizers", pre_tokenizers, &tok->pre },
        { "decoder", "decoders", decoders, &tok->decode },
    };

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        hone_try(read_steps(tok, tk_json_get(root, lists[i].key), &lists[i],
                            err));
        keep_texts(tok, lists[i].to);
    }
    return HONE_OK;
}

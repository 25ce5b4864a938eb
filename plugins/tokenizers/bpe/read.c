/* SPDX-License-Identifier: MIT
 *
 * read.c -- the normalizers, pre-tokenizers and decoders of a tokenizer.json
 * as lists of steps. A type that is not known here is refused by its name:
 * leaving it out would give other ids without a word.
 */
#include <string.h>

#include "bpe.h"

/* GPT-2's pattern, which ByteLevel applies unless use_regex is false. */
static const char gpt2_regex[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
    "|\\s+(?!\\S)|\\s+";

/* ----------------------------------------------------------- accessors */

hone_status bpe_get_flag(json_t *obj, const char *key, int fallback, int *to,
                         const char *where, hone_err *err)
{
    json_t *v = json_object_get(obj, key);

    *to = v && !json_is_null(v) ? json_is_true(v) : fallback;
    if (v && !json_is_null(v) && !json_is_boolean(v))
        return hone_fail(err, HONE_EINVAL, "%s: '%s' must be true or false",
                         where, key);
    return HONE_OK;
}

hone_status bpe_get_text(bpe_arena *a, json_t *obj, const char *key,
                         bpe_text *to, const char *where, hone_err *err)
{
    json_t *v = json_object_get(obj, key);

    if (!v || json_is_null(v))
        return HONE_OK;
    if (!json_is_string(v))
        return hone_fail(err, HONE_EINVAL, "%s: '%s' must be a text", where,
                         key);
    *to = bpe_keep(a, json_string_value(v), json_string_length(v));
    return HONE_OK;
}

static hone_status need_text(bpe_tok *tok, json_t *obj, const char *key,
                             bpe_text *to, const char *where, hone_err *err)
{
    hone_try(bpe_get_text(&tok->arena, obj, key, to, where, err));
    if (!to->at)
        return hone_fail(err, HONE_EINVAL, "%s needs '%s'", where, key);
    return HONE_OK;
}

static hone_status need_char(bpe_tok *tok, json_t *obj, const char *key,
                             bpe_text *to, const char *where, hone_err *err)
{
    size_t len = 0;

    hone_try(need_text(tok, obj, key, to, where, err));
    if (to->len)
        bpe_char(to->at, &len);
    if (!len || len != to->len)
        return hone_fail(err, HONE_EINVAL, "%s: '%s' must be one character",
                         where, key);
    return HONE_OK;
}

static hone_status get_count(json_t *obj, const char *key, int64_t *to,
                             const char *where, hone_err *err)
{
    json_t *v = json_object_get(obj, key);

    *to = json_is_integer(v) ? json_integer_value(v) : 0;
    if ((v && !json_is_integer(v)) || *to < 0)
        return hone_fail(err, HONE_EINVAL,
                         "%s: '%s' must be a whole number, 0 or more", where,
                         key);
    return HONE_OK;
}

/* {"String": "..."} or {"Regex": "..."} */
static hone_status read_pattern(bpe_tok *tok, json_t *obj, bpe_pattern *to,
                                const char *where, hone_err *err)
{
    json_t *p = json_object_get(obj, "pattern");
    bpe_text regex = { NULL, 0 };

    hone_try(bpe_get_text(&tok->arena, p, "String", &to->literal, where, err));
    hone_try(bpe_get_text(&tok->arena, p, "Regex", &regex, where, err));
    if (regex.at && !to->literal.at)
        return bpe_regex(to, regex, where, err);
    if (!to->literal.len)
        return hone_fail(err, HONE_EINVAL,
                         "%s needs a pattern, {\"String\": ...} or "
                         "{\"Regex\": ...}, that is not empty", where);
    return HONE_OK;
}

/* ------------------------------------------------------------- readers */

typedef hone_status read_fn(bpe_tok *, json_t *, bpe_step *, const char *where,
                            hone_err *);

typedef struct {
    const char *type;
    int kind;
    read_fn *read; /* NULL: no options */
} reader;

static hone_status read_prepend(bpe_tok *tok, json_t *obj, bpe_step *to,
                                const char *where, hone_err *err)
{
    return need_text(tok, obj, "prepend", &to->text, where, err);
}

static hone_status read_replace(bpe_tok *tok, json_t *obj, bpe_step *to,
                                const char *where, hone_err *err)
{
    hone_try(need_text(tok, obj, "content", &to->text, where, err));
    return read_pattern(tok, obj, &to->pattern, where, err);
}

static hone_status read_sides(bpe_tok *tok, json_t *obj, bpe_step *to,
                              const char *where, hone_err *err)
{
    int left, right;

    (void)tok;
    hone_try(bpe_get_flag(obj, "strip_left", 0, &left, where, err));
    hone_try(bpe_get_flag(obj, "strip_right", 0, &right, where, err));
    to->left = left;
    to->right = right;
    return HONE_OK;
}

static hone_status read_behaviour(bpe_tok *tok, json_t *obj, bpe_step *to,
                                  const char *where, hone_err *err)
{
    static const char *const names[] = { "Removed", "Isolated",
                                         "MergedWithPrevious", "MergedWithNext",
                                         "Contiguous" };
    bpe_text name = { NULL, 0 };

    hone_try(bpe_get_text(&tok->arena, obj, "behavior", &name, where, err));
    to->behaviour = BPE_ISOLATED;
    if (!name.at)
        return HONE_OK;
    for (int i = 0; i < 5; i++)
        if (!strcmp(name.at, names[i])) {
            to->behaviour = (bpe_behaviour)(i + 1);
            return HONE_OK;
        }
    return hone_fail(err, HONE_ENOSUP,
                     "%s: behavior '%.60s' is not supported", where, name.at);
}

static hone_status read_split(bpe_tok *tok, json_t *obj, bpe_step *to,
                              const char *where, hone_err *err)
{
    hone_try(read_behaviour(tok, obj, to, where, err));
    hone_try(bpe_get_flag(obj, "invert", 0, &to->invert, where, err));
    return read_pattern(tok, obj, &to->pattern, where, err);
}

static hone_status read_digits(bpe_tok *tok, json_t *obj, bpe_step *to,
                               const char *where, hone_err *err)
{
    int single;

    (void)tok;
    hone_try(bpe_get_flag(obj, "individual_digits", 0, &single, where, err));
    to->behaviour = single ? BPE_ISOLATED : BPE_CONTIGUOUS;
    to->pattern.is = bpe_is_number;
    return HONE_OK;
}

static hone_status read_punctuation(bpe_tok *tok, json_t *obj, bpe_step *to,
                                    const char *where, hone_err *err)
{
    to->pattern.is = bpe_is_punct;
    return read_behaviour(tok, obj, to, where, err);
}

static hone_status read_white(bpe_tok *tok, json_t *obj, bpe_step *to,
                              const char *where, hone_err *err)
{
    (void)tok, (void)obj, (void)where, (void)err;
    to->pattern.is = bpe_is_white;
    to->behaviour = BPE_REMOVED;
    return HONE_OK;
}

static hone_status read_delimiter(bpe_tok *tok, json_t *obj, bpe_step *to,
                                  const char *where, hone_err *err)
{
    to->behaviour = BPE_REMOVED;
    return need_char(tok, obj, "delimiter", &to->pattern.literal, where, err);
}

static hone_status read_byte_level(bpe_tok *tok, json_t *obj, bpe_step *to,
                                   const char *where, hone_err *err)
{
    tok->model.byte_level = 1;
    hone_try(bpe_get_flag(obj, "add_prefix_space", 0, &to->prefix, where, err));
    hone_try(bpe_get_flag(obj, "use_regex", 1, &to->split, where, err));
    if (!to->split)
        return HONE_OK;
    return bpe_regex(&to->pattern,
                     (bpe_text){ gpt2_regex, sizeof gpt2_regex - 1 }, where,
                     err);
}

/* Older files say add_prefix_space, newer ones prepend_scheme. */
static hone_status read_metaspace(bpe_tok *tok, json_t *obj, bpe_step *to,
                                  const char *where, hone_err *err)
{
    static const char *const names[] = { "always", "first", "never" };
    bpe_text scheme = { NULL, 0 };
    int prefix;

    hone_try(need_char(tok, obj, "replacement", &to->text, where, err));
    to->pattern.literal = to->text;
    hone_try(bpe_get_flag(obj, "split", 1, &to->split, where, err));
    hone_try(bpe_get_flag(obj, "add_prefix_space", 1, &prefix, where, err));
    hone_try(bpe_get_text(&tok->arena, obj, "prepend_scheme", &scheme, where,
                          err));
    to->scheme = prefix ? BPE_ALWAYS : BPE_NEVER;
    if (!scheme.at)
        return HONE_OK;
    to->scheme = 0;
    for (int i = 0; i < 3; i++)
        if (!strcmp(scheme.at, names[i]))
            to->scheme = (bpe_scheme)(i + 1);
    if (!to->scheme)
        return hone_fail(err, HONE_ENOSUP,
                         "%s: prepend_scheme '%.60s' is not supported", where,
                         scheme.at);
    if (!prefix && to->scheme != BPE_NEVER)
        return hone_fail(err, HONE_EINVAL,
                         "%s: add_prefix_space contradicts prepend_scheme",
                         where);
    return HONE_OK;
}

static hone_status read_cut(bpe_tok *tok, json_t *obj, bpe_step *to,
                            const char *where, hone_err *err)
{
    hone_try(need_char(tok, obj, "content", &to->text, where, err));
    hone_try(get_count(obj, "start", &to->left, where, err));
    return get_count(obj, "stop", &to->right, where, err);
}

static const reader normalizers[] = {
    { "NFC", BPE_NFC, NULL },
    { "NFD", BPE_NFD, NULL },
    { "NFKC", BPE_NFKC, NULL },
    { "NFKD", BPE_NFKD, NULL },
    { "Prepend", BPE_PREPEND, read_prepend },
    { "Replace", BPE_REPLACE, read_replace },
    { "Lowercase", BPE_LOWERCASE, NULL },
    { "Strip", BPE_STRIP, read_sides },
    { "StripAccents", BPE_STRIP_ACCENTS, NULL },
    { NULL, 0, NULL },
};

static const reader pre_tokenizers[] = {
    { "Split", BPE_SPLIT, read_split },
    { "ByteLevel", BPE_BYTE_LEVEL, read_byte_level },
    { "Metaspace", BPE_METASPACE, read_metaspace },
    { "Digits", BPE_SPLIT, read_digits },
    { "Punctuation", BPE_SPLIT, read_punctuation },
    { "WhitespaceSplit", BPE_SPLIT, read_white },
    { "CharDelimiterSplit", BPE_SPLIT, read_delimiter },
    { NULL, 0, NULL },
};

static const reader decoders[] = {
    { "ByteLevel", BPE_DEC_BYTE_LEVEL, NULL },
    { "Metaspace", BPE_DEC_METASPACE, read_metaspace },
    { "Replace", BPE_DEC_REPLACE, read_replace },
    { "ByteFallback", BPE_DEC_BYTE_FALLBACK, NULL },
    { "Fuse", BPE_DEC_FUSE, NULL },
    { "Strip", BPE_DEC_STRIP, read_cut },
    { NULL, 0, NULL },
};

/* --------------------------------------------------------------- lists */

typedef struct {
    const char *key;      /* in the file: "normalizer" */
    const char *children; /* of a Sequence: "normalizers" */
    const reader *readers;
    bpe_steps *to;
} list;

static hone_status unknown_type(const list *l, const char *type, hone_err *err)
{
    char names[256] = "Sequence";
    size_t n = strlen(names);

    for (const reader *r = l->readers; r->type && n < sizeof names; r++)
        n += (size_t)snprintf(names + n, sizeof names - n, ", %s", r->type);
    return hone_fail(err, HONE_ENOSUP,
                     "%s: type '%.60s' is not supported; known are %s", l->key,
                     type, names);
}

static hone_status read_steps(bpe_tok *tok, json_t *obj, const list *l,
                              hone_err *err)
{
    const char *type = json_string_value(json_object_get(obj, "type"));
    const reader *r = l->readers;
    char where[80];
    json_t *children;

    if (!obj || json_is_null(obj))
        return HONE_OK;
    if (!type)
        return hone_fail(err, HONE_EINVAL, "%s: 'type' is missing", l->key);
    if (!strcmp(type, "Sequence")) {
        children = json_object_get(obj, l->children);
        if (!json_is_array(children))
            return hone_fail(err, HONE_EINVAL, "%s: Sequence needs '%s'",
                             l->key, l->children);
        for (size_t i = 0; i < json_array_size(children); i++)
            hone_try(read_steps(tok, json_array_get(children, i), l, err));
        return HONE_OK;
    }
    while (r->type && strcmp(r->type, type) != 0)
        r++;
    if (!r->type)
        return unknown_type(l, type, err);
    if (l->to->count == BPE_STEPS)
        return hone_fail(err, HONE_ENOSUP, "%s: more than %d steps", l->key,
                         BPE_STEPS);
    snprintf(where, sizeof where, "%s: %s", l->key, type);
    l->to->step[l->to->count].kind = r->kind;
    return r->read ? r->read(tok, obj, &l->to->step[l->to->count++], where, err)
                   : (l->to->count++, HONE_OK);
}

hone_status bpe_steps_read(bpe_tok *tok, json_t *root, hone_err *err)
{
    const list lists[] = {
        { "normalizer", "normalizers", normalizers, &tok->normal },
        { "pre_tokenizer", "pretokenizers", pre_tokenizers, &tok->pre },
        { "decoder", "decoders", decoders, &tok->decode },
    };

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        hone_try(read_steps(tok, json_object_get(root, lists[i].key), &lists[i],
                            err));
    for (int i = 0; i + 1 < tok->pre.count; i++)
        if (tok->pre.step[i].kind == BPE_BYTE_LEVEL)
            return hone_fail(err, HONE_ENOSUP,
                             "pre_tokenizer: ByteLevel is supported as the "
                             "last step only");
    return HONE_OK;
}

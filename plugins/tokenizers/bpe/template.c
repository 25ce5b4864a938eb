/* SPDX-License-Identifier: MIT
 *
 * template.c -- the post-processor: the special tokens before and after a
 * text. Several in a sequence wrap each other, the first innermost.
 */
#include <string.h>

#include "bpe.h"

static hone_status put(bpe_tok *tok, json_t *id, int at_end, hone_err *err)
{
    int *n = at_end ? &tok->after_count : &tok->before_count;
    int32_t *to = at_end ? tok->after : tok->before;
    json_int_t v = json_is_integer(id) ? json_integer_value(id) : -1;

    if (v < 0 || v >= tok->vocab || !tok->piece[v].text.at)
        return hone_fail(err, HONE_EINVAL,
                         "post_processor: id %lld is not in the vocabulary",
                         (long long)v);
    if (*n == BPE_TEMPLATE)
        return hone_fail(err, HONE_ENOSUP,
                         "post_processor: more than %d special tokens",
                         BPE_TEMPLATE);
    to[(*n)++] = (int32_t)v;
    return HONE_OK;
}

/* Moves what was put in front of FROM behind this processor's own tokens. */
static void wrap(bpe_tok *tok, int from)
{
    int32_t inner[BPE_TEMPLATE];
    int own = tok->before_count - from;

    memcpy(inner, tok->before, (size_t)from * sizeof *inner);
    memmove(tok->before, tok->before + from, (size_t)own * sizeof *inner);
    memcpy(tok->before + own, inner, (size_t)from * sizeof *inner);
}

/* {"SpecialToken": {"id": "<s>"}}: its ids stand in "special_tokens". */
static hone_status put_special(bpe_tok *tok, json_t *special, json_t *table,
                               int at_end, hone_err *err)
{
    const char *name = json_string_value(json_object_get(special, "id"));
    json_t *entry = name ? json_object_get(table, name) : NULL;
    json_t *ids = json_object_get(entry, "ids");

    if (!json_is_array(ids))
        return hone_fail(err, HONE_EINVAL,
                         "post_processor: special token '%.60s' has no 'ids'",
                         name ? name : "?");
    for (size_t i = 0; i < json_array_size(ids); i++)
        hone_try(put(tok, json_array_get(ids, i), at_end, err));
    return HONE_OK;
}

static hone_status read_template(bpe_tok *tok, json_t *post, hone_err *err)
{
    json_t *single = json_object_get(post, "single");
    json_t *table = json_object_get(post, "special_tokens");
    int from = tok->before_count, texts = 0;

    for (size_t i = 0; i < json_array_size(single); i++) {
        json_t *item = json_array_get(single, i);
        json_t *special = json_object_get(item, "SpecialToken");
        json_t *text = json_object_get(item, "Sequence");
        const char *id = json_string_value(json_object_get(text, "id"));

        if (special)
            hone_try(put_special(tok, special, table, texts > 0, err));
        else if (id && !strcmp(id, "A"))
            texts++;
        else
            texts = 2;
    }
    if (texts != 1)
        return hone_fail(err, HONE_ENOSUP,
                         "post_processor: TemplateProcessing: 'single' must "
                         "hold special tokens and the text A once");
    wrap(tok, from);
    return HONE_OK;
}

/* {"cls": ["<s>", 0], "sep": ["</s>", 2]} */
static hone_status read_cls_sep(bpe_tok *tok, json_t *post, hone_err *err)
{
    int from = tok->before_count;

    hone_try(put(tok, json_array_get(json_object_get(post, "cls"), 1), 0, err));
    wrap(tok, from);
    return put(tok, json_array_get(json_object_get(post, "sep"), 1), 1, err);
}

hone_status bpe_template_read(bpe_tok *tok, json_t *post, hone_err *err)
{
    const char *type = json_string_value(json_object_get(post, "type"));
    json_t *children;

    if (!post || json_is_null(post))
        return HONE_OK;
    if (!type)
        return hone_fail(err, HONE_EINVAL, "post_processor: 'type' is missing");
    if (!strcmp(type, "ByteLevel"))
        return HONE_OK; /* it moves offsets only */
    if (!strcmp(type, "TemplateProcessing"))
        return read_template(tok, post, err);
    if (!strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing"))
        return read_cls_sep(tok, post, err);
    if (strcmp(type, "Sequence") != 0)
        return hone_fail(err, HONE_ENOSUP,
                         "post_processor: type '%.60s' is not supported; "
                         "known are Sequence, ByteLevel, TemplateProcessing, "
                         "RobertaProcessing, BertProcessing", type);
    children = json_object_get(post, "processors");
    for (size_t i = 0; i < json_array_size(children); i++)
        hone_try(bpe_template_read(tok, json_array_get(children, i), err));
    return HONE_OK;
}

/* SPDX-License-Identifier: MIT
 *
 * template.c -- the post-processor: the special tokens around a text. It is
 * worked out once, at load: a list of ids in which TK_TEXT_HERE stands for the
 * ids of the text, once for calls with special tokens, once for those without.
 * The library hands a list of parts from one processor to the next, and a
 * template of two parts takes them for a pair, so parts are kept apart.
 */
#include "tok.h"

enum { PARTS = 64 };

typedef struct {
    tk_tok *tok;
    int specials; /* as the call has it */
    tk_template part[PARTS];
    int count;
    hone_err *err;
} maker;

static hone_status put(maker *m, tk_template *to, int32_t id)
{
    if (to->count == TK_TEMPLATE)
        return hone_fail(m->err, HONE_ENOSUP,
                         "post_processor: more than %d tokens", TK_TEMPLATE);
    to->item[to->count++] = id;
    return HONE_OK;
}

static hone_status put_id(maker *m, tk_template *to, const tk_json *id)
{
    int64_t v = tk_json_is(id, TK_INTEGER) ? id->u.integer : -1;

    if (v < 0 || v >= m->tok->highest || !m->tok->piece[v].text.at)
        return hone_fail(m->err, HONE_EINVAL,
                         "post_processor: id %lld is not in the vocabulary",
                         (long long)v);
    return put(m, to, (int32_t)v);
}

static hone_status add_all(maker *m, tk_template *to, const tk_template *from)
{
    for (int i = 0; i < from->count; i++)
        hone_try(put(m, to, from->item[i]));
    return HONE_OK;
}

/* {"SpecialToken": {"id": "<s>"}}: its ids stand in "special_tokens". */
static hone_status put_special(maker *m, tk_template *to, const tk_json *item,
                               const tk_json *table)
{
    const char *name = tk_json_string(tk_json_get(item, "id"));
    const tk_json *entry = name ? tk_json_get(table, name) : NULL;
    const tk_json *ids = tk_json_get(entry, "ids");

    if (!tk_json_is(ids, TK_LIST))
        return hone_fail(m->err, HONE_EINVAL,
                         "post_processor: special token '%.60s' has no 'ids'",
                         name ? name : "?");
    for (uint32_t i = 0; m->specials && i < ids->count; i++)
        hone_try(put_id(m, to, tk_json_at(ids, i)));
    return HONE_OK;
}

static hone_status put_sequence(maker *m, tk_template *to, const tk_json *item)
{
    const char *id = tk_json_string(tk_json_get(item, "id"));
    int part = id && !strcmp(id, "B");

    if (!id || (strcmp(id, "A") != 0 && !part) || part >= m->count)
        return hone_fail(m->err, HONE_ENOSUP,
                         "post_processor: TemplateProcessing: it uses the "
                         "text '%.20s', and there is only one",
                         id ? id : "?");
    return add_all(m, to, &m->part[part]);
}

static hone_status read_template(maker *m, const tk_json *post)
{
    const tk_json *list = tk_json_get(post, m->count == 2 ? "pair" : "single");
    const tk_json *table = tk_json_get(post, "special_tokens");
    tk_template *made;
    int count = 0;

    if (m->count > 2)
        return hone_fail(m->err, HONE_ENOSUP,
                         "post_processor: a TemplateProcessing behind one "
                         "that makes %d parts", m->count);
    if (!tk_json_is(list, TK_LIST) || list->count > PARTS)
        return hone_fail(m->err, HONE_EINVAL,
                         "post_processor: TemplateProcessing: 'single' must "
                         "be a list of at most %d items", PARTS);
    made = tk_zeroed(&m->tok->arena, PARTS * sizeof *made);
    for (uint32_t i = 0; i < list->count; i++) {
        const tk_json *item = tk_json_at(list, i);
        const tk_json *special = tk_json_get(item, "SpecialToken");

        if (special && !m->specials)
            hone_try(put_special(m, &made[count], special, table));
        else if (special)
            hone_try(put_special(m, &made[count++], special, table));
        else
            hone_try(put_sequence(m, &made[count++],
                                  tk_json_get(item, "Sequence")));
    }
    if (count == 0)
        return hone_fail(m->err, HONE_EINVAL,
                         "post_processor: TemplateProcessing: 'single' is "
                         "empty: every text would be lost");
    memcpy(m->part, made, (size_t)count * sizeof *made);
    m->count = count;
    return HONE_OK;
}

/* {"cls": ["<s>", 0], "sep": ["</s>", 2]}: cls A sep, B sep... */
static hone_status read_cls_sep(maker *m, const tk_json *post)
{
    const tk_json *cls = tk_json_at(tk_json_get(post, "cls"), 1);
    const tk_json *sep = tk_json_at(tk_json_get(post, "sep"), 1);

    for (int i = 0; m->specials && i < m->count; i++) {
        tk_template made = { .count = 0 };

        if (i == 0)
            hone_try(put_id(m, &made, cls));
        hone_try(add_all(m, &made, &m->part[i]));
        hone_try(put_id(m, &made, sep));
        m->part[i] = made;
    }
    return HONE_OK;
}

static hone_status read_one(maker *m, const tk_json *post)
{
    const char *type = tk_json_string(tk_json_get(post, "type"));
    const tk_json *children;

    if (!type)
        return hone_fail(m->err, HONE_EINVAL,
                         "post_processor: 'type' is missing");
    if (!strcmp(type, "ByteLevel"))
        return HONE_OK; /* it moves offsets only */
    if (!strcmp(type, "TemplateProcessing"))
        return read_template(m, post);
    if (!strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing"))
        return read_cls_sep(m, post);
    if (strcmp(type, "Sequence") != 0)
        return hone_fail(m->err, HONE_ENOSUP,
                         "post_processor: type '%.60s' is not supported; "
                         "known are Sequence, ByteLevel, TemplateProcessing, "
                         "RobertaProcessing, BertProcessing", type);
    children = tk_json_get(post, "processors");
    if (!tk_json_is(children, TK_LIST))
        return hone_fail(m->err, HONE_EINVAL,
                         "post_processor: Sequence needs 'processors'");
    for (uint32_t i = 0; i < children->count; i++)
        hone_try(read_one(m, tk_json_at(children, i)));
    return HONE_OK;
}

hone_status tk_template_read(tk_tok *tok, const tk_json *post, hone_err *err)
{
    maker *m = tk_zeroed(&tok->arena, sizeof *m);

    m->tok = tok;
    m->err = err;
    for (m->specials = 0; m->specials < 2; m->specials++) {
        tk_template *to = m->specials ? &tok->full : &tok->plain;

        m->count = 1;
        m->part[0] = (tk_template){ { TK_TEXT_HERE }, 1 };
        if (!tk_json_none(post))
            hone_try(read_one(m, post));
        to->count = 0;
        for (int i = 0; i < m->count; i++)
            hone_try(add_all(m, to, &m->part[i]));
    }
    return HONE_OK;
}

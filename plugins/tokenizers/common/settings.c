/* SPDX-License-Identifier: MIT
 *
 * settings.c -- see settings.h. Follows what Transformers does with such a
 * folder: named special tokens are recognised in a text, and add_bos_token,
 * add_eos_token say what stands around it.
 */
#include "settings.h"

static const char *const named[] = { "bos_token",  "eos_token", "unk_token",
                                     "sep_token",  "pad_token", "cls_token",
                                     "mask_token" };

hone_status tk_settings_file(tk_arena *a, const hone_file *file, uint32_t count,
                             const char *name, const tk_json **to,
                             hone_err *err)
{
    *to = NULL;
    for (uint32_t i = 1; i < count; i++) {
        const char *why;
        tk_text copy;
        int line;

        if (strcmp(file[i].name, name) != 0)
            continue;
        copy = tk_keep(a, file[i].text, file[i].bytes);
        *to = tk_json_read(a, (char *)copy.at, copy.len, &why, &line);
        if (!*to)
            return hone_fail(err, HONE_EINVAL, "%s:%d: %s", name, line, why);
    }
    return HONE_OK;
}

/* "text" or {"content": "text", flags}. Special tokens are not normalized. */
static hone_status put_token(tk_tok *tok, const tk_json *v, uint32_t usual,
                             hone_err *err)
{
    static const struct {
        const char *key;
        uint32_t flag;
    } flags[] = { { "lstrip", TK_LSTRIP },
                  { "rstrip", TK_RSTRIP },
                  { "single_word", TK_WORD },
                  { "special", TK_SPECIAL } };
    tk_added a = { .flags = usual };

    a.content = tk_json_text(v);
    if (tk_json_is(v, TK_OBJECT)) {
        a.content = tk_json_text(tk_json_get(v, "content"));
        for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
            const tk_json *on = tk_json_get(v, flags[i].key);
            if (tk_json_is(on, TK_TRUE))
                a.flags |= flags[i].flag;
            else if (tk_json_is(on, TK_FALSE))
                a.flags &= ~flags[i].flag;
        }
    }
    if (!a.content.len || a.content.len > 4096)
        return HONE_OK;
    return tk_added_put(tok, &a, err);
}

/* {"id": {"content": ...}} in the order of the ids. */
static hone_status put_decoder(tk_tok *tok, const tk_json *table,
                               hone_err *err)
{
    uint32_t n = tk_json_count(table);

    for (int64_t done = -1;;) {
        const tk_json *next = NULL;
        int64_t least = INT64_MAX;

        for (uint32_t i = 0; i < n; i++) {
            const tk_json *key = &table->u.item[2 * i];
            int64_t id = 0;

            for (uint32_t k = 0; k < key->count && k < 9; k++)
                id = id * 10 + (key->u.text[k] - '0');
            if (id > done && id < least) {
                least = id;
                next = key + 1;
            }
        }
        if (!next)
            return HONE_OK;
        if (tok->next_id < least && least < TK_MAX_ID)
            tok->next_id = (int32_t)least;
        hone_try(put_token(tok, next, 0, err));
        done = least;
    }
}

static hone_status put_list(tk_tok *tok, const tk_json *list, uint32_t flags,
                            hone_err *err)
{
    for (uint32_t i = 0; i < tk_json_count(list); i++)
        hone_try(put_token(tok, tk_json_at(list, i), flags, err));
    return HONE_OK;
}

/* The id that the settings give a role, else the model's. */
static int32_t role(const tk_tok *tok, const tk_json *config, const char *key,
                    const char *usual)
{
    const tk_json *v = tk_json_get(config, key);
    tk_text t = tk_json_text(tk_json_is(v, TK_OBJECT)
                                 ? tk_json_get(v, "content")
                                 : v);
    int32_t id = t.len ? tk_find_id(tok, t.at, t.len) : -1;

    return id >= 0 || !usual ? id : tk_find_id(tok, usual, strlen(usual));
}

static void around(tk_tok *tok, int32_t before, int32_t after)
{
    tok->plain = (tk_template){ { TK_TEXT_HERE }, 1 };
    tok->full.count = 0;
    if (before >= 0)
        tok->full.item[tok->full.count++] = before;
    tok->full.item[tok->full.count++] = TK_TEXT_HERE;
    if (after >= 0)
        tok->full.item[tok->full.count++] = after;
}

static hone_status read_tokens(tk_tok *tok, const tk_json *config,
                               const tk_json *map, const tk_json *added,
                               hone_err *err)
{
    const tk_json *const from[] = { config, map };

    hone_try(put_decoder(tok, tk_json_get(config, "added_tokens_decoder"),
                         err));
    for (uint32_t i = 0; i < tk_json_count(added) &&
                         tk_json_is(added, TK_OBJECT); i++)
        hone_try(put_token(tok, &added->u.item[2 * i], 0, err));
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < sizeof named / sizeof *named; i++)
            hone_try(put_token(tok, tk_json_get(from[k], named[i]), TK_SPECIAL,
                               err));
        hone_try(put_list(tok,
                          tk_json_get(from[k], "additional_special_tokens"),
                          TK_SPECIAL, err));
    }
    return HONE_OK;
}

hone_status tk_settings_read(tk_tok *tok, const hone_file *file, uint32_t count,
                             tk_specials_fn *specials, const void *self,
                             const char *bos, const char *eos, int add_bos,
                             hone_err *err)
{
    tk_arena work = { NULL };
    const tk_json *config = NULL, *map = NULL, *added = NULL;
    int add_eos = 0;
    hone_status s = tk_settings_file(&work, file, count,
                                     "tokenizer_config.json", &config, err);

    if (s == HONE_OK)
        s = tk_settings_file(&work, file, count, "special_tokens_map.json",
                             &map, err);
    if (s == HONE_OK)
        s = tk_settings_file(&work, file, count, "added_tokens.json", &added,
                             err);
    if (s == HONE_OK) {
        tk_added_open(tok, 64 + tk_json_count(added) +
                               tk_json_count(tk_json_get(
                                   config, "added_tokens_decoder")) +
                               tk_json_count(tk_json_get(
                                   config, "additional_special_tokens")) +
                               tk_json_count(tk_json_get(
                                   map, "additional_special_tokens")));
        s = specials ? specials(tok, self, err) : HONE_OK;
        if (s == HONE_OK)
            s = read_tokens(tok, config, map, added, err);
    }
    if (s == HONE_OK)
        s = tk_added_close(tok, err);
    if (s == HONE_OK)
        s = tk_get_flag(config, "add_bos_token", add_bos, &add_bos,
                        "tokenizer_config.json", err);
    if (s == HONE_OK)
        s = tk_get_flag(config, "add_eos_token", 0, &add_eos,
                        "tokenizer_config.json", err);
    if (s == HONE_OK)
        around(tok, add_bos ? role(tok, config, "bos_token", bos) : -1,
               add_eos ? role(tok, config, "eos_token", eos) : -1);
    tk_free(&work);
    return s;
}

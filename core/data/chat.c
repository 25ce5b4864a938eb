/* SPDX-License-Identifier: MIT
 *
 * chat.c -- see chat.h: where the template comes from, and rendering it.
 */
#include "chat.h"

#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "log.h"
#include "registry.h"

enum { TEMPLATE_MAX_BYTES = 64 << 20 };

/* ------------------------------------------------------------------- files */

/* Puts the template in FOLDER/FILE into texts as NAME, if there is one. */
static hone_status add_file(hone_chat *c, const char *folder, const char *file,
                            const char *name, hone_err *err)
{
    hone_arena a = { 0 };
    const char *path = hone_format_text(&a, "%s/%s", folder, file);
    hone_file f = { .name = path };
    hone_status s = HONE_OK;

    if (access(path, F_OK) == 0)
        s = hone_file_read(&a, path, TEMPLATE_MAX_BYTES, &f, err);
    if (s == HONE_OK && f.text) {
        const char *valid = hone_utf8_repair(&a, f.text, f.bytes, &f.bytes);
        json_object_set_new(c->texts, name, json_stringn(valid, f.bytes));
    }
    hone_arena_free(&a);
    return s;
}

/* chat_template.jinja is the default, chat_templates/NAME.jinja the others. */
static hone_status read_jinja(hone_chat *c, const char *folder, hone_err *err)
{
    hone_arena a = { 0 };
    const char *more = hone_format_text(&a, "%s/chat_templates", folder);
    hone_status s = add_file(c, folder, "chat_template.jinja", "default", err);
    DIR *d = s == HONE_OK ? opendir(more) : NULL;
    struct dirent *e;

    while (d && s == HONE_OK && (e = readdir(d))) {
        size_t n = strlen(e->d_name);

        if (n > 6 && !strcmp(e->d_name + n - 6, ".jinja"))
            s = add_file(c, more, e->d_name,
                         hone_format_text(&a, "%.*s", (int)n - 6, e->d_name),
                         err);
    }
    if (d)
        closedir(d);
    hone_arena_free(&a);
    return s;
}

/* The object in FOLDER/NAME, or an empty one. */
static hone_status read_config(const char *folder, const char *name,
                               json_t **root, hone_err *err)
{
    hone_try(hone_json_beside(folder, name, root, err));
    if (!*root)
        *root = json_object();
    if (!json_is_object(*root))
        return hone_fail(err, HONE_EINVAL, "%s/%s: not a JSON object", folder,
                         name);
    return HONE_OK;
}

/* tokenizer_config.json: one template, or a list of { name, template }. */
static void take_templates(hone_chat *c, const json_t *config)
{
    const json_t *t = json_object_get(config, "chat_template"), *item;
    size_t i;

    if (json_object_size(c->texts))
        return;
    if (json_is_string(t))
        json_object_set(c->texts, "default", (json_t *)t);
    if (json_is_object(t))
        json_object_update(c->texts, (json_t *)t);
    json_array_foreach(t, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        json_t *text = json_object_get(item, "template");

        if (name && json_is_string(text))
            json_object_set(c->texts, name, text);
    }
}

/* The tokens that CONFIG names, as texts. */
static void take_specials(hone_chat *c, const json_t *config, int again)
{
    static const char *const names[] = { "bos_token", "eos_token", "unk_token",
                                         "sep_token", "pad_token", "cls_token",
                                         "mask_token" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *v = json_object_get(config, names[i]);

        if (json_is_object(v))
            v = json_object_get(v, "content");
        if (json_is_string(v) &&
            (again || !json_object_get(c->specials, names[i])))
            json_object_set(c->specials, names[i], v);
    }
}

/* special_tokens_map.json counts where the config has no list of added tokens,
 * as in Transformers; elsewhere for what the config leaves out. */
static hone_status read_configs(hone_chat *c, const char *folder,
                                hone_err *err)
{
    json_t *config = NULL, *map = NULL;
    hone_status s = read_config(folder, "tokenizer_config.json", &config, err);

    if (s == HONE_OK)
        s = read_config(folder, "special_tokens_map.json", &map, err);
    if (s == HONE_OK) {
        take_templates(c, config);
        take_specials(c, config, 0);
        take_specials(c, map, !json_object_get(config,
                                               "added_tokens_decoder"));
    }
    json_decref(config);
    json_decref(map);
    return s;
}

/* -------------------------------------------------------------------- open */

static hone_status load(hone_chat *c, const char *name, const char *folder,
                        void **to, hone_err *err)
{
    const json_t *text = json_object_get(c->texts, name);
    hone_err why;

    if (c->api->load(&hone_the_host, json_string_value(text),
                     json_string_length(text), to, &why) == HONE_OK)
        return HONE_OK;
    return hone_fail(err, HONE_EINVAL, "%s: the chat template '%s': %.800s",
                     folder, name, why.msg);
}

/* Whether a content that is a list of parts comes out as their text. */
static int takes_parts(const hone_chat *c)
{
    json_t *chat = json_pack("{s:[{s:s,s:[{s:s,s:s}]}]}", "messages", "role",
                             "user", "content", "type", "text", "text",
                             "\x1" "part");
    hone_rendered r = { .size = sizeof r };
    hone_err err;
    int takes = hone_chat_render(c, chat, HONE_LEARN_NOTHING, &r, &err) ==
                    HONE_OK &&
                memmem(r.text, (size_t)r.bytes, "\x1" "part", 5) != NULL;

    c->api->release(&r);
    json_decref(chat);
    return takes;
}

static hone_status open_folder(hone_chat *c, const char *folder, hone_err *err)
{
    const hone_component *component;

    hone_try(read_jinja(c, folder, err));
    hone_try(read_configs(c, folder, err));
    if (!json_object_get(c->texts, "default"))
        return hone_fail(err, HONE_EINVAL, "%s: the model has no chat "
                         "template%s; put one beside its tokenizer as "
                         "chat_template.jinja", folder,
                         json_object_size(c->texts) ? " named 'default'" : "");
    hone_try(hone_need_component(HONE_KIND_TEMPLATE, "jinja", &component,
                                 err));
    c->api = component->ops;
    hone_try(load(c, "default", folder, &c->plain, err));
    if (json_object_get(c->texts, "tool_use"))
        hone_try(load(c, "tool_use", folder, &c->with_tools, err));
    c->takes_parts = takes_parts(c);
    return HONE_OK;
}

hone_status hone_chat_open(hone_chat *c, const char *model, hone_err *err)
{
    hone_arena a = { 0 };
    const char *folder = model;
    hone_status s;
    struct stat st;

    memset(c, 0, sizeof *c);
    c->texts = json_object();
    c->specials = json_object();
    if (stat(model, &st) == 0 && !S_ISDIR(st.st_mode))
        folder = hone_folder_of(&a, model);
    s = open_folder(c, folder, err);
    if (s != HONE_OK)
        hone_chat_close(c);
    hone_arena_free(&a);
    return s;
}

void hone_chat_close(hone_chat *c)
{
    if (c->plain)
        c->api->unload(c->plain);
    if (c->with_tools)
        c->api->unload(c->with_tools);
    json_decref(c->specials);
    json_decref(c->texts);
    memset(c, 0, sizeof *c);
}

/* ------------------------------------------------------------------ render */

hone_status hone_chat_render(const hone_chat *c, const json_t *variables,
                             hone_learn learn, hone_rendered *out,
                             hone_err *err)
{
    const json_t *tools = json_object_get(variables, "tools");
    const void *template = tools && !json_is_null(tools) && c->with_tools
                               ? c->with_tools
                               : c->plain;
    json_t *all = json_copy(c->specials);
    hone_status s;
    char *text;

    json_object_update(all, (json_t *)variables);
    text = json_dumps(all, 0);
    json_decref(all);
    if (!text)
        return hone_fail(err, HONE_EINVAL, "the chat is no valid JSON");
    s = c->api->render(template, text, strlen(text), learn, out, err);
    free(text);
    return s;
}

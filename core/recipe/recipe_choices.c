/* SPDX-License-Identifier: MIT
 *
 * recipe_choices.c -- which options decide what a run learns: all of them but
 * those that only lay it out in time and memory, and those whose meaning lies
 * in files, which are compared by content where they are opened.
 */
#include <string.h>

#include "option.h"
#include "recipe_host.h"

enum { MOST_CHOICES = 256, MOST_TEXT = 1024 };

static const char *const layout[] = {
    "batch",   "memory",    "device",    "packs", "precision",
    "keep",    "save.every", "save.keep", "out",   "logits_chunk",
    "loggers", "eval.every", "mlp_chunk", NULL
};
static const char *const files[] = { "path", "init", NULL };
static const char *const places[] = { "embeddings", "host_layers", NULL };

static int is_one_of(const char *const *names, const char *name)
{
    while (*names && strcmp(*names, name))
        names++;
    return *names != NULL;
}

/* A schedule that watches evaluations learns from when they are. */
static int is_left_out(const char *part, const hone_option *o, int watches)
{
    if (o->type == HONE_VALUE)
        return 1;
    if (part)
        return is_one_of(places, o->name) ||
               (is_one_of(files, o->name) && o->type == HONE_STR);
    return is_one_of(layout, o->name) &&
           !(watches && !strcmp(o->name, "eval.every"));
}

static void add(hone_recipe *r, const hone_made *made, const char *key,
                const char *text)
{
    if (r->choices < MOST_CHOICES)
        r->choice[r->choices++] = (hone_choice){
            .key = hone_text(&r->arena, key),
            .text = hone_text(&r->arena, text),
            .file = made->file, .line = made->line };
}

/* PART: "optimizer"; NULL: hone.train itself. */
static void add_options(hone_recipe *r, const hone_made *made,
                        const char *part, int watches)
{
    char key[256], text[MOST_TEXT];

    if (!made)
        return;
    if (part)
        add(r, made, part, made->maker->name);
    for (const hone_option *o = made->maker->options; o && o->name; o++) {
        if (is_left_out(part, o, watches))
            continue;
        snprintf(key, sizeof key, "%s%s%s", part ? part : "", part ? "." : "",
                 o->name);
        hone_option_text(o, made->config, text, sizeof text);
        add(r, made, key, text);
    }
}

/* The pace of each source of a mix; what is in them is compared by content. */
static void add_weights(hone_recipe *r, const hone_made *data)
{
    char key[64], text[64];
    const hone_rows *rows;
    int i = 1;

    for (; data; data = rows->next, i++) {
        rows = data->config;
        if (!rows->weight)
            continue;
        snprintf(key, sizeof key, "data.%d.weight", i);
        snprintf(text, sizeof text, "%.17g", rows->weight);
        add(r, data, key, text);
    }
}

void hone_reader_choices(hone_recipe *r, const hone_made *train)
{
    const hone_train *t = train->config;
    const hone_component *c = t->schedule->maker->component;

    r->choice = hone_alloc(&r->arena, MOST_CHOICES * sizeof *r->choice);
    add_options(r, train, NULL,
                ((const hone_schedule *)c->ops)->observe != NULL);
    add_options(r, t->model, "model", 0);
    add_options(r, t->adapter, "adapter", 0);
    add_options(r, t->optimizer, "optimizer", 0);
    add_options(r, t->schedule, "schedule", 0);
    add_weights(r, t->data);
}

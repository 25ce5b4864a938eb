/* SPDX-License-Identifier: MIT
 *
 * dataset_warn.c -- see dataset_warn.h. The counts were made when the data was
 * prepared and lie in the head of its shard.
 */
#include "dataset_warn.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

/* Whether a recipe wants all of a conversation learnt. */
static int wants_all(const hone_data_config *c)
{
    for (; c; c = c->next)
        if (c->loss == HONE_LOSS_ALL)
            return 1;
    return 0;
}

/* A source whose shape is one of two; or NULL. */
static const char *shape_of(const hone_data_config *c, const char *a,
                            const char *b)
{
    for (; c; c = c->next)
        if (!strcmp(c->shape, a) || !strcmp(c->shape, b))
            return c->shape;
    return NULL;
}

HONE_PRINTF(2, 3)
static void add(hone_warnings *w, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (w->count < (int)(sizeof w->text / sizeof *w->text))
        vsnprintf(w->text[w->count++], sizeof *w->text, fmt, ap);
    va_end(ap);
}

/* A count of rows, if there are any. */
static void add_count(hone_warnings *w, const char *name, uint64_t count,
                      int64_t rows, const char *what)
{
    if (count)
        add(w, "%s: %llu of %lld rows %s", name, (unsigned long long)count,
            (long long)rows, what);
}

static int has_chat_template(const char *model)
{
    char path[4096];
    json_t *config;
    int found;

    snprintf(path, sizeof path, "%s/chat_template.jinja", model);
    if (access(path, R_OK) == 0)
        return 1;
    snprintf(path, sizeof path, "%s/tokenizer_config.json", model);
    /* model_max_length is often 1e30, spelt out: more than an integer */
    config = json_load_file(path, JSON_DECODE_INT_AS_REAL, NULL);
    found = json_object_get(config, "chat_template") != NULL;
    json_decref(config);
    return found;
}

void hone_split_warnings(hone_warnings *w, const hone_split *s,
                         const hone_recipe *r, const char *name)
{
    const hone_shard_counts *c = &s->shard.head->counts;
    const char *prompts = shape_of(&r->data, "alpaca", "prompt_completion");
    int64_t all = s->rows + (int64_t)c->skipped;

    w->count = 0;
    if (c->no_target > (uint64_t)all / 20)
        add_count(w, name, c->no_target, all, "have no target token and were "
                  "left out; is the answer cut away or empty?");
    /* rows of these are learnt whole, or say themselves what is */
    if (!shape_of(&r->data, "text", "tokenized") && !wants_all(&r->data))
        add_count(w, name, c->all_target, s->rows, "are learnt whole: nothing "
                  "in front of the answer is masked; is the prompt empty?");
    add_count(w, name, c->no_end, s->rows, "do not end with the end token: the "
              "model will not learn to stop");
    add_count(w, name, c->twice_begun, s->rows, "begin with two BOS: a text "
              "brings one and the tokenizer adds one");
    add_count(w, name, c->repeated, s->rows, "are the same as an earlier one");
    add_count(w, name, c->in_train, s->rows, "are trained on too: the "
              "held-out loss will look better than it is");
    if (prompts && !strcmp(name, "train") && has_chat_template(r->model.path))
        add(w, "the model has a chat template, and rows of hone.data.%s do not "
            "use it: it will be asked in another form than it learnt from; "
            "hone.data.messages uses it", prompts);
}

/* SPDX-License-Identifier: MIT
 *
 * verb_check.c -- `hone check RECIPE`: reads the recipe, then opens what it
 * names: model, tokenizer, adapter, data. The graph is built, so that a model
 * that the family does not cover is found here; no device is opened and of
 * the weights only the headers are read. Every problem is said, with the line
 * of the constructor that names it.
 */
#include <stdlib.h>
#include <string.h>

#include "dataset_prep.h"
#include "family.h"
#include "log.h"
#include "passes.h"
#include "peft.h"
#include "recipe.h"
#include "safetensors.h"
#include "tokens.h"
#include "verbs.h"

/* Rows of a data file that are looked at; `hone prep` reads them all. */
enum { ROWS_TRIED = 1000 };

typedef struct {
    const hone_recipe *recipe;
    hone_status worst;
    int64_t rows; /* of the data files; -1: more than were looked at */
} report;

static void problem(report *r, int line, const char *label,
                    const hone_err *err)
{
    char head[160];
    size_t n = (size_t)snprintf(head, sizeof head, "hone.%s: ", label);

    /* Some messages name the constructor themselves. */
    fprintf(stderr, "%s:%d: %s%s\n", r->recipe->file, line,
            strncmp(err->msg, head, n) ? head : "", err->msg);
    if (r->worst == HONE_OK || r->worst == HONE_EINVAL)
        r->worst = err->code;
}

static void found(const char *what, const char *path, const char *rest)
{
    printf("%-10s %s: %s\n", what, path, rest);
}

/* ------------------------------------------------------------------ model */

/* The inputs that every family finds; the sizes do not matter here. */
static void graph_inputs(hone_graph *g)
{
    enum { TOKENS = 64, DOCS = 4 };

    hone_graph_tensor(g, "tokens", hone_type_of(HONE_I32, 1, TOKENS, 1),
                      HONE_T_INPUT);
    hone_graph_tensor(g, "positions", hone_type_of(HONE_I32, 1, TOKENS, 1),
                      HONE_T_INPUT);
    hone_graph_tensor(g, "rows", hone_type_of(HONE_I32, 1, TOKENS, 1),
                      HONE_T_INPUT);
    hone_graph_tensor(g, "docs", hone_type_of(HONE_I32, 2, DOCS, 4),
                      HONE_T_INPUT);
    hone_graph_tensor(g, "rng", hone_type_of(HONE_I64, 1, 2, 1), HONE_T_INPUT);
}

/* Does the adapter fit the model: are there such modules? */
static void check_targets(report *r, hone_graph *g, hone_id hidden)
{
    const hone_lora_config *c = &r->recipe->adapter;
    hone_lora lora = { .r = c->r, .alpha = 1, .dropout = c->dropout,
                       .rank_pattern = c->rank_pattern, .saved = c->saved,
                       .dora = c->dora,
                       .targets = c->targets, .folder = c->init, .train = 1 };
    hone_peft peft = { 0 };
    hone_err err;
    hone_status s = HONE_OK;

    if (c->init) {
        s = hone_peft_open(&peft, c->init, &err);
        if (s == HONE_OK)
            lora.targets = hone_peft_targets(&peft, g->keep);
        if (s == HONE_OK)
            hone_lora_shape(&lora, &peft.spec);
    }
    if (s == HONE_OK)
        s = hone_pass_lora(g, &lora, &hidden, &err);
    if (s != HONE_OK)
        problem(r, r->recipe->adapter_line, "lora", &err);
    if (c->init)
        hone_peft_close(&peft);
}

/* The highest layer of "0=none,3=all". */
static int64_t last_layer(const char *layers)
{
    const char *comma = strrchr(layers, ',');

    return strtoll(comma ? comma + 1 : layers, NULL, 10);
}

/* What the recipe says of layers and positions that the model has not. */
static void check_sizes(report *r, const hone_family *family)
{
    const hone_recipe *recipe = r->recipe;
    int64_t layers = hone_family_layers(family);
    int64_t positions = (int64_t)hone_family_number(
        family, "max_position_embeddings", 0);
    int64_t tokens = recipe->data.max_tokens;
    hone_err err = { 0 };
    char label[128];

    if (recipe->keep_layers && last_layer(recipe->keep_layers) >= layers) {
        hone_fail(&err, HONE_EINVAL, "'keep' names layer %lld, and the model "
                  "has %lld, from 0",
                  (long long)last_layer(recipe->keep_layers),
                  (long long)layers);
        problem(r, recipe->line, "train", &err);
    }
    if (positions > 0 && tokens > positions) {
        hone_fail(&err, HONE_EINVAL, "'max_tokens' is %lld, and the model has "
                  "%lld positions; lower it", (long long)tokens,
                  (long long)positions);
        snprintf(label, sizeof label, "data.%s", recipe->data.shape);
        problem(r, recipe->data_line, label, &err);
    }
}

/* A model without weights: what the family makes of its config. */
static void found_random(const report *r, const hone_graph *g)
{
    int64_t elements = 0;
    int tensors = 0;
    char text[128];

    for (hone_id i = 0; i < g->tensors; i++)
        if (g->tensor[i].kind == HONE_T_PARAM) {
            elements += hone_count(&g->tensor[i].type);
            tensors++;
        }
    snprintf(text, sizeof text, "%d tensors, %.1f million parameters, random",
             tensors, 1e-6 * (double)elements);
    found("model", r->recipe->model.path, text);
}

/* What the family does to the logits: last, since adapters take no heed of
 * the LM head. */
static hone_status add_logits(hone_family *family, hone_graph *g,
                              hone_id hidden, hone_id head, hone_err *err)
{
    hone_id in[2] = { hidden, head }, logits = HONE_NONE;

    hone_try(hone_graph_op(g, "linear", "lm_head", NULL, 0, in, 2, &logits, 1,
                           err));
    return hone_family_logits(family, &logits, err);
}

static void check_graph(report *r, const hone_weights *weights)
{
    hone_family_spec spec = { .model = r->recipe->model.path,
                              .weights = weights,
                              .trainable = !r->recipe->has_adapter };
    hone_arena arena = { 0 };
    hone_family *family = NULL;
    hone_graph graph;
    hone_id hidden, head;
    hone_err err;
    hone_status s = hone_family_open(&family, &spec, &arena, &err);

    if (s == HONE_OK) {
        hone_graph_init(&graph, &arena, &arena, HONE_F32);
        graph_inputs(&graph);
        s = hone_family_build(family, &graph, &hidden, &head, &err);
    }
    if (s == HONE_OK && !weights)
        found_random(r, &graph);
    if (s == HONE_OK)
        check_sizes(r, family);
    if (s == HONE_OK && r->recipe->has_adapter)
        check_targets(r, &graph, hidden);
    if (s == HONE_OK)
        s = add_logits(family, &graph, hidden, head, &err);
    if (s != HONE_OK)
        problem(r, r->recipe->model_line, "model", &err);
    hone_family_close(family);
    hone_arena_free(&arena);
}

static void check_tokenizer(report *r)
{
    const char *path = r->recipe->model.path;
    hone_tokens tokens;
    char text[64];
    hone_err err;

    if (hone_tokens_open(&tokens, path, &err) != HONE_OK) {
        problem(r, r->recipe->model_line, "model", &err);
        return;
    }
    snprintf(text, sizeof text, "%d ids, end token %d",
             (int)tokens.api->vocab(tokens.self), (int)tokens.eos);
    found("tokenizer", path, text);
    hone_tokens_close(&tokens);
}

static void check_model(report *r)
{
    const hone_model_config *m = &r->recipe->model;
    hone_weights weights;
    int64_t elements = 0;
    char text[128];
    hone_err err;

    if (m->init) {
        check_graph(r, NULL);
        check_tokenizer(r);
        return;
    }
    if (hone_weights_open(&weights, m->path, "model", &err) != HONE_OK) {
        problem(r, r->recipe->model_line, "model", &err);
        return; /* no model: the rest would only say it again */
    }
    for (int i = 0; i < weights.count; i++)
        elements += hone_count(&weights.list[i].type);
    snprintf(text, sizeof text, "%d tensors, %.1f million parameters",
             weights.count, 1e-6 * (double)elements);
    found("model", m->path, text);
    check_graph(r, &weights);
    check_tokenizer(r);
    hone_weights_close(&weights);
}

/* ------------------------------------------------------------------- data */

/* One row through the shape: are the fields there? */
static hone_status try_row(hone_shape *shape, const hone_row *row,
                           const char *path, hone_err *err)
{
    const hone_segment *segments;
    hone_arena scratch = { 0 };
    size_t bytes;
    const char *json = hone_utf8_repair(&scratch, row->json, row->bytes,
                                        &bytes);
    int count, line;
    hone_err why;
    hone_status s = hone_shape_map(shape, json, bytes, &segments, &count,
                                   &line, &why);

    hone_arena_free(&scratch);
    if (s == HONE_OK)
        return s;
    return hone_fail(err, s, "%s: row %lld: %s", path, (long long)row->number,
                     why.msg);
}

static hone_status try_rows(report *r, const hone_data_config *d,
                            const hone_format *f, void *reader, hone_shape *shape, const char *path,
                            hone_err *err)
{
    hone_row row;
    char text[64];
    int good = 0, broken = 0;
    hone_status s = HONE_OK;

    while (good + broken < ROWS_TRIED) {
        s = f->next(reader, &row, err);
        if (s == HONE_END)
            break;
        if (s == HONE_OK)
            s = try_row(shape, &row, path, err);
        if (s != HONE_OK && !d->skip_broken)
            return s;
        good += s == HONE_OK;
        broken += s != HONE_OK;
    }
    if (!good)
        return hone_fail(err, HONE_EINVAL, "%s: no row that can be used", path);
    if (r->rows >= 0)
        r->rows = s == HONE_END ? r->rows + good + broken : -1;
    snprintf(text, sizeof text, "%s%d rows, %d broken",
             s == HONE_END ? "" : "the first ", good + broken, broken);
    found("data", path, text);
    return HONE_OK;
}

static void check_file(report *r, const hone_data_config *d, const char *label,
                       hone_shape *shape, const char *path)
{
    const hone_component *c;
    void *reader = NULL;
    hone_err err;
    hone_status s = hone_format_find(path, &c, &err);

    if (s == HONE_OK) {
        const hone_format *f = c->ops;
        s = hone_format_open(d, c, path, &reader, &err);
        if (s == HONE_OK) {
            s = try_rows(r, d, f, reader, shape, path, &err);
            f->close(reader);
        }
    }
    if (s != HONE_OK)
        problem(r, d->line, label, &err);
}

static void check_source(report *r, const hone_data_config *d)
{
    char label[128];
    hone_shape *shape;
    hone_tokens tokens; /* if it cannot be opened, that was said already */
    hone_err err;
    int has_tokens = hone_tokens_open(&tokens, r->recipe->model.path, &err) ==
                     HONE_OK;

    snprintf(label, sizeof label, "data.%s", d->shape);
    if (hone_shape_open(&shape, d, has_tokens ? &tokens : NULL, &err) !=
        HONE_OK) {
        problem(r, d->line, label, &err);
        hone_tokens_close(&tokens);
        return;
    }
    for (int i = 0; i < 2; i++)
        if (d->notes[i])
            hone_log(HONE_LOG_NOTE, "%s", d->notes[i]);
    r->rows = 0;
    for (int i = 0; d->files[i]; i++)
        check_file(r, d, label, shape, d->files[i]);
    if (r->worst == HONE_OK && r->rows > 0 && d->val > 0 &&
        (d->val >= (double)r->rows || r->rows == 1)) {
        hone_fail(&err, HONE_EINVAL, "'val' = %g holds out all of the %lld "
                  "rows; nothing is left to train on", d->val,
                  (long long)r->rows);
        problem(r, d->line, label, &err);
    }
    if (d->val_file)
        check_file(r, d, label, shape, d->val_file);
    hone_shape_close(shape);
    hone_tokens_close(&tokens);
}

/* ------------------------------------------------------------- components */

/* A component may refuse options that only it can judge. */
static void check_instance(report *r, const hone_instance *in)
{
    hone_arena scratch = { 0 };
    hone_instance opened = *in;
    hone_err err;

    if (hone_instance_open(&opened, in->component, in->config, &scratch,
                           &err) != HONE_OK)
        problem(r, in->line, in->component->name, &err);
    hone_instance_close(&opened);
    hone_arena_free(&scratch);
}

static hone_status check(const hone_recipe *recipe)
{
    report r = { .recipe = recipe };

    check_model(&r);
    for (const hone_data_config *d = &recipe->data; d; d = d->next)
        check_source(&r, d);
    check_instance(&r, &recipe->batch);
    check_instance(&r, &recipe->optimizer);
    check_instance(&r, &recipe->schedule);
    if (r.worst == HONE_OK)
        found("recipe", recipe->file, "everything it names is there");
    return r.worst;
}

int hone_verb_check(int argc, char **argv)
{
    const char *sets[64] = { NULL };
    const hone_arg args[] = { { "--set", .list = sets },
                              { .name = NULL } };
    hone_recipe recipe;
    int status = hone_verb_recipe("check", &recipe, argc, argv, args, sets);

    if (status)
        return status;
    status = hone_exit_status(check(&recipe));
    hone_recipe_free(&recipe);
    return status;
}

/* hone explain RECIPE [KEY] */
int hone_verb_explain(int argc, char **argv)
{
    const char *sets[64] = { NULL }, *rest[3] = { NULL };
    const hone_arg args[] = { { "--set", .list = sets },
                              { .name = NULL } };
    hone_err err;
    hone_status s = hone_args(argc, argv, args, rest, 2, &err);

    if (s == HONE_OK && !rest[0])
        s = hone_fail(&err, HONE_EINVAL, "explain which RECIPE?");
    if (s != HONE_OK)
        return hone_report_error(&err);
    return hone_exit_status(hone_recipe_explain(rest[0], sets, rest[1], stdout,
                                                stderr));
}

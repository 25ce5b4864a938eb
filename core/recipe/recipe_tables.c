/* SPDX-License-Identifier: MIT
 *
 * recipe_tables.c -- the options of the engine's own constructors, and how a
 * constructor is found by its name. Defaults, ranges and help stand here and
 * nowhere else: `hone describe`, --set and every message read these tables.
 */
#include "recipe_host.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "option.h"
#include "registry.h"

#define MOST 9e15 /* of a count: doubles hold every integer below 2^53 */
/* Of a step: it is planned row by row. */
#define MOST_ROWS (1 << 24)
#define MOST_TOKENS (1 << 30)

#define ROW_INT(S, key, member, d, lo, h)                                      \
    { key, h, HONE_INT, 0, offsetof(S, member), d, lo, MOST, NULL, NULL }
#define ROW_COUNT(S, key, member, most, h)                                     \
    { key, h, HONE_INT, 0, offsetof(S, member), 0, 1, most, NULL, NULL }
#define ROW_REAL(S, key, member, d, lo, hi, h)                                 \
    { key, h, HONE_REAL, 0, offsetof(S, member), d, lo, hi, NULL, NULL }
#define ROW_BOOL(S, key, member, d, h)                                         \
    { key, h, HONE_BOOL, 0, offsetof(S, member), d, 0, 1, NULL, NULL }
#define ROW_STR(S, key, member, form, d, h)                                    \
    { key, h, HONE_STR, HONE_FORM(form), offsetof(S, member), 0, 0, 0, d, NULL }
#define ROW_ENUM(S, key, member, d, c, h)                                      \
    { key, h, HONE_ENUM, 0, offsetof(S, member), 0, 0, 0, d, c }
#define ROW_VALUE(S, key, member, form, d, h)                                  \
    { key, h, HONE_VALUE, HONE_FORM(form), offsetof(S, member), 0, 0, 0, d,    \
      NULL }

static const char *const updates[] = { "after", "backward", NULL };
static const char *const places[] = { "device", "host", NULL };
static const char *const precisions[] = { "auto", "fp32", "bf16", "fp16",
                                          NULL };
static const char *const storages[] = { "file", "bf16", "fp32", "nf4", "fp8",
                                        NULL };
static const char *const sides[] = { "auto", "device", "host", NULL };
static const char *const longs[] = { "cut", "drop", "split", "error", NULL };
static const char *const brokens[] = { "error", "skip", NULL };
static const char *const losses[] = { "assistant", "last", "all", NULL };

static const hone_option train_options[] = {
    ROW_VALUE(hone_train, "model", model, HONE_FORM_MADE,
              "hone.model \"folder\"", "what is trained"),
    ROW_VALUE(hone_train, "adapter", adapter, HONE_FORM_MADE,
              "hone.lora { r = 16 }", "trained instead of the model itself"),
    ROW_VALUE(hone_train, "data", data, HONE_FORM_MADE,
              "hone.data.alpaca \"data.json\"", "the rows it learns from"),
    ROW_VALUE(hone_train, "batch", batch, HONE_FORM_MADE,
              "hone.pack { tokens = 8192 }", "how rows are laid out"),
    ROW_VALUE(hone_train, "optimizer", optimizer, HONE_FORM_MADE,
              "hone.adamw { lr = 2e-4 }", "what turns gradients into updates"),
    ROW_VALUE(hone_train, "schedule", schedule, HONE_FORM_MADE,
              "hone.cosine { warmup = 0.03 }",
              "the factor on lr; hone.constant if not given"),
    ROW_COUNT(hone_train, "global_batch", global_batch, MOST_ROWS,
              "rows of a step; or global_tokens"),
    ROW_COUNT(hone_train, "global_tokens", global_tokens, MOST_TOKENS,
              "tokens of a step, in whole rows; or global_batch"),
    ROW_REAL(hone_train, "epochs", epochs, 0, 0.001, 1e12,
             "times through the data; or steps"),
    ROW_INT(hone_train, "steps", steps, 0, 1, "updates; or epochs"),
    ROW_INT(hone_train, "seed", seed, 0, 0,
            "of order, dropout and new weights"),
    ROW_BOOL(hone_train, "shuffle", shuffle, 1,
             "a new order of the rows in every epoch"),
    ROW_REAL(hone_train, "clip", clip, 1.0, 0, 1e12,
             "largest norm of the gradient; 0: any"),
    ROW_ENUM(hone_train, "precision", precision, "auto", precisions,
             "of the computation; auto: bf16 on a GPU, or fp16 if that has "
             "none; fp32 on the CPU"),
    ROW_STR(hone_train, "memory", memory, HONE_FORM_BYTES, NULL,
            "budget such as \"16GiB\"; not given: what is free"),
    ROW_STR(hone_train, "device", device, HONE_FORM_PLAIN, "auto",
            "\"cpu\", \"cuda\", \"cuda:1\"; auto: a GPU if there is one"),
    ROW_STR(hone_train, "packs", packs, HONE_FORM_LIST, NULL,
            "kernel packs in the order they are asked"),
    ROW_INT(hone_train, "eval.every", eval_every, 0, 0,
            "steps between evaluations; 0: at the start and the end"),
    ROW_INT(hone_train, "save.every", save_every, 0, 0,
            "steps between checkpoints; 0: only at the end"),
    ROW_INT(hone_train, "save.keep", save_keep, 2, 1,
            "newest checkpoints that stay"),
    ROW_VALUE(hone_train, "keep", keep, HONE_FORM_KEEP, "\"auto\"",
              "activations: auto, all, light, none, offload, away, or a table "
              "by layer"),
    ROW_INT(hone_train, "logits_chunk", logits_chunk, 0, 0,
            "rows of logits at a time; 0: chosen"),
    ROW_INT(hone_train, "mlp_chunk", mlp_chunk, 0, 0,
            "rows of an MLP at a time, where it is computed again; 0: chosen"),
    ROW_BOOL(hone_train, "master", master, 1,
             "fp32 master weights; false: bf16, stochastic rounding"),
    ROW_ENUM(hone_train, "update", update, "after", updates,
             "backward: layer by layer, so that no gradient stays; needs "
             "clip = 0 and one micro-batch a step"),
    ROW_ENUM(hone_train, "states", states, "device", places,
             "where the optimizer's states are; host: in pinned memory"),
    ROW_STR(hone_train, "loggers", loggers, HONE_FORM_LIST, "tensorboard",
            "what records the run beside metrics.jsonl; or none"),
    ROW_STR(hone_train, "out", out, HONE_FORM_PATH, NULL,
            "folder of the run; not given: runs/NAME of the recipe"),
    HONE_OPT_END
};

static const hone_option model_options[] = {
    { "path", "a Hugging Face folder, or ORG/NAME in the Hub's cache; also as "
      "a value without a key", HONE_STR,
      HONE_REQUIRED | HONE_FORM(HONE_FORM_MODEL),
      offsetof(hone_model_config, path), 0, 0, 0, NULL, NULL },
    ROW_ENUM(hone_model_config, "storage", storage, "file", storages,
             "how weights are held; file: as they are there"),
    ROW_BOOL(hone_model_config, "nested", nested, 1,
             "of nf4: the scales are quantised as well"),
    ROW_BOOL(hone_model_config, "copies", copies, 1,
             "of fp8: a second time, as the backward pass reads them"),
    ROW_ENUM(hone_model_config, "embeddings", embeddings, "auto", sides,
             "where a frozen table lies that is no LM head; auto: of nf4 host"),
    ROW_INT(hone_model_config, "host_layers", host_layers, -1, -1,
            "layers whose frozen weights wait in pinned memory and are copied "
            "ahead of their use; -1: as many as it takes to fit"),
    ROW_STR(hone_model_config, "init", init, HONE_FORM_PLAIN, NULL,
            "\"random\": from scratch, config.json is enough"),
    ROW_STR(hone_model_config, "revision", revision, HONE_FORM_PLAIN, NULL,
            "of ORG/NAME: branch, tag or commit; not given: main"),
    HONE_OPT_END
};

static const hone_option lora_options[] = {
    ROW_INT(hone_lora_config, "r", r, 16, 1, "rank"),
    ROW_REAL(hone_lora_config, "alpha", alpha, 32, 1e-12, 1e12,
             "the update is scaled by alpha / r"),
    ROW_STR(hone_lora_config, "targets", targets, HONE_FORM_LIST, "all-linear",
            "modules by name or regular expression; all-linear: all but the "
            "LM head"),
    ROW_REAL(hone_lora_config, "dropout", dropout, 0, 0, 0.99,
             "share of the adapter's input set to 0"),
    ROW_BOOL(hone_lora_config, "rslora", rslora, 0,
             "scale by alpha / sqrt(r) instead"),
    ROW_BOOL(hone_lora_config, "dora", dora, 0,
             "DoRA: magnitude and direction of each row apart"),
    ROW_REAL(hone_lora_config, "lr_ratio", lr_ratio, 1, 1e-3, 1e6,
             "LoRA+: rate of B, and of vectors, over that of A, which is lr"),
    ROW_STR(hone_lora_config, "rank_pattern", rank_pattern, HONE_FORM_NUMBERS,
            NULL, "other ranks: { [\"mlp.*\"] = 8 }, the longest that matches"),
    ROW_STR(hone_lora_config, "alpha_pattern", alpha_pattern,
            HONE_FORM_NUMBERS, NULL, "other alphas, likewise"),
    ROW_STR(hone_lora_config, "modules_to_save", saved, HONE_FORM_LIST, NULL,
            "modules trained whole, such as \"lm_head\", by the end of their "
            "path"),
    ROW_STR(hone_lora_config, "init", init, HONE_FORM_PATH, NULL,
            "a PEFT folder to go on from; it gives the shape"),
    HONE_OPT_END
};

static const hone_option data_options[] = {
    { "path", "files, patterns, folders or ORG/NAME; also as values without a "
      "key",
      HONE_VALUE, HONE_REQUIRED | HONE_FORM(HONE_FORM_PATHS),
      offsetof(hone_rows, files), 0, 0, 0, NULL, NULL },
    ROW_VALUE(hone_rows, "files", files, HONE_FORM_PATHS, NULL,
              "the same as path"),
    ROW_VALUE(hone_rows, "val", val, HONE_FORM_VAL, "0",
              "held out: rows, a share below 1 of the last ones, or a file"),
    ROW_INT(hone_rows, "max_tokens", max_tokens, 0, 2,
            "longest row; not given: nothing is cut"),
    ROW_ENUM(hone_rows, "long", too_long, "cut", longs,
             "what to do with a row beyond max_tokens"),
    ROW_ENUM(hone_rows, "broken", broken, "error", brokens,
             "what to do with a damaged row"),
    ROW_ENUM(hone_rows, "loss", loss, "assistant", losses,
             "what is learnt of a row: the answers, the last one, or all"),
    ROW_VALUE(hone_rows, "map", map, HONE_FORM_FUNCTION, NULL,
              "row -> row, before all else; nil: leave it out"),
    ROW_VALUE(hone_rows, "template", template, HONE_FORM_FUNCTION, NULL,
              "row -> prompt, completion in the place of the shape's own"),
    ROW_STR(hone_rows, "revision", revision, HONE_FORM_PLAIN, NULL,
            "of ORG/NAME: branch, tag or commit; not given: main"),
    HONE_OPT_END
};

const hone_maker hone_maker_train = {
    "train", "one training: a recipe returns it", train_options,
    sizeof(hone_train), NULL, NULL, NULL, NULL, NULL
};
const hone_maker hone_maker_model = {
    "model", "the model that is trained", model_options,
    sizeof(hone_model_config), "path", NULL, NULL, NULL, NULL
};
const hone_maker hone_maker_lora = {
    "lora", "low-rank adapters (arXiv:2106.09685) on linear layers",
    lora_options, sizeof(hone_lora_config), NULL, NULL, NULL, NULL, NULL
};
const hone_maker hone_maker_data = {
    "data", "rows of data files; hone.data.SHAPE says how they are meant",
    data_options, sizeof(hone_rows), "path", NULL, NULL, NULL, NULL
};

/* ------------------------------------------------------------- by name */

enum { MOST_NAMES = 256 };

static const char *explain(hone_arena *a, const char *name, const char *what,
                           const char *const *names)
{
    const char *near = hone_nearest(name, names);
    char list[800];
    size_t at = 0;

    if (near)
        return hone_format_text(a, "no such %s, did you mean '%s'?", what,
                                near);
    list[0] = '\0';
    for (; *names && at < sizeof list - 1; names++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s",
                               at ? ", " : "", *names);
    return hone_format_text(a, "no such %s; there are: %s", what, list);
}

static int is_shape_file(const struct dirent *d)
{
    const char *dot = strrchr(d->d_name, '.');

    return dot && dot > d->d_name && !strcmp(dot, ".lua");
}

static const char *no_shape(hone_arena *a, const char *shape,
                            const char *folder)
{
    const char *names[MOST_NAMES] = { NULL };
    struct dirent **files = NULL;
    int n = scandir(folder, &files, is_shape_file, alphasort), count = 0;

    for (int i = 0; i < n; i++) {
        if (count < MOST_NAMES - 1) {
            char *name = hone_text(a, files[i]->d_name);
            *strrchr(name, '.') = '\0';
            names[count++] = name;
        }
        free(files[i]);
    }
    free(files);
    if (!count)
        return hone_format_text(a, "no shapes of data in %s; is hone "
                                   "installed whole? (see $HONE_SHARE)",
                                folder);
    return explain(a, shape, "shape of data", names);
}

/* The keys of the table `fields` that the shape's file returns, in the order
 * of the alphabet, and its help. -1: it cannot be read. */
static int shape_fields(hone_arena *a, const char *path, const char **names,
                        const char **help, hone_err *err)
{
    const char *const folders[] = { hone_share_dir(), NULL };
    lua_State *L = hone_lua_open(a, folders);
    int n = -1;

    if (hone_lua_load(L, path, err) == HONE_OK &&
        hone_lua_call(L, 0, 1, err) == HONE_OK) {
        n = 0;
        if (lua_istable(L, -1) && lua_getfield(L, -1, "help") == LUA_TSTRING)
            *help = hone_text(a, lua_tostring(L, -1));
        lua_settop(L, 1);
        if (lua_istable(L, 1) && lua_getfield(L, 1, "fields") == LUA_TTABLE)
            for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
                if (lua_type(L, -2) == LUA_TSTRING && n < HONE_MOST_FIELDS)
                    names[n++] = hone_text(a, lua_tostring(L, -2));
        qsort(names, (size_t)n, sizeof *names, hone_by_text);
    }
    hone_lua_close(L);
    return n;
}

/* Adds the options of every format to TABLE, with room for them, and its
 * config behind SIZE bytes. An option that is there already is left out. */
static void add_formats(hone_arena *a, hone_maker *m, hone_option *table,
                        int *count, size_t *size)
{
    hone_format_config *list = NULL;
    int n = 0, cap = 0;
    const hone_component *c;

    for (int i = 0; (c = hone_component_at(i)); i++) {
        if (c->kind != HONE_KIND_FORMAT || !c->options)
            continue;
        *size = (*size + 15) / 16 * 16;
        hone_push(a, list, n, cap);
        list[n++] = (hone_format_config){ c, (void *)*size };
        for (const hone_option *o = c->options; o->name; o++) {
            if (hone_option_find(table, o->name) || *count == HONE_MOST_OPTIONS)
                continue;
            table[*count] = *o;
            table[(*count)++].offset += *size;
        }
        *size += c->config_size;
    }
    hone_push(a, list, n, cap);
    m->formats = list;
}

/* All that the engine's table has, the formats' options, the fields. */
static hone_maker *with_fields(hone_arena *a, const char *const *names,
                               int count)
{
    enum { SHARED = sizeof data_options / sizeof *data_options - 1 };
    hone_maker *m = hone_alloc(a, sizeof *m);
    hone_option *options = hone_copy(a, data_options, SHARED,
                                     HONE_MOST_OPTIONS + 1, sizeof *options);
    int n = SHARED;

    *m = hone_maker_data;
    m->config_size = sizeof(hone_rows) + (size_t)count * sizeof(const char *);
    add_formats(a, m, options, &n, &m->config_size);
    m->options = options;
    m->fields = options + n;
    for (int i = 0; i < count && n < HONE_MOST_OPTIONS; i++)
        options[n++] = (hone_option){
            .name = names[i],
            .help = hone_format_text(a, "what the file calls `%s`", names[i]),
            .type = HONE_STR,
            .offset = offsetof(hone_rows, rename) +
                      (size_t)i * sizeof(const char *)
        };
    return m;
}

/* Shapes come with hone, never from beside a recipe. */
static const hone_maker *find_shape(hone_arena *a, const char *shape,
                                    const char **why)
{
    const char *folder = hone_format_text(a, "%s/data", hone_share_dir());
    const char *path = hone_format_text(a, "%s/%s.lua", folder, shape);
    const char *names[HONE_MOST_FIELDS], *help = hone_maker_data.help;
    hone_err err;
    hone_maker *m;
    int count;

    if (!shape[0] || strchr(shape, '/') || access(path, R_OK) != 0) {
        *why = no_shape(a, shape, folder);
        return NULL;
    }
    count = shape_fields(a, path, names, &help, &err);
    if (count < 0) {
        *why = hone_text(a, err.msg);
        return NULL;
    }
    m = with_fields(a, names, count);
    m->name = hone_format_text(a, "data.%s", shape);
    m->shape = hone_text(a, shape);
    m->help = help;
    return m;
}

static const hone_maker *of_component(hone_arena *a, const hone_component *c)
{
    hone_maker *m = hone_alloc(a, sizeof *m);

    *m = (hone_maker){ .name = c->name, .help = c->help,
                       .options = c->options, .config_size = c->config_size,
                       .component = c };
    return m;
}

/* What may bring what is missing: a folder that was not given, or one of the
 * plugins that were refused. */
static const char *no_constructor(hone_arena *a, const char *name,
                                  const char *const *names)
{
    const char *why = hone_format_text(
        a, "%s%s", explain(a, name, "constructor", names),
        hone_nearest(name, names) ? "" : "; or is a --plugin-dir missing?");

    for (int i = 0; hone_loaded_at(i); i++)
        if (hone_loaded_at(i)->refusal)
            why = hone_format_text(a, "%s; refused: %s (%s)", why,
                                   hone_loaded_at(i)->path,
                                   hone_loaded_at(i)->refusal);
    return why;
}

const hone_maker *hone_maker_find(hone_arena *a, const char *name,
                                  const char **why)
{
    static const hone_maker *const own[] = { &hone_maker_train,
                                             &hone_maker_model,
                                             &hone_maker_lora };
    const char *names[MOST_NAMES] = { "data", "extend", "mix" };
    int n = 3;

    *why = NULL;
    if (!strncmp(name, "data.", 5))
        return find_shape(a, name + 5, why);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (!strcmp(own[i]->name, name))
            return own[i];
        names[n++] = own[i]->name;
    }
    for (int i = 0; hone_component_at(i); i++) {
        const hone_component *c = hone_component_at(i);
        if (!hone_kind_is_called(c->kind))
            continue;
        if (!strcmp(c->name, name))
            return of_component(a, c);
        if (n < MOST_NAMES - 1)
            names[n++] = c->name;
    }
    names[n] = NULL;
    *why = no_constructor(a, name, names);
    return NULL;
}

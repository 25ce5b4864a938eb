/* SPDX-License-Identifier: MIT
 *
 * recipe.c -- a recipe from file to struct: run it in the sandbox, apply
 * --set, check across options, copy the values into hone_recipe. The Lua state
 * is closed before this returns.
 */
#include "recipe.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "dataset_map.h"
#include "file.h"
#include "recipe_host.h"

/* ---------------------------------------------------------------- messages */

/* In the order of the file; constructors are called inside out. */
static int by_place(const void *a, const void *b)
{
    const hone_message *x = a, *y = b;

    if (x->line == INT_MAX || y->line == INT_MAX)
        return (x->line == INT_MAX) - (y->line == INT_MAX);
    if (strcmp(x->file, y->file))
        return strcmp(x->file, y->file);
    return (x->line > y->line) - (x->line < y->line);
}

/* A stable sort: messages of one call stay in the order of its options. */
static void sort_messages(hone_message *m, int count)
{
    for (int i = 1; i < count; i++) {
        hone_message one = m[i];
        int at = i;
        for (; at > 0 && by_place(&m[at - 1], &one) > 0; at--)
            m[at] = m[at - 1];
        m[at] = one;
    }
}

/* LAST: an error that ended the reading, or NULL. */
static const char *all_messages(hone_reader *r, const char *last)
{
    const char *text = "";

    sort_messages(r->messages, r->count);
    for (int i = 0; i < r->count; i++)
        text = hone_format_text(r->arena, "%s%s%s", text, i ? "\n" : "",
                                r->messages[i].text);
    if (last)
        text = hone_format_text(r->arena, "%s%s%s", text, text[0] ? "\n" : "",
                                last);
    return text;
}

/* ------------------------------------------------------------ evaluating */

/* Runs the file; its value must be that of hone.train. */
static hone_status evaluate(hone_reader *r, hone_made **train, hone_err *err)
{
    hone_status s = hone_lua_load(r->L, r->file, err);

    if (s == HONE_OK)
        s = hone_lua_call(r->L, 0, 1, err);
    if (s != HONE_OK && !strstr(err->msg, r->file) &&
        !strstr(err->msg, ".lua:")) {
        hone_err bare = *err; /* error("text", 0) */
        return hone_fail(err, s, "%s: %.900s", r->file, bare.msg);
    }
    if (s != HONE_OK)
        return s;
    *train = hone_made_at(r->L, -1);
    if (!*train || ((*train)->maker != &hone_maker_train &&
                    (*train)->maker != &hone_maker_none))
        return hone_fail(err, HONE_EINVAL,
                         "%s: does not return hone.train { ... }; end it with "
                         "that", r->file);
    return HONE_OK;
}

/* What a training has when the recipe says nothing. */
static void add_defaults(hone_reader *r, hone_made *train)
{
    hone_train *t = train->config;
    hone_where where = hone_made_where(r, train);
    const hone_maker *constant;
    const char *why;

    if (t->schedule || hone_made_given(train, "schedule"))
        return;
    constant = hone_maker_find(r->arena, "constant", &why);
    if (constant)
        t->schedule = hone_made_new(r, constant, train->file, 0);
    else
        hone_reader_say(r, &where, "'schedule' is missing, and its default "
                        "hone.constant is not there: %s", why);
}

/* --------------------------------------------------------------- the copy */

static hone_instance instance(const hone_made *n)
{
    return (hone_instance){ .component = n->maker->component,
                            .config = n->config, .line = n->line };
}

/* "prompt", "question", ..., NULL for the columns that were renamed. */
static const char *const *renames(hone_arena *a, const hone_made *data)
{
    const hone_rows *rows = data->config;
    const hone_option *fields = data->maker->fields;
    const char **list =
        hone_alloc(a, sizeof *list * (2 * HONE_MOST_FIELDS + 1));
    int n = 0;

    for (int i = 0; fields[i].name; i++)
        if (rows->rename[i]) {
            list[n++] = fields[i].name;
            list[n++] = rows->rename[i];
        }
    return list;
}

/* The configs of formats lie in that of the data. */
const hone_format_config *hone_made_formats(hone_arena *a,
                                            const hone_made *data)
{
    const hone_format_config *from = data->maker->formats;
    hone_format_config *list;
    int n = 0;

    while (from[n].component)
        n++;
    list = hone_copy(a, from, (size_t)n + 1, (size_t)n + 1, sizeof *list);
    for (int i = 0; i < n; i++)
        list[i].config = (char *)data->config + (size_t)from[i].config;
    return list;
}

static hone_data_config source_of(hone_arena *a, const hone_made *n)
{
    const hone_rows *rows = n->config;

    return (hone_data_config){
        .shape = rows->shape ? rows->shape : n->maker->shape,
        .files = rows->files,
        .val = rows->val.rows,
        .val_file = rows->val.file,
        .max_tokens = rows->max_tokens,
        .too_long = rows->too_long + HONE_LONG_CUT,
        .skip_broken = rows->broken,
        .loss = rows->loss + HONE_LOSS_ASSISTANT,
        .field = rows->shape ? rows->found : renames(a, n),
        .formats = hone_made_formats(a, n),
        .notes = { rows->notes[0], rows->notes[1] },
        .line = n->line,
        .weight = rows->weight,
    };
}

static const char *const *copy_sets(hone_arena *a, const char *const *sets)
{
    const char **list;
    int n = 0;

    while (sets && sets[n])
        n++;
    list = hone_alloc(a, sizeof *list * (size_t)(n + 1));
    for (int i = 0; i < n; i++)
        list[i] = hone_text(a, sets[i]);
    return list;
}

static hone_status fork_functions(const hone_data_functions *,
                                  hone_data_functions *to, hone_err *);

/* Functions outlive the reading: the state they live in, L, stays. */
static hone_data_functions *functions_of(hone_recipe *recipe,
                                         const hone_made *data, lua_State *L)
{
    const hone_rows *rows = data->config;
    const int refs[] = { rows->map, rows->template };
    const char *files;
    hone_data_functions *f;
    size_t bytes;

    if (!rows->map && !rows->template)
        return NULL;
    f = hone_alloc(&recipe->arena, sizeof *f);
    f->map = rows->map;
    f->template = rows->template;
    files = hone_lua_seal(L, &bytes);
    f->code = hone_lua_print(L, &recipe->arena, refs, 2, &f->code_bytes);
    if (!f->code) {
        f->code = files;
        f->code_bytes = bytes;
    }
    f->lua = L;
    f->fork = fork_functions;
    f->file = recipe->file;
    f->source = recipe->source;
    return f;
}

/* The sources of data, one after another; the first that has functions takes
 * the state that they live in. */
static void copy_data(hone_recipe *recipe, const hone_made *data,
                      const char *const *sets, hone_reader *r)
{
    hone_data_config *to = &recipe->data;
    lua_State *L = r->L;

    recipe->has_data = 1;
    recipe->data_line = data->line;
    for (; data; data = ((const hone_rows *)data->config)->next) {
        hone_data_functions *f = functions_of(recipe, data, L);

        *to = source_of(&recipe->arena, data);
        to->functions = f;
        if (f) {
            f->sets = copy_sets(&recipe->arena, sets);
            f->borrowed = !r->L;
            r->L = NULL;
        }
        if (((const hone_rows *)data->config)->next) {
            hone_data_config *next = hone_alloc(&recipe->arena, sizeof *next);

            to->next = next;
            to = next;
        }
    }
}

/* "runs/NAME" in the current folder, NAME from "dir/NAME.lua". */
static const char *default_out(hone_arena *a, const char *file)
{
    const char *slash = strrchr(file, '/');
    char *name = hone_text(a, slash ? slash + 1 : file);
    char *dot = strrchr(name, '.');

    if (dot && dot > name)
        *dot = '\0';
    return hone_absolute(a, NULL, hone_format_text(a, "runs/%s", name));
}

static void copy_train(hone_recipe *recipe, const hone_made *train)
{
    const hone_train *t = train->config;

    recipe->line = train->line;
    recipe->model = *(hone_model_config *)t->model->config;
    recipe->model_line = t->model->line;
    if (t->adapter) {
        recipe->has_adapter = 1;
        recipe->adapter = *(hone_lora_config *)t->adapter->config;
        recipe->adapter_line = t->adapter->line;
    }
    recipe->batch = instance(t->batch);
    recipe->optimizer = instance(t->optimizer);
    recipe->schedule = instance(t->schedule);
    recipe->global_batch = t->global_batch;
    recipe->global_tokens = t->global_tokens;
    recipe->epochs = t->epochs;
    recipe->steps = t->steps;
    recipe->seed = t->seed;
    recipe->shuffle = t->shuffle;
    recipe->clip = t->clip;
    recipe->precision = t->precision + HONE_PRECISION_AUTO;
    recipe->memory = t->memory;
    recipe->device = t->device;
    recipe->packs = t->packs;
    recipe->eval_every = t->eval_every;
    recipe->save_every = t->save_every;
    recipe->save_keep = t->save_keep;
    recipe->keep = t->keep.all;
    recipe->keep_layers = t->keep.layers;
    recipe->logits_chunk = t->logits_chunk;
    recipe->mlp_chunk = t->mlp_chunk;
    recipe->master = t->master;
    recipe->update = t->update + HONE_UPDATE_AFTER;
    recipe->states_on_host = t->states;
    recipe->loggers = t->loggers;
    recipe->out = t->out ? t->out : default_out(&recipe->arena, recipe->file);
}

/* Reads and checks; the reader and hone.train's value are left for what is to
 * be made of them. */
static hone_status read_made(hone_recipe *recipe, const char *file,
                             const char *const *sets, hone_reader **reader,
                             hone_made **train, const char **messages)
{
    const char *folders[3];
    hone_err err = { 0 };
    size_t bytes;
    hone_reader *r;
    hone_status s;

    memset(recipe, 0, sizeof *recipe);
    r = hone_alloc(&recipe->arena, sizeof *r); /* its Lua state may stay */
    *reader = r;
    r->arena = &recipe->arena;
    r->file = recipe->file = hone_text(&recipe->arena, file);
    folders[0] = hone_folder_of(&recipe->arena, r->file);
    folders[1] = hone_share_dir();
    folders[2] = NULL;
    s = hone_lua_read(&recipe->arena, r->file, &recipe->source, &bytes, &err);
    if (s == HONE_OK) {
        r->L = hone_lua_open(&recipe->arena, folders);
        hone_reader_module(r);
        s = evaluate(r, train, &err);
        r->done = 1;
    }
    if (s == HONE_OK && (*train)->maker == &hone_maker_train) {
        add_defaults(r, *train);
        for (; sets && *sets; sets++)
            hone_reader_set(r, *train, *sets);
        hone_reader_cross_check(r, *train);
    }
    *messages = all_messages(r, s == HONE_OK ? NULL : err.msg);
    return s == HONE_OK && r->count ? HONE_EINVAL : s;
}

hone_status hone_recipe_read(hone_recipe *recipe, const char *file,
                             const char *const *sets, const char **messages)
{
    hone_reader *r;
    hone_made *train = NULL;
    hone_status s = read_made(recipe, file, sets, &r, &train, messages);

    if (s == HONE_OK) {
        copy_train(recipe, train);
        hone_reader_choices(recipe, train);
        copy_data(recipe, ((hone_train *)train->config)->data, sets, r);
    }
    hone_lua_close(r->L);
    r->L = NULL;
    return s;
}

/* The same text read in the same way makes the same references. */
static hone_status fork_functions(const hone_data_functions *f,
                                  hone_data_functions *to, hone_err *err)
{
    hone_recipe *again = calloc(1, sizeof *again);
    const char *messages = "";
    hone_made *train = NULL;
    hone_reader *r;
    hone_status status;
    size_t bytes;

    if (!again)
        return hone_fail(err, HONE_EIO, "out of host memory");
    status = read_made(again, f->file, f->sets, &r, &train, &messages);
    if (status == HONE_OK && strcmp(again->source, f->source))
        status = HONE_EINVAL;
    if (status != HONE_OK) {
        hone_lua_close(r->L);
        hone_recipe_free(again);
        free(again);
        return hone_fail(err, HONE_EINVAL, "%s: it has changed since it was "
                         "read", f->file);
    }
    hone_lua_seal(r->L, &bytes);
    *to = *f;
    to->lua = r->L;
    to->fork = NULL;
    to->own = again;
    return HONE_OK;
}

void hone_recipe_unfork(hone_data_functions *f)
{
    hone_lua_close(f->lua);
    hone_recipe_free(f->own);
    free(f->own);
    f->lua = NULL;
    f->own = NULL;
}

hone_status hone_recipe_explain(const char *file, const char *const *sets,
                                const char *key, FILE *out, FILE *problems)
{
    hone_recipe recipe;
    hone_reader *r;
    hone_made *train = NULL;
    const char *messages;
    hone_err err;
    hone_status s = read_made(&recipe, file, sets, &r, &train, &messages);

    if (s != HONE_OK)
        fprintf(problems, "%s\n", messages);
    else if ((s = hone_reader_explain(r, train, key, out, &err)) != HONE_OK)
        fprintf(problems, "%s\n", err.msg);
    hone_lua_close(r->L);
    hone_recipe_free(&recipe);
    return s;
}

void hone_recipe_close_functions(const hone_recipe *recipe)
{
    for (const hone_data_config *d = &recipe->data; d; d = d->next)
        hone_data_functions_close(d->functions);
}

void hone_recipe_free(hone_recipe *recipe)
{
    hone_recipe_close_functions(recipe);
    hone_arena_free(&recipe->arena);
}

/* SPDX-License-Identifier: MIT
 *
 * recipe_cross.c -- the second pass over a recipe: what is missing, and what
 * does not go together. Runs when every option is known, --set included.
 */
#include "recipe_host.h"

#include <string.h>

#include "dataset_files.h"
#include "hub.h"
#include "option.h"
#include "registry.h"

/* Options that a constructor cannot do without. */
static void check_required(hone_reader *r, const hone_made *n)
{
    hone_where where = hone_made_where(r, n);

    for (const hone_option *o = n->maker->options; o && o->name; o++) {
        const void *value = (const char *)n->config + o->offset;
        int pointer = o->type == HONE_STR || o->type == HONE_VALUE;

        if (!(o->flags & HONE_REQUIRED) || n->unknown ||
            hone_made_given(n, o->name) ||
            (pointer && *(const void *const *)value))
            continue;
        hone_reader_say(r, &where, "'%s' is missing: %s", o->name, o->help);
    }
}

/* The parts of a training. Unset ones that were written and refused have had
 * their message. */
static void check_parts(hone_reader *r, const hone_made *train)
{
    static const char *const parts[] = { "model", "data", "batch",
                                         "optimizer", NULL };
    hone_where where = hone_made_where(r, train);

    for (int i = 0; parts[i]; i++) {
        const hone_option *o =
            hone_option_find(train->maker->options, parts[i]);
        const void *value = *(const void *const *)((const char *)train->config +
                                                  o->offset);
        if (!value && !train->unknown && !hone_made_given(train, parts[i]))
            hone_reader_say(r, &where, "'%s' is missing; add %s = %s", o->name,
                            o->name, o->sdef);
    }
}

static void check_one_of(hone_reader *r, const hone_made *train,
                         const char *a, const char *b)
{
    hone_where where = hone_made_where(r, train);
    int given = hone_made_given(train, a) + hone_made_given(train, b);

    if (given == 2)
        hone_reader_say(r, &where, "both '%s' and '%s' are given; leave one "
                        "out", a, b);
    else if (given == 0 && !train->unknown)
        hone_reader_say(r, &where, "neither '%s' nor '%s' is given; add one",
                        a, b);
}

/* NAME, if it is marked as one that the Hub's cache may have, as a path. Where
 * the cache has nothing of that name it is a path from the recipe's folder: who
 * opens it will say that it is not there. */
static const char *find_in_hub(hone_reader *r, const hone_where *where,
                               const char *kind, const char *revision,
                               const char *name)
{
    const char *folder, *behind;
    hone_status s;
    hone_err err;

    if (strncmp(name, HONE_HUB_MARK, strlen(HONE_HUB_MARK)))
        return name;
    name += strlen(HONE_HUB_MARK);
    hone_hub_is_name(name, &behind);
    s = hone_hub_find(r->arena, kind, name, revision, &folder, &err);
    if (s == HONE_OK && !behind[0])
        return folder;
    if (s == HONE_OK)
        return hone_format_text(r->arena, "%s/%s", folder, behind);
    name = hone_absolute(r->arena, where->set ? NULL : where->file, name);
    if (s != HONE_ENOSUP || revision)
        hone_reader_say(r, where, "%s: %s", name, err.msg);
    return name;
}

static void check_model(hone_reader *r, const hone_made *model,
                        const hone_train *t)
{
    hone_model_config *c = model->config;
    hone_where where = hone_made_where(r, model);

    if (c->path)
        c->path = find_in_hub(r, &where, "models", c->revision, c->path);
    if (c->init && strcmp(c->init, "random"))
        hone_reader_say(r, &where, "'init' is \"%s\", must be \"random\"",
                        c->init);
    if (!c->nested && c->storage != 3)
        hone_reader_say(r, &where, "'nested' belongs to storage = \"nf4\"");
    if (c->host_layers > 0 && !t->adapter)
        hone_reader_say(r, &where, "'host_layers' is for weights that are "
                        "frozen; add an adapter");
    /* "nf4" and "fp8" hold a frozen model; file, bf16 and fp32 come first. */
    if (c->storage > 2 && !t->adapter)
        hone_reader_say(r, &where, "'storage' of a model that is trained whole "
                        "must be fp32 or bf16; or add an adapter");
    if (c->storage == 2 && !t->adapter && !t->master)
        hone_reader_say(r, &where, "'storage' is \"fp32\", and master = false "
                        "holds a model that is trained as bf16; leave one of "
                        "the two out");
}

/* Two fields from one column: one of the names is a slip. */
static void check_renames(hone_reader *r, const hone_made *data)
{
    const hone_rows *c = data->config;
    const hone_option *f = data->maker->fields;
    hone_where where = hone_made_where(r, data);

    for (int i = 0; f[i].name; i++)
        for (int k = 0; k < i; k++)
            if (c->rename[i] && c->rename[k] &&
                !strcmp(c->rename[i], c->rename[k]))
                hone_reader_say(r, &where, "'%s' and '%s' are both called "
                                "\"%s\"", f[k].name, f[i].name, c->rename[i]);
}

/* `val` is one file. */
static void check_val(hone_reader *r, hone_rows *c, const hone_where *where)
{
    const char *name[2] = { NULL, NULL }, *note;
    const char *const *files;
    int said = r->count;
    hone_err err;

    if (!c->val.file)
        return;
    name[0] = find_in_hub(r, where, "datasets", c->revision, c->val.file);
    if (r->count > said)
        return;
    if (hone_files_expand(r->arena, name, &files, &note, &err) != HONE_OK)
        hone_reader_say(r, where, "%s", err.msg);
    else if (files[1])
        hone_reader_say(r, where, "'val' is one file, and %s is several",
                        name[0]);
    else
        c->val.file = files[0];
}

/* What the names of a recipe stand for, from here on. */
static void check_files(hone_reader *r, hone_rows *c, const hone_where *where)
{
    int n = 0, said = r->count;
    const char **names;
    hone_err err;

    while (c->files && c->files[n])
        n++;
    names = hone_alloc(r->arena, (size_t)(n + 1) * sizeof *names);
    for (int i = 0; i < n; i++)
        names[i] = find_in_hub(r, where, "datasets", c->revision, c->files[i]);
    if (n && r->count == said &&
        hone_files_expand(r->arena, names, &c->files, &c->notes[0], &err) !=
            HONE_OK)
        hone_reader_say(r, where, "%s", err.msg);
    check_val(r, c, where);
}

static void check_data(hone_reader *r, const hone_made *data)
{
    hone_rows *c = data->config;
    hone_where where = hone_made_where(r, data);
    int said = r->count;

    check_files(r, c, &where);
    if (!strcmp(data->maker->shape, "auto") && c->files && r->count == said)
        hone_reader_recognise(r, data, &where);
    check_renames(r, data);
    for (int i = 0; c->val.file && c->files && c->files[i]; i++)
        if (!strcmp(c->files[i], c->val.file))
            hone_reader_say(r, &where, "'val' is a file that is trained on; "
                            "give a number of rows or a share of them to hold "
                            "out");
    if (hone_made_given(data, "path") && hone_made_given(data, "files"))
        hone_reader_say(r, &where, "both 'path' and 'files' are given; leave "
                        "one out");
    if (hone_made_given(data, "long") && !c->max_tokens)
        hone_reader_say(r, &where, "'long' says what happens to rows beyond "
                        "'max_tokens', which is not given");
}

/* ------------------------------------------------------------ the schedule */

/* Steps that option NAME of a schedule stands for: below 1, a share of all. */
static double steps_of(const hone_made *schedule, const char *name,
                       int64_t steps)
{
    double v = hone_option_real(schedule->maker->options, schedule->config,
                                name);

    return v < 1 ? v * (double)steps : v;
}

/* Only what the recipe itself says: --set steps=3 is a short try of it. */
static void check_schedule(hone_reader *r, const hone_made *schedule,
                           const hone_made *train)
{
    int64_t steps = ((const hone_train *)train->config)->steps;
    double warmup = steps_of(schedule, "warmup", steps);
    double decay = steps_of(schedule, "decay", steps);
    hone_where where = hone_made_where(r, schedule);

    if (!steps || hone_made_typed(train, "steps"))
        return;
    if (warmup > (double)steps)
        hone_reader_say(r, &where, "'warmup' is %g steps, and the run has "
                        "%lld: the full rate is never reached; give fewer, or "
                        "a share such as 0.03", warmup, (long long)steps);
    else if (warmup + decay > (double)steps + 1)
        hone_reader_say(r, &where, "'warmup' and 'decay' are %g steps "
                        "together, and the run has %lld; give fewer, or "
                        "shares such as 0.03 and 0.2", warmup + decay,
                        (long long)steps);
}

static const hone_rows *rows_of(const hone_made *data)
{
    return data->config;
}

/* ----------------------------------------------------------- the layout */

/* A row of max_tokens must fit where rows are laid. */
static void check_layout(hone_reader *r, const hone_train *t,
                         const hone_rows *rows, const hone_made *train)
{
    const hone_option *o = t->batch ? hone_option_find(
                                          t->batch->maker->options, "tokens")
                                    : NULL;
    int64_t most = rows->max_tokens, held;
    hone_where where;

    if (o && o->type == HONE_INT) {
        held = *(const int64_t *)((const char *)t->batch->config + o->offset);
        where = hone_made_where(r, t->batch);
        if (most > held)
            hone_reader_say(r, &where, "'tokens' is %lld, and rows may have "
                            "'max_tokens' = %lld: such a row cannot be laid "
                            "out; raise one or lower the other",
                            (long long)held, (long long)most);
    }
    where = hone_made_where(r, train);
    if (t->global_tokens && most > t->global_tokens)
        hone_reader_say(r, &where, "'global_tokens' is %lld, and a single row "
                        "may have 'max_tokens' = %lld; raise one or lower the "
                        "other", (long long)t->global_tokens, (long long)most);
}

/* -------------------------------------------------------------- the folder */

static int lies_in(const char *path, const char *folder)
{
    size_t n = strlen(folder);

    return !strncmp(path, folder, n) &&
           (n == 1 || !path[n] || path[n] == '/');
}

/* A run's folder is set aside as a whole when it starts over: nothing that it
 * is made from may be in it. */
static void check_out(hone_reader *r, const hone_train *t,
                      const hone_made *train)
{
    const hone_model_config *m = t->model ? t->model->config : NULL;
    hone_where where = hone_made_where(r, train);
    const char *inside = NULL;

    if (!t->out)
        return;
    if (m && m->path && lies_in(m->path, t->out))
        inside = m->path;
    for (const hone_made *d = t->data; d; d = rows_of(d)->next)
        for (const char *const *f = rows_of(d)->files; f && *f; f++)
            if (lies_in(*f, t->out))
                inside = *f;
    if (inside)
        hone_reader_say(r, &where, "'out' is %s, and %s lies in it: a run "
                        "needs a folder of its own", t->out, inside);
    else if (m && m->path && lies_in(t->out, m->path))
        hone_reader_say(r, &where, "'out' lies in the model's folder %s; a run "
                        "needs a folder of its own", m->path);
}

/* ------------------------------------------------------------------- words */

/* Names of components, and which are near to one that is not there. LIST:
 * joined by commas. */
static void check_names(hone_reader *r, const hone_made *train,
                        const char *option, const char *list, hone_kind kind,
                        int must)
{
    const char *names[128] = { "none", "cpu", "cuda" };
    hone_where where = hone_made_where(r, train);
    int n = kind == HONE_KIND_LOGGER ? 1 : 3;

    for (int i = 0; hone_component_at(i) && n < 127; i++)
        if (hone_component_at(i)->kind == kind)
            names[n++] = hone_component_at(i)->name;
    names[n] = NULL;
    for (const char *at = list; at && *at;) {
        size_t length = strcspn(at, ",");
        const char *name = hone_format_text(r->arena, "%.*s", (int)length, at);
        const char *near = hone_nearest(name, names);

        if (!(near && !strcmp(near, name)) && (near || must))
            hone_reader_say(r, &where, "'%s': there is no %s '%s'%s%s%s",
                            option, hone_kind_name(kind), name,
                            near ? ", did you mean '" : "; hone plugins lists "
                            "what there is", near ? near : "",
                            near ? "'?" : "");
        at += length + (at[length] == ',');
    }
}

static void check_machine(hone_reader *r, const hone_train *t,
                          const hone_made *train)
{
    static const char *const words[] = { "auto", "fp32", "bf16", "fp16" };
    hone_where where = hone_made_where(r, train);
    const char *device = t->device ? t->device : "auto";

    if (strcmp(device, "auto"))
        check_names(r, train, "device",
                    hone_format_text(r->arena, "%.*s",
                                     (int)strcspn(device, ":"), device),
                    HONE_KIND_DEVICE, 0);
    check_names(r, train, "packs", t->packs, HONE_KIND_PACK, 0);
    check_names(r, train, "loggers", t->loggers, HONE_KIND_LOGGER, 1);
    if (!strcmp(device, "cpu") && t->precision > 1 && !t->packs)
        hone_reader_say(r, &where, "'precision' is \"%s\", and device \"cpu\" "
                        "computes in fp32; leave one of the two out",
                        words[t->precision]);
    if (t->update && t->clip > 0)
        hone_reader_say(r, &where, "'update' is \"backward\": weights change "
                        "before the norm of all gradients is known, so that "
                        "none can be clipped; say clip = 0");
    if (hone_made_given(train, "save.keep") && !t->save_every)
        hone_reader_say(r, &where, "'save.keep' says how many checkpoints "
                        "stay; how often they are made is 'save.every', which "
                        "is not given");
}

void hone_reader_cross_check(hone_reader *r, hone_made *train)
{
    const hone_train *t = train->config;
    const hone_made *const parts[] = { t->model, t->adapter,   t->data,
                                       t->batch, t->optimizer, t->schedule };
    hone_where where = hone_made_where(r, train);
    int held = 0;

    check_parts(r, train);
    check_one_of(r, train, "epochs", "steps");
    check_one_of(r, train, "global_batch", "global_tokens");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i])
            check_required(r, parts[i]);
    if (t->model)
        check_model(r, t->model, t);
    for (const hone_made *d = t->data; d; d = rows_of(d)->next) {
        if (d != t->data)
            check_required(r, d);
        check_data(r, d);
        check_layout(r, t, rows_of(d), train);
        held |= rows_of(d)->val.file || rows_of(d)->val.rows > 0;
    }
    if (t->data && t->eval_every && !held)
        hone_reader_say(r, &where, "'eval.every' needs held-out rows; give the "
                        "data val = 0.02 or so");
    if (t->adapter)
        hone_reader_adapter_init(r, t->adapter);
    if (t->schedule)
        check_schedule(r, t->schedule, train);
    check_machine(r, t, train);
    check_out(r, t, train);
}

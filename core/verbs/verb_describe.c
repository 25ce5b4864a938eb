/* SPDX-License-Identifier: MIT
 *
 * verb_describe.c -- `hone describe NAME`: the option table of a component or
 * of one of the recipe's own constructors, as a recipe reads it.
 */
#include "recipe_host.h"

#include <math.h>
#include <string.h>

#include "option.h"
#include "registry.h"
#include "verbs.h"

/* What a recipe that leaves it out gets. */
static void default_text(const hone_option *o, const void *config, char *to,
                         size_t bytes)
{
    int number = o->type == HONE_INT || o->type == HONE_REAL;

    if (o->flags & HONE_REQUIRED)
        snprintf(to, bytes, "(required)");
    else if (o->type == HONE_VALUE)
        snprintf(to, bytes, "%s",
                 o->sdef && hone_form_of(o) != HONE_FORM_MADE ? o->sdef : "-");
    else if ((number && o->min < o->max && o->def < o->min) ||
             (o->type == HONE_STR && !o->sdef))
        snprintf(to, bytes, "-");
    else
        hone_option_text(o, config, to, bytes);
}

static void range_text(const hone_option *o, char *to, size_t bytes)
{
    size_t at = 0;

    to[0] = '\0';
    if (o->type == HONE_ENUM) {
        for (int i = 0; o->choices[i] && at < bytes; i++)
            at += (size_t)snprintf(to + at, bytes - at, "%s%s", i ? "|" : "",
                                   o->choices[i]);
    } else if ((o->type == HONE_INT || o->type == HONE_REAL) &&
               o->min < o->max) {
        if (isinf(o->max) || o->max >= 1e12)
            snprintf(to, bytes, ">= %g", o->min);
        else
            snprintf(to, bytes, "%g to %g", o->min, o->max);
    }
}

static void print_options(const hone_option *options, size_t config_size)
{
    hone_arena scratch = { 0 };
    void *config = hone_alloc(&scratch, config_size);

    hone_option_defaults(options, config);
    if (!options || !options->name)
        printf("  it has no options\n");
    for (const hone_option *o = options; o && o->name; o++) {
        char def[128], range[256];
        default_text(o, config, def, sizeof def);
        range_text(o, range, sizeof range);
        printf("  %-14s %-14s %-12s %s%s%s%s\n", o->name,
               hone_form_words(o)->name, def, o->help,
               range[0] ? " (" : "", range, range[0] ? ")" : "");
    }
    hone_arena_free(&scratch);
}

static const hone_loaded *plugin_of(const hone_component *c)
{
    for (int i = 0; hone_loaded_at(i); i++) {
        const hone_plugin *p = hone_loaded_at(i)->plugin;
        for (int k = 0; p && p->components[k]; k++)
            if (p->components[k] == c)
                return hone_loaded_at(i);
    }
    return NULL;
}

static void print_component(const hone_component *c)
{
    const hone_loaded *from = plugin_of(c);

    printf("%s (%s): %s\n  from %s\n", c->name, hone_kind_name(c->kind),
           c->help ? c->help : "", from ? from->path : "?");
    print_options(c->options, c->config_size);
}

/* 0: there is nothing of that name. */
static int describe(hone_arena *a, const char *name, const char **why)
{
    const hone_maker *m = hone_maker_find(a, name, why);
    const char *no_shape;
    int found = 0;

    if (!m && !strcmp(name, "data"))
        m = &hone_maker_data;
    if (!m)
        m = hone_maker_find(a, hone_format_text(a, "data.%s", name),
                            &no_shape);
    if (m && !m->component) {
        printf("hone.%s: %s\n", m->name, m->help);
        print_options(m->options, m->config_size);
        found = 1;
    }
    for (int i = 0; hone_component_at(i); i++) {
        if (strcmp(hone_component_at(i)->name, name))
            continue;
        print_component(hone_component_at(i));
        found = 1;
    }
    return found;
}

int hone_verb_describe(int argc, char **argv)
{
    static const hone_arg none[] = { { .name = NULL } };
    hone_arena scratch = { 0 };
    const char *name[2], *why = NULL;
    hone_err err;
    hone_status s = hone_args(argc, argv, none, name, 1, &err);

    if (s == HONE_OK && !name[0])
        s = hone_fail(&err, HONE_EINVAL, "describe what? hone plugins lists "
                      "names; train, model, lora and data are there too");
    if (s == HONE_OK && !strncmp(name[0], "hone.", 5))
        name[0] += 5;
    if (s == HONE_OK && !describe(&scratch, name[0], &why))
        s = hone_fail(&err, HONE_EINVAL, "%s: %s", name[0], why);
    hone_arena_free(&scratch);
    return s == HONE_OK ? 0 : hone_report_error(&err);
}

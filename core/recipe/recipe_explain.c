/* SPDX-License-Identifier: MIT
 *
 * recipe_explain.c -- every option of a recipe with its value and where that
 * comes from: the line of a constructor, of an hone.extend, the command line,
 * the adapter that training goes on from, or a default.
 */
#include "recipe_host.h"

#include <string.h>

#include "option.h"
#include "passes.h"

typedef struct {
    hone_reader *r;
    const char *key; /* that is asked for; NULL: all */
    int found;
    const char *names[513]; /* of all, for a suggestion */
    int count;
} listing;

static const char *value_text(hone_reader *r, const hone_made *n,
                              const hone_option *o)
{
    const void *at = (const char *)n->config + o->offset;
    const char *const *files;
    const char *text = "";
    const hone_val *val = at;
    const hone_keeping *keep = at;
    char plain[1024];

    switch (hone_form_of(o)) {
    case HONE_FORM_PATHS:
        files = *(const char *const *const *)at;
        for (; files && *files; files++)
            text = hone_format_text(r->arena, "%s%s\"%s\"", text,
                                    *text ? ", " : "", *files);
        return *text ? text : "nil";
    case HONE_FORM_VAL:
        return val->file ? hone_format_text(r->arena, "\"%s\"", val->file)
                         : hone_format_text(r->arena, "%g", val->rows);
    case HONE_FORM_KEEP:
        return hone_format_text(r->arena, "\"%s\"",
                                keep->layers ? keep->layers
                                             : hone_keep_names[keep->all - 1]);
    case HONE_FORM_FUNCTION:
        return *(const int *)at ? "function" : "nil";
    default:
        if ((o->type == HONE_INT || o->type == HONE_REAL) && o->def < o->min &&
            !hone_made_given(n, o->name))
            return "nil"; /* its default is no value that could be given */
        hone_option_text(o, n->config, plain, sizeof plain);
        return hone_text(r->arena, plain);
    }
}

static const char *origin(hone_reader *r, const hone_made *n,
                          const hone_option *o)
{
    static const char *const shape[] = { "r", "alpha", "targets", "rslora",
                                         "dora" };
    ptrdiff_t i = o - n->maker->options;
    int is_lora = n->maker == &hone_maker_lora;
    const char *init = is_lora ? ((hone_lora_config *)n->config)->init : NULL;

    if (hone_made_given(n, o->name)) {
        const hone_where *w = &n->from[i];
        return w->set ? hone_format_text(r->arena, "--set %s", w->set)
                      : hone_format_text(r->arena, "%s:%d: %s", w->file,
                                         w->line, w->label);
    }
    for (int k = 0; init && k < 5; k++)
        if (!strcmp(shape[k], o->name))
            return hone_format_text(r->arena, "%s/adapter_config.json", init);
    return "default";
}

/* PART: "optimizer"; NULL: hone.train itself. */
static void list_options(listing *l, const char *part, const hone_made *n,
                         FILE *out)
{
    for (const hone_option *o = n->maker->options; o && o->name; o++) {
        const char *name = hone_format_text(l->r->arena, "%s%s%s",
                                            part ? part : "", part ? "." : "",
                                            o->name);
        size_t length = l->key ? strlen(l->key) : 0;

        if (hone_form_of(o) == HONE_FORM_MADE)
            continue;
        if (l->count < 512)
            l->names[l->count++] = name;
        if (l->key && strcmp(name, l->key) &&
            (strncmp(name, l->key, length) || name[length] != '.'))
            continue;
        l->found = 1;
        fprintf(out, "%s = %s\n    %s\n", name, value_text(l->r, n, o),
                origin(l->r, n, o));
    }
}

hone_status hone_reader_explain(hone_reader *r, const hone_made *train,
                                const char *key, FILE *out, hone_err *err)
{
    listing l = { .r = r, .key = key };
    const char *near;

    list_options(&l, NULL, train, out);
    for (const hone_option *o = train->maker->options; o->name; o++) {
        const hone_made *part = NULL;
        if (hone_form_of(o) == HONE_FORM_MADE)
            part = *(hone_made *const *)((const char *)train->config +
                                         o->offset);
        if (part)
            list_options(&l, o->name, part, out);
    }
    if (l.found)
        return HONE_OK;
    near = hone_nearest(key, l.names);
    return hone_fail(err, HONE_EINVAL, "%s: no option '%s'%s%s%s", r->file, key,
                     near ? ", did you mean '" : "; without a key all are "
                     "listed", near ? near : "", near ? "'?" : "");
}

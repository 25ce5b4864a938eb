/* SPDX-License-Identifier: MIT
 *
 * verb_plugins.c -- `hone plugins`: what is loaded and what is refused.
 */
#include "registry.h"
#include "verbs.h"

#include "log.h"

static void print_loaded(const hone_loaded *l)
{
    const hone_plugin *p = l->plugin;

    printf("%s\n", l->path);
    if (!p) {
        printf("  refused: %s\n", l->refusal);
        return;
    }
    printf("  %s %s, built with %s\n", p->name, p->version, p->built_with);
    for (int i = 0; p->components[i]; i++)
        printf("  %-10s %-20s %s\n", hone_kind_name(p->components[i]->kind),
               p->components[i]->name,
               p->components[i]->help ? p->components[i]->help : "");
}

int hone_verb_plugins(int argc, char **argv)
{
    static const hone_arg none[] = { { .name = NULL } };
    const char *rest[1];
    hone_err err;

    if (hone_args(argc, argv, none, rest, 0, &err) != HONE_OK)
        return hone_report_error(&err);
    for (int i = 0; hone_loaded_at(i); i++)
        print_loaded(hone_loaded_at(i));
    if (!hone_loaded_at(0))
        hone_log(HONE_LOG_NOTE, "no plugins; see --plugin-dir and "
                                "$HONE_PLUGIN_PATH");
    return 0;
}

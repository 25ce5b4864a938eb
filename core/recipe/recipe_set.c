/* SPDX-License-Identifier: MIT
 *
 * recipe_set.c -- --set KEY=VALUE: the same tables, the same checks and the
 * same messages as in a recipe; KEY may go one constructor deep.
 */
#include "recipe_host.h"

#include <string.h>

#include "option.h"

/* "optimizer.lr": the constructor's value in front of the dot. */
static void set_inside(hone_reader *r, hone_made *train, const char *head,
                       const char *key, const char *value, hone_where *where)
{
    const hone_option *o = hone_option_find(train->maker->options, head);
    hone_made *child;

    if (!o || hone_form_of(o) != HONE_FORM_MADE) {
        const char *whole = hone_format_text(r->arena, "%s.%s", head, key);
        int group = hone_made_group(train, head) != NULL;
        hone_made_unknown(r, train, o || group ? whole : head, where);
        return;
    }
    child = *(hone_made **)((char *)train->config + o->offset);
    if (!child && hone_made_given(train, head))
        return; /* there, but refused: said already */
    if (!child) {
        hone_reader_say(r, where, "the recipe has no %s; add %s = %s to it",
                        head, head, o->sdef);
        return;
    }
    where->label = hone_made_where(r, child).label;
    o = hone_option_find(child->maker->options, key);
    if (o)
        hone_made_set_text(r, child, o, value, where);
    else
        hone_made_unknown(r, child, key, where);
}

void hone_reader_set(hone_reader *r, hone_made *train, const char *set)
{
    hone_where where = { .set = set, .label = "hone.train" };
    const char *equals = strchr(set, '='), *dot;
    const hone_option *o;
    char *key;

    if (!equals || equals == set) {
        where.label = NULL;
        hone_reader_say(r, &where, "write --set KEY=VALUE, such as "
                        "--set optimizer.lr=1e-4");
        return;
    }
    key = hone_format_text(r->arena, "%.*s", (int)(equals - set), set);
    o = hone_option_find(train->maker->options, key);
    dot = strchr(key, '.');
    if (o && hone_form_of(o) == HONE_FORM_MADE)
        hone_reader_say(r, &where, "'%s' has options of its own; set them as "
                        "--set %s.NAME=VALUE", key, key);
    else if (o) {
        hone_made_displace(train, key);
        hone_made_set_text(r, train, o, equals + 1, &where);
    } else if (dot)
        set_inside(r, train, hone_format_text(r->arena, "%.*s",
                                              (int)(dot - key), key),
                   dot + 1, equals + 1, &where);
    else
        hone_made_unknown(r, train, key, &where);
}

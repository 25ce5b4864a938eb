/* SPDX-License-Identifier: MIT
 *
 * globals.c -- the functions that every template has: jinja2's, and the two
 * that Transformers adds.
 */
#include <string.h>
#include <time.h>

#include "jinja.h"

static ji_val range(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_range *g = ji_alloc(r, sizeof *g);
    uint64_t distance, step;

    (void)self;
    g->step = p[2].kind ? ji_index(r, p[2]) : 1;
    g->start = p[1].kind ? ji_index(r, p[0]) : 0;
    g->stop = ji_index(r, p[p[1].kind ? 1 : 0]);
    (void)a;
    if (g->step == 0)
        ji_fail(r, "range() arg 3 must not be zero");
    if (g->step > 0 ? g->start < g->stop : g->start > g->stop) {
        distance = g->step > 0 ? (uint64_t)g->stop - (uint64_t)g->start
                               : (uint64_t)g->start - (uint64_t)g->stop;
        step = g->step > 0 ? (uint64_t)g->step : 0 - (uint64_t)g->step;
        distance = (distance - 1) / step + 1;
        if (distance > JI_RANGE_MAX)
            ji_fail(r, "range too big, the sandbox has at most %d items",
                    JI_RANGE_MAX);
        g->n = (int64_t)distance;
    }
    return (ji_val){ .kind = JI_RANGE, .u.range = g };
}

/* Pairs, or a mapping, and named arguments. */
static ji_dict *dict_of(ji_run *r, const ji_args *a)
{
    ji_dict *d = ji_dict_new(r);

    if (a->n > 1)
        ji_fail(r, "dict expected at most 1 argument, got %d", a->n);
    if (a->n && (a->at[0].kind == JI_DICT || a->at[0].kind == JI_SPACE)) {
        for (size_t i = 0; i < a->at[0].u.d->n; i++)
            ji_set(r, d, a->at[0].u.d->at[i].key, a->at[0].u.d->at[i].value);
    } else if (a->n) {
        ji_list *l = ji_items(r, a->at[0]);

        for (size_t i = 0; i < l->n; i++) {
            ji_list *pair = ji_items(r, l->at[i]);

            if (pair->n != 2)
                ji_fail(r, "dict: expected pairs");
            ji_set(r, d, pair->at[0], pair->at[1]);
        }
    }
    for (int i = 0; i < a->names; i++)
        ji_set(r, d, ji_string(a->name[i]), a->named[i]);
    return d;
}

static ji_val dict(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)self, (void)p;
    return (ji_val){ .kind = JI_DICT, .u.d = dict_of(r, a) };
}

static ji_val namespace(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_dict *d = dict_of(r, a);

    (void)self, (void)p;
    for (size_t i = 0; i < d->n; i++)
        if (d->at[i].key.kind == JI_STR && d->at[i].key.u.s->len &&
            d->at[i].key.u.s->at[0] == '_')
            ji_fail(r, "a namespace has no attributes that begin with _");
    return (ji_val){ .kind = JI_SPACE, .u.d = d };
}

static ji_val cycler(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    struct ji_cycle *c = ji_alloc(r, sizeof *c);

    (void)self, (void)p;
    if (!a->n)
        ji_fail(r, "at least one item has to be provided");
    c->items = ji_list_new(r, (size_t)a->n);
    for (int i = 0; i < a->n; i++)
        ji_push(r, c->items, a->at[i]);
    return (ji_val){ .kind = JI_CYCLER, .u.cycle = c };
}

static ji_val joiner(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    struct ji_cycle *c = ji_alloc(r, sizeof *c);

    (void)self, (void)a;
    c->items = ji_list_new(r, 1);
    ji_push(r, c->items, p[0].kind ? p[0] : ji_of(r, ", "));
    return (ji_val){ .kind = JI_JOINER, .u.cycle = c };
}

static ji_val raise(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_str *s = ji_tostr(r, p[0]);

    (void)self, (void)a;
    ji_raise(r, ji_text(r, s->at, s->len)->at);
}

/* The time of this machine, as datetime.now() has it: without a zone. */
static ji_val strftime_now(ji_run *r, ji_val self, const ji_args *a,
                           ji_val *p)
{
    ji_str *format = ji_text_arg(r, p[0], "strftime_now");
    ji_buf b = { NULL, 0, 0 };
    struct timespec now;
    struct tm local;
    char *text;
    size_t n;

    (void)self, (void)a;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    for (size_t i = 0; i < format->len; i++) {
        char c = format->at[i], next = i + 1 < format->len
                                           ? format->at[i + 1] : 0;

        if (c == '%' && next == 'f')
            ji_puts(r, &b, ji_format(r, "%06ld", now.tv_nsec / 1000));
        else if (c == '%' && next)
            ji_put(r, &b, format->at + i,
                   next == 'z' || next == 'Z' ? 0 : 2);
        else
            ji_put(r, &b, &c, 1);
        i += c == '%' && next;
    }
    ji_put(r, &b, "", 1);
    n = 64 * b.len + 64;
    text = ji_alloc(r, n);
    return ji_string(ji_wrap(r, text, strftime(text, n, b.at, &local)));
}

const ji_def *ji_find_function(const ji_str *name)
{
    static const ji_def table[] = {
        { "cycler", "*", 0, cycler },
        { "dict", "*", 0, dict },
        { "joiner", "sep", 0, joiner },
        { "namespace", "*", 0, namespace },
        { "raise_exception", "message", 1, raise },
        { "range", "-start -stop -step", 1, range },
        { "strftime_now", "format", 1, strftime_now },
        { NULL, NULL, 0, NULL },
    };

    return ji_def_in(table, name);
}

/* SPDX-License-Identifier: MIT
 *
 * methods.c -- the methods of lists, dicts and numbers, and which a value has.
 * Those that would change it are known, and refused as the sandbox does.
 */
#include <math.h>
#include <string.h>

#include "jinja.h"

static ji_val view(ji_run *r, ji_val self, int what)
{
    ji_view *v = ji_alloc(r, sizeof *v);

    *v = (ji_view){ self.u.d, what };
    return (ji_val){ .kind = JI_VIEW, .u.view = v };
}

static ji_val dict_keys(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return view(r, self, JI_KEYS);
}

static ji_val dict_values(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return view(r, self, JI_VALUES);
}

static ji_val dict_items(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)a, (void)p;
    return view(r, self, JI_ITEMS);
}

static ji_val dict_get(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_val *found;

    (void)a;
    if (!ji_hashable(p[0]))
        ji_fail(r, "unhashable type: '%s'", ji_type(p[0]));
    found = ji_get(r, self.u.d, p[0]);
    return found ? *found : p[1].kind ? p[1] : ji_none();
}

static ji_val dict_copy(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)r, (void)a, (void)p;
    return self; /* nothing can change either */
}

static ji_val list_copy(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)r, (void)a, (void)p;
    return self;
}

static ji_val list_count(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_list *l = ji_items(r, self);
    int64_t n = 0;

    (void)a;
    for (size_t i = 0; i < l->n; i++)
        n += ji_equal(r, l->at[i], p[0]);
    return ji_int(n);
}

static ji_val list_index(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    ji_list *l = ji_items(r, self);
    int64_t n = (int64_t)l->n, from = ji_int_or(r, p[1], 0);
    int64_t to = ji_int_or(r, p[2], n);

    (void)a;
    from = from < 0 ? (from + n < 0 ? 0 : from + n) : from;
    to = to < 0 ? to + n : to;
    for (int64_t i = from; i < to && i < n; i++)
        if (ji_equal(r, l->at[i], p[0]))
            return ji_int(i);
    ji_fail(r, "the value is not in the list");
}

static ji_val is_integer(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)r, (void)a, (void)p;
    return ji_bool(self.u.f == floor(self.u.f) && !isinf(self.u.f));
}

static ji_val bit_length(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    uint64_t n = self.u.i < 0 ? 0 - (uint64_t)self.u.i : (uint64_t)self.u.i;
    int bits = 0;

    (void)r, (void)a, (void)p;
    for (; n; n >>= 1)
        bits++;
    return ji_int(bits);
}

static ji_val cycle_next(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    struct ji_cycle *c = self.u.cycle;
    ji_val now = c->items->at[c->at];

    (void)r, (void)a, (void)p;
    c->at = (c->at + 1) % c->items->n;
    return now;
}

static ji_val cycle_reset(ji_run *r, ji_val self, const ji_args *a, ji_val *p)
{
    (void)r, (void)a, (void)p;
    self.u.cycle->at = 0;
    return ji_none();
}

#define END { NULL, NULL, 0, NULL }

static const ji_def dict_methods[] = { { "copy", "", 0, dict_copy },
                                       { "get", "-key -default", 1, dict_get },
                                       { "items", "", 0, dict_items },
                                       { "keys", "", 0, dict_keys },
                                       { "values", "", 0, dict_values },
                                       END };
static const ji_def list_methods[] = {
    { "copy", "", 0, list_copy },
    { "count", "-value", 1, list_count },
    { "index", "-value -start -stop", 1, list_index },
    END
};
static const ji_def tuple_methods[] = {
    { "count", "-value", 1, list_count },
    { "index", "-value -start -stop", 1, list_index },
    END
};
static const ji_def float_methods[] = { { "is_integer", "", 0, is_integer },
                                        END };
static const ji_def int_methods[] = { { "bit_length", "", 0, bit_length },
                                      END };
static const ji_def cycler_methods[] = { { "next", "", 0, cycle_next },
                                         { "reset", "", 0, cycle_reset },
                                         END };

static int named(const char *const *names, const ji_str *name)
{
    for (; *names; names++)
        if (ji_is(name, *names))
            return 1;
    return 0;
}

static int changes(ji_val v, const ji_str *name)
{
    static const char *const of_list[] = { "append", "clear",  "extend",
                                           "insert", "pop",    "remove",
                                           "reverse", "sort",  NULL };
    static const char *const of_dict[] = { "clear", "pop", "popitem",
                                           "setdefault", "update", NULL };

    return (v.kind == JI_LIST && named(of_list, name)) ||
           (v.kind == JI_DICT && named(of_dict, name));
}

static const ji_def *str_method(const ji_str *name)
{
    const ji_def *const tables[] = { ji_str_methods, ji_str_edits,
                                     ji_str_tests };
    const ji_def *def = NULL;

    for (int i = 0; i < 3 && !def; i++)
        def = ji_def_in(tables[i], name);
    return def;
}

const ji_def *ji_find_method(ji_val v, const ji_str *name, int *unsafe)
{
    *unsafe = changes(v, name);
    if (*unsafe)
        return NULL;
    switch (v.kind) {
    case JI_STR:
        return str_method(name);
    case JI_LIST:
        return ji_def_in(list_methods, name);
    case JI_TUPLE:
    case JI_RANGE:
        return ji_def_in(tuple_methods, name);
    case JI_DICT:
        return ji_def_in(dict_methods, name);
    case JI_FLOAT:
        return ji_def_in(float_methods, name);
    case JI_INT:
    case JI_BOOL:
        return ji_def_in(int_methods, name);
    case JI_LOOP:
        return ji_def_in(ji_loop_methods, name);
    case JI_CYCLER:
        return ji_def_in(cycler_methods, name);
    default:
        return NULL;
    }
}

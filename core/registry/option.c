/* SPDX-License-Identifier: MIT
 *
 * option.c -- see option.h. Every message begins with the option's name in
 * quotes, so that a caller can put file, line and constructor in front.
 */
#include "option.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_NAME = 64, MOST_NAMES = 128 };

static void *field(const hone_option *o, void *config)
{
    return (char *)config + o->offset;
}

static int choice_of(const hone_option *o, const char *name)
{
    for (int i = 0; o->choices && o->choices[i]; i++)
        if (!strcmp(o->choices[i], name))
            return i;
    return -1;
}

void hone_option_defaults(const hone_option *table, void *config)
{
    for (const hone_option *o = table; o && o->name; o++) {
        int choice;

        switch (o->type) {
        case HONE_BOOL:
            *(int *)field(o, config) = o->def != 0;
            break;
        case HONE_INT:
            *(int64_t *)field(o, config) = (int64_t)o->def;
            break;
        case HONE_REAL:
            *(double *)field(o, config) = o->def;
            break;
        case HONE_STR:
            *(const char **)field(o, config) = o->sdef;
            break;
        case HONE_ENUM:
            choice = o->sdef ? choice_of(o, o->sdef) : (int)o->def;
            *(int *)field(o, config) = choice < 0 ? 0 : choice;
            break;
        case HONE_VALUE:
            break;
        }
    }
}

int hone_by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const hone_option *hone_option_find(const hone_option *table, const char *name)
{
    for (const hone_option *o = table; o && o->name; o++)
        if (!strcmp(o->name, name))
            return o;
    return NULL;
}

static const char *type_name(const hone_option *o)
{
    switch (o->type) {
    case HONE_BOOL:
        return "true or false";
    case HONE_INT:
        return "a whole number";
    case HONE_REAL:
        return "a number";
    case HONE_VALUE:
        return "a constructor's value";
    default:
        return "a string";
    }
}

static hone_status wrong_type(const hone_option *o, const char *got,
                              hone_err *err)
{
    return hone_fail(err, HONE_EINVAL, "'%s' expects %s, got %s", o->name,
                     type_name(o), got);
}

/* The fewest digits that read back as the same double. */
static void number_text(double v, char *to, size_t bytes)
{
    if (fabs(v) < 1e15 && v == floor(v)) {
        snprintf(to, bytes, "%.0f", v);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(to, bytes, "%.*g", digits, v);
        if (strtod(to, NULL) == v)
            return;
    }
}

/* A table row with min == max has no range; 1e12 and more is no bound. */
static hone_status in_range(const hone_option *o, double v, hone_err *err)
{
    char value[32], low[32], high[32];

    if (!(o->min < o->max) || (v >= o->min && v <= o->max))
        return HONE_OK;
    number_text(v, value, sizeof value);
    number_text(o->min, low, sizeof low);
    number_text(o->max, high, sizeof high);
    if (o->max >= 1e12)
        return hone_fail(err, HONE_EINVAL, "'%s' is %s, must be at least %s",
                         o->name, value, low);
    return hone_fail(err, HONE_EINVAL, "'%s' is %s, must be in [%s, %s]",
                     o->name, value, low, high);
}

hone_status hone_option_set_num(const hone_option *o, void *config, double v,
                                int is_integer, hone_err *err)
{
    char text[32];

    if (o->type != HONE_INT && o->type != HONE_REAL) {
        number_text(v, text, sizeof text);
        return hone_fail(err, HONE_EINVAL, "'%s' expects %s, got the number %s",
                         o->name, type_name(o), text);
    }
    if (!isfinite(v))
        return wrong_type(o, isnan(v) ? "NaN" : "infinity", err);
    if (o->type == HONE_REAL) {
        hone_try(in_range(o, v, err));
        *(double *)field(o, config) = v;
        return HONE_OK;
    }
    number_text(v, text, sizeof text);
    if (!is_integer && v != floor(v))
        return wrong_type(o, text, err);
    if (fabs(v) > 9007199254740992.0) /* doubles above 2^53 skip integers */
        return hone_fail(err, HONE_EINVAL, "'%s' is %s, too large", o->name,
                         text);
    hone_try(in_range(o, v, err));
    *(int64_t *)field(o, config) = (int64_t)v;
    return HONE_OK;
}

static hone_status wrong_choice(const hone_option *o, const char *text,
                                hone_err *err)
{
    const char *near = o->choices ? hone_nearest(text, o->choices) : NULL;
    char list[512] = "";
    size_t at = 0;

    if (near)
        return hone_fail(err, HONE_EINVAL,
                         "'%s' is \"%s\", did you mean \"%s\"?", o->name, text,
                         near);
    for (int i = 0; o->choices && o->choices[i] && at < sizeof list; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s\"%s\"",
                               i ? ", " : "", o->choices[i]);
    return hone_fail(err, HONE_EINVAL, "'%s' is \"%s\", must be one of %s",
                     o->name, text, list);
}

hone_status hone_option_set_str(const hone_option *o, void *config,
                                const char *text, hone_arena *a, hone_err *err)
{
    int choice;

    if (o->type == HONE_STR) {
        *(const char **)field(o, config) = hone_text(a, text);
        return HONE_OK;
    }
    if (o->type != HONE_ENUM)
        return hone_fail(err, HONE_EINVAL, "'%s' expects %s, got \"%s\"",
                         o->name, type_name(o), text);
    choice = choice_of(o, text);
    if (choice < 0)
        return wrong_choice(o, text, err);
    *(int *)field(o, config) = choice;
    return HONE_OK;
}

hone_status hone_option_set_bool(const hone_option *o, void *config, int v,
                                 hone_err *err)
{
    if (o->type != HONE_BOOL)
        return wrong_type(o, v ? "true" : "false", err);
    *(int *)field(o, config) = v != 0;
    return HONE_OK;
}

hone_status hone_option_parse(const hone_option *o, void *config,
                              const char *text, hone_arena *a, hone_err *err)
{
    char *end;
    double v;

    switch (o->type) {
    case HONE_BOOL:
        if (!strcmp(text, "true") || !strcmp(text, "false"))
            return hone_option_set_bool(o, config, text[0] == 't', err);
        break;
    case HONE_INT:
    case HONE_REAL:
        v = strtod(text, &end);
        if (end != text && !*end)
            return hone_option_set_num(o, config, v, 0, err);
        break;
    case HONE_STR:
    case HONE_ENUM:
        return hone_option_set_str(o, config, text, a, err);
    case HONE_VALUE:
        break;
    }
    return hone_fail(err, HONE_EINVAL, "'%s' expects %s, got \"%s\"", o->name,
                     type_name(o), text);
}

static void quoted(const char *s, char *to, size_t bytes)
{
    size_t n = 0;

    if (!s) {
        snprintf(to, bytes, "nil");
        return;
    }
    to[n++] = '"';
    for (; *s && n + 4 < bytes; s++) {
        if (*s == '"' || *s == '\\')
            to[n++] = '\\';
        if (*s == '\n') {
            to[n++] = '\\';
            to[n++] = 'n';
        } else {
            to[n++] = *s;
        }
    }
    to[n++] = '"';
    to[n] = '\0';
}

void hone_option_text(const hone_option *o, const void *config, char *to,
                      size_t bytes)
{
    const char *p = (const char *)config + o->offset;

    switch (o->type) {
    case HONE_BOOL:
        snprintf(to, bytes, "%s", *(const int *)p ? "true" : "false");
        break;
    case HONE_INT:
        snprintf(to, bytes, "%lld", (long long)*(const int64_t *)p);
        break;
    case HONE_REAL:
        number_text(*(const double *)p, to, bytes);
        break;
    case HONE_STR:
        quoted(*(const char *const *)p, to, bytes);
        break;
    case HONE_ENUM:
        quoted(o->choices[*(const int *)p], to, bytes);
        break;
    case HONE_VALUE:
        snprintf(to, bytes, "nil");
        break;
    }
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: one swap of neighbours is one edit, the commonest
 * slip of all. Three rows suffice. */
static int distance(const char *a, const char *b)
{
    int rows[3][LONGEST_NAME + 1];
    int n = (int)strlen(a), m = (int)strlen(b);

    if (n > LONGEST_NAME || m > LONGEST_NAME)
        return LONGEST_NAME;
    for (int j = 0; j <= m; j++)
        rows[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = rows[i % 3];
        const int *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

        now[0] = i;
        for (int j = 1; j <= m; j++) {
            now[j] = least(least(last[j], now[j - 1]) + 1,
                           last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

const char *hone_nearest(const char *name, const char *const *names)
{
    const char *best = NULL;
    size_t n = strlen(name);

    for (; *names; names++) {
        int d = distance(name, *names);
        /* Short names are near to everything: allow them one edit, or none;
         * two to one that begins alike and is longer ("alfa": "alpha"). */
        int like = n == 4 && name[0] == **names && strlen(*names) > n;
        int limit = n > 4 || like ? 2 : n > 1 ? 1 : 0;
        if (d <= limit && (!best || d < distance(name, best)))
            best = *names;
    }
    return best;
}

/* Names as a recipe writes them: of the group "eval.every" the word "eval",
 * once, unless NAME is inside a group itself. */
static int names_like(const hone_option *table, const char *name,
                      char (*names)[LONGEST_NAME])
{
    int whole = strchr(name, '.') != NULL, n = 0;

    for (const hone_option *o = table; o && o->name && n < MOST_NAMES; o++) {
        size_t length = whole ? strlen(o->name) : strcspn(o->name, ".");
        snprintf(names[n], LONGEST_NAME, "%.*s", (int)length, o->name);
        if (!n || strcmp(names[n], names[n - 1]))
            n++;
    }
    return n;
}

void hone_option_suggest(const hone_option *table, const char *name, char *to,
                         size_t bytes)
{
    char names[MOST_NAMES][LONGEST_NAME];
    const char *list[MOST_NAMES + 1], *near;
    int n = names_like(table, name, names);
    size_t at;

    for (int i = 0; i < n; i++)
        list[i] = names[i];
    list[n] = NULL;
    near = hone_nearest(name, list);
    if (near) {
        snprintf(to, bytes, ", did you mean '%s'?", near);
        return;
    }
    at = (size_t)snprintf(to, bytes, n ? "; options: " : "; it has none");
    for (int i = 0; i < n && at < bytes; i++)
        at += (size_t)snprintf(to + at, bytes - at, "%s%s", i ? ", " : "",
                               list[i]);
}

int hone_options_agree(const hone_option *table, const void *config,
                       const hone_option *other, const void *other_config)
{
    char left[128], right[128];

    for (const hone_option *o = table; o && o->name; o++) {
        const hone_option *twin = hone_option_find(other, o->name);

        if (!twin)
            continue;
        hone_option_text(o, config, left, sizeof left);
        hone_option_text(twin, other_config, right, sizeof right);
        if (strcmp(left, right))
            return 0;
    }
    return 1;
}

double hone_option_real(const hone_option *table, const void *config,
                        const char *name)
{
    const hone_option *o = hone_option_find(table, name);

    if (!o || o->type != HONE_REAL)
        return 0;
    return *(const double *)((const char *)config + o->offset);
}

int64_t hone_bytes_parse(const char *text)
{
    static const struct {
        const char *name;
        double bytes;
    } unit[] = { { "B", 1 },           { "KB", 1e3 },     { "MB", 1e6 },
                 { "GB", 1e9 },        { "TB", 1e12 },    { "KiB", 0x1p10 },
                 { "MiB", 0x1p20 },    { "GiB", 0x1p30 }, { "TiB", 0x1p40 } };
    char *end;
    double n = isdigit((unsigned char)text[0]) ? strtod(text, &end) : 0;

    if (!(n > 0))
        return 0;
    while (*end == ' ')
        end++;
    for (size_t i = 0; i < sizeof unit / sizeof *unit; i++)
        if (!strcmp(unit[i].name, end) && n * unit[i].bytes < 0x1p62)
            return (int64_t)(n * unit[i].bytes);
    return 0;
}

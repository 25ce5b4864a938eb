/* SPDX-License-Identifier: MIT
 *
 * card.c -- see card.h. A file is one object: a number for each figure, and
 * for each rate a number or a list of [work, rate]; `measured` lists those
 * that were.
 */
#include "card.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <xxhash.h>

#include "dataset.h"
#include "model_files.h"
#include "option.h"
#include "registry.h"
#include "safetensors.h"

#define DIGITS JSON_REAL_PRECISION(6)

typedef struct {
    const char *name, *help;
    double most;
} row;

static const row figures[HONE_CARD_FIGURES] = {
    { "memory_bytes", "bytes on the device", 1e15 },
    { "context_bytes", "bytes a process takes besides what it asks for", 1e13 },
    { "host_bytes", "bytes of host memory", 1e16 },
    { "launch_s", "seconds from one kernel to the next, at least", 1 },
    { "to_device", "bytes/s from host to device", 1e15 },
    { "to_host", "bytes/s from device to host", 1e15 },
    { "both_ways", "bytes/s each way, while both are busy", 1e15 },
    { "disk", "bytes/s read from the disk", 1e15 },
    { "attention", "attention's rate as a share of that of products", 10 },
    { "attention_grad", "the same for its gradient", 10 },
};

static const row rates[HONE_CARD_RATES] = {
    { "copy", "bytes/s read and written, by bytes", 1e18 },
    { "bf16", "flop/s of products in bf16, by flop", 1e20 },
    { "fp16", "flop/s of products in fp16, by flop", 1e20 },
    { "fp32", "flop/s of products in fp32, by flop", 1e20 },
    { "fp8", "flop/s of products in fp8, by flop", 1e20 },
};

const char *hone_card_figure_name(hone_card_figure f, const char **help)
{
    if (help)
        *help = figures[f].help;
    return figures[f].name;
}

const char *hone_card_rate_name(hone_card_rate r, const char **help)
{
    if (help)
        *help = rates[r].help;
    return rates[r].name;
}

double hone_curve_at(const hone_curve *c, double work)
{
    int i = 0;

    if (c->points == 0)
        return 0;
    while (i < c->points && c->work[i] < work)
        i++;
    if (i == 0)
        return c->rate[0] * (c->work[0] > 0 ? work / c->work[0] : 1);
    if (i == c->points)
        return c->rate[i - 1];
    return c->rate[i - 1] + (c->rate[i] - c->rate[i - 1]) *
                                log(work / c->work[i - 1]) /
                                log(c->work[i] / c->work[i - 1]);
}

/* Each score costs something beside its product, and each row the masked end of
 * its last keys; fitted to pack cuda on an H100. Beyond 8,192 tokens and heads of
 * 128 rates rise no more, as steps with longer rows and wider heads show. */
double hone_card_attention(double per_key, double span, double d, int grad)
{
    double scores = grad ? 23 : 69, masked = grad ? 700 : 760;

    return per_key * span * (1 + masked / fmin(span, 8192)) /
           (1 + masked / 8192) *
           ((1 + scores / fmin(d, 128)) / (1 + scores / 128));
}

/* ---------------------------------------------------------------- reading */

typedef struct {
    hone_card *card;
    const char *file;
    hone_err *err;
} reader;

static hone_status wrong(const reader *r, const char *key, const char *what)
{
    return hone_fail(r->err, HONE_EINVAL, "%s: \"%s\": %s", r->file, key, what);
}

static int find_row(const row *table, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(table[i].name, name))
            return i;
    return -1;
}

static hone_status read_number(const reader *r, const row *of,
                               const json_t *value, double *to)
{
    *to = json_number_value(value);
    if (!json_is_number(value) || !(*to > 0) || *to > of->most)
        return wrong(r, of->name, "a number above 0 is expected, and not one "
                     "beyond any card's");
    return HONE_OK;
}

static hone_status read_curve(const reader *r, const row *of,
                              const json_t *value, hone_curve *to)
{
    size_t n = json_array_size(value);

    if (json_is_number(value)) {
        to->points = 1;
        return read_number(r, of, value, &to->rate[0]);
    }
    if (!json_is_array(value) || n == 0 || n > HONE_CARD_POINTS)
        return wrong(r, of->name, "a number or a list of 1 to 16 pairs "
                     "[work, rate] is expected");
    for (size_t i = 0; i < n; i++) {
        const json_t *pair = json_array_get(value, i);

        if (json_array_size(pair) != 2)
            return wrong(r, of->name, "a pair [work, rate] is expected");
        hone_try(read_number(r, &(row){ of->name, NULL, 1e30 },
                             json_array_get(pair, 0), &to->work[i]));
        hone_try(read_number(r, of, json_array_get(pair, 1), &to->rate[i]));
        if (i && to->work[i] <= to->work[i - 1])
            return wrong(r, of->name, "work must grow from pair to pair");
    }
    to->points = (int)n;
    return HONE_OK;
}

static hone_status read_text(const reader *r, const char *key,
                             const json_t *value, char *to, size_t bytes)
{
    const char *text = json_string_value(value);

    if (!text || !*text || strlen(text) >= bytes || strpbrk(text, "\"\\\n"))
        return wrong(r, key, "a short text is expected");
    memcpy(to, text, strlen(text) + 1);
    return HONE_OK;
}

static hone_status read_models(const reader *r, const json_t *value)
{
    hone_card *c = r->card;
    size_t used = 0;

    if (!json_is_array(value))
        return wrong(r, "models", "a list of texts is expected");
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *text = json_string_value(json_array_get(value, i));
        size_t n = text ? strlen(text) : 0;

        if (n == 0 || used + n + 2 > sizeof c->models)
            return wrong(r, "models", "a short list of texts is expected");
        memcpy(c->models + used, text, n);
        used += n;
        c->models[used++] = '\n';
    }
    return HONE_OK;
}

static hone_status read_measured(const reader *r, const json_t *list)
{
    if (!json_is_array(list))
        return wrong(r, "measured", "a list of names of figures is expected");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        int f = name ? find_row(figures, HONE_CARD_FIGURES, name) : -1;
        int c = name ? find_row(rates, HONE_CARD_RATES, name) : -1;

        if (f >= 0)
            r->card->figure[f].measured = 1;
        else if (c >= 0)
            r->card->rate[c].measured = 1;
        else
            return wrong(r, "measured", "one of its names is no figure of a "
                         "card");
    }
    return HONE_OK;
}

static hone_status unknown_key(const reader *r, const char *key)
{
    const char *names[HONE_CARD_FIGURES + HONE_CARD_RATES + 6], *near;
    int n = 0;

    for (int i = 0; i < HONE_CARD_FIGURES; i++)
        names[n++] = figures[i].name;
    for (int i = 0; i < HONE_CARD_RATES; i++)
        names[n++] = rates[i].name;
    names[n++] = "models";
    names[n++] = "measured";
    names[n++] = "device";
    names[n] = NULL;
    near = hone_nearest(key, names);
    return hone_fail(r->err, HONE_EINVAL, "%s: a card has no \"%s\"%s%s%s",
                     r->file, key, near ? ", did you mean \"" : "",
                     near ? near : "", near ? "\"?" : "");
}

static hone_status read_key(const reader *r, const char *key,
                            const json_t *value)
{
    hone_card *c = r->card;
    int i;

    if ((i = find_row(figures, HONE_CARD_FIGURES, key)) >= 0)
        return read_number(r, &figures[i], value, &c->figure[i].value);
    if ((i = find_row(rates, HONE_CARD_RATES, key)) >= 0)
        return read_curve(r, &rates[i], value, &c->rate[i]);
    if (!strcmp(key, "name"))
        return read_text(r, key, value, c->name, sizeof c->name);
    if (!strcmp(key, "device"))
        return read_text(r, key, value, c->device, sizeof c->device);
    if (!strcmp(key, "models"))
        return read_models(r, value);
    if (!strcmp(key, "measured"))
        return read_measured(r, value);
    if (strcmp(key, "arch"))
        return unknown_key(r, key);
    c->arch = (int)json_integer_value(value);
    return json_is_integer(value) && c->arch >= 0 && c->arch < 10000
               ? HONE_OK
               : wrong(r, key, "a whole number is expected: 90 for compute "
                       "capability 9.0");
}

static json_t *to_json(const hone_card *);

/* Of the figures, whatever way the file is written. */
static void hash_card(hone_card *c)
{
    json_t *json = to_json(c);
    char *text = json_dumps(json, JSON_SORT_KEYS | DIGITS);

    snprintf(c->hash, sizeof c->hash, "%016llx",
             text ? (unsigned long long)XXH64(text, strlen(text), 0) : 0);
    free(text);
    json_decref(json);
}

static hone_status read_object(const reader *r, json_t *json)
{
    hone_card *c = r->card;
    const char *key;
    json_t *value;

    json_object_foreach(json, key, value)
        hone_try(read_key(r, key, value));
    if (!c->name[0] || !c->device[0] ||
        !c->figure[HONE_CARD_MEMORY].value)
        return hone_fail(r->err, HONE_EINVAL, "%s: a card has at least a "
                         "name, its device (\"cuda\") and memory_bytes",
                         r->file);
    hash_card(c);
    return HONE_OK;
}

hone_status hone_card_read(hone_card *c, const char *file, hone_err *err)
{
    const reader r = { c, file, err };
    json_t *json = NULL;
    hone_status status;
    const char *slash = strrchr(file, '/');
    hone_arena a = { 0 };
    const char *folder = slash ? hone_format_text(&a, "%.*s",
                                                  (int)(slash - file), file)
                               : ".";

    memset(c, 0, sizeof *c);
    snprintf(c->file, sizeof c->file, "%s", file);
    status = hone_json_read(folder, slash ? slash + 1 : file, &json, err);
    if (status == HONE_OK)
        status = read_object(&r, json);
    json_decref(json);
    hone_arena_free(&a);
    return status;
}

/* ---------------------------------------------------------------- writing */

static json_t *number(double x)
{
    return x == floor(x) && fabs(x) < 9e15 ? json_integer((json_int_t)x)
                                           : json_real(x);
}

static json_t *curve_json(const hone_curve *c)
{
    json_t *list;

    if (c->points == 1 && c->work[0] == 0)
        return number(c->rate[0]);
    list = json_array();
    for (int i = 0; i < c->points; i++)
        json_array_append_new(list, json_pack("[o, o]", number(c->work[i]),
                                              number(c->rate[i])));
    return list;
}

static json_t *models_json(const hone_card *c)
{
    json_t *list = json_array();

    for (const char *at = c->models; *at;) {
        size_t n = strcspn(at, "\n");

        json_array_append_new(list, json_stringn(at, n));
        at += n + (at[n] == '\n');
    }
    return list;
}

static json_t *to_json(const hone_card *c)
{
    json_t *json = json_object(), *measured = json_array();

    json_object_set_new(json, "name", json_string(c->name));
    json_object_set_new(json, "device", json_string(c->device));
    if (c->models[0])
        json_object_set_new(json, "models", models_json(c));
    if (c->arch)
        json_object_set_new(json, "arch", json_integer(c->arch));
    for (int i = 0; i < HONE_CARD_FIGURES; i++) {
        if (!c->figure[i].value)
            continue;
        json_object_set_new(json, figures[i].name,
                            number(c->figure[i].value));
        if (c->figure[i].measured)
            json_array_append_new(measured, json_string(figures[i].name));
    }
    for (int i = 0; i < HONE_CARD_RATES; i++) {
        if (!c->rate[i].points)
            continue;
        json_object_set_new(json, rates[i].name, curve_json(&c->rate[i]));
        if (c->rate[i].measured)
            json_array_append_new(measured, json_string(rates[i].name));
    }
    json_object_set_new(json, "measured", measured);
    return json;
}

/* A line for each key. */
hone_status hone_card_write(hone_card *c, const char *file, hone_err *err)
{
    json_t *json = to_json(c), *value;
    hone_arena a = { 0 };
    const char *text = "{", *key;
    hone_status s;

    json_object_foreach(json, key, value) {
        char *one = json_dumps(value, JSON_ENCODE_ANY | DIGITS);

        text = hone_format_text(&a, "%s%s\n \"%s\": %s", text,
                                text[1] ? "," : "", key, one ? one : "null");
        free(one);
    }
    text = hone_format_text(&a, "%s\n}\n", text);
    s = hone_write_file(file, text, strlen(text), err);
    hone_arena_free(&a);
    json_decref(json);
    hash_card(c);
    return s;
}

/* ---------------------------------------------------------------- finding */

const char *hone_card_cache(hone_arena *a, const hone_device_info *info)
{
    char name[sizeof info->name];
    size_t n = strcspn(info->name, ",");

    snprintf(name, sizeof name, "%.*s", (int)n, info->name);
    for (char *at = name; *at; at++)
        if (*at == ' ' || *at == '/' || *at == '(' || *at == ')')
            *at = '-';
    return hone_format_text(a, "%s/cards/%s.json", hone_cache_dir(a), name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Paths of all files of cards, the cache's first. */
static char **list_files(hone_arena *a, int *count)
{
    const char *folder[2] = { hone_format_text(a, "%s/cards",
                                               hone_cache_dir(a)),
                              hone_format_text(a, "%s/cards",
                                               hone_share_dir()) };
    char **list = NULL;
    int cap = 0;

    *count = 0;
    for (int i = 0; i < 2; i++) {
        DIR *d = opendir(folder[i]);
        struct dirent *e;
        int from = *count;

        while (d && (e = readdir(d))) {
            size_t n = strlen(e->d_name);

            if (n < 6 || strcmp(e->d_name + n - 5, ".json"))
                continue;
            hone_push(a, list, *count, cap);
            list[(*count)++] = hone_format_text(a, "%s/%s", folder[i],
                                                e->d_name);
        }
        if (d)
            closedir(d);
        if (*count > from)
            qsort(list + from, (size_t)(*count - from), sizeof *list, by_name);
    }
    return list;
}

int hone_card_at(hone_card *c, int i)
{
    hone_arena a = { 0 };
    int count;
    char **list = list_files(&a, &count);
    int found = 0;

    for (int k = 0; k < count && !found; k++)
        found = hone_card_read(c, list[k], NULL) == HONE_OK && i-- == 0;
    hone_arena_free(&a);
    return found;
}

/* What a card is called on the command line: its file without ".json". */
static int is_called(const char *path, const char *name)
{
    const char *base = strrchr(path, '/') + 1;
    size_t n = strlen(base) - 5;

    return strlen(name) == n && !strncasecmp(base, name, n);
}

static hone_status no_such_card(char **list, int count, const char *name,
                                hone_arena *a, hone_err *err)
{
    const char *text = "";

    for (int i = 0; i < count; i++) {
        const char *base = strrchr(list[i], '/') + 1;
        text = hone_format_text(a, "%s%s%.*s", text, i ? ", " : "",
                                (int)strlen(base) - 5, base);
    }
    return hone_fail(err, HONE_EINVAL, "no card '%s'; there are: %.700s; or "
                     "name a file, which hone doctor --card FILE writes", name,
                     text);
}

hone_status hone_card_find(hone_card *c, const char *name, hone_err *err)
{
    hone_arena a = { 0 };
    size_t n = strlen(name);
    hone_status s = HONE_END;
    char **list;
    int count;

    if (strchr(name, '/') || (n > 5 && !strcmp(name + n - 5, ".json")))
        return hone_card_read(c, name, err);
    list = list_files(&a, &count);
    for (int i = 0; i < count && s == HONE_END; i++)
        if (is_called(list[i], name))
            s = hone_card_read(c, list[i], err);
    if (s == HONE_END)
        s = no_such_card(list, count, name, &a, err);
    hone_arena_free(&a);
    return s;
}

/* Whether the device says that it is one of the card's models, and has its
 * memory: some come with more and with less under one name. */
static int is_model(const hone_card *c, const hone_device_info *info)
{
    size_t n = strcspn(info->name, ",");
    double share = (double)info->total_bytes /
                   c->figure[HONE_CARD_MEMORY].value;

    for (const char *at = c->models; *at;) {
        size_t m = strcspn(at, "\n");

        if (m == n && !strncmp(at, info->name, n))
            return share > 0.85 && share < 1.15;
        at += m + 1;
    }
    return 0;
}

/* How far a card is from a device that none describes. */
static double distance(const hone_card *c, const hone_device_info *info)
{
    return abs(c->arch - info->arch) +
           fabs(log((double)info->total_bytes /
                    c->figure[HONE_CARD_MEMORY].value));
}

hone_status hone_card_of(hone_card *c, const char *device,
                         const hone_device_info *info, int *near,
                         hone_err *err)
{
    hone_arena a = { 0 };
    const char *cached = hone_card_cache(&a, info);
    hone_card best = { .arch = -1 };
    hone_status s = HONE_OK;
    int found = access(cached, R_OK) == 0;

    if (found)
        s = hone_card_read(c, cached, err);
    for (int i = 0; !found && hone_card_at(c, i); i++) {
        if (strcmp(c->device, device))
            continue;
        found = is_model(c, info);
        if (best.arch < 0 || distance(c, info) < distance(&best, info))
            best = *c;
    }
    *near = !found;
    if (!found && best.arch >= 0)
        *c = best;
    else if (!found)
        s = hone_fail(err, HONE_ENOSUP, "no card describes device %s (%s); "
                      "hone doctor --card %s measures it", device, info->name,
                      cached);
    hone_arena_free(&a);
    return s;
}

void hone_card_info(const hone_card *c, hone_device_info *info)
{
    *info = (hone_device_info){
        .size = sizeof *info,
        .total_bytes = (int64_t)c->figure[HONE_CARD_MEMORY].value,
        .free_bytes = (int64_t)(c->figure[HONE_CARD_MEMORY].value -
                                c->figure[HONE_CARD_CONTEXT].value),
        .context_bytes = (int64_t)c->figure[HONE_CARD_CONTEXT].value,
        .streams = 2,
        .can_capture = 1,
        .threads = 1,
        .arch = c->arch };
    snprintf(info->name, sizeof info->name, "%s", c->name);
}

/* SPDX-License-Identifier: MIT
 *
 * fit_means.c -- see fit.h: the means of a run in words, in plan.json, and back
 * from there.
 */
#include "fit.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "model_files.h"

enum { MOST_LAYERS = 4096 };

void hone_means_text(char *to, size_t bytes, const uint8_t *keep, int layers)
{
    size_t at = 0;

    to[0] = '\0';
    for (int i = 0, n; i < layers && at < bytes; i += n) {
        for (n = 1; i + n < layers && keep[i + n] == keep[i];)
            n++;
        at += (size_t)snprintf(to + at, bytes - at, "%s%d %s", i ? ", " : "",
                               n, hone_keep_names[keep[i] - 1]);
    }
}

/* The same back; what the text leaves out is kept. NULL: not such a text. */
static uint8_t *read_keep(hone_arena *a, const char *text)
{
    uint8_t *keep = hone_alloc(a, MOST_LAYERS);
    int at = 0;

    memset(keep, HONE_KEEP_ALL, MOST_LAYERS);
    while (text && *text) {
        int n, used = 0, k = 1;
        char word[16];

        if (sscanf(text, "%d %15[a-z]%n", &n, word, &used) != 2 || n < 1 ||
            n > MOST_LAYERS - at)
            return NULL;
        while (hone_keep_names[k] && strcmp(hone_keep_names[k], word))
            k++;
        if (!hone_keep_names[k])
            return NULL;
        memset(keep + at, k + 1, (size_t)n);
        at += n;
        text += used;
        text += strspn(text, ", ");
    }
    return keep;
}

static void take(hone_session *s, const json_t *means)
{
    const hone_recipe *r = s->recipe;
    const json_t *list = json_object_get(means, "keep");

    s->stored = 1;
    s->means.tokens = json_integer_value(json_object_get(means, "tokens"));
    s->means.logits_chunk =
        json_integer_value(json_object_get(means, "logits_chunk"));
    s->means.mlp_chunk =
        json_integer_value(json_object_get(means, "mlp_chunk"));
    if (r->model.host_layers < 0)
        s->means.streamed =
            (int)json_integer_value(json_object_get(means, "host_layers"));
    for (size_t i = 0; i < json_array_size(list) && i < HONE_MAX_BUCKETS; i++)
        if (r->keep == HONE_KEEP_AUTO && !r->keep_layers) /* not pinned now */
            s->means.keep[i] = read_keep(
                &s->chosen, json_string_value(json_array_get(list, i)));
}

void hone_means_read(hone_session *s)
{
    json_t *run = NULL, *plan = NULL;
    const char *state;

    if (!s->out || !s->with_training || s->fresh ||
        hone_json_read(s->out, "run.json", &run, NULL) != HONE_OK)
        return;
    state = json_string_value(json_object_get(run, "state"));
    if (state && !strcmp(state, "training") &&
        hone_json_read(s->out, "plan.json", &plan, NULL) == HONE_OK &&
        json_object_get(plan, "means"))
        take(s, json_object_get(plan, "means"));
    json_decref(plan);
    json_decref(run);
}

const char *hone_means_json(hone_session *s)
{
    const hone_means *m = &s->means;
    const char *text = hone_format_text(
        &s->chosen, "\"memory\": %lld, \"means\": {\"tokens\": %lld, "
        "\"logits_chunk\": %lld, \"mlp_chunk\": %lld, \"host_layers\": %d, "
        "\"keep\": [",
        (long long)hone_fit_budget(s), (long long)m->tokens,
        (long long)m->logits_chunk, (long long)m->mlp_chunk, m->streamed);

    for (uint32_t i = 0; i < s->buckets && m->layers; i++) {
        char keep[600];

        hone_means_text(keep, sizeof keep, m->keep[i], m->layers);
        text = hone_format_text(&s->chosen, "%s%s\"%s\"", text, i ? ", " : "",
                                keep);
    }
    return hone_format_text(&s->chosen, "%s]}", text);
}

/* ---------------------------------------------------------------- runners-up */

static double pace_of(const hone_way_out *w)
{
    return w->seconds / (double)w->tokens;
}

static int by_pace(const void *a, const void *b)
{
    double x = pace_of(a), y = pace_of(b);

    if (x != y)
        return x < y ? -1 : 1;
    return ((const hone_way_out *)a)->bytes > ((const hone_way_out *)b)->bytes;
}

void hone_means_runners(hone_session *s, const hone_solver *solver,
                        int64_t rest)
{
    size_t layers = (size_t)solver->layers;
    const hone_ways *all = solver->ways;
    hone_way_out *list = hone_copy(&solver->ways->arena, all->list,
                                   (size_t)all->count, (size_t)all->count + 1,
                                   sizeof *list);
    int64_t least = INT64_MAX;
    double pace = hone_fit_pace(s);

    qsort(list, (size_t)all->count, sizeof *list, by_pace);
    for (int i = 0; i < all->count && s->runners < HONE_MOST_RUNNERS; i++) {
        const hone_way_out *w = &list[i];
        hone_runner *to = &s->runner[s->runners];

        if (w->aside || w->streamed != solver->streamed ||
            rest + w->bytes > least - least / 50)
            continue; /* it saves next to nothing over a faster one */
        least = rest + w->bytes;
        *to = (hone_runner){ .bytes = rest + w->bytes, .tokens = w->tokens,
                             .rows = w->rows, .mlp = w->mlp ? w->mlp : w->tokens,
                             .times = pace_of(w) / pace };
        hone_means_text(to->keep, sizeof to->keep, w->keep, (int)layers);
        s->runners++;
    }
}

void hone_means_print(const hone_session *s)
{
    const hone_runner *r = s->runner;
    char text[32];

    printf("memory  %s allowed\n",
           hone_bytes_text(hone_fit_budget(s), text));
    if (s->buckets && s->means.layers) {
        uint32_t top = s->buckets - 1;
        char keep[600];

        hone_means_text(keep, sizeof keep, s->means.keep[top],
                        s->means.layers);
        printf("chosen  %lld tokens, %lld rows of logits, %lld of layers: %s"
               "\n", (long long)s->bucket[top].tokens,
               (long long)s->train[top].logits_rows,
               (long long)s->train[top].mlp_rows, keep);
        if (s->means.streamed)
            printf("        weights of %d layers in host memory\n",
                   s->means.streamed);
    }
    for (int i = 0; i < s->runners; i++, r++)
        printf("%s%10s, %.2f times the time: %lld tokens, %lld rows of logits, "
               "%lld of layers: %s\n", i ? "        " : "or      ",
               hone_bytes_text(r->bytes, text), r->times, (long long)r->tokens,
               (long long)r->rows, (long long)r->mlp, r->keep);
}

int hone_means_runners_json(const hone_session *s, char *to, int bytes)
{
    int at = snprintf(to, (size_t)bytes, ", \"runners_up\": [");

    for (int i = 0; i < s->runners && at < bytes; i++) {
        const hone_runner *r = &s->runner[i];

        at += snprintf(to + at, (size_t)(bytes - at),
                       "%s{\"bytes\": %lld, \"times\": %.4g, \"tokens\": "
                       "%lld, \"logits_chunk\": %lld, \"mlp_chunk\": %lld, "
                       "\"keep\": \"%s\"}",
                       i ? ", " : "", (long long)r->bytes, r->times,
                       (long long)r->tokens, (long long)r->rows,
                       (long long)r->mlp, r->keep);
    }
    if (at < bytes)
        at += snprintf(to + at, (size_t)(bytes - at), "]");
    return at;
}

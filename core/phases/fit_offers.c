/* SPDX-License-Identifier: MIT
 *
 * fit_offers.c -- see fit.h: what a run that does not fit could be instead.
 * Every offer is a recipe with one thing changed, compiled and made to fit like
 * the run itself; what does not fit is not offered.
 */
#include "fit.h"

#include <string.h>

#include "option.h"

/* A recipe with something else in it, and what it is called. */
typedef struct {
    char text[128];
    hone_recipe recipe;
    int64_t bytes;
    double times; /* the time of a token, of that with all kept */
} variant;

/* What an offer must leave free, lest it fit here and not where it is taken. On
 * the host arenas count, which grow by blocks, and here are not quite what they
 * are there. How many rows that were cut make a step is a guess. */
static int64_t left_free(const hone_session *s, const variant *v)
{
    int64_t most = v->recipe.data.max_tokens;
    int is_cut = most && most < hone_dataset_lengths(&s->data, 0).max;

    return (s->machine.info.is_host ? 1 << 20 : 0) +
           (is_cut && v->recipe.global_tokens ? v->bytes / 16 : 0);
}

/* Most do not: the largest micro-batch alone is enough to see that, at which
 * devices are looked at first anyhow. */
static int would_fit(hone_session *s, variant *v, double pace)
{
    hone_need_of need;
    hone_err why;

    s->recipe = &v->recipe;
    s->stored = 0;
    hone_ways_forget(&s->ways);
    for (int top = s->machine.info.is_host; top >= 0; top--) {
        s->only_top = top;
        s->means = (hone_means){ 0 };
        if (hone_session_model(s, &why) != HONE_OK ||
            hone_fit_make(s, &need, &why) != HONE_OK || !hone_fit_host(s))
            return 0;
    }
    v->bytes = hone_fit_needed(s);
    v->times = hone_fit_pace(s) / pace;
    return v->bytes + left_free(s, v) <= hone_fit_budget(s);
}

/* Each of them makes V of the recipe; 0: it has nothing (more) to offer. TRY
 * counts from 0. */
static int unpinned(hone_session *s, variant *v, int try)
{
    hone_recipe *r = &v->recipe;

    if (try || (r->keep == HONE_KEEP_AUTO && !r->keep_layers &&
                !r->logits_chunk && !r->mlp_chunk))
        return 0;
    r->keep = HONE_KEEP_AUTO;
    r->keep_layers = NULL;
    r->logits_chunk = r->mlp_chunk = 0;
    snprintf(v->text, sizeof v->text, "keep = \"auto\"%s%s",
             s->recipe->logits_chunk ? ", logits_chunk = 0" : "",
             s->recipe->mlp_chunk ? ", mlp_chunk = 0" : "");
    return 1;
}

/* What lies in host memory instead. */
static int on_host(hone_session *s, variant *v, int try)
{
    if (try > 1 || s->machine.info.is_host)
        return 0;
    if (try == 0)
        v->recipe.states_on_host = 1;
    else
        v->recipe.model.embeddings = 2;
    snprintf(v->text, sizeof v->text, "%s = \"host\"",
             try ? "model.embeddings" : "states");
    return 1;
}

static int streamed(hone_session *s, variant *v, int try)
{
    if (try || s->machine.info.is_host || v->recipe.model.host_layers < 0)
        return 0;
    v->recipe.model.host_layers = -1;
    snprintf(v->text, sizeof v->text, "model.host_layers = -1");
    return 1;
}

static int other_storage(hone_session *s, variant *v, int try)
{
    static const struct { hone_storage storage; int choice; const char *name; }
        list[] = { { HONE_FP8, 4, "fp8" }, { HONE_NF4, 3, "nf4" } };

    (void)s;
    if (try > 1 || !v->recipe.has_adapter || v->recipe.model.storage >= 3)
        return 0;
    v->recipe.model.storage = list[try].choice;
    snprintf(v->text, sizeof v->text, "model.storage = \"%s\"",
             list[try].name);
    return 1;
}

static int smaller_rank(hone_session *s, variant *v, int try)
{
    hone_lora_config *l = &v->recipe.adapter;

    if (!v->recipe.has_adapter || l->init || l->r >> (try + 1) < 1 || try > 2)
        return 0;
    l->r >>= try + 1;
    (void)s;
    snprintf(v->text, sizeof v->text, "adapter.r = %lld", (long long)l->r);
    return 1;
}

static int an_adapter(hone_session *s, variant *v, int try)
{
    (void)s;
    if (try || v->recipe.has_adapter)
        return 0;
    v->recipe.has_adapter = 1;
    v->recipe.adapter = (hone_lora_config){ .r = 16, .alpha = 32,
                                            .targets = "all-linear" };
    snprintf(v->text, sizeof v->text, "adapter = hone.lora { r = 16 }");
    return 1;
}

static int smaller_states(hone_session *s, variant *v, int try)
{
    const hone_component *c = s->recipe->optimizer.component;
    const hone_option *o = hone_option_find(c->options, "state");
    hone_err why;
    void *config;

    if (try || !o)
        return 0;
    config = hone_copy(&s->keep, s->recipe->optimizer.config,
                       c->config_size, c->config_size, 1);
    v->recipe.optimizer.config = config;
    snprintf(v->text, sizeof v->text, "optimizer.state = \"int8\"");
    return hone_option_parse(o, config, "int8", &s->keep, &why) ==
           HONE_OK;
}

/* Rows that are cut to fewer tokens. */
static int shorter_rows(hone_session *s, variant *v, int try)
{
    int64_t longest = hone_dataset_lengths(&s->data, 0).max;
    int64_t tokens = 16;

    while (2 * tokens < longest)
        tokens *= 2;
    tokens >>= try;
    if (tokens < 16 || try > 4)
        return 0;
    v->recipe.data.max_tokens = tokens;
    snprintf(v->text, sizeof v->text, "data.max_tokens = %lld (the longest row "
             "has %lld)", (long long)tokens, (long long)longest);
    return 1;
}

typedef int (*changer)(hone_session *, variant *, int try);
static const changer changers[] = { unpinned,      on_host, streamed,
                                    smaller_states, smaller_rank,
                                    other_storage, an_adapter, shorter_rows };

/* What takes most. */
static void put_most(const hone_session *s, char *to, size_t bytes, size_t *at)
{
    hone_plan_place place = s->machine.info.is_host ? HONE_PLAN_HOST
                                                    : HONE_PLAN_DEVICE;
    const int64_t *use = s->plan.bytes[place][0];
    char text[32];

    for (int p = 1; p < HONE_PLAN_PHASES; p++)
        if (hone_plan_phase_total(&s->plan, place, (hone_plan_phase)p) ==
            hone_plan_total(&s->plan, place))
            use = s->plan.bytes[place][p];
    for (int n = 0, last = -1; n < 3; n++) {
        int best = -1;

        for (int u = 0; u < HONE_USES; u++)
            if ((last < 0 || use[u] < use[last]) &&
                (best < 0 || use[u] > use[best]))
                best = u;
        if (best < 0 || !use[best])
            break;
        hone_put(to, bytes, at, "%s%s %s", n ? ", " : "",
                 hone_use_name((hone_use)best),
                 hone_bytes_text(use[best], text));
        last = best;
    }
}

/* The least as text, not less. What is named must do, by the search of a run
 * that is allowed it; nothing does more surely than what all takes kept. */
static void prove(hone_session *s, int64_t bytes, char to[32])
{
    const hone_recipe *r = s->recipe;
    const hone_means means = s->means;
    const int64_t most = hone_fit_needed(s);
    hone_recipe allows = *r;
    hone_need_of need;
    hone_err why;

    s->explore = 0;
    s->recipe = &allows;
    allows.memory = to;
    for (int i = 0, does = 0; !does; bytes += bytes / 128 << i++) {
        int64_t unit = 1;

        bytes = bytes < most ? bytes : most;
        while (bytes / unit >= 1024)
            unit *= 1024;
        hone_bytes_text(bytes + unit / 200 + 2, to); /* up by 0.01 of it */
        s->means = means;
        does = bytes == most || hone_fit_make(s, &need, &why) == HONE_OK;
    }
    s->recipe = r;
}

static void put_offers(hone_session *s, double pace, char *to, size_t bytes,
                       size_t *at)
{
    const hone_recipe *r = s->recipe;
    size_t start;
    char text[32];

    hone_put(to, bytes, at, " What would fit:");
    start = *at;
    s->only_fits = 1;
    for (size_t i = 0; i < sizeof changers / sizeof *changers; i++)
        for (int try = 0, fits = 0; !fits; try++) {
            variant v = { .recipe = *r };

            s->recipe = r;
            if (!changers[i](s, &v, try))
                break;
            fits = would_fit(s, &v, pace);
            if (fits)
                hone_put(to, bytes, at,
                         "\n  %s: %s, %.2f times the time a token", v.text,
                         hone_bytes_text(v.bytes, text), v.times);
        }
    s->recipe = r;
    s->means = (hone_means){ 0 };
    if (*at == start)
        hone_put(to, bytes, at, " no single change of the recipe: take a "
                 "smaller model");
}

hone_status hone_fit_refuse_host(const hone_session *s, hone_err *err)
{
    const hone_recipe *r = s->recipe;
    char need[32], pinned[32], have[32];

    return hone_fail(err, HONE_ENOMEM, "%s:%d: hone.train: the run needs %s of "
                     "host memory, %s of that pinned, and the host has %s%s; "
                     "nothing was loaded. Less lies there with model.storage = "
                     "\"nf4\", a smaller model.host_layers, states = "
                     "\"device\" or keep = \"none\"", r->file, r->line,
                     hone_bytes_text(hone_fit_host_needed(s), need),
                     hone_bytes_text(hone_plan_total(&s->plan,
                                                     HONE_PLAN_PINNED), pinned),
                     hone_bytes_text(hone_fit_host_room(s), have),
                     r->card ? "" : " free");
}

hone_status hone_fit_refuse(hone_session *s, const hone_need_of *needed,
                            hone_err *err)
{
    const hone_recipe *r = s->recipe;
    const hone_plan plan = s->plan;
    hone_bucket bucket[HONE_MAX_BUCKETS];
    char need[32], have[32], text[1000], most[200] = "";
    size_t at = 0, end = 0;

    put_most(s, most, sizeof most, &end);
    memcpy(bucket, s->bucket, sizeof bucket);
    hone_bytes_text(needed->bytes, need);
    if (s->with_training)
        prove(s, needed->bytes, need);
    hone_put(text, sizeof text, &at, "%s:%d: hone.train: the run needs %s of "
             "memory%s, %s %s; nothing was loaded. ", r->file, r->line,
             need, s->with_training ? " at the least" : "",
             r->memory ? "the recipe allows"
                       : r->card ? "the card has" : "free are",
             hone_bytes_text(hone_fit_budget(s), have));
    if (s->stored)
        hone_put(text, sizeof text, &at, "It was begun with more; --fresh "
                 "starts over. ");
    hone_put(text, sizeof text, &at, "Most of it: %s.", most);
    if (s->with_training)
        put_offers(s, needed->pace, text, sizeof text, &at);
    s->plan = plan; /* for whoever shows it */
    s->buckets = plan.of.buckets;
    memcpy(s->bucket, bucket, sizeof bucket);
    return hone_fail(err, HONE_ENOMEM, "%s", text);
}

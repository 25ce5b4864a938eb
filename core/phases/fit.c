/* SPDX-License-Identifier: MIT
 *
 * fit.c -- see fit.h. First everything is kept; if that does not fit, each
 * size of micro-batch is solved for (solve.c), with fewer and fewer tokens in
 * the largest as long as that promises more tokens a second. What was chosen
 * is compiled and planned like any other run, and checked against the budget
 * again.
 */
#include "fit.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "option.h"
#include "pace.h"

enum {
    SIZES = 32,
    ROUNDS = 4,     /* until the whole plan fits, not only its temporaries */
    UNIT = 64,      /* of tokens */
    HOPELESS = 16,  /* so much of the budget is more than smaller micro-batches
                       save of what is not theirs */
    FEW_TOKENS = 512 /* a micro-batch is not made smaller than that */
};
/* Of the host's memory, what may be pinned for what is sent out; and bytes
 * where the card does not say how much there is. */
static const double PINNED = 0.6, PINNED_BYTES = 64.0 * (1 << 30);

/* What devices are about like where nothing is known of one: only what one way
 * takes beside another follows from it. */
static const hone_card about = {
    .figure = { [HONE_CARD_LAUNCH] = { 5e-6, 0 },
                [HONE_CARD_TO_DEVICE] = { 1e10, 0 },
                [HONE_CARD_TO_HOST] = { 1e10, 0 },
                [HONE_CARD_BOTH] = { 8e9, 0 },
                [HONE_CARD_ATTENTION] = { 0.5, 0 },
                [HONE_CARD_ATTENTION_GRAD] = { 0.5, 0 } },
    .rate = { [HONE_CARD_COPY] = { 1, { 1 }, { 2e10 }, 0 },
              [HONE_CARD_BF16] = { 1, { 1 }, { 4e11 }, 0 },
              [HONE_CARD_F16] = { 1, { 1 }, { 4e11 }, 0 },
              [HONE_CARD_F32] = { 1, { 1 }, { 2e11 }, 0 },
              [HONE_CARD_FP8] = { 1, { 1 }, { 8e11 }, 0 } } };

static const hone_card *card_of(const hone_session *s)
{
    return s->card.name[0] ? &s->card : &about;
}

static hone_plan_place place_of(const hone_session *s)
{
    return s->machine.info.is_host ? HONE_PLAN_HOST : HONE_PLAN_DEVICE;
}

int64_t hone_fit_needed(const hone_session *s)
{
    return hone_plan_total(&s->plan, place_of(s));
}

int64_t hone_fit_budget(const hone_session *s)
{
    return s->recipe->memory
               ? hone_bytes_parse(s->recipe->memory)
               : s->machine.info.free_bytes + s->plan.of.context;
}

static int top_of(const hone_session *s)
{
    int top = 0;

    for (uint32_t i = 1; i < s->buckets; i++)
        if (s->bucket[i].tokens > s->bucket[top].tokens)
            top = (int)i;
    return top;
}

double hone_fit_pace(const hone_session *s)
{
    int top = top_of(s);

    return hone_program_seconds(&s->train[top], card_of(s)) /
           (double)s->bucket[top].tokens;
}

/* By all sizes, though only the largest may be looked at. */
static hone_status tokens_of_step(hone_session *s, double *tokens,
                                  hone_err *err)
{
    const int only_top = s->only_top;

    s->only_top = 0;
    hone_try(hone_session_buckets(s, err));
    *tokens = hone_pace_tokens(s);
    if (*tokens <= 0) /* rows that would be cut cannot be laid out yet */
        *tokens = 1;
    s->only_top = only_top;
    return hone_session_buckets(s, err);
}

hone_status hone_fit_step(hone_session *s, double *seconds, hone_err *err)
{
    double pace = hone_fit_pace(s);

    hone_try(tokens_of_step(s, seconds, err));
    *seconds *= pace;
    return HONE_OK;
}

double hone_fit_waits(const hone_session *s)
{
    hone_cost c = hone_program_cost(&s->train[top_of(s)], card_of(s));

    return c.seconds > 0 ? c.wait / c.seconds : 1;
}

/* ----------------------------------------------------------------- choosing */

typedef struct {
    hone_session *s;
    hone_arena arena, scratch;
    hone_compiler compiler;
    hone_solver solver; /* of the largest micro-batch */
    hone_solver small;  /* of the others, by the means of that */
    int64_t rest;   /* bytes of a run but for those of its micro-batches */
    int64_t others; /* bytes of the phases that have none */
    int64_t temps;  /* for the micro-batches */
    int64_t least;  /* that any way took */
    int held;       /* rows of logits and tokens stay as they are */
    int is_single;  /* a step must stay one micro-batch, which is learnt from
                       in another way */
    struct {
        int64_t cap; /* of the tokens; 0: none */
        hone_bucket top;
        hone_sizes sizes;
        int single;
        double tokens; /* of a step */
    } size[SIZES]; /* of the largest micro-batch, that may be chosen */
    int sizes;
} fit;

static int64_t pinned_budget(const hone_session *s)
{
    double host = card_of(s)->figure[HONE_CARD_HOST].value;
    double most = host > 0 ? PINNED * host : PINNED_BYTES;
    double room = PINNED * (double)hone_fit_host_room(s);

    most = (room > 0 && room < most ? room : most) -
           (double)s->plan.kept_pinned;
    return most < 1 ? 1 : (int64_t)most; /* 0 would be any */
}

/* Of the plan, what its micro-batches take. */
static int64_t temps_of(const hone_session *s)
{
    return s->plan.bytes[place_of(s)][HONE_PLAN_TRAIN][HONE_USE_ACTIVATIONS] +
           s->plan.train_graphs + hone_map_bytes(&s->machine, s->plan.pinned);
}

/* Graphs of sizes that the plan leaves out, by P of the largest. */
static int64_t left_out(const hone_session *s, const hone_program *p)
{
    if ((int)s->plan.of.buckets == s->sizes.count)
        return 0;
    return hone_program_graph_bytes(p, &s->machine, &s->sizes) -
           hone_program_graph_bytes(p, &s->machine, NULL);
}

/* Those that halving leads to. */
static hone_status find_sizes(fit *f, hone_err *err)
{
    hone_session *s = f->s;
    const int64_t tokens = s->means.tokens;
    int64_t cap = f->held ? tokens : 0, last = INT64_MAX;

    while (f->sizes < SIZES) {
        hone_bucket top;

        s->means.tokens = cap;
        hone_try(hone_session_buckets(s, err));
        top = s->bucket[top_of(s)];
        if (top.tokens >= last || (f->is_single && !s->single))
            break;
        f->size[f->sizes].cap = cap;
        f->size[f->sizes].top = top;
        f->size[f->sizes].single = s->single;
        f->size[f->sizes].sizes = s->sizes;
        hone_try(tokens_of_step(s, &f->size[f->sizes++].tokens, err));
        last = top.tokens;
        if (f->held || last <= FEW_TOKENS)
            break;
        cap = (last / 2 + UNIT - 1) / UNIT * UNIT;
    }
    s->means.tokens = tokens;
    return hone_session_buckets(s, err);
}

static hone_status begin(fit *f, hone_session *s, hone_err *err)
{
    int layers = hone_family_layers(s->family);
    uint8_t *pinned;

    *f = (fit){ .s = s, .least = INT64_MAX, .held = s->stored };
    f->rest = hone_plan_phase_total(&s->plan, place_of(s), HONE_PLAN_TRAIN) -
              temps_of(s) + left_out(s, s->eval);
    for (int p = 0; p < HONE_PLAN_PHASES; p++) {
        int64_t total = hone_plan_phase_total(&s->plan, place_of(s),
                                              (hone_plan_phase)p);
        if (p != HONE_PLAN_TRAIN && p != HONE_PLAN_EVAL && total > f->others)
            f->others = total;
    }
    f->is_single = s->single && (!s->recipe->master ||
                                 s->recipe->update == HONE_UPDATE_BACKWARD);
    pinned = hone_alloc(&f->arena, (size_t)layers + 1);
    f->compiler = hone_session_compiler(s);
    f->compiler.fronts = hone_fronts_make();
    hone_try(hone_keep_read(&f->compiler, pinned, layers, err));
    f->solver = (hone_solver){
        .ways = &s->ways, .streamed = s->means.streamed,
        .scratch = &f->scratch,
        .compiler = &f->compiler, .card = card_of(s),
        .pinned = pinned, .layers = layers,
        .chunk = f->compiler.logits_chunk,
        .pinned_budget = pinned_budget(s),
        .mlp = f->compiler.mlp_chunk };
    f->small = f->solver;
    f->small.aside = 1;
    f->solver.chunk_is_free = !f->compiler.logits_chunk && !f->held;
    f->solver.mlp_is_free = !f->compiler.mlp_chunk && !f->held;
    return find_sizes(f, err);
}

static void end(fit *f)
{
    hone_fronts_free(f->compiler.fronts);
    hone_arena_free(&f->scratch);
    hone_arena_free(&f->arena);
}

static int keeps_all(const hone_way_out *w, int layers)
{
    for (int i = 0; i < layers; i++)
        if (w->keep[i] > HONE_KEEP_ALL)
            return 0;
    return w->asked == 0;
}

/* The largest micro-batch with which a step is fastest, and its way. */
static hone_status choose_size(fit *f, hone_way_out *best, int64_t *tokens,
                               hone_err *err)
{
    hone_solver *solver = &f->solver;
    double seconds = 0; /* of a step */

    best->keep = NULL;
    for (int i = 0; i < f->sizes; i++) {
        const hone_bucket top = f->size[i].top;
        double runs = f->size[i].tokens / (double)top.tokens;
        hone_way_out way;
        hone_status status;

        f->compiler.single = f->size[i].single;
        solver->sizes = &f->size[i].sizes;
        solver->limit = seconds / runs;
        status = hone_solve(solver, top, &way, err);
        if (status != HONE_OK && status != HONE_ENOMEM)
            return status;
        f->least = solver->least < f->least ? solver->least : f->least;
        if (status == HONE_OK) {
            *best = way;
            *tokens = f->size[i].cap;
            seconds = way.seconds * runs;
            if (keeps_all(&way, solver->layers))
                break;
        }
    }
    solver->limit = 0;
    return best->keep ? HONE_OK
                      : hone_fail(err, HONE_ENOMEM, "no way was found");
}

/* HONE_ENOMEM: not even the smallest micro-batch fits, which takes least. */
static hone_status smallest_fits(fit *f, hone_err *err)
{
    f->compiler.single = f->size[f->sizes - 1].single;
    f->solver.sizes = &f->size[f->sizes - 1].sizes;
    f->solver.budget = f->temps;
    hone_try(hone_solve_least(&f->solver, f->size[f->sizes - 1].top, err));
    return f->solver.least <= f->temps ? HONE_OK : HONE_ENOMEM;
}

/* Means with which no micro-batch takes more than f->temps. */
static hone_status choose(fit *f, hone_err *err)
{
    hone_session *s = f->s;
    hone_solver *solver = &f->solver, *small = &f->small;
    hone_way_out best, way;
    int64_t tokens = 0;
    size_t layers = (size_t)solver->layers;

    solver->budget = f->temps;
    hone_try(choose_size(f, &best, &tokens, err));
    s->means = (hone_means){ .tokens = tokens, .layers = solver->layers,
                             .streamed = s->means.streamed,
                             .logits_chunk = best.asked,
                             .mlp_chunk = best.mlp, .solved = 1 };
    hone_try(hone_session_buckets(s, err));
    f->compiler.single = s->single;
    small->budget = f->temps;
    small->sizes = &s->sizes;
    small->mapped = best.pinned;
    small->chunk = best.asked; /* one for all */
    small->mlp = best.mlp;
    small->more = solver->more;
    small->less = solver->less;
    memcpy(small->level_bytes, solver->level_bytes, sizeof small->level_bytes);
    for (int i = 0; i < (int)s->buckets; i++) {
        way = best;
        if (i != top_of(s))
            hone_try(hone_solve_like(small, &best, s->bucket[i], &way, err));
        s->means.keep[i] = hone_copy(&s->chosen, way.keep, layers,
                                     layers + 1, 1);
    }
    return HONE_OK;
}

/* Until the plan of the whole run is within the budget. */
static hone_status squeeze(fit *f, hone_err *err)
{
    hone_session *s = f->s;
    int64_t budget = hone_fit_budget(s);

    for (int i = 0; i < ROUNDS; i++) {
        hone_status status = choose(f, err);

        hone_log(HONE_LOG_DETAIL, "round %d: %d ways were compiled for %lld "
                 "bytes", i + 1, s->ways.count,
                 (long long)f->temps);
        hone_try(status);
        hone_try(hone_session_lay_out(s, err));
        if (hone_fit_needed(s) <= budget)
            return HONE_OK;
        f->temps = (f->temps < temps_of(s) ? f->temps : temps_of(s)) -
                   ((hone_fit_needed(s) - budget) << 2 * i);
    }
    return hone_fail(err, HONE_ENOMEM, "no way was found");
}

/* With the least temporaries that were seen: what the whole run takes then, its
 * programs included, which are not those that `rest` was counted with. */
static hone_status take_least(fit *f, int64_t *bytes, hone_err *err)
{
    hone_session *s = f->s;
    int64_t least = INT64_MAX;
    int rounds = f->least < INT64_MAX ? ROUNDS : 0;
    hone_status status = HONE_ENOMEM;

    for (f->temps = f->least; rounds-- && status == HONE_ENOMEM;) {
        f->small.least = 0;
        status = choose(f, err);
        if (f->small.least > f->temps) /* another takes more by those means */
            f->temps = f->small.least;
    }
    if (status == HONE_OK) {
        hone_try(hone_session_lay_out(s, err));
        least = hone_fit_needed(s);
        if (least <= hone_fit_budget(s))
            return HONE_OK;
    } else if (status != HONE_ENOMEM)
        return status;
    least = least > f->others ? least : f->others;
    *bytes = least < *bytes ? least : *bytes; /* with all kept it may be less */
    return hone_fail(err, HONE_ENOMEM, "no way was found");
}

/* By the means that there are. That it does not fit is mostly seen from the
 * largest micro-batch alone; not on the host, where programs count. */
static hone_status lay_out(hone_session *s, hone_err *err)
{
    hone_status status;

    if (s->with_training && !s->stored && !s->only_top &&
        !s->machine.info.is_host) {
        s->only_top = 1;
        status = hone_session_lay_out(s, err);
        s->only_top = 0;
        if (status != HONE_OK || hone_fit_needed(s) > hone_fit_budget(s))
            return status;
    }
    return hone_session_lay_out(s, err);
}

hone_status hone_fit_resident(hone_session *s, hone_need_of *need, hone_err *err)
{
    const hone_means means = s->means;
    hone_status status;
    int64_t budget;
    fit f;

    hone_try(lay_out(s, err));
    budget = hone_fit_budget(s);
    *need = (hone_need_of){ hone_fit_needed(s) + left_out(s, s->train) +
                                left_out(s, s->eval),
                            s->with_training ? hone_fit_pace(s) : 0 };
    if (need->bytes <= budget)
        return HONE_OK;
    if (!s->with_training)
        return hone_fail(err, HONE_ENOMEM, "it does not fit");
    status = begin(&f, s, err);
    f.temps = f.others > budget ? 0 : budget - f.rest; /* 0: no way */
    if (status == HONE_OK && s->only_fits)
        status = f.others <= budget && f.temps > -budget / HOPELESS
                     ? smallest_fits(&f, err) : HONE_ENOMEM;
    if (status == HONE_OK) {
        status = squeeze(&f, err);
        if (status == HONE_ENOMEM)
            status = take_least(&f, &need->bytes, err);
    }
    if (status == HONE_ENOMEM) { /* the plan is that with all kept again */
        s->means = means;
        status = s->only_top || s->only_fits ? hone_session_buckets(s, err)
                                             : hone_session_lay_out(s, err);
        if (status == HONE_OK)
            status = hone_fail(err, HONE_ENOMEM, "it does not fit");
    }
    if (s->explore && status == HONE_OK)
        hone_means_runners(s, &f.solver, f.rest);
    end(&f);
    return status;
}

/* What each level would have taken, where all could be kept. */
static hone_status explore(hone_session *s, hone_err *err)
{
    hone_way_out way;
    hone_bucket top = s->bucket[top_of(s)];
    fit f;
    hone_status status = begin(&f, s, err);

    f.solver.chunk_is_free = 0;
    f.solver.mlp_is_free = 0;
    f.solver.sizes = &s->sizes;
    for (int i = 0; i < 2 && status == HONE_OK; i++) {
        status = hone_solve(&f.solver, top, &way, err); /* nothing fits in 0 */
        status = status == HONE_ENOMEM ? HONE_OK : status;
        top.tokens = (top.tokens / 2 + UNIT - 1) / UNIT * UNIT;
    }
    if (status == HONE_OK)
        hone_means_runners(s, &f.solver, f.rest);
    end(&f);
    return status;
}

static void say(const hone_session *s)
{
    char budget[32], keep[400], host[64] = "";
    int top = top_of(s);

    if (s->means.streamed)
        snprintf(host, sizeof host, "; weights of %d layers in host memory",
                 s->means.streamed);

    hone_means_text(keep, sizeof keep, s->means.keep[top], s->means.layers);
    hone_log(HONE_LOG_NOTE, "%smade to fit %s: micro-batches of %lld tokens at "
             "most, %lld rows of logits at a time, %lld of layers: %s%s",
             s->stored ? "what it was begun with no longer fits; " : "",
             hone_bytes_text(hone_fit_budget(s), budget),
             (long long)s->bucket[top].tokens,
             (long long)s->train[top].logits_rows,
             (long long)s->train[top].mlp_rows, keep, host);
}

/* What the recipe says itself, written into the means like what was chosen. */
static hone_status complete(hone_session *s, hone_err *err)
{
    hone_compiler c = hone_session_compiler(s);
    size_t layers = (size_t)hone_family_layers(s->family);

    s->means.layers = (int)layers;
    if (s->means.streamed > (int)layers)
        s->means.streamed = (int)layers;
    s->means.logits_chunk = c.logits_chunk;
    s->means.mlp_chunk = c.mlp_chunk;
    for (uint32_t i = 0; i < s->buckets; i++) {
        uint8_t *keep = s->means.keep[i];

        if (keep)
            continue;
        s->means.keep[i] = keep = hone_alloc(&s->chosen, layers + 1);
        hone_try(hone_keep_read(&c, keep, (int)layers, err));
        for (size_t k = 0; k < layers; k++)
            keep[k] = keep[k] == HONE_KEEP_AUTO ? HONE_KEEP_ALL : keep[k];
    }
    return HONE_OK;
}

static hone_status fit_all(hone_session *s, hone_err *err)
{
    hone_need_of need;
    hone_status status;

    hone_means_read(s);
    status = hone_fit_make(s, &need, err);
    if (status == HONE_ENOMEM)
        return hone_fit_refuse(s, &need, err);
    hone_try(status);
    if (!hone_fit_host(s))
        return hone_fit_refuse_host(s, err);
    if (s->with_training && s->explore && !s->means.solved)
        hone_try(explore(s, err));
    if (s->with_training)
        hone_try(complete(s, err));
    if (s->with_training && !s->explore &&
        (s->means.solved ||
         (s->means.streamed && s->recipe->model.host_layers < 0)))
        say(s);
    s->plan.of.means = hone_means_json(s);
    return HONE_OK;
}

hone_status hone_fit(hone_session *s, hone_err *err)
{
    hone_status status = fit_all(s, err);

    hone_log(HONE_LOG_DETAIL, "fit: %d micro-steps were compiled",
             s->ways.compiled);
    hone_ways_forget(&s->ways);
    return status;
}

/* SPDX-License-Identifier: MIT
 *
 * solve.c -- see solve.h. Layers of a model are much alike, so that the search
 * is one of counts: the first M layers at one level, the others at a level that
 * keeps more. The first ones, because what they hold is held longest. Which two
 * levels follows from what each takes when all layers are at it: bytes and
 * seconds of a mix lie about on the line between the two, and the line that is
 * lowest where it crosses the budget is the one to walk down.
 */
#include "solve.h"

#include <math.h>
#include <string.h>

enum {
    LEVELS = HONE_SOLVE_LEVELS,
    SMALLEST_CHUNK = 64,
    FEW = 6,
    MOST_RUNS = 16,    /* over the rows of a layer */
    SMALLEST_MLP = 512 /* rows of one */
};
/* Lines whose promise is this close to the best are walked too; closer where
 * there are many layers, and one more or less is little. Where there are few,
 * all are. */
static double close_to(double best, int layers)
{
    return best * (1 + 0.3 / layers);
}

static const uint8_t levels[LEVELS] = { HONE_KEEP_ALL, HONE_KEEP_LIGHT,
                                        HONE_KEEP_NONE, HONE_KEEP_AWAY,
                                        HONE_KEEP_OFFLOAD };

static int can_pin(const hone_solver *s, const hone_way_out *w)
{
    return !s->pinned_budget || w->pinned <= s->pinned_budget;
}

void hone_ways_forget(hone_ways *w)
{
    hone_arena_free(&w->arena);
    *w = (hone_ways){ .compiled = w->compiled };
}

/* What was compiled before; NULL: it was not. */
static hone_way_out *find_tried(const hone_solver *s, const hone_way_out *w)
{
    for (int i = 0; i < s->ways->count; i++) {
        hone_way_out *t = &s->ways->list[i];

        if (t->tokens == w->tokens && t->docs == w->docs &&
            t->single == w->single && t->asked == w->asked &&
            t->mlp == w->mlp && t->streamed == w->streamed &&
            t->sizes == w->sizes &&
            !memcmp(t->keep, w->keep, (size_t)s->layers))
            return t;
    }
    return NULL;
}

/* What so many pinned bytes take of the bytes that there is a budget for. */
static int64_t held(const hone_solver *s, int64_t pinned)
{
    const hone_machine *m = s->compiler->machine;

    return m->info.is_host ? pinned : hone_map_bytes(m, pinned);
}

static hone_status compile(hone_solver *s, hone_way_out *out, hone_err *err)
{
    const hone_bucket bucket = { out->tokens, out->docs };
    hone_ways *all = s->ways;
    hone_compiler c = *s->compiler;
    hone_program p;
    hone_status status;

    all->compiled++;
    c.scratch = c.keep = s->scratch;
    c.keep_layer = out->keep;
    c.logits_chunk = out->asked;
    c.mlp_chunk = out->mlp;
    status = hone_compile_micro(&c, &p, "train", bucket, 1, err);
    if (status == HONE_OK) {
        out->rows = p.logits_rows;
        out->pinned = p.place.bytes[HONE_PINNED_SPACE];
        out->bytes = p.place.bytes[HONE_DEVICE_SPACE] + held(s, out->pinned) +
                     hone_program_graph_bytes(&p, c.machine, s->sizes);
        out->seconds = hone_program_seconds(&p, s->card);
        hone_push(&all->arena, all->list, all->count, all->cap);
        all->list[all->count++] = *out;
    }
    hone_arena_clear(s->scratch);
    return status;
}

hone_status hone_solve_try(hone_solver *s, hone_bucket bucket,
                           const uint8_t *keep, int64_t chunk, int64_t mlp,
                           hone_way_out *out, hone_err *err)
{
    hone_way_out *before;

    *out = (hone_way_out){
        .keep = hone_copy(&s->ways->arena, keep, (size_t)s->layers,
                          (size_t)s->layers + 1, 1),
        .tokens = bucket.tokens, .docs = bucket.docs, .asked = chunk,
        .mlp = mlp, .single = s->compiler->single,
        .sizes = s->sizes ? s->sizes->count : 1,
        .streamed = s->streamed, .aside = s->aside };
    before = find_tried(s, out);
    if (before) {
        before->aside &= s->aside;
        *out = *before;
    } else
        hone_try(compile(s, out, err));
    if (out->pinned < s->mapped)
        out->bytes += held(s, s->mapped) - held(s, out->pinned);
    if (can_pin(s, out) && out->bytes < s->least)
        s->least = out->bytes;
    return HONE_OK;
}

/* ------------------------------------------------------------ one search */

typedef struct {
    hone_solver *s;
    hone_bucket bucket;
    int64_t chunk, mlp;
    int free;                   /* layers that may be chosen */
    hone_way_out level[LEVELS]; /* all free layers at it */
    hone_way_out best;          /* .keep NULL: none yet */
    double limit;               /* its seconds, or those of the solver */
    int fitted;                 /* something did, however long it takes */
    hone_err *err;
} search;

static int fits(const search *f, const hone_way_out *w)
{
    return w->bytes <= f->s->budget && can_pin(f->s, w);
}

/* Whether it is the best so far. */
static int take(search *f, const hone_way_out *w)
{
    if (!fits(f, w) || (f->limit > 0 && w->seconds >= f->limit))
        return 0;
    f->best = *w;
    f->limit = w->seconds;
    return 1;
}

/* Tries the first M free layers at B, the one before the first of the others
 * at LAST, and the others at A. */
static hone_status attempt(search *f, int a, int b, int last, int m,
                           hone_way_out *w)
{
    hone_solver *s = f->s;
    uint8_t *keep = hone_copy(&s->ways->arena, s->pinned, (size_t)s->layers,
                              (size_t)s->layers + 1, 1);
    int at = 0;

    for (int i = 0; i < s->layers; i++) {
        if (keep[i] != HONE_KEEP_AUTO)
            continue;
        keep[i] = levels[at < m - 1 ? b : at < m ? last : a];
        at++;
    }
    hone_try(hone_solve_try(s, f->bucket, keep, f->chunk, f->mlp, w, f->err));
    f->fitted |= fits(f, w);
    if (take(f, w)) {
        s->more = a == b ? 0 : a;
        s->less = b;
        for (int i = 0; i < LEVELS; i++)
            s->level_bytes[i] = f->level[i].bytes;
    }
    return HONE_OK;
}

/* From A, which does not fit, to B, which does: as few layers as will do, then
 * the last of them at a level in between. */
static hone_status walk(search *f, int a, int b)
{
    int low = 0, high = f->free, tries = 0;
    double above = (double)f->level[a].bytes, below = (double)f->level[b].bytes;
    hone_way_out w = f->level[b];

    while (high - low > 1) {
        double share = (above - (double)f->s->budget) / (above - below);
        int m = low + 1;

        if (share > 0 && share < 1)
            m += (int)(share * (high - low));
        if (++tries > 3)
            m = (low + high) / 2;
        m = m >= high ? high - 1 : m <= low ? low + 1 : m;
        hone_try(attempt(f, a, b, b, m, &w));
        if (fits(f, &w)) {
            high = m;
            below = (double)w.bytes;
        } else {
            low = m;
            above = (double)w.bytes;
        }
    }
    for (int i = 0; i < LEVELS; i++)
        if (i != a && i != b && f->level[i].keep &&
            f->level[i].seconds < f->level[b].seconds)
            hone_try(attempt(f, a, b, i, high, &w));
    return HONE_OK;
}

/* How much of the way from FROM, which is above LIMIT, to TO that is. */
static double share_of(int64_t from, int64_t to, int64_t limit)
{
    return limit > 0 && from > limit
               ? (double)(from - limit) / (double)(from - to) : 0;
}

/* Seconds at the budget, on the line between two levels. */
static double promise(const search *f, int a, int b)
{
    const hone_way_out *x = &f->level[a], *y = &f->level[b];
    double share = fmax(share_of(x->bytes, y->bytes, f->s->budget),
                        share_of(x->pinned, y->pinned, f->s->pinned_budget));

    return x->seconds + share * (y->seconds - x->seconds);
}

/* Where all is kept it takes longer already than the best that there is. */
static int too_slow(const search *f)
{
    return f->limit > 0 && f->level[0].seconds > f->limit;
}

/* Sending out is nothing where host memory is all there is. */
static int levels_of(const search *f)
{
    return f->s->compiler->machine->info.is_host ? LEVELS - 2 : LEVELS;
}

static int64_t smallest_mlp(const search *f)
{
    int64_t rows = f->bucket.tokens / MOST_RUNS;

    return rows < SMALLEST_MLP ? SMALLEST_MLP : rows;
}

/* Whether the least that there is fits: by the levels that keep least, and by
 * others where those send out more than can be pinned. With few layers it need
 * not be one of them. */
static hone_status try_least(search *f)
{
    int count = levels_of(f), last = f->free < FEW ? 0 : count - 2;
    int64_t chunk = f->chunk;
    hone_way_out w;

    if (f->s->chunk_is_free && f->bucket.tokens > SMALLEST_CHUNK)
        f->chunk = SMALLEST_CHUNK;
    for (int mlp = 0; mlp <= f->s->mlp_is_free; mlp++) {
        for (int i = count - 1, found = 0; i >= (found ? last : 0); i--) {
            hone_try(attempt(f, i, i, i, 0, &w));
            found |= can_pin(f->s, &w);
        }
        if (f->s->least <= f->s->budget)
            break;
        f->mlp = smallest_mlp(f);
    }
    f->chunk = chunk;
    f->mlp = f->s->mlp;
    return HONE_OK;
}

/* All layers at each level, if that can be of use: less is taken than with MOST
 * bytes for the first, or nothing fits yet. */
static hone_status try_levels(search *f, int64_t most)
{
    memset(f->level, 0, sizeof f->level);
    for (int i = 0; i < levels_of(f); i++) {
        hone_try(attempt(f, i, i, i, 0, &f->level[i]));
        if (i == 0 && (fits(f, &f->level[i]) || f->free == 0 || too_slow(f) ||
                       (f->limit > 0 && f->level[0].bytes > most)))
            return HONE_OK;
    }
    return HONE_OK;
}

static hone_status try_pairs(search *f)
{
    double least = 0, here;

    for (int pass = 0; pass < 2; pass++)
        for (int a = 0; a < LEVELS; a++)
            for (int b = 0; b < LEVELS; b++) {
                const hone_way_out *x = &f->level[a], *y = &f->level[b];

                if (!x->keep || !y->keep || fits(f, x) || !fits(f, y))
                    continue;
                here = promise(f, a, b);
                if (pass == 0)
                    least = least == 0 || here < least ? here : least;
                else if (f->free < FEW ||
                         (here <= close_to(least, f->free) &&
                          (f->limit == 0 || here < f->limit)))
                    hone_try(walk(f, a, b));
            }
    return HONE_OK;
}

/* Where layers are few, one is much: each of the best way's once more at every
 * other level, as long as that is faster. */
static hone_status polish(search *f)
{
    hone_solver *s = f->s;
    double before = 0;

    while (f->best.keep && f->free < FEW && before != f->best.seconds) {
        const hone_way_out from = f->best;

        before = from.seconds;
        for (int i = 0; i < s->layers * levels_of(f); i++) {
            int layer = i / levels_of(f), to = levels[i % levels_of(f)];
            uint8_t *keep = hone_copy(&s->ways->arena, from.keep, (size_t)s->layers,
                                      (size_t)s->layers + 1, 1);
            hone_way_out w;

            if (s->pinned[layer] != HONE_KEEP_AUTO || keep[layer] == to)
                continue;
            keep[layer] = (uint8_t)to;
            hone_try(hone_solve_try(s, f->bucket, keep, f->chunk, f->mlp, &w,
                                    f->err));
            take(f, &w);
        }
    }
    return HONE_OK;
}

/* Fewer and fewer rows of logits at a time, which take longer. */
static hone_status try_chunks(search *f)
{
    int64_t most = INT64_MAX;

    f->chunk = f->s->chunk;
    do {
        hone_try(try_levels(f, most));
        if (!too_slow(f))
            hone_try(try_pairs(f));
        if (!too_slow(f))
            hone_try(polish(f));
        if (too_slow(f) || fits(f, &f->level[0]) || f->level[0].bytes > most)
            break;
        most = f->level[0].bytes - f->level[0].bytes / 128;
        f->chunk = (f->level[0].rows / 4 + 15) / 16 * 16;
    } while (f->s->chunk_is_free && f->chunk >= SMALLEST_CHUNK);
    return HONE_OK;
}

/* Fewer and fewer rows of layers, until that is of no more use: something fits
 * and is no faster than what there is. */
static hone_status try_mlps(search *f)
{
    int better;

    f->fitted = 0;
    do {
        double before = f->limit;

        hone_try(try_chunks(f));
        better = f->limit != before;
        f->mlp = (f->mlp ? f->mlp : f->bucket.tokens) / 2;
    } while (f->s->mlp_is_free && f->mlp >= smallest_mlp(f) &&
             (better || !f->fitted) && !too_slow(f) && !fits(f, &f->level[0]));
    return HONE_OK;
}

static search begin(hone_solver *s, hone_bucket bucket, hone_err *err)
{
    search f = { .s = s, .bucket = bucket, .chunk = s->chunk, .mlp = s->mlp,
                 .limit = s->limit, .err = err };

    for (int i = 0; i < s->layers; i++)
        f.free += s->pinned[i] == HONE_KEEP_AUTO;
    s->least = INT64_MAX;
    return f;
}

hone_status hone_solve_least(hone_solver *s, hone_bucket bucket, hone_err *err)
{
    search f = begin(s, bucket, err);

    return try_least(&f);
}

hone_status hone_solve(hone_solver *s, hone_bucket bucket, hone_way_out *out,
                       hone_err *err)
{
    search f = begin(s, bucket, err);

    if (f.limit > 0) /* most smaller micro-batches are slower by then */
        hone_try(attempt(&f, 0, 0, 0, 0, &f.level[0]));
    if (!too_slow(&f))
        hone_try(try_least(&f));
    if (!too_slow(&f) && s->least <= s->budget)
        hone_try(try_mlps(&f));
    *out = f.best;
    if (!f.best.keep)
        return hone_fail(err, HONE_ENOMEM, "a micro-batch of %lld tokens needs "
                         "%lld bytes at least", (long long)bucket.tokens,
                         (long long)s->least);
    return HONE_OK;
}

/* Bytes go with the tokens, about: that is where the walk begins. */
hone_status hone_solve_like(hone_solver *s, const hone_way_out *as,
                            hone_bucket bucket, hone_way_out *out,
                            hone_err *err)
{
    search f = begin(s, bucket, err);
    double share = (double)bucket.tokens / (double)as->tokens;
    int64_t of_level[LEVELS];

    memcpy(of_level, s->level_bytes, sizeof of_level);
    f.chunk = as->asked;
    f.mlp = as->mlp;
    f.limit = 0;
    hone_try(attempt(&f, 0, 0, 0, 0, out));
    if (!f.best.keep && f.free) {
        for (int i = 0; i < LEVELS; i++)
            f.level[i].bytes = (int64_t)(share * (double)of_level[i]);
        hone_try(walk(&f, s->more, s->less));
    }
    if (!f.best.keep) /* all of them, then, or another pair */
        return hone_solve(s, bucket, out, err);
    *out = f.best;
    return HONE_OK;
}

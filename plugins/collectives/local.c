/* SPDX-License-Identifier: MIT
 *
 * local.c -- the collective "local": the ranks are threads of one process, on
 * the device cpu. Each rank adds up its share of the elements, always in the
 * order of the ranks, and writes the sum to all of them: two runs give the
 * same bits, and the ranks never differ.
 *
 * A rank that is closed takes its group with it: the others then get NaN, so
 * that a step without all its rows never updates anything.
 */
#include "hone/plugin.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum { MOST_RANKS = 64 };

typedef struct {
    int64_t rank, ranks;
} config;

typedef struct group {
    int64_t ranks, joined, left;
    uint8_t taken[MOST_RANKS];
    const hone_ptr *posted[MOST_RANKS]; /* operands of the call under way */
    int64_t waiting, round;
    pthread_cond_t all;
    struct group *next;
} group;

typedef struct {
    group *group;
    int64_t rank;
} member;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static group *groups; /* under the lock, as all that is in them but `posted` */

static const hone_option options[] = {
    HONE_OPT_INT(config, rank, 0, 0, MOST_RANKS - 1, "which of the ranks"),
    HONE_OPT_INT(config, ranks, 1, 1, MOST_RANKS, "threads of the group"),
    HONE_OPT_END
};

/* ------------------------------------------------------------------ groups */

/* The first group of this size that lacks this rank, or a new one. */
static group *find_place(const config *c)
{
    group *g = groups;

    while (g && (g->ranks != c->ranks || g->left || g->taken[c->rank]))
        g = g->next;
    if (g)
        return g;
    g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->ranks = c->ranks;
    pthread_cond_init(&g->all, NULL);
    g->next = groups;
    return groups = g;
}

static hone_status local_open(const hone_host *host, const void *cfg,
                              void *state, hone_err *err)
{
    const config *c = cfg;
    member *m = state;

    (void)host;
    if (c->rank >= c->ranks)
        return hone_fail(err, HONE_EINVAL,
                         "local: there is no rank %lld of %lld; ranks count "
                         "from 0", (long long)c->rank, (long long)c->ranks);
    pthread_mutex_lock(&lock);
    m->group = find_place(c);
    m->rank = c->rank;
    if (m->group) {
        m->group->taken[c->rank] = 1;
        m->group->joined++;
    }
    pthread_mutex_unlock(&lock);
    return m->group ? HONE_OK
                    : hone_fail(err, HONE_ENOMEM, "local: no memory");
}

static void local_close(void *state)
{
    member *m = state;
    group *g = m->group, **at = &groups;

    pthread_mutex_lock(&lock);
    g->left++;
    pthread_cond_broadcast(&g->all);
    if (g->left == g->joined) {
        while (*at != g)
            at = &(*at)->next;
        *at = g->next;
        pthread_cond_destroy(&g->all);
        free(g);
    }
    pthread_mutex_unlock(&lock);
}

/* Until every rank is here; 0 where one never will be. */
static int meet(group *g)
{
    int64_t round;
    int met;

    pthread_mutex_lock(&lock);
    round = g->round;
    if (!g->left && ++g->waiting == g->ranks) {
        g->waiting = 0;
        g->round++;
        pthread_cond_broadcast(&g->all);
    }
    while (g->round == round && !g->left)
        pthread_cond_wait(&g->all, &lock);
    met = g->round != round;
    pthread_mutex_unlock(&lock);
    return met;
}

/* -------------------------------------------------------------- all_reduce */

typedef struct {
    group *group;
    int64_t rank;
    uint32_t tensors;
    int64_t count[]; /* elements of each */
} call;

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    (void)threads;
    for (uint32_t i = 0; i < c->nout; i++)
        if (c->type[c->nin + i].storage != HONE_F32)
            return hone_fail(err, HONE_ENOSUP,
                             "local: all_reduce adds fp32 tensors, not '%s'",
                             hone_parts(c->type[c->nin + i].storage)[0].name);
    need->prepared_bytes =
        (int64_t)(sizeof(call) + c->nout * sizeof(int64_t));
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    const member *m = ctx;
    call *k = prepared;

    (void)threads;
    (void)err;
    k->group = m->group;
    k->rank = m->rank;
    k->tensors = c->nout;
    for (uint32_t i = 0; i < c->nout; i++)
        k->count[i] = hone_count(&c->type[c->nin + i]);
    return HONE_OK;
}

/* Elements FIRST to LAST of tensor I, summed over the ranks into each. */
static void add_up(const call *k, uint32_t i, int64_t first, int64_t last)
{
    const group *g = k->group;
    float *x[MOST_RANKS];

    for (int64_t r = 0; r < g->ranks; r++)
        x[r] = g->posted[r][i].part[0];
    for (int64_t e = first; e < last; e++) {
        float sum = x[0][e];
        for (int64_t r = 1; r < g->ranks; r++)
            sum += x[r][e];
        for (int64_t r = 0; r < g->ranks; r++)
            x[r][e] = sum;
    }
}

static void spoil(const call *k, const hone_ptr *ptr)
{
    for (uint32_t i = 0; i < k->tensors; i++)
        for (int64_t e = 0; e < k->count[i]; e++)
            ((float *)ptr[i].part[0])[e] = NAN;
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const call *k = prepared;
    group *g = k->group;

    (void)workspace;
    (void)stream;
    g->posted[k->rank] = ptr;
    if (!meet(g)) {
        spoil(k, ptr);
        return;
    }
    for (uint32_t i = 0; i < k->tensors; i++)
        add_up(k, i, k->count[i] * k->rank / g->ranks,
               k->count[i] * (k->rank + 1) / g->ranks);
    if (!meet(g))
        spoil(k, ptr);
}

static const hone_kernel kernels[] = { { "all_reduce", prepare, init, run },
                                       { NULL, NULL, NULL, NULL } };

static const hone_collective api = { .size = sizeof api,
                                     .device = "cpu",
                                     .kernels = kernels };

static const hone_component local = {
    .size = sizeof local,
    .kind = HONE_KIND_COLLECTIVE,
    .name = "local",
    .help = "ranks that are threads of one process",
    .options = options,
    .config_size = sizeof(config),
    .state_size = sizeof(member),
    .open = local_open,
    .close = local_close,
    .ops = &api,
};

HONE_PLUGIN("local", "1.0", &local)

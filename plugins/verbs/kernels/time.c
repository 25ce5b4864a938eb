/* SPDX-License-Identifier: MIT
 *
 * time.c -- how long a kernel takes for one large call.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels.h"

/* Sets of operands are more than caches hold. */
enum { MOST_SETS = 16, RUNS = 2, BATCHES = 15, DEVICE_BYTES = 256 << 20,
       HOST_BYTES = 64 << 20 };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of tables only the rows that an index names are touched: as many bytes as
 * another operand has. */
static const struct {
    const char *op;
    uint32_t table, like;
} tables[] = { { "embed", 0, 2 }, { "gather", 0, 2 }, { "cache_write", 2, 0 },
               { NULL, 0, 0 } };

static double traffic(const trial *t)
{
    double bytes = 0;

    for (uint32_t i = 0; i < trial_operands(t); i++) {
        uint32_t of = i;

        for (int n = 0; tables[n].op; n++)
            if (!strcmp(tables[n].op, t->c.call.op) && tables[n].table == i)
                of = tables[n].like;
        bytes += (double)type_bytes(&t->c.type[of]) *
                 (of == i && trial_is_output(t, i) && t->c.mode[i] != HONE_WRITE
                      ? 2 : 1);
    }
    return bytes;
}

/* Operands once more, each set at other addresses. */
typedef struct {
    void *slab[MOST_SETS]; /* the first is the trial's */
    int count;
} sets;

static hone_status more_sets(trial *t, const kernel_bench *b, sets *x,
                             hone_err *err)
{
    const int64_t most = b->scale ? DEVICE_BYTES : HOST_BYTES;
    int64_t count = most / t->slab_bytes + 1;

    x->slab[0] = t->slab;
    x->count = count < MOST_SETS ? (int)count : MOST_SETS;
    for (int i = 1; i < x->count; i++) {
        hone_try(b->device->reserve(b->dev, HONE_DEVICE_SPACE, t->slab_bytes,
                                    &x->slab[i], err));
        b->device->copy(b->dev, x->slab[i], t->before, t->slab_bytes,
                        HONE_TO_DEVICE, t->stream);
    }
    return b->device->sync(b->dev, t->stream, err);
}

static void run_all(const trial *t, const hone_kernel *k, const sets *x)
{
    for (int i = 0; i < RUNS * x->count; i++) {
        hone_ptr ptr[CASE_OPERANDS];
        int64_t by = (char *)x->slab[i % x->count] - (char *)t->slab;

        memcpy(ptr, t->ptr, sizeof ptr);
        for (uint32_t n = 0; n < trial_operands(t); n++)
            for (int p = 0; p < HONE_PARTS; p++)
                if (ptr[n].part[p])
                    ptr[n].part[p] = (char *)ptr[n].part[p] + by;
        k->run(t->prepared, ptr, t->workspace, t->stream);
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* GRAPH: all runs, or NULL. Batches of some milliseconds each. */
static hone_status time_batches(const trial *t, const kernel_bench *b,
                                const hone_kernel *k, const sets *x,
                                hone_graph_exec graph, kernel_timing *out,
                                hone_err *err)
{
    double seconds[BATCHES], start, each = 1;
    int64_t launches = 1;

    for (int n = -2; n < BATCHES; n++) { /* two to warm up */
        start = now();
        for (int64_t i = 0; i < launches; i++)
            if (graph)
                b->device->launch(b->dev, graph, t->stream);
            else
                run_all(t, k, x);
        hone_try(b->device->sync(b->dev, t->stream, err));
        each = (now() - start) / (double)launches;
        if (n >= 0)
            seconds[n] = each / (RUNS * x->count);
        else
            launches = (int64_t)(0.015 / each) + 1;
    }
    qsort(seconds, BATCHES, sizeof *seconds, by_size);
    out->seconds = seconds[BATCHES / 2];
    return HONE_OK;
}

static hone_status time_runs(trial *t, const kernel_bench *b,
                             const hone_kernel *k, kernel_timing *out,
                             hone_err *err)
{
    sets x = { .count = 0 };
    hone_graph_exec graph = NULL;
    hone_status s = trial_run(t, b, k, err); /* warm */

    if (s == HONE_OK)
        s = more_sets(t, b, &x, err);
    if (s == HONE_OK && b->can_capture) {
        s = b->device->capture(b->dev, t->stream, err);
        if (s == HONE_OK) {
            run_all(t, k, &x);
            s = b->device->capture_end(b->dev, t->stream, &graph, err);
        }
    }
    if (s == HONE_OK)
        s = time_batches(t, b, k, &x, graph, out, err);
    if (graph)
        b->device->graph_close(b->dev, graph);
    for (int i = 1; i < x.count; i++)
        if (x.slab[i])
            b->device->release(b->dev, HONE_DEVICE_SPACE, x.slab[i]);
    return s;
}

hone_status kernel_time(const kernel_bench *b, const hone_kernel *k,
                        const hone_component *op, kernel_timing *out,
                        hone_err *err)
{
    trial t;
    hone_status s = trial_open(&t, b, k, op, 1, b->scale ? b->scale : 1, err);

    if (s == HONE_OK)
        s = time_runs(&t, b, k, out, err);
    if (s == HONE_OK) {
        out->bytes = traffic(&t);
        out->flops = t.c.op->flops
                         ? t.c.op->flops(&t.c.call)
                         : (double)hone_count(&t.c.type[t.c.call.nin]);
    }
    trial_close(&t, b);
    return s;
}

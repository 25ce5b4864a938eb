/* SPDX-License-Identifier: MIT
 *
 * many.c -- many lines at a time, by threads that take groups of them in turn;
 * and the same to be timed.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tokenize.h"

enum { BLOCK_BYTES = 16 << 20, GROUP = 64, ROUNDS = 5 };

/* Lines of the input, their ends cut off. */
typedef struct {
    char *text;
    size_t used, cap;
    size_t *start; /* [lines + 1] */
    size_t lines, lines_cap;
} block;

/* Threads take groups of lines in turn; each group's output is kept. */
typedef struct {
    const job *options;
    const block *in;
    int64_t first_line;
    _Atomic size_t next;
    job *group; /* [groups] out, count, bytes, status */
    hone_err *err;
    hone_status *status;
    size_t groups;
} crew;

static void add_line(block *b, const char *line, size_t n)
{
    int64_t cap = (int64_t)b->cap, lines = (int64_t)b->lines_cap;

    b->text = grown(b->text, &cap, (int64_t)(b->used + n), 1);
    b->start = grown(b->start, &lines, (int64_t)b->lines + 2,
                     sizeof *b->start);
    b->cap = (size_t)cap;
    b->lines_cap = (size_t)lines;
    b->start[b->lines++] = b->used;
    memcpy(b->text + b->used, line, n);
    b->used += n;
    b->start[b->lines] = b->used;
}

/* Lines up to BYTES or the end. */
static void read_block(block *b, size_t bytes)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    b->used = b->lines = 0;
    while (b->used < bytes && (n = getline(&line, &cap, stdin)) >= 0)
        add_line(b, line, (size_t)(n - (n && line[n - 1] == '\n')));
    free(line);
}

static void *work(void *arg)
{
    crew *c = arg;
    job mine = *c->options;
    size_t g;

    while ((g = atomic_fetch_add(&c->next, 1u)) < c->groups) {
        size_t end = (g + 1) * GROUP;
        hone_status s = HONE_OK; /* c->status is next to other threads' */

        mine.out = (buffer){ NULL, 0, 0 };
        mine.bytes = mine.count = 0;
        for (size_t i = g * GROUP; i < end && i < c->in->lines &&
                                   s == HONE_OK; i++) {
            mine.line = c->first_line + (int64_t)i + 1;
            s = one_line(&mine, c->in->text + c->in->start[i],
                         c->in->start[i + 1] - c->in->start[i], &c->err[g]);
        }
        c->status[g] = s;
        c->group[g] = mine; /* its buffers of ids and text stay here */
    }
    free(mine.ids);
    free(mine.text.text);
    free(mine.valid.text);
    return NULL;
}

static void run_crew(crew *c, int threads)
{
    pthread_t thread[MOST_THREADS];
    int started = 0;

    c->next = 0;
    while (started + 1 < threads &&
           pthread_create(&thread[started], NULL, work, c) == 0)
        started++;
    work(c);
    while (started > 0)
        pthread_join(thread[--started], NULL);
}

/* Encodes or decodes the block; its output is written unless it is a bench. */
static hone_status run_block(job *total, const block *in, int threads,
                             int64_t first_line, hone_err *err)
{
    crew c = { .options = total, .in = in, .first_line = first_line };
    hone_status s = HONE_OK;

    c.groups = (in->lines + GROUP - 1) / GROUP;
    c.group = calloc(c.groups + 1, sizeof *c.group);
    c.err = calloc(c.groups + 1, sizeof *c.err);
    c.status = calloc(c.groups + 1, sizeof *c.status);
    if (!c.group || !c.err || !c.status)
        s = hone_fail(err, HONE_EIO, "out of memory");
    else
        run_crew(&c, threads);
    for (size_t g = 0; c.group && g < c.groups; g++) {
        if (s == HONE_OK) {
            flush_out(&c.group[g]);
            total->bytes += c.group[g].bytes;
            total->count += c.group[g].count;
        }
        if (s == HONE_OK && (s = c.status[g]) != HONE_OK)
            *err = c.err[g];
        free(c.group[g].out.text);
    }
    free(c.group);
    free(c.err);
    free(c.status);
    return s;
}

hone_status each_block(job *j, int threads, hone_err *err)
{
    block in = { 0 };
    hone_status s = HONE_OK;

    for (int64_t line = 0; s == HONE_OK; line += (int64_t)in.lines) {
        read_block(&in, BLOCK_BYTES);
        if (!in.lines)
            break;
        s = run_block(j, &in, threads, line, err);
    }
    free(in.text);
    free(in.start);
    return s;
}

static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* All of the input a few times; the best round counts. */
hone_status bench(job *j, int threads, hone_err *err)
{
    block in = { 0 };
    double best = 0, best_cpu = 0;
    hone_status s = HONE_OK;

    read_block(&in, SIZE_MAX);
    for (int i = 0; i < ROUNDS && s == HONE_OK; i++) {
        double start = seconds(CLOCK_MONOTONIC), took;
        double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);

        j->bytes = j->count = 0;
        s = run_block(j, &in, threads, 0, err);
        took = seconds(CLOCK_MONOTONIC) - start;
        cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        best = i == 0 || took < best ? took : best;
        best_cpu = i == 0 || cpu < best_cpu ? cpu : best_cpu;
    }
    if (s == HONE_OK)
        printf("{\"documents\": %zu, \"bytes\": %lld, \"tokens\": %lld, "
               "\"threads\": %d, \"seconds\": %.6f, \"cpu_seconds\": %.6f, "
               "\"mb_per_s\": %.2f}\n",
               in.lines, (long long)j->bytes, (long long)j->count, threads,
               best, best_cpu, best > 0 ? (double)j->bytes / best / 1e6 : 0);
    free(in.text);
    free(in.start);
    return s;
}

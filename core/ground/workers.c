/* SPDX-License-Identifier: MIT
 *
 * workers.c -- see workers.h.
 */
#include "workers.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    hone_job *first, *last;
} queue;

typedef struct {
    hone_workers *of;
    int number;
    pthread_t thread;
} worker;

struct hone_workers {
    int count;
    pthread_mutex_t lock;
    pthread_cond_t added, done;
    queue queue[2]; /* ordinary, urgent */
    int stop;
    worker worker[];
};

int hone_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) || CPU_COUNT(&set) < 1)
        return 1;
    return CPU_COUNT(&set);
}

static hone_job *take(queue *q)
{
    hone_job *job = q->first;

    if (job)
        q->first = job->next;
    return job;
}

static void *work(void *arg)
{
    worker *self = arg;
    hone_workers *w = self->of;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        hone_job *job = take(&w->queue[1]);

        if (!job)
            job = take(&w->queue[0]);
        if (job) {
            pthread_mutex_unlock(&w->lock);
            job->run(job, self->number);
            pthread_mutex_lock(&w->lock);
            job->done = 1;
            pthread_cond_signal(&w->done);
        } else if (w->stop) {
            break;
        } else {
            pthread_cond_wait(&w->added, &w->lock);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Signals stay with the threads that ask for them. */
static int start(hone_workers *w, int number)
{
    worker *self = &w->worker[number];
    sigset_t all, before;
    int failed;

    self->of = w;
    self->number = number;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&self->thread, NULL, work, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

hone_status hone_workers_open(hone_workers **out, int count, hone_err *err)
{
    hone_workers *w = calloc(1, sizeof *w + (size_t)count * sizeof(worker));

    if (!w)
        return hone_fail(err, HONE_EIO, "out of host memory");
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->added, NULL);
    pthread_cond_init(&w->done, NULL);
    for (; w->count < count; w->count++) {
        int failed = start(w, w->count);

        if (failed) {
            hone_workers_close(w);
            return hone_fail(err, HONE_EIO, "a worker thread does not start: "
                             "%s", strerror(failed));
        }
    }
    *out = w;
    return HONE_OK;
}

void hone_workers_close(hone_workers *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = 1;
    pthread_cond_broadcast(&w->added);
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < w->count; i++)
        pthread_join(w->worker[i].thread, NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->added);
    pthread_cond_destroy(&w->done);
    free(w);
}

int hone_workers_count(const hone_workers *w)
{
    return w->count;
}

void hone_workers_add(hone_workers *w, hone_job *job, int urgent)
{
    queue *q = &w->queue[urgent != 0];

    job->next = NULL;
    job->done = 0;
    if (!w->count) {
        job->run(job, 0);
        job->done = 1;
        return;
    }
    pthread_mutex_lock(&w->lock);
    if (q->first)
        q->last->next = job;
    else
        q->first = job;
    q->last = job;
    pthread_cond_signal(&w->added);
    pthread_mutex_unlock(&w->lock);
}

void hone_workers_wait(hone_workers *w, hone_job *job)
{
    pthread_mutex_lock(&w->lock);
    while (!job->done)
        pthread_cond_wait(&w->done, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

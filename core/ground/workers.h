/* SPDX-License-Identifier: MIT
 *
 * workers.h -- threads that run jobs. Jobs begin in the order they were added,
 * urgent ones before all others; who added a job waits for it, so that what is
 * made of the results has an order too. One thread adds and waits.
 */
#ifndef HONE_WORKERS_H
#define HONE_WORKERS_H

#include "hone/plugin.h"

typedef struct hone_job {
    /* WORKER: which thread runs it, from 0. */
    void (*run)(struct hone_job *, int worker);
    struct hone_job *next;
    int done;
} hone_job;

typedef struct hone_workers hone_workers;

/* The cores that this process may use. */
int hone_cores(void);

/* COUNT 0: no threads, a job runs where it is added. */
hone_status hone_workers_open(hone_workers **, int count, hone_err *);
void hone_workers_close(hone_workers *); /* no job may be on its way */
int hone_workers_count(const hone_workers *);
void hone_workers_add(hone_workers *, hone_job *, int urgent);
void hone_workers_wait(hone_workers *, hone_job *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * choices.h -- what packs chose by measuring (algorithms of products), kept as
 * one JSON object of texts by key: algorithms.json. One lies in the cache for
 * all runs on this machine. Each run has a copy of what it used, which counts
 * more: a run that goes on computes what it would have computed.
 */
#ifndef HONE_CHOICES_H
#define HONE_CHOICES_H

#include "hone/plugin.h"

struct json_t;

typedef struct hone_choice_book {
    hone_choices api; /* for the device */
    struct json_t *kept, *used, *fresh;
    int of_run, missing; /* has the run a copy; how many it lacks */
} hone_choice_book;

/* RUN: the run's folder, or NULL. Files that cannot be read count as empty,
 * with a warning. */
void hone_choices_open(hone_choice_book *, const char *run);
/* Writes what is new, to the cache and to RUN. */
hone_status hone_choices_close(hone_choice_book *, const char *run,
                               hone_err *);

#endif

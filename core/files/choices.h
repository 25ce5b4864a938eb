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
    const hone_device *device;
    void *dev;        /* NULL: that device chooses nothing */
    const char *run;  /* the run's folder, or NULL */
    struct json_t *kept, *used, *fresh;
    int of_run, missing; /* has the run a copy; how many it lacks */
} hone_choice_book;

/* Lets DEV choose, in BYTES at MEMORY, which hold nothing yet. Files that
 * cannot be read count as empty, with a warning. */
void hone_choices_begin(hone_choice_book *, const hone_device *, void *dev,
                        const char *run, void *memory, int64_t bytes);
/* Writes what is new, to the cache and to the run's folder. SO_FAR goes before
 * what goes wrong here. */
hone_status hone_choices_end(hone_choice_book *, hone_status so_far,
                             hone_err *);

#endif

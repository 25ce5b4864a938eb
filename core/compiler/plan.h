/* SPDX-License-Identifier: MIT
 *
 * plan.h -- every byte of a run, by phase and purpose, before it starts. The
 * figures come from the compiled programs and the sizes that the parts state
 * themselves; reserving takes exactly these.
 */
#ifndef HONE_PLAN_H
#define HONE_PLAN_H

#include "cost.h"
#include "program.h"

typedef enum { HONE_PLAN_LOAD, HONE_PLAN_TRAIN, HONE_PLAN_EVAL, HONE_PLAN_SAVE,
               HONE_PLAN_RESUME, HONE_PLAN_PHASES } hone_plan_phase;

typedef enum {
    HONE_USE_WEIGHTS,     /* of the model */
    HONE_USE_ADAPTER,
    HONE_USE_GRADIENTS,
    HONE_USE_OPTIMIZER,   /* states, and the scalars of the step */
    HONE_USE_INPUTS,      /* token buffers and constants */
    HONE_USE_ACTIVATIONS, /* temporaries of the phase's programs */
    HONE_USE_WORKSPACE,   /* of kernels */
    HONE_USE_CONTEXT,     /* on the device: driver, code, libraries */
    HONE_USE_GRAPHS,      /* on the device: programs that are replayed */
    HONE_USE_PROGRAMS,    /* bound calls */
    HONE_USE_DATA,        /* reader and collator buffers */
    HONE_USE_ENGINE,      /* names, tables, buffers of the savers */
    HONE_USE_RESULTS,     /* on the disk: adapter or model */
    HONE_USE_CHECKPOINTS, /* those that stay, and the one being written */
    HONE_USES
} hone_use;

typedef enum { HONE_PLAN_DEVICE, HONE_PLAN_PINNED, HONE_PLAN_HOST,
               HONE_PLAN_DISK, HONE_PLAN_PLACES } hone_plan_place;

/* What a run is made of; the figures that end it are stated by its parts. */
typedef struct hone_plan_parts {
    const hone_machine *machine;
    const hone_store *store;
    const hone_program *train, *eval; /* [buckets]; without a name: none */
    const hone_program *zero, *zero_loss, *reduce, *update, *images;
    const hone_bucket *bucket;
    uint32_t buckets;
    int64_t batch, steps;
    int64_t feed, loader[2]; /* training, held-out rows */
    int64_t engine;          /* arenas that live as long as the run */
    int64_t loading;         /* more of them while it loads */
    int64_t load;            /* pinned, while it loads */
    int64_t staging;         /* pinned: inputs, and the numbers of a step */
    int64_t results;         /* on the disk */
    int64_t checkpoint, checkpoints; /* bytes of one; how many stay */
    int64_t context;
    const char *means; /* of fit.h as JSON, or NULL */
    const hone_card *card; /* that the times are for; NULL: there are none */
    hone_cost step;
    double seconds[HONE_PLAN_PHASES];
} hone_plan_parts;

typedef struct hone_plan {
    hone_plan_parts of;
    int64_t bytes[HONE_PLAN_PLACES][HONE_PLAN_PHASES][HONE_USES];
    /* What reserve() takes. */
    int64_t store, temps, workspace[2], pinned, staging, programs, feed,
        loader[2];
    int64_t kept_pinned; /* states */
    int64_t graphs, train_graphs; /* of all programs; of `train` */
} hone_plan;

/* Of the device's memory, the one piece that the run lies in. */
static inline int64_t hone_plan_arena(const hone_plan *p)
{
    return p->store + p->temps + p->workspace[0] + p->workspace[1];
}

void hone_plan_make(hone_plan *, const hone_plan_parts *);
/* The largest phase of a place. */
int64_t hone_plan_total(const hone_plan *, hone_plan_place);
int64_t hone_plan_phase_total(const hone_plan *, hone_plan_place,
                              hone_plan_phase);
/* As CONTRACT's JSON, one line with a newline behind; returns its length.
 * PRICE: of an hour, or 0. */
int hone_plan_json(const hone_plan *, double price, char *to, int bytes);
/* A table for a person, to stdout. */
void hone_plan_print(const hone_plan *, double price);
const char *hone_use_name(hone_use); /* "weights" */
/* "1.25 GiB" */
const char *hone_bytes_text(int64_t bytes, char to[32]);

#endif

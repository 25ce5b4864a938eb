/* SPDX-License-Identifier: MIT
 *
 * session.h -- everything that a recipe's run needs, opened and compiled:
 * model, data, device, programs, plan. The order is fixed: open() touches no
 * device memory, so `hone plan` stops there; reserve() takes all memory;
 * load() fills it. After load() nothing is allocated until the end.
 */
#ifndef HONE_SESSION_H
#define HONE_SESSION_H

#include "card.h"
#include "compile.h"
#include "dataset.h"
#include "feed.h"
#include "loader.h"
#include "peft.h"
#include "plan.h"
#include "recipe.h"
#include "results.h"
#include "resume.h"
#include "scalars.h"
#include "solve.h"
#include "tokens.h"

/* One of several ranks; all zero: alone. */
typedef struct hone_rank {
    int rank, ranks;
    const hone_component *collective;
    void *group;
} hone_rank;

enum { HONE_MAX_LOGGERS = 8, HONE_MOST_RUNNERS = 12 };

/* Means that were tried and not chosen. */
typedef struct hone_runner {
    int64_t bytes;        /* of the run */
    int64_t tokens, rows; /* of the largest micro-batch, of logits */
    int64_t mlp;          /* rows of layers at a time */
    double times;         /* its time, of that of the choice */
    char keep[200];
} hone_runner;

typedef struct hone_session {
    const hone_recipe *recipe;
    hone_rank rank;
    const char *folder; /* of the run, where it keeps its choices; NULL */
    /* Set before open(): a new run whatever lies in OUT; for runners-up. */
    int fresh, explore;
    int with_training;
    const char *out;
    /* For good; of the programs and what follows from them; of the compiler. */
    hone_arena keep, made, scratch;
    hone_machine machine;
    hone_card card; /* of that device; without a name: none is known */
    hone_weights weights;
    hone_peft peft; /* the adapter that it starts from */
    hone_peft_spec adapter;
    hone_lora lora;
    hone_family *family;
    hone_tokens tokens;
    hone_dataset data;
    int has_weights, has_peft, has_data;
    hone_instance collator, optimizer, schedule;
    hone_means means;  /* how it is made to fit; see fit.h */
    hone_arena chosen; /* of them: a few KiB, beside the plan that they are in */
    int stored;        /* they are those of the run that is gone on with */
    hone_ways ways;    /* while it is made to fit */
    int only_top;      /* of the sizes of micro-batches only the largest */
    int only_fits;     /* what it would take otherwise is of no interest */
    hone_runner runner[HONE_MOST_RUNNERS];
    int runners;
    hone_bucket bucket[HONE_MAX_BUCKETS];
    uint32_t buckets;
    hone_sizes sizes; /* the buckets of a run, whatever only_top says */
    int single; /* every step is one micro-batch, that of the only rank */
    hone_storage compute; /* of activations */
    double init_range; /* of the config, for init = "random" */
    int64_t batch, steps; /* rows of a step, at most */
    hone_loader_spec train_rows, val_rows;
    hone_store store;
    hone_program train[HONE_MAX_BUCKETS], eval[HONE_MAX_BUCKETS];
    hone_program zero, zero_loss, reduce, update, images;
    hone_results results;
    hone_resume resume;
    int64_t resume_from; /* step of the checkpoint that load() takes; -1 */
    hone_progress progress;
    hone_instance logger[HONE_MAX_LOGGERS]; /* made, not started */
    int loggers;
    hone_plan plan;
    hone_regions regions;
    void *device_memory, *pinned_memory, *host_memory;
    int64_t taken[HONE_PLAN_PLACES]; /* of the three */
    hone_feed feed;
    hone_scalars scalars;
    hone_loader *train_loader, *val_loader;
} hone_session;

/* WITH_TRAINING 0: evaluation only. OUT: the run's folder, or NULL: nothing is
 * saved. */
hone_status hone_session_open(hone_session *, const hone_recipe *,
                              const hone_rank *, int with_training,
                              const char *out, hone_err *);
hone_status hone_session_reserve(hone_session *, hone_err *);
hone_status hone_session_load(hone_session *, hone_err *);
/* Of open(), for fit.c: the model's graph and the adapter as the recipe has
 * them; what programs are compiled with; the sizes of micro-batches; all
 * programs and the plan with the means of the session, in the place of those
 * there are. */
hone_status hone_session_model(hone_session *, hone_err *);
hone_compiler hone_session_compiler(hone_session *);
hone_status hone_session_buckets(hone_session *, hone_err *);
hone_status hone_session_lay_out(hone_session *, hone_err *);
/* Every arena that is there until the end; those that are gone before step 0:
 * the compiler's, and what knows the files of the weights. */
int64_t hone_session_bytes(const hone_session *);
int64_t hone_session_loading_bytes(const hone_session *);
/* Loggers: metrics first, then those of the recipe. Every record goes to each
 * of them. */
hone_status hone_session_start_loggers(hone_session *, hone_err *);
hone_status hone_session_record(hone_session *, const hone_field *,
                                uint32_t count, hone_err *);
void hone_session_close(hone_session *);

#endif

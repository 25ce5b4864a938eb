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
#include "tokens.h"

/* One of several ranks; all zero: alone. */
typedef struct hone_rank {
    int rank, ranks;
    const hone_component *collective;
    void *group;
} hone_rank;

enum { HONE_MAX_LOGGERS = 8 };

typedef struct hone_session {
    const hone_recipe *recipe;
    hone_rank rank;
    const char *folder; /* of the run, where it keeps its choices; NULL */
    hone_arena keep, scratch;
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
    hone_bucket bucket[HONE_MAX_BUCKETS];
    uint32_t buckets;
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
/* Loggers: metrics first, then those of the recipe. Every record goes to each
 * of them. */
hone_status hone_session_start_loggers(hone_session *, hone_err *);
hone_status hone_session_record(hone_session *, const hone_field *,
                                uint32_t count, hone_err *);
void hone_session_close(hone_session *);

#endif

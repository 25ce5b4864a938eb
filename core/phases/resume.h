/* SPDX-License-Identifier: MIT
 *
 * resume.h -- what a run must remember to go on as if it had not stopped: the
 * trainable weights, the states of the optimizer and of the step, the bytes
 * that components ask to have kept, and how far it is. Everything by name, as
 * the tensors of a checkpoint, so that neither device nor layout matters.
 */
#ifndef HONE_RESUME_H
#define HONE_RESUME_H

#include "checkpoint.h"
#include "program.h"
#include "recipe.h"
#include "registry.h"

/* Where a run stands between two steps. */
typedef struct hone_progress {
    int64_t step;      /* steps done */
    int64_t evaluated; /* the last one after which it was evaluated; -1 */
    int64_t skipped;   /* steps in a row, up to now, that were not finite */
    hone_report report; /* of the last step; step 0: none. The schedule sees
                           it after the next one */
} hone_progress;

/* A tensor of a checkpoint: a part of one in the store, or host memory. */
typedef struct hone_memory {
    const char *name;
    hone_type type;
    const hone_kept *kept; /* NULL: host memory */
    int64_t offset;        /* of the part in it */
    void *host;
} hone_memory;

typedef struct hone_resume {
    hone_checkpoint files;
    hone_memory *list;
    int count;
    char *staging;
    int64_t staging_bytes;
} hone_resume;

/* INSTANCES, ends with NULL: components whose bytes are kept. STAGING: a
 * buffer that saving and loading may use. */
hone_status hone_resume_prepare(hone_resume *, hone_arena *, const char *out,
                                const hone_store *, hone_progress *,
                                hone_instance *const *instances,
                                int64_t keep, char *staging,
                                int64_t staging_bytes, hone_err *);
/* A checkpoint of the step that the progress names; nothing if it is there. */
hone_status hone_resume_save(hone_resume *, const hone_store *, hone_machine *,
                             const hone_progress *, hone_err *);
/* Fills store, progress and components' states from that of STEP. */
hone_status hone_resume_load(hone_resume *, const hone_store *, hone_machine *,
                             int64_t step, hone_err *);

/* ------------------------------------------- is it the run that it was? */

/* What a recipe names by path counts by content. */
typedef struct hone_contents {
    const hone_weights *weights, *adapter; /* NULL: none are read */
    const char *data;                      /* hash of the prepared rows */
    hone_storage compute;
} hone_contents;

/* The choices that decide what a run learns, as run.json keeps them: an object
 * of key and text. Free with json_decref(). */
struct json_t *hone_resume_choices(const hone_recipe *, const hone_contents *);
/* What they keep as "model.path", a text. WEIGHTS NULL: of init = "random". */
struct json_t *hone_resume_model(const char *model, const hone_weights *);
/* Refuses, each by its name and line, what CHOICES says otherwise than the
 * run.json in OUT. */
hone_status hone_resume_check(const char *out, const hone_recipe *,
                              const struct json_t *choices, hone_err *);
/* Says the same of a run that is finished, by what is written in the recipe
 * alone: what it names by path is not opened. */
hone_status hone_resume_changed(const char *out, const hone_recipe *,
                                hone_err *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * checkpoint.h -- checkpoints on the disk: OUT/checkpoints/step-00001000/ with
 * state.safetensors and manifest.json, which has its size and hash. Written
 * beside, synced, renamed, read back; only then are older ones deleted. What
 * is in them is the business of resume.c. After prepare() nothing allocates.
 */
#ifndef HONE_CHECKPOINT_H
#define HONE_CHECKPOINT_H

#include "arena.h"
#include "safetensors.h"

typedef struct hone_checkpoint {
    const char *folder;     /* OUT/checkpoints; NULL: none are written */
    const char *fresh, *old; /* in it: being written, being deleted */
    hone_saver *saver;
    void *hash;     /* of what was put so far */
    int64_t keep;   /* newest ones that stay */
    int64_t saved;  /* step of the one that is whole; -1: none */
    int fd;         /* being read; -1: none */
} hone_checkpoint;

/* NAMES, TYPES: the tensors of each checkpoint. */
hone_status hone_checkpoint_prepare(hone_checkpoint *, hone_arena *,
                                    const char *out, const char *const *names,
                                    const hone_type *types, int count,
                                    int64_t keep, hone_err *);
int64_t hone_checkpoint_bytes(const hone_checkpoint *); /* of one, on disk */
/* Which tensor is the i-th to be put or read: index into NAMES. */
int hone_checkpoint_order(const hone_checkpoint *, int i);

/* Between begin() and end(): put() of every tensor in that order, in pieces.
 * Whatever fails, the checkpoints that were there stay. */
hone_status hone_checkpoint_begin(hone_checkpoint *, hone_err *);
hone_status hone_checkpoint_put(hone_checkpoint *, const void *, int64_t bytes,
                                hone_err *);
hone_status hone_checkpoint_end(hone_checkpoint *, int64_t step, hone_err *);
/* Instead of end(): what was written so far goes. */
void hone_checkpoint_drop(hone_checkpoint *);

/* The newest checkpoint in OUT that is whole, by its step; a damaged one is a
 * warning that says what is wrong. -1: there is none. Damaged ones alone are
 * an error. Reads all of it. */
hone_status hone_checkpoint_find(const char *out, int64_t *step, hone_err *);

/* Between open() and close(): get() as put() wrote. */
hone_status hone_checkpoint_open(hone_checkpoint *, int64_t step, hone_err *);
hone_status hone_checkpoint_get(hone_checkpoint *, void *, int64_t bytes,
                                hone_err *);
void hone_checkpoint_close(hone_checkpoint *);

#endif

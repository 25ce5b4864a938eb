/* SPDX-License-Identifier: MIT
 *
 * scalars.h -- the numbers of a step on their way back: a copy behind its last
 * kernel brings them to a ring of pinned memory, where the host reads them a
 * step later, so that neither waits for the other. Where device memory is host
 * memory nothing is on its way: they are read in place.
 */
#ifndef HONE_SCALARS_H
#define HONE_SCALARS_H

#include "program.h"

enum { HONE_IN_FLIGHT = 3 };

typedef struct hone_scalars {
    hone_machine *machine;
    const hone_store *store;
    const float *loss_sum[HONE_IN_FLIGHT], *norm[HONE_IN_FLIGHT],
        *ok[HONE_IN_FLIGHT]; /* the last two: NULL without training */
    const float *scale[HONE_IN_FLIGHT], *again[HONE_IN_FLIGHT]; /* in fp16 */
    char *memory[HONE_IN_FLIGHT];
    hone_event landed[HONE_IN_FLIGHT], begun;
    hone_event since[HONE_IN_FLIGHT]; /* one of these: when its step could */
    int slots;
    int64_t sent, taken;
} hone_scalars;

int64_t hone_scalars_pinned(const hone_store *, const hone_machine *);
hone_status hone_scalars_open(hone_scalars *, hone_machine *,
                              const hone_store *, void *pinned, hone_err *);
void hone_scalars_close(hone_scalars *);

/* A step begins now, or as soon as the one before it has landed. */
void hone_scalars_begin(hone_scalars *);
/* Sends the numbers as they are behind what was issued until now. Fewer than
 * HONE_IN_FLIGHT are sent and not taken: the clock needs the one before. */
void hone_scalars_send(hone_scalars *);
/* How many steps may be in flight while the host goes on. */
int hone_scalars_ahead(const hone_scalars *);
/* Waits for the oldest that were sent; *SLOT is where they are now. */
hone_status hone_scalars_take(hone_scalars *, int *slot, hone_err *);
/* Of the step in SLOT, just taken, from when it could begin; less than 0: the
 * device does not say. */
double hone_scalars_seconds(const hone_scalars *, int slot);

#endif

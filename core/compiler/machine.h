/* SPDX-License-Identifier: MIT
 *
 * machine.h -- opens the device that a recipe asks for, and the packs for it.
 */
#ifndef HONE_MACHINE_H
#define HONE_MACHINE_H

#include "arena.h"
#include "card.h"
#include "program.h"

/* DEVICE: "auto", "cpu", "cuda", "cuda:1"; PACKS: names joined by commas, or
 * NULL for all that run on the device. */
hone_status hone_machine_open(hone_machine *, const char *device,
                              const char *packs, hone_arena *, hone_err *);
/* The same with the CARD that describes it, which has no name where none does;
 * its context is taken for the device's, so that plans agree. With NAME, of a
 * card that need not be here, no device is opened: programs can be compiled for
 * it, and nothing else. */
hone_status hone_machine_find(hone_machine *, const char *name,
                              const char *device, const char *packs,
                              hone_card *card, hone_arena *, hone_err *);
hone_status hone_machine_sync(hone_machine *, hone_err *);
void hone_machine_close(hone_machine *);

/* The host waits until stream 0 has reached EVENT, recorded there. */
hone_status hone_machine_await(const hone_machine *, hone_event, hone_err *);

/* Seconds on the device between two events that were reached; less than 0: it
 * does not say. */
double hone_machine_seconds(const hone_machine *, hone_event from,
                            hone_event to);

/* To and from the device; the host side may be any memory. Waits. */
hone_status hone_machine_put(hone_machine *, void *device, const void *host,
                             int64_t bytes, hone_err *);
hone_status hone_machine_get(hone_machine *, void *host, const void *device,
                             int64_t bytes, hone_err *);

/* Bytes of host memory that are free, as device "cpu" counts them; 0: not
 * known. */
int64_t hone_machine_host_bytes(void);

/* A collective for this rank; its kernels come first. */
void hone_machine_join(hone_machine *, const hone_component *collective,
                       void *group, hone_arena *);

#endif

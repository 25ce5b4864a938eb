/* SPDX-License-Identifier: MIT
 *
 * card.h -- a card: what a device has and how fast it is, as one small JSON
 * file. All that a plan knows of a device is in it, so that a machine without
 * the device plans the same. Each figure says whether it was measured; those
 * that were not are bounds and guesses, see docs/memory.md. Plain data: no
 * pointers, nothing to free.
 */
#ifndef HONE_CARD_H
#define HONE_CARD_H

#include "arena.h"
#include "hone/plugin.h"

typedef enum {
    HONE_CARD_MEMORY,    /* bytes on the device, as the driver says */
    HONE_CARD_CONTEXT,   /* bytes a process takes there besides what it asks
                            for: driver, code, libraries */
    HONE_CARD_HOST,      /* bytes of host memory; 0: not known */
    HONE_CARD_LAUNCH,    /* seconds from one kernel to the next, at least */
    HONE_CARD_TO_DEVICE, /* bytes/s over the link */
    HONE_CARD_TO_HOST,
    HONE_CARD_BOTH,      /* each way, while the other way is busy too */
    HONE_CARD_DISK,      /* bytes/s read from where models lie */
    HONE_CARD_ATTENTION, /* its rate as a share of that of large products */
    HONE_CARD_ATTENTION_GRAD,
    HONE_CARD_FIGURES
} hone_card_figure;

typedef enum {
    HONE_CARD_COPY, /* bytes/s, read and written, by bytes */
    HONE_CARD_BF16, /* flop/s of products, by flop */
    HONE_CARD_F16,
    HONE_CARD_F32,
    HONE_CARD_FP8,
    HONE_CARD_RATES
} hone_card_rate;

enum { HONE_CARD_POINTS = 16 };

typedef struct hone_figure {
    double value; /* 0: not known */
    int measured;
} hone_figure;

/* A rate that depends on how much there is to do: what was reached with
 * WORK[i], more work from point to point. */
typedef struct hone_curve {
    int points; /* 0: not known, or the device does not do it */
    double work[HONE_CARD_POINTS], rate[HONE_CARD_POINTS];
    int measured;
} hone_curve;

typedef struct hone_card {
    char name[64];     /* "H100 80GB SXM" */
    char device[32];   /* the component: "cuda" */
    char models[512];  /* what devices call themselves that are this card, with
                          a newline behind each */
    int arch;          /* as in hone_device_info */
    hone_figure figure[HONE_CARD_FIGURES];
    hone_curve rate[HONE_CARD_RATES];
    char file[256];    /* that it was read from; not part of the hash */
    char hash[17];     /* of all the figures, hexadecimal */
} hone_card;

/* The rate for so much work: between two points on a line over log(work);
 * below the first point it falls with the work, as the time stays the same;
 * 0: not known. */
double hone_curve_at(const hone_curve *, double work);

/* Flop of attention, as the shares of a card count it: those of a row of 8,192
 * tokens with heads of 128 numbers would take as long. PER_KEY: flop for each
 * token of SPAN, the length of rows; D: numbers of a head. */
double hone_card_attention(double per_key, double span, double d, int grad);

/* FILE: a path. Every message names it and the key. */
hone_status hone_card_read(hone_card *, const char *file, hone_err *);
hone_status hone_card_write(hone_card *, const char *file, hone_err *);
/* A path (with a slash or ".json" at its end), or the name of a card among
 * those measured here, in the cache, and those that come with hone. */
hone_status hone_card_find(hone_card *, const char *name, hone_err *);
/* The card of an open device: the one in the cache, else the one that comes
 * with hone, else the nearest of its kind; NEAR: it is one of those.
 * HONE_ENOSUP: nothing is known of such devices. */
hone_status hone_card_of(hone_card *, const char *device,
                         const hone_device_info *, int *near, hone_err *);
/* Where the measured card of a device lies in the cache. */
const char *hone_card_cache(hone_arena *, const hone_device_info *);
/* Card I of those that can be found by name; 0: there are no more. */
int hone_card_at(hone_card *, int i);
/* What prepare() is told of a device of this card. */
void hone_card_info(const hone_card *, hone_device_info *);
/* "memory_bytes", "bf16"... as in the files, and what they mean. */
const char *hone_card_figure_name(hone_card_figure, const char **help);
const char *hone_card_rate_name(hone_card_rate, const char **help);

#endif

/* SPDX-License-Identifier: MIT
 *
 * prep_report.h -- what prepared data is like: lengths, what happened to rows,
 * how full the batches of the recipe will be.
 */
#ifndef HONE_PREP_REPORT_H
#define HONE_PREP_REPORT_H

#include "dataset.h"
#include "dataset_warn.h"

enum { HONE_LENGTH_BARS = 32 };

typedef struct hone_half_report {
    const char *name;
    const hone_split *split;
    /* bar[i]: rows of 2^i to 2^(i + 1) - 1 tokens */
    int64_t bar[HONE_LENGTH_BARS];
    int32_t median, p95;
    hone_warnings warnings;
} hone_half_report;

/* Of steps that are laid out for it, some hundred over the whole run. */
typedef struct hone_batch_report {
    const char *collator;
    int64_t steps;       /* of the run */
    double rows, micros; /* of a step, on average */
    double fill;         /* tokens, as a share of all positions */
    hone_bucket bucket[HONE_MAX_BUCKETS];
    uint32_t buckets;
} hone_batch_report;

void hone_report_half(hone_half_report *, const hone_recipe *,
                      const hone_split *, const char *name);
hone_status hone_report_batch(hone_batch_report *, const hone_recipe *,
                              const hone_dataset *, hone_err *);

/* For a person, and as the members of CONTRACT's object; BATCH may be NULL. */
void hone_report_print(const hone_half_report *, const hone_batch_report *);
void hone_report_json(const hone_half_report *, const hone_batch_report *);

#endif

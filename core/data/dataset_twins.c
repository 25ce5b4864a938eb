/* SPDX-License-Identifier: MIT
 *
 * dataset_twins.c -- see dataset_twins.h. A set of hashes with open addressing,
 * at most half full.
 */
#include "dataset_twins.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 2 << 20, CHUNK = 2048 };

typedef struct {
    uint64_t *slot; /* 0: empty */
    uint64_t mask;  /* slots - 1 */
    uint64_t added;
    int share;      /* hashes whose low bits, so many, are 0 are looked at */
} set;

static int is_in_share(const set *s, uint64_t hash)
{
    return (hash & (((uint64_t)1 << s->share) - 1)) == 0;
}

/* The slot of a hash: it is there, or it belongs there. */
static uint64_t *find(const set *s, uint64_t hash)
{
    uint64_t i = (hash >> 20) & s->mask;

    while (s->slot[i] && s->slot[i] != (hash | 1))
        i = (i + 1) & s->mask;
    return &s->slot[i];
}

/* Rows of W that are in the set; ADD: those that are not are put there. */
static hone_status count(set *s, hone_shard_writer *w, uint64_t rows, int add,
                         uint64_t *found, hone_err *err)
{
    hone_row_record record[CHUNK];

    *found = 0;
    for (uint64_t row = 0; row < rows;) {
        uint64_t n = rows - row < CHUNK ? rows - row : CHUNK;

        hone_try(hone_shard_records(w, row, record, n, err));
        row += n;
        for (uint64_t i = 0; i < n; i++) {
            uint64_t *slot = find(s, record[i].hash);

            if (!is_in_share(s, record[i].hash))
                continue;
            if (*slot)
                ++*found;
            else if (add && s->added < s->mask / 4 * 3) {
                *slot = record[i].hash | 1; /* crafted ones do not fill it */
                s->added++;
            }
        }
    }
    *found <<= s->share;
    return HONE_OK;
}

hone_status hone_twins_count(hone_shard_writer *train, uint64_t train_rows,
                             hone_shard_counts *train_counts,
                             hone_shard_writer *val, uint64_t val_rows,
                             hone_shard_counts *val_counts, hone_err *err)
{
    uint64_t rows = train_rows > val_rows ? train_rows : val_rows, slots = 64;
    set s = { 0 };
    hone_status status;

    while (rows >> s.share > MOST)
        s.share++;
    while (slots < 2 * (rows >> s.share))
        slots *= 2;
    slots *= s.share ? 2 : 1; /* a share may be somewhat more */
    s.mask = slots - 1;
    s.slot = calloc(slots, sizeof *s.slot);
    if (!s.slot)
        return hone_fail(err, HONE_EIO, "out of host memory");
    status = count(&s, val, val_rows, 1, &val_counts->repeated, err);
    memset(s.slot, 0, slots * sizeof *s.slot);
    s.added = 0;
    if (status == HONE_OK)
        status = count(&s, train, train_rows, 1, &train_counts->repeated, err);
    if (status == HONE_OK)
        status = count(&s, val, val_rows, 0, &val_counts->in_train, err);
    free(s.slot);
    return status;
}

/* SPDX-License-Identifier: MIT
 *
 * dataset_progress.h -- the line that says how far preparing data is: rows,
 * tokens, speed, share of the files and the time that is left.
 */
#ifndef HONE_DATASET_PROGRESS_H
#define HONE_DATASET_PROGRESS_H

#include <stdint.h>

#include "arena.h"

typedef struct hone_progress_line {
    const char *verb, *path;
    int64_t *size; /* [files] bytes */
    int files, cap, file;
    int64_t total;  /* bytes of all files */
    int64_t done;   /* bytes of rows so far; those of a file never exceed it */
    int64_t before; /* of the files before this one */
    int64_t bytes;   /* of all rows so far */
    int64_t start_bytes; /* of these: by an earlier process */
    double start_share;  /* of the work: by an earlier process */
    int64_t rows, tokens;
    int64_t all_rows; /* 0: not known; then bytes tell how far it is */
    int64_t inside;   /* bytes of rows of this file: compressed, it has more */
    double share;     /* of this file; -1: its rows tell */
    double start_s, said_s;
    int terminal;
} hone_progress_line;

/* One more file. */
void hone_progress_add(hone_progress_line *, hone_arena *, const char *path);
/* From the first file on; VERB: "preparing". */
void hone_progress_begin(hone_progress_line *, const char *verb);
/* File number FILE is at work. */
void hone_progress_file(hone_progress_line *, int file, const char *path);
/* One more row of it, of so many bytes. */
void hone_progress_row(hone_progress_line *, size_t bytes);
/* How much of it is read, as its format says; -1: it does not. */
void hone_progress_share(hone_progress_line *, double share);
/* What was done so far was done by an earlier process. */
void hone_progress_skipped(hone_progress_line *);
/* Says it, if it is time. */
void hone_progress_say(hone_progress_line *);

#endif

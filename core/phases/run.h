/* SPDX-License-Identifier: MIT
 *
 * run.h -- a run's folder: what is in it, and the training that fills it.
 */
#ifndef HONE_RUN_H
#define HONE_RUN_H

#include "recipe.h"
#include "session.h"

/* Trains into OUT (absolute). An unfinished run there goes on; a finished one
 * is said to be one. With FRESH a run there is set aside as OUT.1, OUT.2...;
 * what is there and no run's, nor empty, is refused (HONE_EINVAL). */
hone_status hone_run(const hone_recipe *, const hone_rank *, const char *out,
                     int fresh, hone_err *);

/* Reads a string of FOLDER/run.json into A; NULL where there is none. */
const char *hone_run_text(hone_arena *a, const char *folder, const char *key);

#endif

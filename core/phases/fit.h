/* SPDX-License-Identifier: MIT
 *
 * fit.h -- a run is made to fit its budget, or refused before anything is
 * loaded. The budget: what the recipe allows, else what is free. A run that is
 * gone on with keeps the means that its plan.json has.
 */
#ifndef HONE_FIT_H
#define HONE_FIT_H

#include "session.h"

/* Compiles the session's programs and makes its plan, by the means that are the
 * fastest of those that fit. HONE_ENOMEM: none do; the message has what would,
 * with its cost in time. */
hone_status hone_fit(hone_session *, hone_err *);

/* Bytes of the plan, and those that there are: on the device, or of the host
 * where that is the same. */
int64_t hone_fit_needed(const hone_session *);
int64_t hone_fit_budget(const hone_session *);
/* Seconds a token in the largest micro-batch as it is laid out. */
double hone_fit_pace(const hone_session *);
/* That for all tokens of a step. */
hone_status hone_fit_step(hone_session *, double *seconds, hone_err *);
/* The share of it that is spent waiting for copies. */
double hone_fit_waits(const hone_session *);

/* What a run needs: the fewest bytes that were found, and its pace with all
 * kept. */
typedef struct hone_need_of {
    int64_t bytes;
    double pace;
} hone_need_of;
/* The work of hone_fit() without its words: with the weights where they are by
 * the session's means; fit_stream.c: with more of them in host memory, if it
 * takes that. */
hone_status hone_fit_resident(hone_session *, hone_need_of *, hone_err *);
hone_status hone_fit_make(hone_session *, hone_need_of *, hone_err *);
/* Beside a device that is not the host: whether the host holds the run's plain
 * and pinned memory, those bytes, and those that it has; 0: not known. */
int hone_fit_host(const hone_session *);
int64_t hone_fit_host_needed(const hone_session *);
int64_t hone_fit_host_room(const hone_session *);

/* fit_offers.c: the message of a run that does not fit, with what would. The
 * session is of no use afterwards. */
hone_status hone_fit_refuse(hone_session *, const hone_need_of *, hone_err *);
/* The same where it is the host that cannot hold it. */
hone_status hone_fit_refuse_host(const hone_session *, hone_err *);

/* fit_means.c: "12 none, 20 all": layers from the first on. */
void hone_means_text(char *to, size_t bytes, const uint8_t *keep, int layers);
/* Takes those of a run that is under way in OUT. */
void hone_means_read(hone_session *);
/* As plan.json has them, in the session's arena. */
const char *hone_means_json(hone_session *);
/* Of all that was tried, what nothing else beats in bytes and seconds: kept in
 * the session. REST: bytes of the run besides. */
void hone_means_runners(hone_session *, const hone_solver *, int64_t rest);
/* The choice and the runners-up, for a person; as JSON with a comma before. */
void hone_means_print(const hone_session *);
int hone_means_runners_json(const hone_session *, char *to, int bytes);

#endif

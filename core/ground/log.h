/* SPDX-License-Identifier: MIT
 *
 * log.h -- messages to the person at the terminal: stderr, one line each,
 * written with one write(2) from the stack, so that it never allocates.
 */
#ifndef HONE_LOG_H
#define HONE_LOG_H

#include "hone/plugin.h"

enum { HONE_LOG_ERROR, HONE_LOG_WARN, HONE_LOG_NOTE, HONE_LOG_DETAIL };

/* Messages above LEVEL are left out. Default: HONE_LOG_NOTE. */
void hone_log_level(int level);
void hone_log(int level, const char *fmt, ...) HONE_PRINTF(2, 3);
/* At detail: how long WHAT took, that is, since the last call (the first one
 * starts the clock), and all since then. The start of a run, phase by phase. */
void hone_log_time(const char *what);

/* Seconds on a clock that only goes forward. */
double hone_now_s(void);
/* "3m20s", "1h05m". */
const char *hone_clock_text(double seconds, char to[32]);

/* The live line: overwrites itself on a terminal; elsewhere an ordinary line.
 * The next hone_log() moves below it. */
void hone_log_live(const char *line);

/* What components are lent. */
extern const hone_host hone_the_host;

#endif

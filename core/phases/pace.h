/* SPDX-License-Identifier: MIT
 *
 * pace.h -- how long the phases of a run take, by the cost of its programs on
 * a card and by how its rows fall into micro-batches. Runs nothing.
 */
#ifndef HONE_PACE_H
#define HONE_PACE_H

#include "session.h"

/* Fills step, seconds and card of the parts from those that are there; leaves
 * 0 where the session knows no card. */
void hone_pace(const hone_session *, hone_plan_parts *);

/* Tokens of the micro-batches of a step, padding included, on average. */
double hone_pace_tokens(const hone_session *);

#endif

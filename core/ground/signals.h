/* SPDX-License-Identifier: MIT
 *
 * signals.h -- SIGINT, SIGTERM and SIGHUP as a flag that loops poll. A second
 * one, but SIGHUP, ends the process at once (130). A limit on the size of files
 * is an error of write(), not the end.
 */
#ifndef HONE_SIGNALS_H
#define HONE_SIGNALS_H

void hone_signals_catch(void);
int hone_interrupted(void);
/* Signals end the process again, as if they had never been caught. */
void hone_signals_release(void);

#endif

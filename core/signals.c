/* SPDX-License-Identifier: MIT
 *
 * signals.c -- see signals.h.
 */
#include "signals.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>

static volatile sig_atomic_t caught;

static void note(int signal)
{
    (void)signal;
    caught = 1;
}

void hone_signals_catch(void)
{
    struct sigaction a;

    memset(&a, 0, sizeof a);
    a.sa_handler = note;
    a.sa_flags = SA_RESTART | (int)SA_RESETHAND;
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

int hone_interrupted(void)
{
    return caught;
}

/* SPDX-License-Identifier: MIT
 *
 * signals.c -- see signals.h.
 */
#include "signals.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t caught;

static void note(int number)
{
    (void)number;
    if (caught)
        _exit(130);
    caught = 1;
}

void hone_signals_catch(void)
{
    struct sigaction a;

    memset(&a, 0, sizeof a);
    a.sa_handler = note;
    a.sa_flags = SA_RESTART;
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    a.sa_handler = SIG_IGN; /* write() says it: the file is too large */
    sigaction(SIGXFSZ, &a, NULL);
}

int hone_interrupted(void)
{
    return caught;
}

void hone_signals_release(void)
{
    struct sigaction a;

    memset(&a, 0, sizeof a);
    a.sa_handler = SIG_DFL;
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

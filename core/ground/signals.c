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
    if (caught && number != SIGHUP) /* a terminal that closes sends several */
        _exit(130);
    caught = 1;
}

/* After nohup it stays ignored. */
static void set_hangup(const struct sigaction *a)
{
    struct sigaction was;

    if (!sigaction(SIGHUP, NULL, &was) && was.sa_handler != SIG_IGN)
        sigaction(SIGHUP, a, NULL);
}

void hone_signals_catch(void)
{
    struct sigaction a;

    memset(&a, 0, sizeof a);
    a.sa_handler = note;
    a.sa_flags = SA_RESTART;
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    set_hangup(&a);
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
    set_hangup(&a);
}

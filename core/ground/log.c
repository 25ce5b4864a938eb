/* SPDX-License-Identifier: MIT
 *
 * log.c -- see log.h.
 */
#include "log.h"

#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static int the_level = HONE_LOG_NOTE;
static int live; /* a live line stands on the terminal */

void hone_log_level(int level)
{
    the_level = level;
}

static void put(const char *text, size_t n)
{
    while (n > 0) {
        ssize_t done = write(STDERR_FILENO, text, n);
        if (done <= 0)
            return; /* nowhere left to complain */
        text += done;
        n -= (size_t)done;
    }
}

HONE_PRINTF(2, 0)
static void say(int level, const char *fmt, va_list ap)
{
    char line[4096];
    const char *head = level == HONE_LOG_ERROR  ? "hone: error: "
                       : level == HONE_LOG_WARN ? "hone: warning: "
                                                : "";
    int at, n;

    if (level > the_level)
        return;
    at = snprintf(line, sizeof line, "%s%s", live ? "\n" : "", head);
    live = 0;
    n = vsnprintf(line + at, sizeof line - (size_t)at - 1, fmt, ap);
    if (n < 0)
        return;
    at += n;
    if (at > (int)sizeof line - 2)
        at = (int)sizeof line - 2;
    line[at++] = '\n';
    put(line, (size_t)at);
}

double hone_now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const char *hone_clock_text(double seconds, char to[32])
{
    long s = lround(seconds);

    if (s >= 3600)
        snprintf(to, 32, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else
        snprintf(to, 32, "%ldm%02lds", s / 60, s % 60);
    return to;
}

void hone_log(int level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(level, fmt, ap);
    va_end(ap);
}

void hone_log_time(const char *what)
{
    static double first, last;
    double now = hone_now_s();

    if (first == 0)
        first = last = now;
    hone_log(HONE_LOG_DETAIL, "%8.3f s  %-28s %8.3f s since the start",
             now - last, what, now - first);
    last = now;
}

void hone_log_live(const char *text)
{
    struct winsize size = { .ws_col = 0 };
    char line[1024];
    int n, most = (int)sizeof line;

    if (the_level < HONE_LOG_NOTE)
        return;
    if (!isatty(STDERR_FILENO)) {
        n = snprintf(line, sizeof line, "%s\n", text);
    } else { /* a line that is wrapped could not be written over */
        if (!ioctl(STDERR_FILENO, TIOCGWINSZ, &size) && size.ws_col > 1)
            most = size.ws_col - 1;
        n = snprintf(line, sizeof line, "\r\033[K%.*s", most, text);
        live = 1;
    }
    if (n > 0)
        put(line, strlen(line));
}

HONE_PRINTF(3, 4)
static void host_log(const hone_host *host, int level, const char *fmt, ...)
{
    va_list ap;

    (void)host;
    va_start(ap, fmt);
    say(level, fmt, ap);
    va_end(ap);
}

const hone_host hone_the_host = { .size = sizeof(hone_host), .log = host_log };

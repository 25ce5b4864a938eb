/* SPDX-License-Identifier: MIT
 *
 * dataset_progress.c -- see dataset_progress.h.
 */
#include "dataset_progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

/* Seconds between two lines, on a terminal and elsewhere. */
#define LIVE_S 0.2
#define PLAIN_S 5.0

void hone_progress_add(hone_progress_line *p, hone_arena *a, const char *path)
{
    struct stat st = { .st_size = 0 };

    if (stat(path, &st))
        st.st_size = 0; /* who opens it says what is wrong */
    hone_push(a, p->size, p->files, p->cap);
    p->size[p->files++] = st.st_size;
    p->total += st.st_size;
}

void hone_progress_begin(hone_progress_line *p, const char *verb)
{
    p->verb = verb;
    p->file = -1;
    p->done = p->before = p->rows = p->tokens = 0;
    p->bytes = p->start_bytes = 0;
    p->start_share = 0;
    p->start_s = p->said_s = hone_now_s();
    p->terminal = isatty(STDERR_FILENO);
}

void hone_progress_file(hone_progress_line *p, int file, const char *path)
{
    if (file == p->file)
        return;
    p->before = 0;
    for (int i = 0; i < file; i++)
        p->before += p->size[i];
    p->done = p->before;
    p->inside = 0;
    p->share = -1;
    p->file = file;
    p->path = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

void hone_progress_row(hone_progress_line *p, size_t bytes)
{
    int64_t most = p->before + p->size[p->file];

    p->rows++;
    p->bytes += (int64_t)bytes + 1;
    p->inside += (int64_t)bytes + 1;
    p->done += (int64_t)bytes + 1;
    if (p->done > most)
        p->done = most;
}

void hone_progress_share(hone_progress_line *p, double share)
{
    p->share = share > 1 ? 1 : share;
}

/* The share of the work that is done; -1: nobody knows. */
static double share_of(const hone_progress_line *p)
{
    if (p->all_rows)
        return (double)p->rows / (double)p->all_rows;
    if (p->total && p->share >= 0)
        return ((double)p->before + p->share * (double)p->size[p->file]) /
               (double)p->total;
    if (!p->total || p->inside > p->size[p->file] + p->size[p->file] / 8)
        return -1;
    return (double)p->done / (double)p->total;
}

void hone_progress_say(hone_progress_line *p)
{
    double now = hone_now_s(), spent = now - p->start_s;
    double share = share_of(p), work = share - p->start_share;
    char line[512], left[32], tokens[48] = "", how_far[64] = "";

    if (now - p->said_s < (p->terminal ? LIVE_S : PLAIN_S))
        return;
    p->said_s = now;
    if (share >= 0 && work > 0) {
        snprintf(how_far, sizeof how_far, ", %.0f %%, %s left", 100 * share,
                 hone_clock_text(spent / work * (1 - share), left));
    }
    if (p->tokens)
        snprintf(tokens, sizeof tokens, ", %.2fM tokens",
                 1e-6 * (double)p->tokens);
    snprintf(line, sizeof line, "%s %.200s: %lld rows%s, %.1f MB/s%s", p->verb,
             p->path, (long long)p->rows, tokens,
             1e-6 * (double)(p->bytes - p->start_bytes) / spent, how_far);
    hone_log_live(line);
}

void hone_progress_skipped(hone_progress_line *p)
{
    p->start_bytes = p->bytes;
    p->start_share = share_of(p) > 0 ? share_of(p) : 0;
    p->start_s = hone_now_s();
}

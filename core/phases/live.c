/* SPDX-License-Identifier: MIT
 *
 * live.c -- see live.h.
 */
#include "live.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void hone_live_start(hone_live *l, int64_t from, int64_t steps, int64_t bytes,
                     double limit)
{
    *l = (hone_live){ .from = from, .steps = steps, .bytes = bytes,
                      .limit = limit,
                      .started_s = now_s(), .eval_loss = NAN,
                      .terminal = isatty(STDERR_FILENO) };
}

static void clock_text(double seconds, char to[32])
{
    long s = lround(seconds);

    if (s >= 3600)
        snprintf(to, 32, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else
        snprintf(to, 32, "%ldm%02lds", s / 60, s % 60);
}

void hone_live_step(hone_live *l, const hone_step_report *r)
{
    double now = now_s(), quiet = l->terminal ? 0.1 : 2;
    char line[512], left[32], bytes[32], share[32] = "";

    l->seconds += r->time_s;
    l->tokens += r->tokens;
    l->flops += r->flops;
    if (now - l->said_s < quiet && r->step != l->from + 1 && r->step != l->steps)
        return;
    l->said_s = now;
    clock_text((now - l->started_s) / (double)(r->step - l->from) *
                   (double)(l->steps - r->step), left);
    if (l->limit > 0)
        snprintf(share, sizeof share, "  %.0f %% of the limit",
                 100 * l->flops / l->seconds / l->limit);
    snprintf(line, sizeof line,
             "step %lld/%lld  loss %.4f  norm %.3f  lr %.2e  %.0f tokens/s"
             "%s  %s  %s left%s", (long long)r->step, (long long)l->steps, r->loss,
             r->grad_norm, r->lr, (double)l->tokens / l->seconds, share,
             hone_bytes_text(l->bytes, bytes), left,
             r->skipped ? "  NOT UPDATED" : "");
    hone_log_live(line);
}

void hone_live_eval(hone_live *l, int64_t step, double loss)
{
    hone_log(HONE_LOG_NOTE, "step %lld  held-out loss %.4f%s", (long long)step,
             loss, isnan(l->eval_loss)      ? ""
                   : loss < l->eval_loss ? "  (better)"
                                         : "");
    l->eval_loss = loss;
}

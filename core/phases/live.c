/* SPDX-License-Identifier: MIT
 *
 * live.c -- see live.h.
 */
#include "live.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "log.h"

void hone_live_start(hone_live *l, int64_t from, int64_t steps, int64_t bytes,
                     double limit)
{
    *l = (hone_live){ .from = from, .steps = steps, .bytes = bytes,
                      .limit = limit,
                      .started_s = hone_now_s(), .eval_loss = NAN,
                      .terminal = isatty(STDERR_FILENO) };
}

void hone_live_step(hone_live *l, const hone_step_report *r)
{
    double now = hone_now_s(), quiet = l->terminal ? 0.1 : 2;
    char line[512], left[32], bytes[32], share[32] = "";

    l->seconds += r->time_s;
    l->tokens += r->tokens;
    l->flops += r->flops;
    if (now - l->said_s < quiet && r->step != l->from + 1 && r->step != l->steps)
        return;
    l->said_s = now;
    hone_clock_text((now - l->started_s) / (double)(r->step - l->from) *
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

/* SPDX-License-Identifier: MIT
 *
 * verb_kernels.c -- `hone kernels check PACK [OP]` and `hone kernels bench PACK
 * [OP]`: kernels of a pack against the reference of their op, or the clock.
 */
#include <string.h>

#include "kernels_check.h"
#include "log.h"
#include "registry.h"
#include "verbs.h"

enum { CASES = 60 };

/* One line; 1: the kernel is wrong. */
static int check_one(const hone_bench *b, const hone_kernel *k,
                     const hone_component *op)
{
    hone_verdict v;
    hone_err err;
    hone_status s = hone_kernel_check(b, k, op, CASES, &v, &err);

    if (s == HONE_ENOSUP)
        printf("%-20s not tried: %s\n", k->op, err.msg);
    else if (s != HONE_OK)
        printf("%-20s FAIL: %s\n", k->op, err.msg);
    else
        printf("%-20s %5d %12.2e %12.2e  %s\n", k->op, v.cases, v.worst,
               v.bound, v.error <= 1 ? "ok" : "FAIL");
    return s != HONE_OK ? s != HONE_ENOSUP : !(v.error <= 1);
}

static int time_one(const hone_bench *b, const hone_kernel *k,
                    const hone_component *op)
{
    hone_timing t;
    hone_err err;

    if (hone_kernel_time(b, k, op, &t, &err) != HONE_OK) {
        printf("%-20s not tried: %s\n", k->op, err.msg);
        return err.code != HONE_ENOSUP;
    }
    printf("%-20s %11.4f %11.2f %11.2f\n", k->op, 1e3 * t.seconds,
           1e-9 * t.bytes / t.seconds, 1e-9 * t.flops / t.seconds);
    return 0;
}

static int each(const hone_pack *pack, const hone_bench *b, int timing,
                const char *only)
{
    const char *name = b->compute == HONE_BF16 ? "op, bf16" : "op, fp32";
    int wrong = 0;

    if (timing)
        printf("%-20s %11s %11s %11s\n", name, "ms", "GB/s", "GFLOP/s");
    else
        printf("%-20s %5s %12s %12s\n", name, "cases", "worst", "bound");
    for (const hone_kernel *k = pack->kernels; k->op; k++) {
        const hone_component *op = hone_find(HONE_KIND_OP, k->op);

        if (only && strcmp(only, k->op))
            continue;
        if (!op)
            printf("%-20s not tried: no plugin defines this op\n", k->op);
        else
            wrong += (timing ? time_one : check_one)(b, k, op);
        fflush(stdout);
    }
    return wrong;
}

static hone_status open_pack(const char *name, hone_instance *device,
                             const hone_pack **pack, hone_bench *b,
                             hone_arena *a, hone_err *err)
{
    const hone_component *p, *d;
    hone_device_info info = { .size = sizeof info };

    hone_try(hone_need_component(HONE_KIND_PACK, name, &p, err));
    *pack = p->ops;
    hone_try(hone_need_component(HONE_KIND_DEVICE, (*pack)->device, &d, err));
    hone_try(hone_instance_open(device, d, NULL, a, err));
    b->device = d->ops;
    b->dev = device->state;
    hone_try(b->device->info(b->dev, &info, err));
    b->threads = info.threads > 0 ? info.threads : 1;
    b->compute = HONE_F32;
    b->scale = info.is_host ? 0 : 8;
    return HONE_OK;
}

int hone_verb_kernels(int argc, char **argv)
{
    static const hone_arg none[] = { { NULL, NULL, NULL, 0 } };
    const char *rest[4];
    const hone_pack *pack;
    hone_instance device = { .component = NULL };
    hone_arena arena = { 0 };
    hone_bench bench;
    hone_err err;
    int wrong;

    if (hone_args(argc, argv, none, rest, 3, &err) != HONE_OK)
        return hone_report_error(&err);
    if (!rest[0] || !rest[1] ||
        (strcmp(rest[0], "check") && strcmp(rest[0], "bench"))) {
        hone_log(HONE_LOG_ERROR, "usage: hone kernels check|bench PACK [OP]; "
                                 "hone plugins lists the packs");
        return 2;
    }
    if (open_pack(rest[1], &device, &pack, &bench, &arena, &err) != HONE_OK) {
        hone_arena_free(&arena);
        return hone_report_error(&err);
    }
    wrong = each(pack, &bench, !strcmp(rest[0], "bench"), rest[2]);
    bench.compute = HONE_BF16;
    if (bench.scale) /* a GPU */
        wrong += each(pack, &bench, !strcmp(rest[0], "bench"), rest[2]);
    if (wrong)
        hone_log(HONE_LOG_ERROR, "%d kernels of '%s' are wrong", wrong,
                 rest[1]);
    hone_instance_close(&device);
    hone_arena_free(&arena);
    return wrong ? 1 : 0;
}

/* SPDX-License-Identifier: MIT
 *
 * verb_kernels.c -- `hone kernels check PACK [OP]` and `hone kernels bench PACK
 * [OP]`: kernels of a pack against the reference of their op, or the clock.
 */
#include <string.h>

#include "kernels_limits.h"
#include "log.h"
#include "registry.h"
#include "verbs.h"

/* One line; 1: the kernel is wrong. */
static int check_one(const hone_bench *b, const hone_kernel *k,
                     const hone_component *op, int shapes)
{
    hone_verdict v;
    hone_err err;
    hone_status s = hone_kernel_check(b, k, op, shapes, &v, &err);

    if (s == HONE_ENOSUP)
        printf("%-20s not tried: %s\n", k->op, err.msg);
    else if (s != HONE_OK)
        printf("%-20s FAIL: %s\n", k->op, err.msg);
    else
        printf("%-20s %5d %12.2e %12.2e  %s\n", k->op, v.cases, v.worst,
               v.bound, v.error <= 1 ? "ok" : "FAIL");
    if (s == HONE_OK && v.shapes[0])
        printf("  first of %s\n", v.shapes);
    return s != HONE_OK ? s != HONE_ENOSUP : !(v.error <= 1);
}

static int time_one(const hone_bench *b, const hone_limits *limits,
                    const hone_kernel *k, const hone_component *op)
{
    hone_timing t;
    hone_err err;

    if (hone_kernel_time(b, k, op, &t, &err) != HONE_OK) {
        printf("%-20s not tried: %s\n", k->op, err.msg);
        return err.code != HONE_ENOSUP;
    }
    printf("%-20s %11.4f %11.2f %11.2f %8.0f %%\n", k->op, 1e3 * t.seconds,
           1e-9 * t.bytes / t.seconds, 1e-9 * t.flops / t.seconds,
           100 * hone_limits_share(limits, t.bytes, t.flops, t.seconds));
    return 0;
}

static int each(const hone_pack *pack, const hone_bench *b, int shapes,
                const char *only)
{
    int wrong = 0;
    char name[32];
    hone_limits limits = { 0 };
    hone_bench as = *b;
    hone_err err;

    snprintf(name, sizeof name, "op, %s",
             b->compute == HONE_FP8   ? "fp8"
             : b->compute == HONE_NF4 ? "nf4"
                                      : hone_parts(b->compute)[0].name);
    if (!shapes) {
        printf("%-20s %11s %11s %11s %10s\n", name, "ms", "GB/s", "GFLOP/s",
               "of limit");
        /* The ceiling of what is beside codes. */
        if (as.compute == HONE_FP8 || as.compute == HONE_NF4)
            as.compute = b->scale ? HONE_BF16 : HONE_F32;
        if (hone_limits_measure(&as, pack->device, &limits, &err) != HONE_OK)
            hone_log(HONE_LOG_WARN, "the limit is unknown: %s", err.msg);
        printf("%-20s %11s %11.2f %11.2f\n", "(the limit)", "",
               1e-9 * limits.bytes_per_s, 1e-9 * limits.flops_per_s);
    } else {
        printf("%-20s %5s %12s %12s\n", name, "cases", "worst", "bound");
    }
    for (const hone_kernel *k = pack->kernels; k->op; k++) {
        const hone_component *op = hone_find(HONE_KIND_OP, k->op);

        if ((only && strcmp(only, k->op)) ||
            (op && !hone_case_has(op, b->compute)))
            continue;
        if (!op)
            printf("%-20s not tried: no plugin defines this op\n", k->op);
        else
            wrong += shapes ? check_one(b, k, op, shapes)
                            : time_one(b, &limits, k, op);
        fflush(stdout);
    }
    return wrong;
}

static hone_status open_pack(const char *name, hone_instance *device,
                             const hone_pack **pack, hone_bench *b,
                             hone_arena *a, hone_err *err)
{
    const hone_component *p, *d;
    hone_device_info *info = hone_alloc(a, sizeof *info);

    hone_try(hone_need_component(HONE_KIND_PACK, name, &p, err));
    *pack = p->ops;
    hone_try(hone_need_component(HONE_KIND_DEVICE, (*pack)->device, &d, err));
    hone_try(hone_instance_open(device, d, NULL, a, err));
    b->device = d->ops;
    b->dev = device->state;
    info->size = sizeof *info;
    hone_try(b->device->info(b->dev, info, err));
    b->info = info;
    b->threads = info->threads > 0 ? info->threads : 1;
    b->compute = HONE_F32;
    b->scale = info->is_host ? 0 : 8;
    b->can_capture = info->can_capture;
    return HONE_OK;
}

static hone_status find_op(const hone_pack *pack, const char *name,
                           const char *op, hone_err *err)
{
    const hone_kernel *k = pack->kernels;

    while (op && k->op && strcmp(k->op, op))
        k++;
    return !op || k->op ? HONE_OK
                        : hone_fail(err, HONE_EINVAL, "'%s' has no kernel for "
                                    "an op '%s'; without OP all are listed",
                                    name, op);
}

/* Every type of numbers that the pack may compute in. */
static int each_type(const hone_pack *pack, hone_bench *b, int shapes,
                     const char *only)
{
    static const struct {
        hone_storage storage;
        int arch; /* of an NVIDIA GPU at least */
    } types[] = { { HONE_F32, 0 }, { HONE_BF16, 80 }, { HONE_F16, 0 },
                  { HONE_FP8, 89 }, { HONE_NF4, 0 } };
    int wrong = 0;

    for (int i = 0; i < 5; i++) {
        b->compute = types[i].storage;
        if (i > 0 && i < 4 && !b->scale) /* on a GPU alone */
            continue;
        if (b->info->arch && b->info->arch < types[i].arch)
            continue; /* older than these numbers */
        wrong += each(pack, b, shapes, only);
    }
    return wrong;
}

int hone_verb_kernels(int argc, char **argv)
{
    const char *rest[4];
    int64_t shapes = 60;
    const hone_arg args[] = { { "--shapes", .count = &shapes, .min = 1,
                                .max = 1e6 },
                              { .name = NULL } };
    const hone_pack *pack;
    hone_instance device = { .component = NULL };
    hone_arena arena = { 0 };
    hone_bench bench;
    hone_err err;
    int wrong;

    if (hone_args(argc, argv, args, rest, 3, &err) != HONE_OK)
        return hone_report_error(&err);
    if (!rest[0] || !rest[1] ||
        (strcmp(rest[0], "check") && strcmp(rest[0], "bench"))) {
        hone_log(HONE_LOG_ERROR, "usage: hone kernels check PACK [OP] "
                                 "[--shapes N], or kernels bench PACK [OP]; "
                                 "hone plugins lists the packs");
        return 2;
    }
    if (open_pack(rest[1], &device, &pack, &bench, &arena, &err) != HONE_OK ||
        find_op(pack, rest[1], rest[2], &err) != HONE_OK) {
        hone_instance_close(&device);
        hone_arena_free(&arena);
        return hone_report_error(&err);
    }
    wrong = each_type(pack, &bench, strcmp(rest[0], "check") ? 0 : (int)shapes,
                      rest[2]);
    if (wrong)
        hone_log(HONE_LOG_ERROR, "%d kernels of '%s' are wrong", wrong,
                 rest[1]);
    hone_instance_close(&device);
    hone_arena_free(&arena);
    return wrong ? 1 : 0;
}

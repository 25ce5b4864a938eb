/* SPDX-License-Identifier: MIT
 *
 * kernels.c -- `hone kernels check PACK [OP]` and `hone kernels bench PACK
 * [OP]`: kernels of a pack against the reference of their op, or the clock.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

typedef struct {
    int64_t shapes;
} config;

typedef struct {
    const hone_host *host;
    const char *name, *only; /* PACK; OP or NULL */
    int shapes;              /* 0: bench */
    const hone_component *device;
    const hone_pack *pack;
    void *device_config, *state;
    int is_open;
    hone_device_info info;
    kernel_bench bench;
} job;

/* What the device does at best. */
typedef struct {
    double bytes_per_s, flops_per_s;
} limits;

/* One line; 1: the kernel is wrong. */
static int check_one(const kernel_bench *b, const hone_kernel *k,
                     const hone_component *op, int shapes)
{
    kernel_verdict v;
    hone_err err;
    hone_status s = kernel_check(b, k, op, shapes, &v, &err);

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

/* The larger of the two shares of the limits that a run comes to. */
static double share(const limits *l, const kernel_timing *t)
{
    double moved = l->bytes_per_s > 0 ? t->bytes / l->bytes_per_s : 0;
    double counted = l->flops_per_s > 0 ? t->flops / l->flops_per_s : 0;

    return fmax(moved, counted) / t->seconds;
}

static int time_one(const kernel_bench *b, const limits *l,
                    const hone_kernel *k, const hone_component *op)
{
    kernel_timing t;
    hone_err err;

    if (kernel_time(b, k, op, &t, &err) != HONE_OK) {
        printf("%-20s not tried: %s\n", k->op, err.msg);
        return err.code != HONE_ENOSUP;
    }
    printf("%-20s %11.4f %11.2f %11.2f %8.0f %%\n", k->op, 1e3 * t.seconds,
           1e-9 * t.bytes / t.seconds, 1e-9 * t.flops / t.seconds,
           100 * share(l, &t));
    return 0;
}

static void measure_limits(const job *j, limits *l)
{
    hone_storage compute = j->bench.compute;
    hone_err err;

    /* The ceiling of what is beside codes. */
    if (compute == HONE_FP8 || compute == HONE_NF4)
        compute = j->bench.scale ? HONE_BF16 : HONE_F32;
    if (j->host->limits(j->host, j->device, j->state, compute,
                        &l->bytes_per_s, &l->flops_per_s, &err) != HONE_OK)
        j->host->log(j->host, 1, "the limit is unknown: %s", err.msg);
    printf("%-20s %11s %11.2f %11.2f\n", "(the limit)", "",
           1e-9 * l->bytes_per_s, 1e-9 * l->flops_per_s);
}

static int each(const job *j)
{
    const kernel_bench *b = &j->bench;
    const hone_component *op;
    int wrong = 0;
    char name[32];
    limits l = { 0, 0 };
    hone_err err;

    snprintf(name, sizeof name, "op, %s",
             b->compute == HONE_FP8   ? "fp8"
             : b->compute == HONE_NF4 ? "nf4"
                                      : hone_parts(b->compute)[0].name);
    if (j->shapes) {
        printf("%-20s %5s %12s %12s\n", name, "cases", "worst", "bound");
    } else {
        printf("%-20s %11s %11s %11s %10s\n", name, "ms", "GB/s", "GFLOP/s",
               "of limit");
        measure_limits(j, &l);
    }
    for (const hone_kernel *k = j->pack->kernels; k->op; k++) {
        hone_status s = j->host->find(j->host, HONE_KIND_OP, k->op, &op, &err);

        if ((j->only && strcmp(j->only, k->op)) ||
            (s == HONE_OK && !case_has(op, b->compute)))
            continue;
        if (s != HONE_OK)
            printf("%-20s not tried: no plugin defines this op\n", k->op);
        else
            wrong += j->shapes ? check_one(b, k, op, j->shapes)
                               : time_one(b, &l, k, op);
        fflush(stdout);
    }
    return wrong;
}

/* Every type of numbers that the pack may compute in. */
static int each_type(job *j)
{
    static const struct {
        hone_storage storage;
        int arch; /* of an NVIDIA GPU at least */
    } types[] = { { HONE_F32, 0 }, { HONE_BF16, 80 }, { HONE_F16, 0 },
                  { HONE_FP8, 89 }, { HONE_NF4, 0 } };
    int wrong = 0;

    for (int i = 0; i < 5; i++) {
        j->bench.compute = types[i].storage;
        if (i > 0 && i < 4 && !j->bench.scale) /* on a GPU alone */
            continue;
        if (j->info.arch && j->info.arch < types[i].arch)
            continue; /* older than these numbers */
        wrong += each(j);
    }
    return wrong;
}

static hone_status open_device(job *j, hone_err *err)
{
    kernel_bench *b = &j->bench;

    j->device_config = calloc(1, j->device->config_size + 1);
    j->state = calloc(1, j->device->state_size + 1);
    if (!j->device_config || !j->state)
        return hone_fail(err, HONE_EIO, "out of memory");
    component_defaults(j->device, j->device_config);
    if (j->device->open)
        hone_try(j->device->open(j->host, j->device_config, j->state, err));
    j->is_open = 1;
    b->device = j->device->ops;
    b->dev = j->state;
    b->info = &j->info;
    j->info.size = sizeof j->info;
    hone_try(b->device->info(b->dev, &j->info, err));
    b->threads = j->info.threads > 0 ? j->info.threads : 1;
    b->scale = j->info.is_host ? 0 : 8;
    b->can_capture = j->info.can_capture;
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

static hone_status read_words(job *j, int argc, char **argv, hone_err *err)
{
    const config *c = j->host->config;
    int is_check = argc && !strcmp(argv[0], "check");

    if (argc > 3)
        return hone_fail(err, HONE_EINVAL, "'%s': one argument too many",
                         argv[3]);
    if (argc < 2 || (!is_check && strcmp(argv[0], "bench")))
        return hone_fail(err, HONE_EINVAL, "usage: hone kernels check PACK "
                         "[OP] [--shapes N], or kernels bench PACK [OP]; hone "
                         "plugins lists the packs");
    j->name = argv[1];
    j->only = argc > 2 ? argv[2] : NULL;
    j->shapes = is_check ? (int)c->shapes : 0;
    return HONE_OK;
}

static hone_status run(job *j, int *wrong, hone_err *err)
{
    const hone_host *h = j->host;
    const hone_component *pack;

    hone_try(h->find(h, HONE_KIND_PACK, j->name, &pack, err));
    j->pack = pack->ops;
    hone_try(h->find(h, HONE_KIND_DEVICE, j->pack->device, &j->device, err));
    hone_try(open_device(j, err));
    hone_try(find_op(j->pack, j->name, j->only, err));
    *wrong = each_type(j);
    if (*wrong)
        h->log(h, 0, "%d kernels of '%s' are wrong", *wrong, j->name);
    return HONE_OK;
}

static int kernels_run(const hone_host *host, int argc, char **argv)
{
    job j = { .host = host };
    hone_err err = { HONE_OK, "" };
    int wrong = 0;
    hone_status s = read_words(&j, argc, argv, &err);

    if (s == HONE_OK)
        s = run(&j, &wrong, &err);
    if (s != HONE_OK)
        host->log(host, 0, "%s", err.msg);
    if (j.is_open && j.device->close)
        j.device->close(j.state);
    free(j.state);
    free(j.device_config);
    if (s == HONE_OK)
        return wrong > 0;
    return s == HONE_ENOMEM ? 3 : s == HONE_EIO ? 1 : 2;
}

static const hone_option options[] = {
    HONE_OPT_INT(config, shapes, 60, 1, 1e6, "random ones of each kernel"),
    HONE_OPT_END
};

static const hone_verb ops = {
    sizeof ops, "check|bench PACK [OP] [--shapes N]", kernels_run
};

static const hone_component kernels = {
    .size = sizeof kernels,
    .kind = HONE_KIND_VERB,
    .name = "kernels",
    .help = "hold a pack to the reference, or time it",
    .options = options,
    .config_size = sizeof(config),
    .ops = &ops
};

HONE_PLUGIN("kernels", "1.0", &kernels)

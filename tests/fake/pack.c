/* SPDX-License-Identifier: MIT
 *
 * pack.c -- the pack `fake`: the CPU pack's kernels, run by the streams of the
 * device `fake`. Each kernel is asked of the CPU pack by the call's name, and
 * in fp16 of half.c; run() checks and translates the addresses and issues a
 * task.
 */
#include "fake.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { KERNELS = 128, HEAD_BYTES = 64 };

/* In front of the CPU kernel's own prepared call. */
typedef struct {
    const hone_kernel *kernel;
    fake_device *dev;
    uint32_t count;
} head;

_Static_assert(sizeof(head) <= HEAD_BYTES, "the head has its own line");

/* ---------------------------------------------- the plugin of the CPU pack */

static const hone_plugin *open_plugin(const char *folder, int bytes,
                                      const char *name)
{
    char path[PATH_MAX];
    const hone_plugin *(*entry)(void);
    void *handle, *symbol;

    snprintf(path, sizeof path, "%.*s/%s.so", bytes, folder, name);
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    symbol = handle ? dlsym(handle, "hone_plugin_entry") : NULL;
    if (!symbol)
        return NULL;
    memcpy(&entry, &symbol, sizeof entry);
    return entry();
}

/* Beside this file, in $HONE_PLUGIN_PATH, then where a build folder has it. */
const hone_plugin *fake_plugin(const char *name)
{
    const char *paths = getenv("HONE_PLUGIN_PATH");
    const hone_plugin *found = NULL;
    char built[PATH_MAX];
    Dl_info self;
    int bytes;

    if (!dladdr((const void *)&fake_pack, &self))
        return NULL;
    bytes = (int)(strrchr(self.dli_fname, '/') - self.dli_fname);
    found = open_plugin(self.dli_fname, bytes, name);
    while (!found && paths && *paths) {
        size_t length = strcspn(paths, ":");

        if (*paths == '/')
            found = open_plugin(paths, (int)length, name);
        paths += length + (paths[length] == ':');
    }
    for (int i = 0; !found && i < 2; i++) {
        snprintf(built, sizeof built, "%.*s/../%s", bytes, self.dli_fname,
                 i ? name : "../lib/hone/plugins");
        found = open_plugin(built, (int)strlen(built), name);
    }
    return found;
}

static const hone_plugin *the_cpu;

static void load_cpu(void)
{
    the_cpu = fake_plugin("cpu");
}

const hone_plugin *fake_cpu(hone_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, load_cpu);
    if (!the_cpu)
        hone_fail(err, HONE_EIO,
                  "fake: no cpu.so beside fake.so, in $HONE_PLUGIN_PATH or in "
                  "../../lib/hone/plugins: %s",
                  dlerror());
    return the_cpu;
}

const hone_component *fake_cpu_component(hone_kind kind)
{
    const hone_plugin *cpu = fake_cpu(NULL);

    for (int i = 0; cpu && cpu->components[i]; i++)
        if (cpu->components[i]->kind == kind &&
            !strcmp(cpu->components[i]->name, "cpu"))
            return cpu->components[i];
    return NULL;
}

static const hone_kernel *half_kernels; /* NULL: there are none */

static const hone_kernel *cpu_kernels(void)
{
    const hone_component *pack = fake_cpu_component(HONE_KIND_PACK);

    return pack ? ((const hone_pack *)pack->ops)->kernels : NULL;
}

/* The first of LIST that covers the call; NULL: ERR says why not. */
static const hone_kernel *first_of(const hone_kernel *list,
                                   const hone_call *call, int threads,
                                   hone_need *need, hone_err *err)
{
    const hone_need none = *need;

    for (const hone_kernel *k = list; k && k->op; k++) {
        *need = none;
        if (!strcmp(k->op, call->op) &&
            k->prepare(call, threads, need, err) == HONE_OK)
            return k;
    }
    *need = none;
    return NULL;
}

/* The CPU pack's; in fp16 others before and behind it. */
static const hone_kernel *cpu_kernel(const hone_call *call, int threads,
                                     hone_need *need, hone_err *err)
{
    const int half = half_kernels && call->compute == HONE_F16;
    const hone_kernel *k = NULL;

    hone_fail(err, HONE_ENOSUP, "fake: the CPU pack has no %s", call->op);
    if (half)
        k = first_of(half_kernels, call, threads, need, err);
    if (!k)
        k = first_of(cpu_kernels(), call, threads, need, err);
    if (!k && half &&
        fake_reference.prepare(call, threads, need, err) == HONE_OK)
        k = &fake_reference;
    return k;
}

/* -------------------------------------------------------------- the kernels */

static hone_status fake_prepare(const hone_call *call, int threads,
                                hone_need *need, hone_err *err)
{
    if (!cpu_kernel(call, threads, need, err))
        return HONE_ENOSUP;
    need->prepared_bytes += HEAD_BYTES;
    return HONE_OK;
}

static hone_status fake_init(const hone_call *call, int threads, void *ctx,
                             void *prepared, hone_err *err)
{
    hone_storage want[FAKE_POINTERS];
    hone_need need = { .size = sizeof need, .want = want };
    head *h = prepared;

    for (uint32_t i = 0; i < call->nin + call->nout && i < FAKE_POINTERS; i++)
        want[i] = call->type[i].storage;
    h->kernel = cpu_kernel(call, threads, &need, err);
    h->dev = ctx;
    h->count = call->nin + call->nout;
    if (!h->kernel->init)
        return HONE_OK;
    return h->kernel->init(call, threads, NULL, (char *)prepared + HEAD_BYTES,
                           err);
}

/* The operands at their host addresses; 0 when one is not on the device,
 * but a table of embeddings, which may be pinned. */
static int translate(const head *h, const hone_ptr *from, hone_ptr *to)
{
    for (int p = 0; p < HONE_PARTS; p++) {
        to->part[p] = NULL;
        if (!from->part[p])
            continue;
        to->part[p] = !strcmp(h->kernel->op, "embed") &&
                              fake_is_pinned(h->dev, from->part[p])
                          ? from->part[p]
                          : fake_real(h->dev, from->part[p], 0, h->kernel->op);
        if (!to->part[p])
            return 0;
    }
    return 1;
}

static void fake_run(const void *prepared, const hone_ptr *ptr, void *workspace,
                     hone_stream stream)
{
    static hone_ptr real[FAKE_POINTERS]; /* all calls: one thread */
    const head *h = prepared;
    fake_task t = {
        .kind = FAKE_RUN,
        .run = h->kernel->run,
        .prepared = (const char *)prepared + HEAD_BYTES,
        .ptr = real,
        .count = h->count,
    };

    if (!stream || h->count > FAKE_POINTERS) {
        fake_fault(h->dev, "%s: %s", h->kernel->op,
                   stream ? "too many operands" : "run without a stream");
        return;
    }
    for (uint32_t i = 0; i < h->count; i++)
        if (!translate(h, &ptr[i], &real[i]))
            return;
    if (workspace) {
        t.to = fake_real(h->dev, workspace, 0, "workspace");
        if (!t.to)
            return;
    }
    fake_issue(stream, &t);
}

/* Same ops as the CPU pack, in its order; filled once by the entry. */
static hone_kernel kernels[KERNELS + 1];

static const hone_pack pack = { .size = sizeof(hone_pack), .device = "fake",
                                .kernels = kernels };

/* Two more that cover nothing: one stands before it, one behind it. */
static const hone_kernel none[] = { { NULL, NULL, NULL, NULL } };
static const hone_pack before = { .size = sizeof(hone_pack), .device = "fake",
                                  .kernels = none };
static const hone_pack behind = { .size = sizeof(hone_pack), .device = "fake",
                                  .kernels = none, .behind = 1 };

const hone_component fake_pack_before = {
    .size = sizeof(hone_component),
    .kind = HONE_KIND_PACK,
    .name = "fake_z",
    .help = "covers nothing, is asked first",
    .ops = &before,
};

const hone_component fake_pack_behind = {
    .size = sizeof(hone_component),
    .kind = HONE_KIND_PACK,
    .name = "fake_a",
    .help = "covers nothing, is asked last",
    .ops = &behind,
};

const hone_component fake_pack = {
    .size = sizeof(hone_component),
    .kind = HONE_KIND_PACK,
    .name = "fake",
    .help = "the CPU pack on the device fake",
    .ops = &pack,
};

static void fill_kernels(void)
{
    const hone_kernel *k = cpu_kernels();

    half_kernels = fake_half_kernels();
    for (int i = 0; k && k[i].op && i < KERNELS; i++)
        kernels[i] =
            (hone_kernel){ k[i].op, fake_prepare, fake_init, fake_run };
}

const hone_plugin *hone_plugin_entry(void)
{
    static const hone_component *const components[] = { &fake_device_component,
                                                        &fake_pack,
                                                        &fake_pack_before,
                                                        &fake_pack_behind,
                                                        NULL };
    static const hone_plugin plugin = {
        HONE_ABI, sizeof(hone_plugin), "fake",
        "1.0",    HONE_BUILT_WITH,     components,
    };
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, fill_kernels);
    return &plugin;
}

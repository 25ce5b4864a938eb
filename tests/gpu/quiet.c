/* SPDX-License-Identifier: MIT
 *
 * quiet.c -- for LD_PRELOAD: says what a run asks of the NVIDIA driver between
 * step 0 and its end that takes memory or loads code, and whether the GPU has
 * as much free memory at the end as at the start. CUPTI calls back at every
 * call of the driver and at every module that it loads by itself. Step 0 is
 * near when SIGINT gets a handler, all is over when run.json is renamed into
 * place once more, as in tests/quiet.c. Build: cc -shared -fPIC -lcupti.
 */
#include <cupti.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Beginnings of names; a call is counted by the first that fits. */
static const char *const loud[] = {
    "cuMemAlloc",     "cuMemHostAlloc",     "cuMemHostRegister",
    "cuMemCreate",    "cuMemPoolCreate",    "cuMemMap",
    "cuModuleLoad",   "cuLibraryLoad",      "cuLinkCreate",
    "cuCtxCreate",    "cuStreamCreate",     "cuEventCreate",
    "cuGraphCreate",  "cuGraphInstantiate", "cuGraphExecUpdate",
    "cuArrayCreate",  "cuTexObjectCreate",  "cuGraphUpload",
    "cuCtxSetLimit",  "module loaded"
};

enum { LOUD = sizeof loud / sizeof *loud };

static atomic_int watching, over;
static atomic_llong before[LOUD], during[LOUD];
static size_t free_at_start;

static void count(const char *name)
{
    for (int i = 0; i < LOUD && !over; i++)
        if (!strncmp(name, loud[i], strlen(loud[i]))) {
            atomic_fetch_add(watching ? &during[i] : &before[i], 1);
            return;
        }
}

static void called(void *nothing, CUpti_CallbackDomain domain,
                   CUpti_CallbackId id, const void *data)
{
    const CUpti_CallbackData *call = data;

    (void)nothing;
    if (domain == CUPTI_CB_DOMAIN_DRIVER_API &&
        call->callbackSite == CUPTI_API_ENTER)
        count(call->functionName);
    else if (domain == CUPTI_CB_DOMAIN_RESOURCE &&
             id == CUPTI_CBID_RESOURCE_MODULE_LOADED)
        count("module loaded");
}

__attribute__((constructor)) static void subscribe(void)
{
    CUpti_SubscriberHandle all;
    CUptiResult e = cuptiSubscribe(&all, called, NULL);
    const char *why = "";

    if (e == CUPTI_SUCCESS)
        e = cuptiEnableDomain(1, all, CUPTI_CB_DOMAIN_DRIVER_API);
    if (e == CUPTI_SUCCESS)
        e = cuptiEnableDomain(1, all, CUPTI_CB_DOMAIN_RESOURCE);
    if (e == CUPTI_SUCCESS)
        return;
    (void)cuptiGetResultString(e, &why);
    fprintf(stderr, "gpu quiet: CUPTI does not work here: %s\n", why);
}

/* What the driver has free; 0: it cannot be asked. */
static size_t free_bytes(void)
{
    CUresult (*info)(size_t *, size_t *);
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    size_t free_now = 0, total;

    if (!driver)
        return 0;
    *(void **)&info = dlsym(driver, "cuMemGetInfo_v2");
    return info && info(&free_now, &total) == CUDA_SUCCESS ? free_now : 0;
}

static void report(void)
{
    long long calls = 0, earlier = 0;

    for (int i = 0; i < LOUD; i++) {
        calls += during[i];
        earlier += before[i];
        if (during[i])
            fprintf(stderr, "gpu quiet: %s: %lld times\n", loud[i],
                    (long long)during[i]);
    }
    fprintf(stderr, "gpu quiet: %lld calls before step 0, %lld after, free "
            "memory %+lld bytes\n", earlier, calls,
            (long long)free_bytes() - (long long)free_at_start);
}

int sigaction(int number, const struct sigaction *new, struct sigaction *old)
{
    static int (*next)(int, const struct sigaction *, struct sigaction *);

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "sigaction");
    if (number == SIGINT && new && !over && !watching) {
        free_at_start = free_bytes();
        watching = 1;
    }
    return next(number, new, old);
}

int rename(const char *from, const char *to)
{
    static int (*next)(const char *, const char *);
    const char *name = strrchr(to, '/');
    int result;

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "rename");
    result = next(from, to);
    if (watching && name && !strcmp(name, "/run.json")) {
        over = 1;
        watching = 0;
        report();
    }
    return result;
}

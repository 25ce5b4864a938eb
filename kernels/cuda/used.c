/* SPDX-License-Identifier: MIT
 *
 * used.c -- how much memory of a GPU is taken, asked before this process has
 * any there: the runtime could only say so from within a context. By NVML,
 * which comes with the driver and is opened by name.
 */
#include "used.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

typedef struct {
    unsigned long long total, free, used;
} memory_info;

typedef struct {
    int (*init)(void);
    int (*by_bus)(const char *bus, void **gpu);
    int (*memory)(void *gpu, memory_info *);
    int (*shutdown)(void);
} nvml;

static int find_all(void *so, nvml *n)
{
    *(void **)&n->init = dlsym(so, "nvmlInit_v2");
    *(void **)&n->by_bus = dlsym(so, "nvmlDeviceGetHandleByPciBusId_v2");
    *(void **)&n->memory = dlsym(so, "nvmlDeviceGetMemoryInfo");
    *(void **)&n->shutdown = dlsym(so, "nvmlShutdown");
    return n->init && n->by_bus && n->memory && n->shutdown;
}

int64_t cuda_used_bytes(int64_t index)
{
    void *so = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL), *gpu;
    memory_info info = { 0, 0, 0 };
    int64_t used = -1;
    char bus[64];
    nvml n;

    if (!so)
        return -1;
    if (cudaDeviceGetPCIBusId(bus, sizeof bus, (int)index) == cudaSuccess &&
        find_all(so, &n) && n.init() == 0) {
        if (n.by_bus(bus, &gpu) == 0 && n.memory(gpu, &info) == 0)
            used = (int64_t)info.used;
        n.shutdown();
    }
    (void)cudaGetLastError();
    dlclose(so);
    return used;
}

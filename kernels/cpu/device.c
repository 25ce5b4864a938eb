/* SPDX-License-Identifier: MIT
 *
 * device.c -- the device "cpu": memory is the host's, streams are the calling
 * thread, so that events and waits have nothing to do.
 *
 * After freeze() nothing in the process may allocate. Two libraries would:
 * OpenBLAS maps a packing buffer when a thread first needs one, and libgomp
 * starts its threads at the first parallel region. open() makes both happen.
 */
#include <cblas.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "hone/plugin.h"

typedef struct {
    int64_t index; /* of the device; there is one */
} config;

enum {
    PAGE = 4096,
    HUGE_PAGE = 2 << 20,
    REGIONS = 16, /* remembered until freeze() */
    WARM = 1024 /* rows, columns and depth: gemm.c asks sgemm for no more rows
                   at once, so that no later call touches more of a buffer */
};

typedef struct {
    int threads, frozen;
    struct {
        char *at;
        int64_t bytes;
    } region[REGIONS];
} device;

/* OpenBLAS' own pool of buffers. Exported by every release, but declared in
 * none of its headers: weak, in case one stops to. */
extern void *blas_memory_alloc(int) __attribute__((weak));
extern void blas_memory_free(void *) __attribute__((weak));

/* Holding one buffer a thread at once makes the pool that large. */
static void fill_pool(int threads)
{
    enum { MOST = 64 };
    void *buffer[MOST];
    int n = 0;

    if (!blas_memory_alloc || !blas_memory_free)
        return;
    while (n < threads && n < MOST)
        buffer[n++] = blas_memory_alloc(0);
    while (n > 0)
        blas_memory_free(buffer[--n]);
}

/* Every thread multiplies once, and touches the pages that it will use. */
static hone_status warm_up(int threads, hone_err *err)
{
    size_t bytes = (size_t)WARM * WARM * sizeof(float);
    float *x = calloc(1, bytes), *y = malloc((size_t)threads * bytes);
    int done = x && y;

    fill_pool(threads);
    if (done) {
#pragma omp parallel num_threads(threads)
        {
            float *c = y + (size_t)omp_get_thread_num() * WARM * WARM;
#pragma omp barrier
            omp_set_num_threads(1);
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, WARM, WARM,
                        WARM, 1.0f, x, WARM, x, WARM, 0.0f, c, WARM);
        }
    }
    free(x);
    free(y);
    return done ? HONE_OK
                : hone_fail(err, HONE_ENOMEM,
                            "cpu: %zu MiB for starting %d threads are not "
                            "there; set OMP_NUM_THREADS lower",
                            (size_t)(threads + 1) * bytes >> 20, threads);
}

static hone_status cpu_open(const hone_host *host, const void *cfg, void *state,
                            hone_err *err)
{
    const config *c = cfg;
    device *d = state;

    (void)host;
    if (c && c->index != 0)
        return hone_fail(err, HONE_EINVAL,
                         "cpu: there is no device cpu:%lld; use \"cpu\"",
                         (long long)c->index);
    d->threads = omp_get_max_threads();
    d->frozen = 0;
    omp_set_num_threads(d->threads);
    return warm_up(d->threads, err);
}

/* The number in a file of the control group; -1: no file, or no limit. */
static int64_t read_number(const char *path)
{
    FILE *f = fopen(path, "r");
    long long n = -1;

    if (!f)
        return -1;
    if (fscanf(f, "%lld", &n) != 1 || n > 1LL << 60)
        n = -1;
    fclose(f);
    return n;
}

/* The number behind a word, at the start of a line of a file; 0: not there. */
static int64_t find_number(const char *path, const char *word)
{
    FILE *f = fopen(path, "r");
    char line[128];
    long long n = 0;

    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, word, strlen(word)))
            n = atoll(line + strlen(word));
    if (f)
        fclose(f);
    return n;
}

/* What a control group (version 2, else 1) leaves of the machine's memory.
 * Files that it has read and nobody uses count as used there, and are not. */
static void limit(hone_device_info *info)
{
    int64_t most = read_number("/sys/fs/cgroup/memory.max");
    int64_t used = read_number("/sys/fs/cgroup/memory.current");

    used -= find_number("/sys/fs/cgroup/memory.stat", "inactive_file ");
    if (most < 0) {
        most = read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes");
        used = read_number("/sys/fs/cgroup/memory/memory.usage_in_bytes") -
               find_number("/sys/fs/cgroup/memory/memory.stat",
                           "total_inactive_file ");
    }
    if (most < 0 || most >= info->total_bytes)
        return;
    info->total_bytes = most;
    if (used >= 0 && most - used < info->free_bytes)
        info->free_bytes = most > used ? most - used : 0;
}

static hone_status cpu_info(void *dev, hone_device_info *info, hone_err *err)
{
    const device *d = dev;
    struct sysinfo s;
    int64_t free_bytes = 1024 * find_number("/proc/meminfo", "MemAvailable:");

    if (sysinfo(&s) != 0)
        return hone_fail(err, HONE_EIO,
                         "cpu: the system does not say how much "
                         "memory it has");
    snprintf(info->name, sizeof info->name, "CPU, %d threads, OpenBLAS for %s",
             d->threads, openblas_get_corename());
    info->total_bytes = (int64_t)s.totalram * s.mem_unit;
    info->free_bytes =
        free_bytes ? free_bytes : (int64_t)s.freeram * s.mem_unit;
    limit(info);
    info->context_bytes = 0;
    info->is_host = 1;
    info->streams = 1;
    info->can_capture = 0;
    info->threads = d->threads;
    return HONE_OK;
}

/* Every page, each range by the thread that will work on it; what the pages
 * hold stays. */
static void touch(const device *d, volatile char *p, int64_t bytes)
{
#pragma omp parallel num_threads(d->threads)
    {
        int64_t i = omp_get_thread_num(), n = omp_get_num_threads();
        int64_t last = bytes * (i + 1) / n;

        for (int64_t at = bytes * i / n; at < last; at += PAGE)
            p[at] = p[at];
        if (last > 0)
            p[last - 1] = p[last - 1];
    }
}

/* Pages are touched by freeze(), before step 0: a run that the machine has no
 * memory for ends there; and what was needed to get so far is freed first. */
static void remember(device *d, char *p, int64_t bytes)
{
    int i = 0;

    while (i < REGIONS && d->region[i].at)
        i++;
    if (i == REGIONS) {
        touch(d, p, bytes);
        return;
    }
    d->region[i].at = p;
    d->region[i].bytes = bytes;
}

static hone_status cpu_reserve(void *dev, hone_space space, int64_t bytes,
                               void **ptr, hone_err *err)
{
    device *d = dev;
    int huge = bytes >= 2 * HUGE_PAGE;

    (void)space;
    *ptr = NULL;
    if (d->frozen)
        return hone_fail(err, HONE_ENOMEM,
                         "cpu: %lld bytes were asked for after the plan was "
                         "reserved: a fault in hone, please report it",
                         (long long)bytes);
    if (bytes < 0 ||
        posix_memalign(ptr, huge ? HUGE_PAGE : HONE_ALIGN, (size_t)bytes + 1))
        return hone_fail(err, HONE_ENOMEM,
                         "cpu: the system refuses %lld MiB; free some memory, "
                         "or lower `memory` in the recipe",
                         (long long)(bytes >> 20));
    if (huge)
        (void)madvise(*ptr, (size_t)bytes, MADV_HUGEPAGE);
    remember(d, *ptr, bytes);
    return HONE_OK;
}

static void cpu_release(void *dev, hone_space space, void *ptr)
{
    device *d = dev;

    (void)space;
    for (int i = 0; i < REGIONS; i++)
        if (d->region[i].at == ptr)
            d->region[i].at = NULL;
    free(ptr);
}

static void cpu_freeze(void *dev)
{
    device *d = dev;

    d->frozen = 1;
    for (int i = 0; i < REGIONS; i++)
        if (d->region[i].at)
            touch(d, d->region[i].at, d->region[i].bytes);
}

static hone_status stream_open(void *dev, hone_stream *stream, hone_err *err)
{
    (void)dev;
    (void)err;
    *stream = NULL;
    return HONE_OK;
}

static void stream_close(void *dev, hone_stream stream)
{
    (void)dev;
    (void)stream;
}

static hone_status event_open(void *dev, hone_event *event, hone_err *err)
{
    (void)dev;
    (void)err;
    *event = NULL;
    return HONE_OK;
}

static void event_close(void *dev, hone_event event)
{
    (void)dev;
    (void)event;
}

static void cpu_record(void *dev, hone_event event, hone_stream stream)
{
    (void)dev;
    (void)event;
    (void)stream;
}

static void cpu_wait(void *dev, hone_stream stream, hone_event event)
{
    (void)dev;
    (void)stream;
    (void)event;
}

static hone_status cpu_sync(void *dev, hone_stream stream, hone_err *err)
{
    (void)dev;
    (void)stream;
    (void)err;
    return HONE_OK;
}

static hone_status cpu_await(void *dev, hone_event event, hone_err *err)
{
    (void)dev;
    (void)event;
    (void)err;
    return HONE_OK;
}

static void cpu_copy(void *dev, void *dst, const void *src, int64_t bytes,
                     hone_way way, hone_stream stream)
{
    (void)dev;
    (void)way;
    (void)stream;
    memcpy(dst, src, (size_t)bytes);
}

static void cpu_fill(void *dev, void *dst, int byte, int64_t bytes,
                     hone_stream stream)
{
    (void)dev;
    (void)stream;
    memset(dst, byte, (size_t)bytes);
}

static const hone_option options[] = {
    HONE_OPT_INT(config, index, 0, 0, 0, "which device; there is one"),
    HONE_OPT_END
};

static const hone_device table = { .size = sizeof(hone_device),
                                   .info = cpu_info,
                                   .reserve = cpu_reserve,
                                   .release = cpu_release,
                                   .freeze = cpu_freeze,
                                   .stream_open = stream_open,
                                   .stream_close = stream_close,
                                   .event_open = event_open,
                                   .event_close = event_close,
                                   .record = cpu_record,
                                   .wait = cpu_wait,
                                   .sync = cpu_sync,
                                   .copy = cpu_copy,
                                   .fill = cpu_fill,
                                   .capture = NULL, /* can_capture is 0 */
                                   .capture_end = NULL,
                                   .launch = NULL,
                                   .graph_close = NULL,
                                   .await = cpu_await };

const hone_component hone_cpu_device = {
    .size = sizeof(hone_component),
    .kind = HONE_KIND_DEVICE,
    .name = "cpu",
    .help = "the processor and the memory of the host",
    .options = options,
    .config_size = sizeof(config),
    .state_size = sizeof(device),
    .open = cpu_open,
    .ops = &table
};

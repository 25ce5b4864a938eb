/* SPDX-License-Identifier: MIT
 *
 * device.c -- the device component `fake`: memory, freezing, and the table of
 * functions. Device addresses are a window without access; the bytes lie at a
 * fixed distance above it, where only the workers look. Fresh device memory is
 * 0xff throughout: NaN, and -1, for whoever reads what nobody wrote.
 */
#include "fake.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct config {
    int64_t index, bytes;
};

static const hone_option options[] = {
    HONE_OPT_INT(struct config, index, 0, 0, 0, "number of the device"),
    HONE_OPT_INT(struct config, bytes, 17179869184.0, 0, 6.8e10,
                 "memory that it says it has"),
    HONE_OPT_END
};

void fake_fault(fake_device *dev, const char *fmt, ...)
{
    va_list ap;

    pthread_mutex_lock(&dev->lock);
    if (dev->fault.code == HONE_OK) {
        dev->fault.code = HONE_EIO;
        memcpy(dev->fault.msg, "fake: ", 7);
        va_start(ap, fmt);
        vsnprintf(dev->fault.msg + 6, sizeof dev->fault.msg - 6, fmt, ap);
        va_end(ap);
    }
    pthread_mutex_unlock(&dev->lock);
}

static int is_device(const fake_device *dev, const void *p)
{
    uintptr_t at = (uintptr_t)p, first = (uintptr_t)dev->window;

    return at >= first && at < first + 2 * FAKE_WINDOW;
}

void *fake_real(fake_device *dev, const void *p, int64_t bytes,
                const char *what)
{
    for (int i = 0; i < FAKE_REGIONS; i++) {
        uintptr_t first = (uintptr_t)dev->region[i].at;
        uintptr_t end = first + dev->region[i].bytes;
        uintptr_t at = (uintptr_t)p;

        if (at >= first && at < end && (uint64_t)bytes <= end - at)
            return (char *)p + FAKE_WINDOW;
    }
    fake_fault(dev, "%s: %lld bytes at %p are not reserved on the device", what,
               (long long)bytes, p);
    return NULL;
}

int fake_is_pinned(const fake_device *dev, const void *p)
{
    for (int i = 0; i < FAKE_REGIONS; i++) {
        uintptr_t first = (uintptr_t)dev->pinned[i].at;

        if ((uintptr_t)p >= first &&
            (uintptr_t)p < first + dev->pinned[i].bytes)
            return 1;
    }
    return 0;
}

/* ------------------------------------------------------------------ memory */

static hone_status device_info(void *state, hone_device_info *info,
                               hone_err *err)
{
    fake_device *dev = state;

    (void)err;
    snprintf(info->name, sizeof info->name, "fake");
    info->total_bytes = (int64_t)dev->limit;
    info->free_bytes = (int64_t)(dev->limit - dev->in_use);
    info->context_bytes = 0;
    info->is_host = 0;
    info->streams = FAKE_STREAMS;
    info->can_capture = 1;
    info->threads = dev->threads;
    return HONE_OK;
}

static hone_status reserve_device(fake_device *dev, size_t bytes, void **ptr,
                                  hone_err *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t size = (bytes + page - 1) / page * page;
    int i = 0;

    while (i < FAKE_REGIONS && dev->region[i].at)
        i++;
    if (bytes > dev->limit - dev->in_use || i == FAKE_REGIONS ||
        size > FAKE_WINDOW - dev->used)
        return hone_fail(err, HONE_ENOMEM,
                         "fake: %zu bytes of device memory asked for, %zu of "
                         "%zu are in use",
                         bytes, dev->in_use, dev->limit);
    dev->region[i].at = dev->window + dev->used;
    dev->region[i].bytes = bytes;
    if (mprotect(dev->region[i].at + FAKE_WINDOW, size,
                 PROT_READ | PROT_WRITE)) {
        dev->region[i].at = NULL;
        return hone_fail(err, HONE_EIO, "fake: the system refuses %zu bytes",
                         size);
    }
    memset(dev->region[i].at + FAKE_WINDOW, 0xff, size);
    dev->used += size;
    dev->in_use += bytes;
    if (dev->in_use > dev->most)
        dev->most = dev->in_use;
    *ptr = dev->region[i].at;
    return HONE_OK;
}

static hone_status device_reserve(void *state, hone_space space, int64_t bytes,
                                  void **ptr, hone_err *err)
{
    fake_device *dev = state;

    if (dev->frozen)
        return hone_fail(err, HONE_EIO,
                         "fake: an allocation of %lld bytes after freeze()",
                         (long long)bytes);
    if (bytes < 1)
        bytes = 1;
    if (space == HONE_DEVICE_SPACE)
        return reserve_device(dev, (size_t)bytes, ptr, err);
    if (posix_memalign(ptr, 4096, (size_t)bytes))
        return hone_fail(err, HONE_EIO, "fake: no %lld bytes of pinned memory",
                         (long long)bytes);
    for (int i = 0; i < FAKE_REGIONS; i++)
        if (!dev->pinned[i].at) {
            dev->pinned[i].at = *ptr;
            dev->pinned[i].bytes = (size_t)bytes;
            break;
        }
    return HONE_OK;
}

static void device_release(void *state, hone_space space, void *ptr)
{
    fake_device *dev = state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    if (space == HONE_PINNED_SPACE) {
        for (int i = 0; i < FAKE_REGIONS; i++)
            if (dev->pinned[i].at == ptr) {
                dev->pinned[i].at = NULL;
                dev->pinned[i].bytes = 0;
            }
        free(ptr);
        return;
    }
    for (int i = 0; i < FAKE_REGIONS; i++) {
        size_t bytes = dev->region[i].bytes;
        size_t size = (bytes + page - 1) / page * page;

        if (!ptr || dev->region[i].at != ptr)
            continue;
        madvise((char *)ptr + FAKE_WINDOW, size, MADV_DONTNEED);
        mprotect((char *)ptr + FAKE_WINDOW, size, PROT_NONE);
        dev->in_use -= bytes;
        dev->region[i].at = NULL;
        dev->region[i].bytes = 0;
    }
}

static void device_freeze(void *state)
{
    fake_device *dev = state;
    const char *said = getenv("HONE_FAKE_MOST"); /* a file */
    FILE *to = said ? fopen(said, "w") : NULL;

    dev->frozen = 1;
    if (to) {
        fprintf(to, "%zu\n", dev->most);
        fclose(to);
    }
}

static int64_t device_graph_bytes(const hone_call *call, int64_t *use)
{
    (void)call;
    return use[0] += FAKE_CALL_BYTES;
}

/* Measures nothing, but leaves the memory as measuring does. */
static void device_choose(void *state, const hone_choices *choices,
                          void *scratch, int64_t bytes)
{
    void *real;

    if (!choices)
        return;
    real = fake_real(state, scratch, bytes, "measuring");
    if (real)
        memset(real, 0x3f, (size_t)bytes);
    if (!choices->find(choices->self, "fake: all"))
        choices->keep(choices->self, "fake: all", "one");
}

/* -------------------------------------------------------- streams and work */

static hone_status device_stream_open(void *state, hone_stream *s,
                                      hone_err *err)
{
    fake_device *dev = state;

    if (dev->frozen)
        return hone_fail(err, HONE_EIO, "fake: a stream opened after freeze()");
    return fake_stream_start(dev, s, err);
}

static void device_stream_close(void *state, hone_stream s)
{
    (void)state;
    fake_stream_stop(s);
}

static hone_status device_event_open(void *state, hone_event *out,
                                     hone_err *err)
{
    fake_device *dev = state;

    if (dev->frozen)
        return hone_fail(err, HONE_EIO, "fake: an event opened after freeze()");
    for (int i = 0; i < FAKE_EVENTS; i++) {
        hone_event e = &dev->event[i];

        if (e->open)
            continue;
        memset(e, 0, sizeof *e);
        e->open = 1;
        *out = e;
        return HONE_OK;
    }
    return hone_fail(err, HONE_EIO, "fake: more than %d events", FAKE_EVENTS);
}

static void device_event_close(void *state, hone_event e)
{
    (void)state;
    e->open = 0;
}

static void device_record(void *state, hone_event e, hone_stream s)
{
    fake_record(state, e, s);
}

static void device_wait(void *state, hone_stream s, hone_event e)
{
    fake_wait(state, s, e);
}

/* The device's fault, which stays. */
static hone_status fault(fake_device *dev, hone_err *err)
{
    hone_status status;

    pthread_mutex_lock(&dev->lock);
    status = dev->fault.code;
    if (status != HONE_OK)
        *err = dev->fault;
    pthread_mutex_unlock(&dev->lock);
    return status;
}

static hone_status device_await(void *state, hone_event e, hone_err *err)
{
    if (e->capture)
        fake_fault(state, "await() of an event recorded in a capture");
    else
        fake_await(state, e);
    return fault(state, err);
}

static double device_seconds(void *state, hone_event from, hone_event to)
{
    fake_device *dev = state;
    double seconds;

    pthread_mutex_lock(&dev->lock);
    seconds = to->at_s - from->at_s;
    if (from->done < from->issued || to->done < to->issued)
        seconds = -1;
    pthread_mutex_unlock(&dev->lock);
    return seconds;
}

static hone_status device_sync(void *state, hone_stream s, hone_err *err)
{
    fake_device *dev = state;

    if (s->captured)
        fake_fault(dev, "sync() of a stream that is being captured");
    else
        fake_stream_drain(s);
    return fault(dev, err);
}

static void device_copy(void *state, void *dst, const void *src, int64_t bytes,
                        hone_way way, hone_stream s)
{
    fake_device *dev = state;
    int to_device = way != HONE_TO_HOST, from_device = way != HONE_TO_DEVICE;
    fake_task t = { .kind = FAKE_COPY, .bytes = bytes, .to = dst, .from = src };

    if (!bytes)
        return;
    if (is_device(dev, dst) != to_device ||
        is_device(dev, src) != from_device) {
        fake_fault(dev,
                   "a copy of %lld bytes whose addresses %p, %p are not "
                   "where its direction says",
                   (long long)bytes, dst, src);
        return;
    }
    if (to_device)
        t.to = fake_real(dev, dst, bytes, "copy to");
    if (from_device)
        t.from = fake_real(dev, src, bytes, "copy from");
    if (t.to && t.from)
        fake_issue(s, &t);
}

static void device_fill(void *state, void *dst, int byte, int64_t bytes,
                        hone_stream s)
{
    fake_task t = { .kind = FAKE_FILL, .bytes = bytes, .byte = byte };

    if (!bytes)
        return;
    t.to = fake_real(state, dst, bytes, "fill");
    if (t.to)
        fake_issue(s, &t);
}

static hone_status device_capture(void *state, hone_stream s, hone_err *err)
{
    return fake_capture(state, s, err);
}

static hone_status device_capture_end(void *state, hone_stream s,
                                      hone_graph_exec *g, hone_err *err)
{
    return fake_capture_end(state, s, g, err);
}

static void device_launch(void *state, hone_graph_exec g, hone_stream s)
{
    fake_launch(state, g, s);
}

/* The memory of graphs is taken back when the last one is closed. */
static void device_graph_close(void *state, hone_graph_exec g)
{
    fake_device *dev = state;

    (void)g;
    if (--dev->graphs == 0)
        dev->graph_used = 0;
}

/* ----------------------------------------------------------- the component */

/* As many threads as the CPU pack would use: results then agree bit by bit. */
static hone_status cpu_threads(const hone_host *host, int *threads,
                               hone_err *err)
{
    const hone_component *cpu = fake_cpu_component(HONE_KIND_DEVICE);
    const hone_device *api;
    hone_device_info info = { .size = sizeof info };
    hone_status status;
    void *config, *state;

    if (!cpu)
        return hone_fail(err, HONE_EIO, "fake: the plugin cpu has no device");
    api = cpu->ops;
    config = calloc(1, cpu->config_size + 1);
    state = calloc(1, cpu->state_size + 1);
    if (!config || !state) {
        status = hone_fail(err, HONE_EIO, "fake: out of memory");
        goto out;
    }
    for (const hone_option *o = cpu->options; o && o->name; o++)
        if (o->type == HONE_INT)
            *(int64_t *)((char *)config + o->offset) = (int64_t)o->def;
    status = cpu->open ? cpu->open(host, config, state, err) : HONE_OK;
    if (status != HONE_OK)
        goto out;
    status = api->info(state, &info, err);
    *threads = info.threads;
    if (cpu->close)
        cpu->close(state);
out:
    free(config);
    free(state);
    return status;
}

static void *map(size_t bytes, int access)
{
    void *p = mmap(NULL, bytes, access,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static void device_close(void *state)
{
    fake_device *dev = state;

    for (int i = 0; i < FAKE_STREAMS; i++)
        if (dev->stream[i])
            fake_stream_stop(dev->stream[i]);
    if (dev->window)
        munmap(dev->window, 2 * FAKE_WINDOW);
    if (dev->graph_memory)
        munmap(dev->graph_memory, FAKE_GRAPH_BYTES);
    pthread_cond_destroy(&dev->reached);
    pthread_mutex_destroy(&dev->lock);
}

static hone_status device_open(const hone_host *host, const void *config,
                               void *state, hone_err *err)
{
    const struct config *c = config;
    fake_device *dev = state;

    if (getenv("HONE_FAKE_GONE"))
        return hone_fail(err, HONE_EINVAL, "fake: none is here");
    if (!fake_cpu(err))
        return err->code;
    hone_try(cpu_threads(host, &dev->threads, err));
    dev->limit = (size_t)c->bytes;
    pthread_mutex_init(&dev->lock, NULL);
    pthread_cond_init(&dev->reached, NULL);
    dev->window = map(2 * FAKE_WINDOW, PROT_NONE);
    dev->graph_memory = map(FAKE_GRAPH_BYTES, PROT_READ | PROT_WRITE);
    if (dev->window && dev->graph_memory)
        return HONE_OK;
    device_close(dev);
    return hone_fail(err, HONE_EIO, "fake: no room for its addresses");
}

static const hone_device device = {
    .size = sizeof(hone_device),
    .info = device_info,
    .reserve = device_reserve,
    .release = device_release,
    .freeze = device_freeze,
    .stream_open = device_stream_open,
    .stream_close = device_stream_close,
    .event_open = device_event_open,
    .event_close = device_event_close,
    .record = device_record,
    .wait = device_wait,
    .sync = device_sync,
    .copy = device_copy,
    .fill = device_fill,
    .capture = device_capture,
    .capture_end = device_capture_end,
    .launch = device_launch,
    .graph_close = device_graph_close,
    .await = device_await,
    .seconds = device_seconds,
    .choose = device_choose,
    .graph_bytes = device_graph_bytes,
};

const hone_component fake_device_component = {
    .size = sizeof(hone_component),
    .kind = HONE_KIND_DEVICE,
    .name = "fake",
    .help = "a device for tests: threads, and memory that faults",
    .options = options,
    .config_size = sizeof(struct config),
    .state_size = sizeof(fake_device),
    .open = device_open,
    .close = device_close,
    .ops = &device,
};

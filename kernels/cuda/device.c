/* SPDX-License-Identifier: MIT
 *
 * device.c -- the device "cuda": one GPU through the CUDA runtime, which is
 * linked in and finds the driver when it is first called, so that this plugin
 * loads where there is none. cuBLASLt is opened by name, see blas.c.
 *
 * Calls that return nothing here cannot fail alone: CUDA keeps the error, and
 * the next sync() reports it.
 */
#include "blas.h"
#include "cuda.h"
#include "used.h"

typedef struct {
    int64_t index; /* of the GPU, as the driver counts */
} config;

/* What kernels are given, and what concerns this file alone. */
typedef struct {
    cuda_device device; /* first */
    int64_t used_before; /* of the GPU's memory; -1: not known */
} opened;

static hone_status fail(hone_err *err, const char *what, cudaError_t e)
{
    return hone_fail(err, HONE_EIO, "cuda: %s: %s (%s)", what,
                     cudaGetErrorString(e), cudaGetErrorName(e));
}

/* ----------------------------------------------------------------- opening */

/* No driver, one too old, no GPU: each has a cure of its own. */
static hone_status find_devices(int *count, hone_err *err)
{
    int driver = 0, runtime = 0;
    cudaError_t e = cudaGetDeviceCount(count);

    if (e == cudaSuccess && *count > 0)
        return HONE_OK;
    (void)cudaGetLastError();
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
        return hone_fail(err, HONE_EINVAL,
                         "cuda: no NVIDIA driver is installed here "
                         "(libcuda.so.1 is missing); install one, or write "
                         "device = \"cpu\"");
    if (e == cudaErrorInsufficientDriver)
        return hone_fail(err, HONE_EINVAL,
                         "cuda: the NVIDIA driver knows CUDA up to %d.%d, this "
                         "build needs %d.%d; install a newer driver, or build "
                         "hone with an older CUDA Toolkit",
                         driver / 1000, driver % 1000 / 10, runtime / 1000,
                         runtime % 1000 / 10);
    if (e == cudaSuccess || e == cudaErrorNoDevice)
        return hone_fail(err, HONE_EINVAL,
                         "cuda: the driver sees no GPU; look at nvidia-smi and "
                         "at CUDA_VISIBLE_DEVICES, or write device = \"cpu\"");
    return fail(err, "the driver does not answer", e);
}

static hone_status make_context(cuda_device *d, hone_err *err)
{
    cudaError_t e = cudaSetDevice((int)d->index);

    if (e == cudaSuccess)
        e = cudaFree(NULL);
    if (e == cudaErrorDevicesUnavailable)
        return hone_fail(err, HONE_EIO,
                         "cuda:%lld is taken: another process has it for "
                         "itself; end that one (nvidia-smi lists them), or "
                         "name another GPU", (long long)d->index);
    if (e == cudaErrorMemoryAllocation)
        return hone_fail(err, HONE_ENOMEM,
                         "cuda:%lld has no memory left even to start; "
                         "nvidia-smi lists who holds it", (long long)d->index);
    return e == cudaSuccess ? HONE_OK : fail(err, "cannot start the GPU", e);
}

/* The card is one thing, what this plugin was compiled for another. */
static hone_status check_code(cuda_device *d, hone_err *err)
{
    int code;
    cudaError_t e = cuda_code_arch(&code);

    if (e == cudaErrorUnsupportedPtxVersion)
        return hone_fail(err, HONE_EINVAL,
                         "cuda:%lld is a %s: this build has code for other "
                         "cards, which the driver is too old to compile for "
                         "it; install a newer driver, or build hone here",
                         (long long)d->index, d->name);
    if (e != cudaSuccess)
        return hone_fail(err, HONE_EINVAL,
                         "cuda:%lld is a %s: this build has no code for it "
                         "(%s); ./bootstrap build compiles for every card",
                         (long long)d->index, d->name, cudaGetErrorName(e));
    if (code < d->arch)
        d->arch = code;
    return HONE_OK;
}

static hone_status describe(cuda_device *d, hone_err *err)
{
    struct cudaDeviceProp p;
    size_t free_bytes, total;
    cudaError_t e = cudaGetDeviceProperties(&p, (int)d->index);

    if (e == cudaSuccess)
        e = cudaMemGetInfo(&free_bytes, &total);
    if (e != cudaSuccess)
        return fail(err, "cannot ask the GPU what it is", e);
    d->processors = p.multiProcessorCount;
    d->arch = 10 * p.major + p.minor;
    d->shared_bytes = (int)p.sharedMemPerBlockOptin;
    d->context_bytes = (int64_t)(total - free_bytes);
    snprintf(d->name, sizeof d->name, "%s, compute capability %d.%d", p.name,
             p.major, p.minor);
    if (d->arch < 75)
        return hone_fail(err, HONE_EINVAL,
                         "cuda:%lld is a %s; hone needs compute capability 7.5 "
                         "or more", (long long)d->index, d->name);
    return check_code(d, err);
}

static hone_status cuda_open(const hone_host *host, const void *cfg,
                             void *state, hone_err *err)
{
    const config *c = cfg;
    cuda_device *d = state;
    int count = 0;

    (void)host;
    d->index = c ? c->index : 0;
    d->frozen = 0;
    hone_try(find_devices(&count, err));
    if (d->index >= count)
        return hone_fail(err, HONE_EINVAL,
                         "cuda:%lld: there are %d GPUs, the last one is "
                         "cuda:%d", (long long)d->index, count, count - 1);
    ((opened *)state)->used_before = cuda_used_bytes(d->index);
    hone_try(make_context(d, err));
    hone_try(describe(d, err));
    hone_try(cuda_blas_open(&d->blas, err));
    d->blas->card = d->name;
    return HONE_OK;
}

static void cuda_close(void *state)
{
    cuda_device *d = state;

    cuda_blas_close(d->blas);
    d->blas = NULL;
}

/* What this process takes by itself: right while it has reserved nothing. It
 * grows with the kernels that have run. */
static int64_t context_bytes(const opened *o)
{
    int64_t used = o->used_before < 0 ? -1 : cuda_used_bytes(o->device.index);

    return used > o->used_before ? used - o->used_before
                                 : o->device.context_bytes;
}

static hone_status cuda_info(void *dev, hone_device_info *info, hone_err *err)
{
    const cuda_device *d = dev;
    size_t free_bytes, total;
    cudaError_t e = cudaMemGetInfo(&free_bytes, &total);

    if (e != cudaSuccess)
        return fail(err, "cannot ask for free memory", e);
    snprintf(info->name, sizeof info->name, "%.127s", d->name);
    info->total_bytes = (int64_t)total;
    info->free_bytes = (int64_t)free_bytes;
    info->context_bytes = context_bytes(dev);
    info->is_host = 0;
    info->streams = 2;
    info->can_capture = 1;
    info->threads = 1;
    if (info->size > offsetof(hone_device_info, arch))
        info->arch = d->arch;
    return HONE_OK;
}

/* ------------------------------------------------------------------ memory */

static hone_status no_memory(int64_t bytes, hone_err *err)
{
    size_t free_bytes = 0, total = 0;

    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&free_bytes, &total);
    return hone_fail(err, HONE_ENOMEM,
                     "cuda: %lld MiB are needed, %lld of the GPU's %lld MiB "
                     "are free; close what else runs there (nvidia-smi), or "
                     "take a smaller batch, keep = \"none\", an adapter",
                     (long long)(bytes >> 20), (long long)(free_bytes >> 20),
                     (long long)(total >> 20));
}

static hone_status cuda_reserve(void *dev, hone_space space, int64_t bytes,
                                void **ptr, hone_err *err)
{
    cuda_device *d = dev;
    size_t n = bytes > 0 ? (size_t)bytes : HONE_ALIGN;
    cudaError_t e;

    *ptr = NULL;
    if (d->frozen)
        return hone_fail(err, HONE_ENOMEM,
                         "cuda: %lld bytes were asked for after the plan was "
                         "reserved: a fault in hone, please report it",
                         (long long)bytes);
    e = space == HONE_PINNED_SPACE ? cuda_pin(d, n, ptr) : cudaMalloc(ptr, n);
    if (e == cudaSuccess)
        return HONE_OK;
    *ptr = NULL;
    if (e == cudaErrorMemoryAllocation && space == HONE_DEVICE_SPACE)
        return no_memory(bytes, err);
    return fail(err, space == HONE_PINNED_SPACE
                         ? "the system refuses pinned memory"
                         : "the GPU refuses memory", e);
}

static void cuda_release(void *dev, hone_space space, void *ptr)
{
    if (space == HONE_PINNED_SPACE)
        cuda_unpin(dev, ptr);
    else
        (void)cudaFree(ptr);
}

static void cuda_freeze(void *dev)
{
    ((cuda_device *)dev)->frozen = 1;
}

static void cuda_copy(void *dev, void *dst, const void *src, int64_t bytes,
                      hone_way way, hone_stream stream)
{
    static const enum cudaMemcpyKind kind[] = {
        [HONE_TO_DEVICE] = cudaMemcpyHostToDevice,
        [HONE_TO_HOST] = cudaMemcpyDeviceToHost,
        [HONE_ON_DEVICE] = cudaMemcpyDeviceToDevice
    };

    (void)dev;
    (void)cudaMemcpyAsync(dst, src, (size_t)bytes, kind[way],
                          (cudaStream_t)stream);
}

static void cuda_fill(void *dev, void *dst, int byte, int64_t bytes,
                      hone_stream stream)
{
    (void)dev;
    (void)cudaMemsetAsync(dst, byte, (size_t)bytes, (cudaStream_t)stream);
}

/* ------------------------------------------------------- streams and events */

static hone_status stream_open(void *dev, hone_stream *stream, hone_err *err)
{
    cudaError_t e = cudaStreamCreateWithFlags((cudaStream_t *)stream,
                                              cudaStreamNonBlocking);

    (void)dev;
    return e == cudaSuccess ? HONE_OK : fail(err, "no stream", e);
}

static void stream_close(void *dev, hone_stream stream)
{
    (void)dev;
    if (stream)
        (void)cudaStreamDestroy((cudaStream_t)stream);
}

static hone_status event_open(void *dev, hone_event *event, hone_err *err)
{
    /* A host that waits sleeps: the reader and the loggers want the core. */
    cudaError_t e = cudaEventCreateWithFlags((cudaEvent_t *)event,
                                             cudaEventBlockingSync);

    (void)dev;
    return e == cudaSuccess ? HONE_OK : fail(err, "no event", e);
}

static void event_close(void *dev, hone_event event)
{
    (void)dev;
    if (event)
        (void)cudaEventDestroy((cudaEvent_t)event);
}

static void cuda_record(void *dev, hone_event event, hone_stream stream)
{
    (void)dev;
    (void)cudaEventRecord((cudaEvent_t)event, (cudaStream_t)stream);
}

static void cuda_wait(void *dev, hone_stream stream, hone_event event)
{
    (void)dev;
    (void)cudaStreamWaitEvent((cudaStream_t)stream, (cudaEvent_t)event, 0);
}

static hone_status cuda_await(void *dev, hone_event event, hone_err *err)
{
    cudaError_t launch = cudaGetLastError();
    cudaError_t e = cudaEventSynchronize((cudaEvent_t)event);

    (void)dev;
    if (e == cudaSuccess)
        e = launch;
    return e == cudaSuccess ? HONE_OK : fail(err, "a kernel failed", e);
}

static double cuda_seconds(void *dev, hone_event from, hone_event to)
{
    float ms = -1;

    (void)dev;
    if (cudaEventElapsedTime(&ms, (cudaEvent_t)from, (cudaEvent_t)to) !=
        cudaSuccess)
        (void)cudaGetLastError();
    return (double)ms / 1000;
}

static hone_status cuda_sync(void *dev, hone_stream stream, hone_err *err)
{
    cudaError_t launch = cudaGetLastError();
    cudaError_t e = cudaStreamSynchronize((cudaStream_t)stream);

    (void)dev;
    if (e == cudaSuccess)
        e = launch;
    return e == cudaSuccess ? HONE_OK : fail(err, "a kernel failed", e);
}

/* ------------------------------------------------------------------ graphs */

static hone_status cuda_capture(void *dev, hone_stream stream, hone_err *err)
{
    cudaError_t e = cudaStreamBeginCapture((cudaStream_t)stream,
                                           cudaStreamCaptureModeThreadLocal);

    (void)dev;
    return e == cudaSuccess ? HONE_OK : fail(err, "cannot record a graph", e);
}

static hone_status cuda_capture_end(void *dev, hone_stream stream,
                                    hone_graph_exec *out, hone_err *err)
{
    cudaGraph_t graph = NULL;
    cudaError_t e = cudaStreamEndCapture((cudaStream_t)stream, &graph);

    *out = NULL;
    if (e == cudaSuccess)
        cuda_counters_clear_once(((cuda_device *)dev)->blas, graph);
    if (e == cudaSuccess)
        e = cudaGraphInstantiate((cudaGraphExec_t *)out, graph, 0);
    if (e == cudaSuccess)
        e = cudaGraphUpload((cudaGraphExec_t)*out, (cudaStream_t)stream);
    if (graph)
        (void)cudaGraphDestroy(graph);
    return e == cudaSuccess ? HONE_OK : fail(err, "cannot make a graph", e);
}

static void cuda_launch(void *dev, hone_graph_exec graph, hone_stream stream)
{
    (void)dev;
    (void)cudaGraphLaunch((cudaGraphExec_t)graph, (cudaStream_t)stream);
}

static void graph_close(void *dev, hone_graph_exec graph)
{
    (void)dev;
    if (graph)
        (void)cudaGraphExecDestroy((cudaGraphExec_t)graph);
}

static void cuda_choose(void *dev, const hone_choices *choices, void *scratch,
                        int64_t bytes)
{
    cuda_blas *b = ((cuda_device *)dev)->blas;

    b->choices = choices;
    b->scratch = scratch;
    b->scratch_bytes = bytes;
}

static const hone_option options[] = {
    HONE_OPT_INT(config, index, 0, 0, 1023,
                 "which GPU, as nvidia-smi counts; \"cuda:1\" is short for it"),
    HONE_OPT_END
};

static const hone_device table = {
    .size = sizeof(hone_device),
    .info = cuda_info,
    .reserve = cuda_reserve,
    .release = cuda_release,
    .freeze = cuda_freeze,
    .stream_open = stream_open,
    .stream_close = stream_close,
    .event_open = event_open,
    .event_close = event_close,
    .record = cuda_record,
    .wait = cuda_wait,
    .sync = cuda_sync,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .capture = cuda_capture,
    .capture_end = cuda_capture_end,
    .launch = cuda_launch,
    .graph_close = graph_close,
    .await = cuda_await,
    .seconds = cuda_seconds,
    .choose = cuda_choose,
    .graph_bytes = cuda_graph_bytes
};

const hone_component hone_cuda_device = {
    .size = sizeof(hone_component),
    .kind = HONE_KIND_DEVICE,
    .name = "cuda",
    .help = "an NVIDIA GPU of compute capability 7.5 or more",
    .options = options,
    .config_size = sizeof(config),
    .state_size = sizeof(opened),
    .open = cuda_open,
    .close = cuda_close,
    .ops = &table
};

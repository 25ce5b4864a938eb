/* SPDX-License-Identifier: MIT
 *
 * map.cu -- the element-wise program of `map` over a list of tensors in one
 * launch. A thread takes four elements through all steps; their slots lie in
 * shared memory, so that each tensor is read and written once whatever the
 * program does. See mapplan.h for the steps.
 */
#include "list.cuh"

#include "attrs.h"
#include "block8.cuh"
#include "mapplan.h"

enum { MAP_THREADS = 128, FOUR = 4 };

struct map_job {
    void *scalar[HONE_MAP_SCALARS];
    unsigned char scalar_storage[HONE_MAP_SCALARS];
    unsigned char number[MAP_UNIFORM]; /* of a slot among those in use */
    int reads, writes, guard, slots;
    int blocks; /* some writes are held in blocks of eight bits */
};

struct map {
    map_job job;
    map_plan plan;
    uint32_t nin, nout;
    int64_t storages; /* offset: [nin + nout], bytes */
    int64_t count[1]; /* [nout / writes] */
};

/* ---------------------------------------------------------------- one step */

static __device__ __forceinline__ float4 fetch(const float4 *slot,
                                               const float *uniform, int at)
{
    if (at < MAP_UNIFORM)
        return slot[at * MAP_THREADS];
    float u = uniform[at - MAP_UNIFORM];
    return { u, u, u, u };
}

/* R = EXPR of a, b and c, element by element: the code is looked at once for
 * all four. */
#define EACH(EXPR)                                                             \
    {                                                                          \
        _Pragma("unroll") for (int e = 0; e < FOUR; e++)                       \
        {                                                                      \
            const float a = A[e];                                              \
            [[maybe_unused]] const float b = B[e], c = C[e];                   \
            R[e] = (EXPR);                                                     \
        }                                                                      \
        break;                                                                 \
    }

static __device__ __forceinline__ float4 step(map_step s, const float4 *slot,
                                              const float *uniform)
{
    const float4 x = fetch(slot, uniform, s.a);
    float A[FOUR] = { x.x, x.y, x.z, x.w }, B[FOUR] = {}, C[FOUR] = {};
    float R[FOUR] = {};

    if (s.code >= HONE_MAP_PLUS && (s.code < HONE_MAP_NEG ||
                                    s.code >= HONE_MAP_LERP)) {
        const float4 y = fetch(slot, uniform, s.b);
        B[0] = y.x, B[1] = y.y, B[2] = y.z, B[3] = y.w;
    }
    if (s.code >= HONE_MAP_LERP) {
        const float4 z = fetch(slot, uniform, s.c);
        C[0] = z.x, C[1] = z.y, C[2] = z.z, C[3] = z.w;
    }
    switch (s.code) {
    case HONE_MAP_DUP: EACH(a)
    case HONE_MAP_PLUS: EACH(a + b)
    case HONE_MAP_MINUS: EACH(a - b)
    case HONE_MAP_TIMES: EACH(a * b)
    case HONE_MAP_OVER: EACH(a / b)
    case HONE_MAP_MIN: EACH(a < b ? a : b)
    case HONE_MAP_MAX: EACH(a > b ? a : b)
    case HONE_MAP_LESS: EACH(a < b ? 1.0f : 0.0f)
    case HONE_MAP_MORE: EACH(a > b ? 1.0f : 0.0f)
    case HONE_MAP_NEG: EACH(-a)
    case HONE_MAP_ABS: EACH(fabsf(a))
    case HONE_MAP_SQRT: EACH(sqrtf(a))
    case HONE_MAP_EXP: EACH(expf(a))
    case HONE_MAP_EXPM1: EACH(expm1f(a))
    case HONE_MAP_LOG: EACH(logf(a))
    case HONE_MAP_SIGN: EACH((float)((a > 0) - (a < 0)))
    case HONE_MAP_FINITE: EACH(isfinite(a) ? 1.0f : 0.0f)
    case HONE_MAP_LERP: EACH(a + c * (b - a))
    default: EACH(a != 0 ? b : c) /* HONE_MAP_SELECT */
    }
    return { R[0], R[1], R[2], R[3] };
}

/* ---------------------------------------------------------- four elements */

static __device__ float4 load_four(cell c, int64_t i, int live)
{
    float v[FOUR];

    if (live == FOUR && (uintptr_t)c.at % 16 == 0) {
        if (c.storage == HONE_F32)
            return *(const float4 *)((const float *)c.at + i);
        uint2 w = *(const uint2 *)((const uint16_t *)c.at + i);
        float2 low = unpack(c.storage, w.x), high = unpack(c.storage, w.y);
        return { low.x, low.y, high.x, high.y };
    }
#pragma unroll
    for (int e = 0; e < FOUR; e++)
        v[e] = e < live ? get(c, i + e) : 0.0f;
    return { v[0], v[1], v[2], v[3] };
}

static __device__ void store_four(cell c, int64_t i, float4 x, int live)
{
    const float v[FOUR] = { x.x, x.y, x.z, x.w };

    if (live == FOUR && (uintptr_t)c.at % 16 == 0) {
        if (c.storage == HONE_F32)
            *(float4 *)((float *)c.at + i) = x;
        else
            *(uint2 *)((uint16_t *)c.at + i) = {
                pack(c.storage, x.x, x.y), pack(c.storage, x.z, x.w)
            };
        return;
    }
#pragma unroll
    for (int e = 0; e < FOUR; e++)
        if (e < live)
            put(c, i + e, v[e]);
}

static __device__ void compute(const map_plan &p, float4 *slot,
                               const float *uniform)
{
    for (int i = 0; i < p.count; i++)
        slot[p.step[i].to * MAP_THREADS] = step(p.step[i], slot, uniform);
}

/* With BLOCKS some writes are held in blocks of eight bits; behind a tensor's
 * pointers stand those of their magnitudes. */
template <bool BLOCKS>
static __global__ void __launch_bounds__(MAP_THREADS)
    map_chunks(const __grid_constant__ list_table l,
               const __grid_constant__ map_job j,
               const __grid_constant__ map_plan p)
{
    extern __shared__ float4 slots[];
    __shared__ float uniform[MAP_UNIFORMS];
    block8_tables<MAP_THREADS> &tables = /* behind the slots */
        *(block8_tables<MAP_THREADS> *)(slots + j.slots * MAP_THREADS);
    float4 *slot = slots + threadIdx.x;
    int64_t first, last;
    int tensor = list_find(l, blockIdx.x, &first, &last), turn = 0;
    int x = tensor * l.per, y = x + j.reads, absmax = y + j.writes;

    for (int i = threadIdx.x; i < p.uniforms; i += MAP_THREADS)
        uniform[i] = i < p.scalars
                         ? get({ j.scalar[i], j.scalar_storage[i], 0 }, 0)
                         : p.uniform[i];
    if (BLOCKS)
        block8_fill(&tables);
    __syncthreads();
    if (j.guard && uniform[0] == 0)
        return;
    for (; first < last; first += MAP_THREADS * FOUR, turn ^= 1) {
        const int64_t i = first + threadIdx.x * FOUR;
        const int live = (int)max((int64_t)0, min((int64_t)FOUR, last - i));

        if (!BLOCKS && live == 0)
            break;
        for (int k = 0; k < j.reads; k++)
            if (p.used >> k & 1)
                slot[j.number[k] * MAP_THREADS] =
                    load_four(list_cell(l, x + k), i, live);
        for (int k = 0; k < j.writes; k++)
            if (p.reads_y >> k & 1)
                slot[j.number[MAP_Y + k] * MAP_THREADS] =
                    BLOCKS && is_block8(l.storage[y + k])
                        ? block8_load(tables.value, list_cell(l, y + k),
                                      (const float *)l.at[absmax + k], i, live)
                        : load_four(list_cell(l, y + k), i, live);
        compute(p, slot, uniform);
        for (int k = 0; BLOCKS && k < j.writes; k++)
            if (p.writes_y >> k & 1 && is_block8(l.storage[y + k]))
                block8_top(tables.top[turn][k],
                           slot[j.number[MAP_Y + k] * MAP_THREADS], live);
        if (BLOCKS)
            __syncthreads();
        for (int k = 0; k < j.writes; k++) {
            if (!(p.writes_y >> k & 1))
                continue;
            const float4 v = slot[j.number[MAP_Y + k] * MAP_THREADS];
            if (BLOCKS && is_block8(l.storage[y + k]))
                block8_store(tables.value, tables.top[turn][k],
                             list_cell(l, y + k), (float *)l.at[absmax + k], i,
                             v, live);
            else
                store_four(list_cell(l, y + k), i, v, live);
        }
    }
}

/* -------------------------------------------------------------- the calls */

static hone_status plan(const hone_call *c, map_plan *p, hone_err *err)
{
    const hone_map_attrs *a = (const hone_map_attrs *)c->attrs;
    hone_mapcode code;

    hone_try(hone_mapcode_parse(a->program, a->scalars, a->reads, a->writes,
                                &code, err));
    if (!map_plan_make(p, &code, (int)a->scalars))
        return hone_fail(err, HONE_ENOSUP,
                         "cuda: map: the program is too long: '%.60s...'",
                         a->program);
    return HONE_OK;
}

static int64_t storages_at(const hone_call *c)
{
    return (int64_t)(sizeof(map) + c->nout * sizeof(int64_t));
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    map_plan p;

    (void)threads;
    need->prepared_bytes = storages_at(c) + c->nin + c->nout;
    for (uint32_t i = 0; i < c->nin + c->nout; i++)
        if (!cuda_is_float(c->type[i].storage) &&
            (i < c->nin || !is_block8(c->type[i].storage)))
            return hone_fail(err, HONE_ENOSUP,
                             "cuda: map: storage '%s' is not covered",
                             hone_parts(c->type[i].storage)[0].name);
    return plan(c, &p, err);
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    const hone_map_attrs *a = (const hone_map_attrs *)c->attrs;
    map *m = (map *)prepared;
    unsigned char *storage = (unsigned char *)prepared + storages_at(c);
    const cuda_device *d = (const cuda_device *)ctx;
    int most = d->shared_bytes - MAP_UNIFORMS * (int)sizeof(float) -
               (int)sizeof(block8_tables<MAP_THREADS>);
    cudaError_t e;

    (void)threads;
    hone_try(plan(c, &m->plan, err));
    m->job.slots = map_compact(&m->plan, m->job.number);
    m->job.reads = (int)a->reads;
    m->job.writes = (int)a->writes;
    m->job.guard = a->guard;
    m->nin = c->nin;
    m->nout = c->nout;
    m->storages = storages_at(c);
    for (uint32_t i = 0; i < c->nin + c->nout; i++) {
        storage[i] = cuda_storage(c, i);
        m->job.blocks |= is_block8(storage[i]);
    }
    for (uint32_t i = 0; i < c->nout; i += (uint32_t)a->writes)
        m->count[i / a->writes] = cuda_count(c, c->nin + i);
    if (m->job.slots * (int)sizeof(float4) * MAP_THREADS > most)
        return hone_fail(err, HONE_EINVAL, "cuda: map: the program needs more "
                         "shared memory than a %s has", d->name);
    e = cudaFuncSetAttribute(
        m->job.blocks ? map_chunks<true> : map_chunks<false>,
        cudaFuncAttributeMaxDynamicSharedMemorySize, most);
    return e == cudaSuccess ? HONE_OK
                            : hone_fail(err, HONE_EIO, "cuda: map: %s",
                                        cudaGetErrorString(e));
}

/* The pointers of tensor N of the list: its reads, then its writes. */
static void enter(const map *m, const hone_ptr *ptr, uint32_t n, list_table *t)
{
    const unsigned char *storage = (const unsigned char *)m + m->storages;
    uint32_t reads = (uint32_t)m->job.reads, writes = (uint32_t)m->job.writes;
    int slot = list_add(t, m->count[n]);

    for (uint32_t k = 0; k < reads + writes; k++) {
        uint32_t i = k < reads ? (uint32_t)m->plan.scalars + n * reads + k
                               : m->nin + n * writes + k - reads;
        t->at[slot + (int)k] = ptr[i].part[0];
        t->storage[slot + (int)k] = storage[i];
        if (k >= reads && m->job.blocks)
            t->at[slot + (int)(k + writes)] = ptr[i].part[1];
    }
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const map *m = (const map *)prepared;
    uint32_t n = 0, tensors = m->nout / (uint32_t)m->job.writes;
    size_t shared = (size_t)m->job.slots * MAP_THREADS * sizeof(float4) +
                    (m->job.blocks ? sizeof(block8_tables<MAP_THREADS>) : 0);
    map_job job = m->job;
    list_table t;

    (void)workspace;
    for (int i = 0; i < m->plan.scalars; i++) {
        job.scalar[i] = ptr[i].part[0];
        job.scalar_storage[i] = ((const unsigned char *)m + m->storages)[i];
    }
    while (n < tensors) {
        list_open(&t, job.reads + job.writes * (job.blocks ? 2 : 1));
        while (n < tensors && t.tensors < list_most(t.per))
            enter(m, ptr, n++, &t);
        (job.blocks ? map_chunks<true> : map_chunks<false>)
            <<<(unsigned)t.chunk[t.tensors], MAP_THREADS, shared,
               (cudaStream_t)stream>>>(t, job, m->plan);
    }
}

CUDA_KERNELS(map) = {
    { "map", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};

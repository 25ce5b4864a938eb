/* SPDX-License-Identifier: MIT
 *
 * map.cu -- the element-wise program of `map` over a list of tensors in one
 * launch. A thread takes eight elements through all steps; their slots lie in
 * shared memory, so that each tensor is read and written once whatever the
 * program does. See mapplan.h for the steps.
 */
#include "list.cuh"

#include "attrs.h"
#include "block8.cuh"
#include "mapfixed.cuh"
#include "mapplan.h"
#include "rounding.h"

enum { MAP_THREADS = 64 };
static_assert(VECTOR == HONE_ROUNDING_BLOCK, "a draw serves one thread");

struct map_job {
    void *scalar[HONE_MAP_SCALARS];
    unsigned char scalar_storage[HONE_MAP_SCALARS];
    unsigned char number[MAP_UNIFORM]; /* of a slot among those in use */
    int reads, writes, guard, slots, stochastic;
    int blocks; /* some writes are held in blocks of eight bits */
    int first; /* of the list's tensors in this launch */
    const int64_t *rng, *keys;
};

struct map {
    const void *kernel; /* of the kind of list that the call takes */
    bool is_short;
    int per; /* pointers that each tensor of the list has */
    map_job job;
    map_plan plan;
    uint32_t nin, nout;
    int64_t storages; /* offset: [nin + nout], bytes */
    int64_t count[1]; /* [nout / writes] */
};

/* ---------------------------------------------------------------- one step */

/* A slot has four elements of each thread, then the other four. */
static __device__ __forceinline__ void read_slot(float (&v)[VECTOR],
                                                 const float4 *slot, int at)
{
    const float4 a = slot[2 * at * MAP_THREADS];
    const float4 b = slot[(2 * at + 1) * MAP_THREADS];

    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

static __device__ __forceinline__ void write_slot(const float (&v)[VECTOR],
                                                  float4 *slot, int at)
{
    slot[2 * at * MAP_THREADS] = { v[0], v[1], v[2], v[3] };
    slot[(2 * at + 1) * MAP_THREADS] = { v[4], v[5], v[6], v[7] };
}

static __device__ __forceinline__ void fetch(float (&v)[VECTOR],
                                             const float (&last)[VECTOR],
                                             const float4 *slot,
                                             const float *uniform, int at)
{
    if (at < MAP_UNIFORM) {
        read_slot(v, slot, at);
        return;
    }
    const float u = at == MAP_LAST ? 0 : uniform[at - MAP_UNIFORM];
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        v[e] = at == MAP_LAST ? last[e] : u;
}

/* R = EXPR of a, b and c, element by element: the code is looked at once for
 * all eight. */
#define EACH(EXPR)                                                             \
    {                                                                          \
        _Pragma("unroll") for (int e = 0; e < VECTOR; e++)                     \
        {                                                                      \
            const float a = A[e];                                              \
            [[maybe_unused]] const float b = B[e], c = C[e];                   \
            R[e] = (EXPR);                                                     \
        }                                                                      \
        break;                                                                 \
    }

/* R: the result of the step before, then that of this one. */
static __device__ __forceinline__ void step(map_step s, float (&R)[VECTOR],
                                            const float4 *slot,
                                            const float *uniform)
{
    float A[VECTOR], B[VECTOR] = {}, C[VECTOR] = {};

    fetch(A, R, slot, uniform, s.a);
    if (s.code >= HONE_MAP_PLUS && (s.code < HONE_MAP_NEG ||
                                    s.code >= HONE_MAP_LERP))
        fetch(B, R, slot, uniform, s.b);
    if (s.code >= HONE_MAP_LERP)
        fetch(C, R, slot, uniform, s.c);
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
}

/* --------------------------------------------------------- eight elements */

static __device__ void compute(const map_plan &p, float4 *slot,
                               const float *uniform)
{
    float r[VECTOR];

    for (int i = 0; i < p.count; i++) {
        step(p.step[i], r, slot, uniform);
        if (p.step[i].to != MAP_NOWHERE)
            write_slot(r, slot, p.step[i].to);
    }
}

/* To bf16 at random; see rounding.h. */
static __device__ void store_random(cell y, int64_t i, const float (&v)[VECTOR],
                                    int live, hone_philox philox)
{
    uint16_t *to = (uint16_t *)y.at + i;
    uint32_t r[4], word[4];

    hone_rounding_draw(philox, (uint64_t)i / VECTOR, r);
#pragma unroll
    for (int k = 0; k < 4; k++)
        word[k] = hone_bf16_random(v[2 * k], r[k] & 0xffffu) |
                  (uint32_t)hone_bf16_random(v[2 * k + 1], r[k] >> 16) << 16;
    if (live == VECTOR && (uintptr_t)y.at % 16 == 0) {
        *(uint4 *)to = { word[0], word[1], word[2], word[3] };
        return;
    }
#pragma unroll
    for (int e = 0; e < VECTOR; e++)
        if (e < live)
            to[e] = (uint16_t)(word[e / 2] >> e % 2 * 16);
}

/* The generators of the outputs of TENSOR; which of them are used. */
template <class L>
static __device__ void open_rounding(const map_job &j, const L &l, int tensor,
                                     hone_philox *philox,
                                     unsigned char *random)
{
    const int k = threadIdx.x;

    if (k >= j.writes)
        return;
    random[k] = 0;
    if (!j.stochastic ||
        list_cell(l, tensor * l.per + j.reads + k).storage != HONE_BF16)
        return;
    int64_t key = j.keys[(int64_t)(j.first + tensor) * j.writes + k];
    random[k] = key != 0;
    philox[k] = hone_philox_open(j.rng[0], j.rng[1], key);
}

/* Scalars and then literals: what all elements share. */
static __device__ void fill_uniform(const map_job &j, const map_plan &p,
                                    float *uniform)
{
    for (int i = threadIdx.x; i < p.uniforms; i += MAP_THREADS)
        uniform[i] = i < p.scalars
                         ? get({ j.scalar[i], j.scalar_storage[i], 0 }, 0)
                         : p.uniform[i];
}

/* A program that was compiled, all in registers. */
template <class L, class P>
static __global__ void __launch_bounds__(MAP_THREADS)
    map_fixed(const __grid_constant__ L l,
              const __grid_constant__ map_job j,
              const __grid_constant__ map_plan p)
{
    __shared__ float uniform[MAP_UNIFORMS];
    __shared__ hone_philox philox[HONE_MAP_TENSORS];
    __shared__ unsigned char random[HONE_MAP_TENSORS];
    int64_t first, last;
    int tensor = list_find(l, blockIdx.x, &first, &last), at = tensor * l.per;
    float v[P::READS + P::WRITES][VECTOR];
    words w[P::READS + P::WRITES];
    uintptr_t bits = 0;

    fill_uniform(j, p, uniform);
    open_rounding(j, l, tensor, philox, random);
    __syncthreads();
    if (j.guard && uniform[0] == 0)
        return;
#pragma unroll
    for (int k = 0; k < P::READS + P::WRITES; k++)
        bits |= (uintptr_t)l.at[at + k];
    for (int64_t i = first + threadIdx.x * VECTOR; i < last;
         i += MAP_THREADS * VECTOR) {
        int live = (int)min((int64_t)VECTOR, last - i);
        const int whole = live == VECTOR && bits % 16 == 0;

#pragma unroll
        for (int k = 0; whole && k < P::READS + P::WRITES; k++)
            w[k] = fetch_wide(list_cell(l, at + k), i);
#pragma unroll
        for (int k = 0; k < P::READS + P::WRITES; k++)
            if (whole)
                spread(v[k], w[k], list_cell(l, at + k).storage);
            else
                load(v[k], list_cell(l, at + k), i, live,
                     (uintptr_t)l.at[at + k] % 16 == 0);
#pragma unroll
        for (int e = 0; e < VECTOR; e++) {
            float x[P::READS], y[P::WRITES];

            for (int k = 0; k < P::READS; k++)
                x[k] = v[k][e];
            for (int k = 0; k < P::WRITES; k++)
                y[k] = v[P::READS + k][e];
            P::run(x, y, uniform);
            for (int k = 0; k < P::WRITES; k++)
                v[P::READS + k][e] = y[k];
        }
#pragma unroll
        for (int k = 0; k < P::WRITES; k++) {
            const cell c = list_cell(l, at + P::READS + k);

            if (random[k])
                store_random(c, i, v[P::READS + k], live, philox[k]);
            else
                store(c, i, v[P::READS + k], live, (uintptr_t)c.at % 16 == 0);
        }
    }
}

/* With BLOCKS some writes are held in blocks of eight bits; behind a tensor's
 * pointers stand those of their magnitudes. */
template <class L, bool BLOCKS>
static __global__ void __launch_bounds__(MAP_THREADS)
    map_chunks(const __grid_constant__ L l,
               const __grid_constant__ map_job j,
               const __grid_constant__ map_plan p)
{
    extern __shared__ float4 slots[];
    __shared__ float uniform[MAP_UNIFORMS];
    __shared__ hone_philox philox[HONE_MAP_TENSORS];
    __shared__ unsigned char random[HONE_MAP_TENSORS];
    block8_values &value = /* behind the slots */
        *(block8_values *)(slots + 2 * j.slots * MAP_THREADS);
    float4 *slot = slots + threadIdx.x;
    int64_t first, last;
    int tensor = list_find(l, blockIdx.x, &first, &last);
    int x = tensor * l.per, y = x + j.reads, absmax = y + j.writes;
    float v[VECTOR];

    fill_uniform(j, p, uniform);
    open_rounding(j, l, tensor, philox, random);
    if (BLOCKS)
        block8_fill(value);
    __syncthreads();
    if (j.guard && uniform[0] == 0)
        return;
    for (; first < last; first += MAP_THREADS * VECTOR) {
        const int64_t i = first + threadIdx.x * VECTOR;
        const int live = (int)max((int64_t)0, min((int64_t)VECTOR, last - i));

        if (!BLOCKS && live == 0)
            break;
        for (int k = 0; k < j.reads; k++) {
            const cell c = list_cell(l, x + k);

            if (!(p.used >> k & 1))
                continue;
            load(v, c, i, live, (uintptr_t)c.at % 16 == 0);
            write_slot(v, slot, j.number[k]);
        }
        for (int k = 0; k < j.writes; k++) {
            const cell c = list_cell(l, y + k);

            if (!(p.reads_y >> k & 1))
                continue;
            if (BLOCKS && is_block8(c.storage))
                block8_load(v, value, c, (const float *)l.at[absmax + k], i,
                            live);
            else
                load(v, c, i, live, (uintptr_t)c.at % 16 == 0);
            write_slot(v, slot, j.number[MAP_Y + k]);
        }
        compute(p, slot, uniform);
        for (int k = 0; k < j.writes; k++) {
            const cell c = list_cell(l, y + k);

            if (!(p.writes_y >> k & 1))
                continue;
            read_slot(v, slot, j.number[MAP_Y + k]);
            if (BLOCKS && is_block8(c.storage))
                block8_store(value, c, (float *)l.at[absmax + k], i, v, live);
            else if (random[k])
                store_random(c, i, v, live, philox[k]);
            else
                store(c, i, v, live, (uintptr_t)c.at % 16 == 0);
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

int cuda_map_pointers(const hone_call *c)
{
    const hone_map_attrs *a = (const hone_map_attrs *)c->attrs;
    int64_t per = a->reads + a->writes;

    for (uint32_t i = 0; i < c->nout; i++)
        if (is_block8(c->type[c->nin + i].storage))
            return (int)(per + a->writes);
    return (int)per;
}

static int64_t storages_at(const hone_call *c)
{
    return (int64_t)(sizeof(map) + c->nout * sizeof(int64_t));
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    const hone_map_attrs *a = (const hone_map_attrs *)c->attrs;
    map_plan p;

    (void)threads;
    need->prepared_bytes = storages_at(c) + c->nin + c->nout;
    for (uint32_t i = 0; i < c->nin + c->nout; i++)
        if (!cuda_is_float(c->type[i].storage) &&
            (i < c->nin ? i + HONE_MAP_ROUNDING(a) < c->nin
                        : !is_block8(c->type[i].storage)))
            return hone_fail(err, HONE_ENOSUP,
                             "cuda: map: storage '%s' is not covered",
                             hone_parts(c->type[i].storage)[0].name);
    return plan(c, &p, err);
}

/* The kernel for the call; one of a compiled program has no slots. */
template <class L> static void choose(map *m, const hone_map_attrs *a)
{
    m->kernel = m->job.blocks ? (const void *)map_chunks<L, true>
                              : (const void *)map_chunks<L, false>;
    if (m->job.blocks || a->scalars != MAP_ADAM_SCALARS || a->reads != 1 ||
        a->writes != 3)
        return;
    if (map_is(a->program, MAP_ADAM))
        m->kernel = (const void *)map_fixed<L, map_adam>;
    else if (map_is(a->program, MAP_ADAM_DECAY))
        m->kernel = (const void *)map_fixed<L, map_adam_decay>;
    else
        return;
    m->job.slots = 0;
}

static size_t slots_bytes(const map *m)
{
    return (size_t)m->job.slots * MAP_THREADS * VECTOR * sizeof(float) +
           (m->job.blocks ? sizeof(block8_values) : 0);
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    const hone_map_attrs *a = (const hone_map_attrs *)c->attrs;
    map *m = (map *)prepared;
    unsigned char *storage = (unsigned char *)prepared + storages_at(c);
    const cuda_device *d = (const cuda_device *)ctx;
    int most = d->shared_bytes - 1024; /* what else the kernel has there */
    cudaError_t e;

    (void)threads;
    hone_try(plan(c, &m->plan, err));
    m->job.slots = map_compact(&m->plan, m->job.number);
    m->job.reads = (int)a->reads;
    m->job.writes = (int)a->writes;
    m->job.guard = a->guard;
    m->job.stochastic = a->stochastic;
    m->nin = c->nin;
    m->nout = c->nout;
    m->storages = storages_at(c);
    m->per = cuda_map_pointers(c);
    m->job.blocks = m->per > m->job.reads + m->job.writes;
    for (uint32_t i = 0; i < c->nin + c->nout; i++)
        storage[i] = cuda_storage(c, i);
    for (uint32_t i = 0; i < c->nout; i += (uint32_t)a->writes)
        m->count[i / a->writes] = cuda_count(c, c->nin + i);
    m->is_short = list_is_short(c->nout / a->writes, m->per);
    (m->is_short ? choose<list_short> : choose<list_table>)(m, a);
    if (slots_bytes(m) > (size_t)most)
        return hone_fail(err, HONE_EINVAL, "cuda: map: the program needs more "
                         "shared memory than a %s has", d->name);
    e = cudaFuncSetAttribute(
        m->kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most);
    return e == cudaSuccess ? HONE_OK
                            : hone_fail(err, HONE_EIO, "cuda: map: %s",
                                        cudaGetErrorString(e));
}

/* The pointers of tensor N of the list: its reads, then its writes. */
template <class L>
static void enter(const map *m, const hone_ptr *ptr, uint32_t n, L *t)
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

template <class L>
static void launch(const map *m, map_job *job, const hone_ptr *ptr,
                   cudaStream_t stream)
{
    void (*kernel)(const L, const map_job, const map_plan);
    uint32_t n = 0, tensors = m->nout / (uint32_t)job->writes;
    L t;

    kernel = (decltype(kernel))m->kernel;
    while (n < tensors) {
        list_open(&t, m->per);
        job->first = (int)n;
        while (n < tensors && t.tensors < list_most<L>(t.per))
            enter(m, ptr, n++, &t);
        kernel<<<(unsigned)t.chunk[t.tensors], MAP_THREADS, slots_bytes(m),
                 stream>>>(t, *job, m->plan);
    }
}

static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const map *m = (const map *)prepared;
    map_job job = m->job;

    (void)workspace;
    for (int i = 0; i < m->plan.scalars; i++) {
        job.scalar[i] = ptr[i].part[0];
        job.scalar_storage[i] = ((const unsigned char *)m + m->storages)[i];
    }
    if (job.stochastic) {
        job.rng = (const int64_t *)ptr[m->nin - 2].part[0];
        job.keys = (const int64_t *)ptr[m->nin - 1].part[0];
    }
    (m->is_short ? launch<list_short> : launch<list_table>)(
        m, &job, ptr, (cudaStream_t)stream);
}

CUDA_KERNELS(map) = {
    { "map", prepare, init, run },
    { NULL, NULL, NULL, NULL }
};

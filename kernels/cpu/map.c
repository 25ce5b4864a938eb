/* SPDX-License-Identifier: MIT
 *
 * map.c -- the element-wise program of `map`. Each word runs over a strip of
 * STRIP elements that stay in L1, so that its decoding costs nothing beside
 * its arithmetic and every tensor is read and written once.
 *
 * The stack holds pointers. Entry i points at slot i, which holds a result, or
 * at an operand, so that pushing one copies nothing. Only an operand that is
 * about to change is copied, into the slots of the entries that point at it.
 */
#include <float.h>
#include <math.h>

#include "list.h"

#include "attrs.h"
#include "dynamic8.h"
#include "mapcode.h"
#include "rounding.h"
#include "storage.h"
#include "vmath.h"

enum { STRIP = 512 }; /* whole blocks of eight bits */

typedef float strip[STRIP];

typedef struct {
    int threads, guard, stochastic;
    int64_t scalars, reads, writes;
    uint32_t nin;
    float value[2][256]; /* of eight bits: of HONE_INT8, of HONE_UINT8 */
    hone_mapcode code;
    list tensors; /* then a storage, one byte, for each operand */
} map;

typedef struct {
    const map *m;
    const hone_ptr *ptr;
} map_args;

typedef struct {
    const float *stack[HONE_MAP_STACK + 1];
    const float *x[HONE_MAP_TENSORS];
    strip slot[HONE_MAP_STACK + 1];
    strip s[HONE_MAP_SCALARS], y[HONE_MAP_TENSORS], r[HONE_MAP_REGISTERS];
    strip loaded[HONE_MAP_TENSORS]; /* inputs that are not held as f32 */
    int depth;
} machine;

static int is_block8(hone_storage s)
{
    return s == HONE_INT8 || s == HONE_UINT8;
}

static hone_status map_prepare(const hone_call *c, int threads,
                               hone_need *need, hone_err *err)
{
    const hone_map_attrs *a = c->attrs;
    hone_mapcode code;

    (void)threads;
    need->prepared_bytes = (int64_t)offsetof(map, tensors) +
                           list_bytes(c->nout / a->writes) + c->nin + c->nout;
    for (uint32_t i = 0; i < c->nin + c->nout; i++)
        if (!storage_covers(c->type[i].storage) &&
            (i < c->nin ? i + HONE_MAP_ROUNDING(a) < c->nin
                        : !is_block8(c->type[i].storage)))
            return hone_fail(err, HONE_ENOSUP,
                             "cpu: map: storage '%s' is not covered; fp32, "
                             "bf16 and fp16 are",
                             hone_parts(c->type[i].storage)[0].name);
    return hone_mapcode_parse(a->program, a->scalars, a->reads, a->writes,
                              &code, err);
}

static uint8_t *storages(const map *m)
{
    return (uint8_t *)&m->tensors + list_bytes(m->tensors.n);
}

static hone_status map_init(const hone_call *c, int threads, void *ctx,
                            void *prepared, hone_err *err)
{
    map *m = prepared;
    const hone_map_attrs *a = c->attrs;

    (void)ctx;
    m->threads = threads;
    m->guard = a->guard;
    m->stochastic = a->stochastic;
    m->scalars = a->scalars;
    m->reads = a->reads;
    m->writes = a->writes;
    m->nin = c->nin;
    for (uint32_t i = 0; i < c->nout; i += (uint32_t)a->writes)
        list_add(&m->tensors, cpu_count(c, c->nin + i));
    for (uint32_t i = 0; i < c->nin + c->nout; i++)
        storages(m)[i] = (uint8_t)c->type[i].storage;
    for (int i = 0; i < 256; i++)
        for (int k = 0; k < 2; k++)
            m->value[k][i] = hone_dynamic8_value(i, k == 0);
    return hone_mapcode_parse(a->program, a->scalars, a->reads, a->writes,
                              &m->code, err);
}

/* Y[i] = EXPR of a = A[i] and b = B[i], over the strip. */
#define EACH(EXPR)                                                             \
    do {                                                                       \
        CPU_SIMD                                                               \
        for (int i = 0; i < STRIP; i++) {                                      \
            float a = A[i], b = B[i];                                          \
            (void)b;                                                           \
            Y[i] = (EXPR);                                                     \
        }                                                                      \
    } while (0)

static void one(hone_map_code code, const float *A, float *Y)
{
    const float *B = A;

    switch (code) {
    case HONE_MAP_NEG: EACH(-a); break;
    case HONE_MAP_ABS: EACH(fabsf(a)); break;
    case HONE_MAP_SQRT: EACH(sqrtf(a)); break;
    case HONE_MAP_EXP: EACH(vm_exp(a)); break;
    case HONE_MAP_EXPM1: EACH(expm1f(a)); break;
    case HONE_MAP_LOG: EACH(logf(a)); break;
    case HONE_MAP_SIGN: EACH((float)((a > 0) - (a < 0))); break;
    default: EACH(fabsf(a) <= FLT_MAX ? 1.0f : 0.0f); break; /* FINITE */
    }
}

static void two(hone_map_code code, const float *A, const float *B, float *Y)
{
    switch (code) {
    case HONE_MAP_PLUS: EACH(a + b); break;
    case HONE_MAP_MINUS: EACH(a - b); break;
    case HONE_MAP_TIMES: EACH(a * b); break;
    case HONE_MAP_OVER: EACH(a / b); break;
    case HONE_MAP_MIN: EACH(a < b ? a : b); break;
    case HONE_MAP_MAX: EACH(a > b ? a : b); break;
    case HONE_MAP_LESS: EACH(a < b ? 1.0f : 0.0f); break;
    default: EACH(a > b ? 1.0f : 0.0f); break; /* MORE */
    }
}

static void three(hone_map_code code, const float *A, const float *B,
                  const float *C, float *Y)
{
    if (code == HONE_MAP_LERP)
        EACH(a + C[i] * (b - a));
    else
        EACH(a != 0 ? b : C[i]);
}

static void push(machine *w, const float *operand)
{
    w->stack[w->depth++] = operand;
}

/* TO takes the value on top; entries that point at TO keep what they saw. */
static void pop(machine *w, float *to)
{
    const float *from = w->stack[--w->depth];

    for (int i = 0; i < w->depth; i++)
        if (w->stack[i] == to)
            w->stack[i] = memcpy(w->slot[i], to, sizeof(strip));
    if (from != to)
        memcpy(to, from, sizeof(strip));
}

static void number(machine *w, float value)
{
    float *to = w->slot[w->depth];

    for (int i = 0; i < STRIP; i++)
        to[i] = value;
    push(w, to);
}

static void duplicate(machine *w)
{
    const float *top = w->stack[w->depth - 1];

    if (top == w->slot[w->depth - 1])
        top = memcpy(w->slot[w->depth], top, sizeof(strip));
    push(w, top);
}

static void swap(machine *w)
{
    const int i = w->depth - 2;
    const float *a = w->stack[i], *b = w->stack[i + 1];

    for (int k = 0; k < STRIP; k++) {
        float t = a[k];
        w->slot[i][k] = b[k];
        w->slot[i + 1][k] = t;
    }
    w->stack[i] = w->slot[i];
    w->stack[i + 1] = w->slot[i + 1];
}

static void compute(machine *w, hone_map_code code)
{
    int takes = code >= HONE_MAP_LERP ? 3 : code >= HONE_MAP_NEG ? 1 : 2;
    const float *const *in = &w->stack[w->depth -= takes];
    float *to = w->slot[w->depth];

    if (takes == 1)
        one(code, in[0], to);
    else if (takes == 2)
        two(code, in[0], in[1], to);
    else
        three(code, in[0], in[1], in[2], to);
    push(w, to);
}

static void execute(const hone_mapcode *code, machine *w)
{
    for (int i = 0; i < code->count; i++) {
        const hone_map_step *s = &code->step[i];

        switch (s->code) {
        case HONE_MAP_NUMBER: number(w, (float)s->value); break;
        case HONE_MAP_S: push(w, w->s[s->index]); break;
        case HONE_MAP_X: push(w, w->x[s->index]); break;
        case HONE_MAP_Y: push(w, w->y[s->index]); break;
        case HONE_MAP_R: push(w, w->r[s->index]); break;
        case HONE_MAP_SET_Y: pop(w, w->y[s->index]); break;
        case HONE_MAP_SET_R: pop(w, w->r[s->index]); break;
        case HONE_MAP_DUP: duplicate(w); break;
        case HONE_MAP_SWAP: swap(w); break;
        default: compute(w, s->code); break;
        }
    }
}

/* Y of a strip: N numbers from element AT on. */
static void load_y(const map *m, uint32_t i, hone_ptr p, int64_t at, int64_t n,
                   float *to)
{
    hone_storage s = (hone_storage)storages(m)[i];
    const float *value = m->value[s == HONE_UINT8];
    const uint8_t *codes = (const uint8_t *)p.part[0] + at;
    const float *absmax = (const float *)p.part[1] + at / HONE_BLOCK8;

    if (!is_block8(s)) {
        storage_load(s, p.part[0], at, n, to);
        return;
    }
    for (int64_t k = 0; k < n; k++)
        to[k] = value[codes[k]] * absmax[k / HONE_BLOCK8];
}

/* To bf16 at random, from element AT on, the first of a block. */
static void store_random(hone_philox philox, const float *y, uint16_t *to,
                         int64_t at, int64_t n)
{
    for (int64_t e = 0; e < n; e += HONE_ROUNDING_BLOCK) {
        int size = (int)cpu_min(HONE_ROUNDING_BLOCK, n - e);
        uint32_t r[4];

        hone_rounding_draw(philox, (uint64_t)(at + e) / HONE_ROUNDING_BLOCK,
                           r);
        for (int i = 0; i < size; i++)
            to[at + e + i] = hone_bf16_random(y[e + i],
                                              hone_rounding_bits(r, i));
    }
}

/* The key by which output I of the call is rounded; 0: to the nearest. */
static int64_t key_of(const map_args *k, uint32_t i)
{
    const map *m = k->m;

    return m->stochastic && storages(m)[i] == HONE_BF16
               ? ((const int64_t *)k->ptr[m->nin - 1].part[0])[i - m->nin]
               : 0;
}

static void store_y(const map_args *k, uint32_t i, int64_t at, int64_t n,
                    const float *from)
{
    const map *m = k->m;
    const hone_ptr p = k->ptr[i];
    hone_storage s = (hone_storage)storages(m)[i];
    const float *value = m->value[s == HONE_UINT8];
    int64_t key = key_of(k, i);

    if (key) {
        const int64_t *rng = k->ptr[m->nin - 2].part[0];
        store_random(hone_philox_open(rng[0], rng[1], key), from, p.part[0],
                     at, n);
        return;
    }
    if (!is_block8(s)) {
        storage_store(s, from, p.part[0], at, n);
        return;
    }
    for (int64_t b = 0; b < n; b += HONE_BLOCK8) {
        uint8_t *codes = (uint8_t *)p.part[0] + at + b;
        int64_t size = cpu_min(HONE_BLOCK8, n - b);
        float top = 0, scale;

        for (int64_t e = 0; e < size; e++)
            top = fmaxf(top, fabsf(from[b + e]));
        ((float *)p.part[1])[(at + b) / HONE_BLOCK8] = top;
        scale = hone_dynamic8_scale(top);
        for (int64_t e = 0; e < size; e++)
            codes[e] = (uint8_t)hone_dynamic8_code(value, from[b + e] * scale);
    }
}

/* N elements from AT on of tensor T of the list. A whole strip of f32 is read
 * where it lies; the rest of a shorter one holds what the last one held. */
static void one_strip(const map_args *k, machine *w, int64_t t, int64_t at,
                      int64_t n)
{
    const map *m = k->m;
    const uint8_t *storage = storages(m);
    const uint32_t in = (uint32_t)(m->scalars + t * m->reads);
    const uint32_t out = m->nin + (uint32_t)(t * m->writes);

    for (uint32_t i = 0; i < m->reads; i++) {
        hone_storage s = (hone_storage)storage[in + i];
        const void *from = k->ptr[in + i].part[0];

        w->x[i] = w->loaded[i];
        if (s == HONE_F32 && n == STRIP)
            w->x[i] = (const float *)from + at;
        else
            storage_load(s, from, at, n, w->loaded[i]);
    }
    for (uint32_t i = 0; i < m->writes; i++)
        if (m->code.reads_y >> i & 1u)
            load_y(m, out + i, k->ptr[out + i], at, n, w->y[i]);
    w->depth = 0;
    execute(&m->code, w);
    for (uint32_t i = 0; i < m->writes; i++)
        if (m->code.writes_y >> i & 1u)
            store_y(k, out + i, at, n, w->y[i]);
}

static void map_range(const void *arg, int64_t first, int64_t last, int part)
{
    const map_args *k = arg;
    const map *m = k->m;
    machine w;

    (void)part;
    memset(w.loaded, 0, sizeof w.loaded); /* the rests of short strips */
    memset(w.y, 0, sizeof w.y);
    for (int64_t i = 0; i < m->scalars; i++) {
        float value = *(const float *)k->ptr[i].part[0];
        for (int j = 0; j < STRIP; j++)
            w.s[i][j] = value;
    }
    for (int64_t c = first; c < last; c++) {
        int64_t from, to, t = list_find(&m->tensors, c, &from, &to);

        for (; from < to; from += STRIP)
            one_strip(k, &w, t, from, cpu_min(STRIP, to - from));
    }
}

static void map_run(const void *prepared, const hone_ptr *ptr,
                    void *workspace, hone_stream stream)
{
    const map *m = prepared;
    map_args k = { m, ptr };

    (void)workspace;
    (void)stream;
    if (m->guard && *(const float *)ptr[0].part[0] == 0)
        return;
    cpu_for(m->threads, list_chunks(&m->tensors), 1, map_range, &k);
}

CPU_KERNELS(map) = {
    { "map", map_prepare, map_init, map_run },
    { NULL, NULL, NULL, NULL }
};

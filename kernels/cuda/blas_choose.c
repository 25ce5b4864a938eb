/* SPDX-License-Identifier: MIT
 *
 * blas_choose.c -- which of cuBLASLt's algorithms a product runs by. Where the
 * engine lets us measure, the fastest of those that the heuristic names, on
 * operands of the product's size; what was measured once is kept by the card,
 * the library's version and all that tells products apart, and taken again.
 * Elsewhere the heuristic's first. None needs more than the planned workspace,
 * none adds in an order that could change.
 *
 * Tiles decide in which order a sum is taken, and the best tile depends on how
 * many rows there are. Where a weight is so small that no choice costs time,
 * all numbers of rows get the same one: then a row's result is the same bits
 * whatever stands beside it. (A model of 0.3 million weights had one product of
 * which 2 of 4,797 rows were not; behind four more layers 637 of 2,297 rows of
 * logits were others, and the loss by 5e-5.)
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blas.h"
#include "cuda.h"

enum {
    ASKED = 8,       /* algorithms */
    TRIED = 3,       /* runs of each, one behind the other */
    CLOSER = 4,      /* of them, that are measured closely */
    ROUNDS = 5,
    ROUND_US = 2000, /* of one of these in a round, or MOST_RUNS */
    MOST_RUNS = 20,
    HEAT_MS = 60,
    SMALL = 1 << 15, /* elements of a weight */
    ANY_ROWS = 1024, /* whose choice is that of all numbers of rows, then */
    KEY = 512,
    VALUE = 2 * sizeof(cublasLtMatmulAlgo_t) + 1
};

/* All measuring of a process: behind that the heuristic's first is kept. */
#define MOST_MS 1500.0
/* As good as the heuristic's first: then that, lest noise decides. */
#define AS_GOOD 0.98f

/* ------------------------------------------------------------ what is kept */

static void write_key(const cuda_blas *b, const cuda_product *s, char *key)
{
    snprintf(key, KEY, "%s; cuBLASLt %zu; %lld x %lld x %lld, %lld %lld %lld, "
             "%d%d, %d to %d, %d%s%s%s", b->card, b->version(),
             (long long)s->m, (long long)s->n, (long long)s->k,
             (long long)s->lda, (long long)s->ldb, (long long)s->ldc,
             s->transa, s->transb, s->in, s->out, s->align,
             s->adds ? ", adds" : "", s->bias ? ", bias" : "",
             s->scaled ? ", scaled" : "");
}

static void write_value(const cublasLtMatmulAlgo_t *algo, char *value)
{
    const unsigned char *bytes = (const unsigned char *)algo;

    for (size_t i = 0; i < sizeof *algo; i++)
        snprintf(value + 2 * i, 3, "%02x", bytes[i]);
}

static int read_value(const char *value, cublasLtMatmulAlgo_t *algo)
{
    unsigned char *bytes = (unsigned char *)algo;

    if (!value || strlen(value) + 1 != VALUE)
        return 0;
    for (size_t i = 0; i < sizeof *algo; i++) {
        unsigned byte;

        if (sscanf(value + 2 * i, "%2x", &byte) != 1)
            return 0;
        bytes[i] = (unsigned char)byte;
    }
    return 1;
}

/* Whether the library takes it for this product, in the planned workspace: a
 * file may say anything. */
static int is_valid(const cuda_matmul *mm, const cublasLtMatmulAlgo_t *algo)
{
    const cuda_blas *b = mm->blas;
    cuda_matmul m = *mm;
    cublasLtMatmulHeuristicResult_t result;

    return b->check(b->handle, &m.desc, &m.a, &m.b, &m.c, &m.c, algo,
                    &result) == CUBLAS_STATUS_SUCCESS &&
           result.state == CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= (size_t)CUDA_BLAS_WORKSPACE;
}

/* --------------------------------------------------------------- measuring */

typedef struct {
    char *a, *b, *c, *bias, *workspace;
    cuda_scales scales;
} places;

static int64_t bytes_of(int32_t type)
{
    return type == CUDA_R_32F                            ? 4
           : type == CUDA_R_16BF || type == CUDA_R_16F ? 2
                                                         : 1;
}

static char *piece(char **at, int64_t bytes)
{
    char *p = *at;

    *at += cuda_ceil(bytes, HONE_ALIGN) * HONE_ALIGN;
    return p;
}

/* Operands in the scratch memory, with numbers in them: zeros would let the
 * card run faster than it will. 0: there is no room. */
static int find_places(const cuda_blas *b, const cuda_product *s, places *p)
{
    const int64_t in = bytes_of(s->in), out = bytes_of(s->out);
    char *at = b->scratch;

    p->a = piece(&at, in * s->lda * (s->transa == CUBLAS_OP_N ? s->k : s->m));
    p->b = piece(&at, in * s->ldb * (s->transb == CUBLAS_OP_N ? s->n : s->k));
    p->c = piece(&at, out * s->ldc * s->n);
    p->bias = piece(&at, out * s->m);
    p->scales.a = piece(&at, s->m * (int64_t)sizeof(float));
    p->scales.b = piece(&at, s->n * (int64_t)sizeof(float));
    p->workspace = piece(&at, CUDA_BLAS_WORKSPACE);
    if (!b->scratch || at - b->scratch > b->scratch_bytes)
        return 0;
    cuda_noise(b->scratch, p->workspace - b->scratch, NULL);
    return 1;
}

/* A stream that can be captured; one mark more than there are algorithms:
 * between two of them lies one's time. */
typedef struct {
    cudaStream_t stream;
    cudaEvent_t at[ASKED + 1];
    int count;
} clock_marks;

/* RUNS of one algorithm on the way; 0: it does not run. */
static int issue(const cuda_matmul *mm, const cuda_product *s, const places *p,
                 int runs, cudaStream_t stream)
{
    for (int i = 0; i < runs; i++)
        if (cuda_matmul_launch(mm, s->scaled ? &p->scales : NULL, p->a, p->b,
                               p->bias, p->c, p->c, p->workspace,
                               (hone_stream)stream) != CUBLAS_STATUS_SUCCESS)
            return 0;
    return 1;
}

/* The same as a graph, as it will run: some algorithms clear a counter first,
 * which costs microseconds there. NULL: it cannot be had. */
static cudaGraphExec_t capture(const cuda_matmul *mm, const cuda_product *s,
                               const places *p, int runs, cudaStream_t stream)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    int done;

    if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) !=
        cudaSuccess)
        return NULL;
    done = issue(mm, s, p, runs, stream);
    if (cudaStreamEndCapture(stream, &graph) != cudaSuccess || !done ||
        cudaGraphInstantiate(&exec, graph, 0) != cudaSuccess)
        exec = NULL;
    if (graph)
        (void)cudaGraphDestroy(graph);
    return exec;
}

/* Milliseconds from mark FROM to mark TO, which was reached; 0: not known. */
static float between(const clock_marks *c, int from, int to)
{
    float ms = 0;

    if (cudaEventSynchronize(c->at[to]) != cudaSuccess ||
        cudaEventElapsedTime(&ms, c->at[from], c->at[to]) != cudaSuccess)
        return 0;
    return ms;
}

/* MS[i]: of one run, after one that loads the code; 0: it does not run. */
static void try_each(cuda_matmul *m, const cuda_product *s,
                     const cublasLtMatmulHeuristicResult_t *list, int count,
                     const places *p, const clock_marks *c, float *ms)
{
    for (int i = 0; i < count; i++) {
        int runs;

        m->algo = list[i].algo;
        runs = issue(m, s, p, 1, c->stream);
        (void)cudaEventRecord(c->at[0], c->stream);
        runs = runs && issue(m, s, p, TRIED, c->stream);
        (void)cudaEventRecord(c->at[1], c->stream);
        ms[i] = between(c, 0, 1) * (float)runs / TRIED;
    }
}

static int least_of(const float *ms, int count)
{
    int best = 0;

    for (int i = 1; i < count; i++)
        if (ms[i] > 0 && (ms[best] <= 0 || ms[i] < ms[best]))
            best = i;
    return best;
}

static int runs_of(float ms)
{
    int runs = (int)(ROUND_US / (1000 * ms)) + 1;

    return runs < MOST_RUNS ? runs : MOST_RUNS;
}

/* ALL: milliseconds of a run each. The heuristic's first, and the fastest of
 * the others. */
static int find_close(const float *all, int count, int *close)
{
    float left[ASKED];
    int n = 0;

    memcpy(left, all, sizeof left);
    if (left[0] > 0)
        close[n++] = 0;
    left[0] = 0;
    while (n < CLOSER) {
        const int best = least_of(left, count);

        if (left[best] <= 0)
            break;
        close[n++] = best;
        left[best] = 0;
    }
    return n;
}

/* COUNT of them in turns, one behind the other without a pause, and each time
 * another one first: a card at its limit of power is another one than a card at
 * rest. SUM: milliseconds over all rounds; 0: it does not run. */
static void take_turns(cuda_matmul *m, const cuda_product *s,
                       const cublasLtMatmulHeuristicResult_t *list,
                       const int *close, int count, int runs, const places *p,
                       const clock_marks *c, float *sum)
{
    cudaGraphExec_t exec[CLOSER];

    memset(sum, 0, CLOSER * sizeof *sum);
    for (int i = 0; i < count; i++) {
        m->algo = list[close[i]].algo;
        exec[i] = capture(m, s, p, runs, c->stream);
    }
    for (int round = 0; round < ROUNDS; round++) {
        (void)cudaEventRecord(c->at[0], c->stream);
        for (int i = 0; i < count; i++) {
            if (exec[(i + round) % count])
                (void)cudaGraphLaunch(exec[(i + round) % count], c->stream);
            (void)cudaEventRecord(c->at[i + 1], c->stream);
        }
        for (int i = 0; i < count; i++)
            sum[(i + round) % count] += between(c, i, i + 1);
    }
    for (int i = 0; i < count; i++)
        if (exec[i])
            (void)cudaGraphExecDestroy(exec[i]);
        else
            sum[i] = 0;
}

/* The fastest of COUNT algorithms. */
static int fastest(cuda_blas *b, const cuda_matmul *mm, const cuda_product *s,
                   const cublasLtMatmulHeuristicResult_t *list, int count,
                   const places *p, const clock_marks *c)
{
    float ms[ASKED] = { 0 }, sum[CLOSER];
    cuda_matmul m = *mm;
    int close[CLOSER] = { 0 }, n, best, runs;

    try_each(&m, s, list, count, p, c, ms);
    n = find_close(ms, count, close);
    if (n < 2)
        return close[0];
    best = least_of(ms, count);
    runs = runs_of(ms[best]);
    m.algo = list[best].algo;
    while (b->heated_ms < HEAT_MS && issue(&m, s, p, runs, c->stream))
        b->heated_ms += (double)(ms[best] * (float)runs);
    take_turns(&m, s, list, close, n, runs, p, c, sum);
    best = least_of(sum, n);
    return close[close[0] == 0 && sum[0] > 0 && sum[best] > AS_GOOD * sum[0]
                     ? 0 : best];
}

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int measure(cuda_blas *b, const cuda_matmul *mm, const cuda_product *s,
                   const cublasLtMatmulHeuristicResult_t *list, int count)
{
    const double begin = now_ms();
    clock_marks c = { .count = 0 };
    places p;
    int best = 0;

    if (count < 2 || b->spent_ms > MOST_MS || !find_places(b, s, &p) ||
        cudaStreamCreateWithFlags(&c.stream, cudaStreamNonBlocking) !=
            cudaSuccess)
        return 0;
    (void)cudaStreamSynchronize(NULL); /* numbers are there */
    while (c.count <= ASKED &&
           cudaEventCreate(&c.at[c.count]) == cudaSuccess)
        c.count++;
    if (c.count > ASKED)
        best = fastest(b, mm, s, list, count, &p, &c);
    while (c.count)
        (void)cudaEventDestroy(c.at[--c.count]);
    (void)cudaStreamDestroy(c.stream);
    (void)cudaGetLastError();
    b->spent_ms += now_ms() - begin;
    return best;
}

/* ---------------------------------------------------------------- choosing */

static void set_preference(const cuda_blas *b, cublasLtMatmulPreference_t p,
                           const cuda_product *s)
{
    static const cublasLtMatmulPreferenceAttributes_t sides[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES
    };
    uint64_t workspace = (uint64_t)CUDA_BLAS_WORKSPACE;
    uint32_t align = (uint32_t)s->align;
    /* Parts of a sum are added in fp32, not in the product's storage. */
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_INPLACE |
                       CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;

    (void)b->preference(p, sizeof *p);
    (void)b->preference_set(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                            &workspace, sizeof workspace);
    (void)b->preference_set(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                            &schemes, sizeof schemes);
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        (void)b->preference_set(p, sides[i], &align, sizeof align);
}

static void remember(cuda_blas *b, const cuda_matmul *mm,
                     const cuda_product *s)
{
    int at = 0;

    while (at < b->kept && memcmp(&b->shape[at], s, sizeof *s))
        at++;
    if (at == CUDA_BLAS_KEPT)
        return;
    b->kept += at == b->kept;
    b->shape[at] = *s;
    b->algo[at] = mm->algo;
    b->chosen[at] = b->choices != NULL;
}

/* Whether the product is one of rows (n of them) and a small weight. */
static int is_small(const cuda_product *s)
{
    return s->transb == CUBLAS_OP_N && s->m * s->k <= SMALL;
}

/* In this process, or in an earlier one. */
static int recall(cuda_matmul *mm, const cuda_product *s, const char *key)
{
    cuda_blas *b = mm->blas;
    cublasLtMatmulAlgo_t algo;

    for (int i = 0; i < b->kept; i++)
        if (!memcmp(&b->shape[i], s, sizeof *s) &&
            (b->chosen[i] || !b->choices)) {
            mm->algo = b->algo[i];
            return 1;
        }
    if (!b->choices || is_small(s) ||
        !read_value(b->choices->find(b->choices->self, key), &algo) ||
        !is_valid(mm, &algo))
        return 0;
    mm->algo = algo;
    remember(b, mm, s);
    return 1;
}

/* The heuristic's first for ANY_ROWS, if it does for these; or it stays. */
static void choose_for_any(cuda_matmul *mm, const cuda_product *s,
                           cublasLtMatmulPreference_t preference)
{
    cuda_blas *b = mm->blas;
    cublasLtMatrixLayoutOpaque_t rows, product;
    cublasLtMatmulHeuristicResult_t result;
    int found = 0;

    (void)b->layout(&rows, sizeof rows, (cudaDataType_t)s->in, (uint64_t)s->k,
                    ANY_ROWS, s->ldb);
    (void)b->layout(&product, sizeof product, (cudaDataType_t)s->out,
                    (uint64_t)s->m, ANY_ROWS, s->ldc);
    if (b->heuristic(b->handle, &mm->desc, &mm->a, &rows, &product, &product,
                     preference, 1, &result, &found) == CUBLAS_STATUS_SUCCESS &&
        found && is_valid(mm, &result.algo))
        mm->algo = result.algo;
}

hone_status cuda_matmul_choose(cuda_matmul *mm, const cuda_product *s,
                               hone_err *err)
{
    cuda_blas *b = mm->blas;
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulHeuristicResult_t list[ASKED];
    cublasStatus_t status;
    char key[KEY], value[VALUE];
    int found = 0;

    write_key(b, s, key);
    if (recall(mm, s, key))
        return HONE_OK;
    set_preference(b, &preference, s);
    status = b->heuristic(b->handle, &mm->desc, &mm->a, &mm->b, &mm->c, &mm->c,
                          &preference, b->choices ? ASKED : 1, list, &found);
    if (status != CUBLAS_STATUS_SUCCESS || !found)
        return hone_fail(err, HONE_ENOSUP,
                         "cuda: cuBLASLt has no algorithm for a product of "
                         "%lld x %lld x %lld%s (status %d)", (long long)s->m,
                         (long long)s->n, (long long)s->k,
                         s->scaled ? " in fp8 on this card; write storage = "
                                     "\"bf16\"" : "", (int)status);
    mm->algo = list[0].algo;
    if (is_small(s)) {
        choose_for_any(mm, s, &preference);
    } else if (b->choices) {
        mm->algo = list[measure(b, mm, s, list, found)].algo;
        write_value(&mm->algo, value);
        b->choices->keep(b->choices->self, key, value);
    }
    remember(b, mm, s);
    return HONE_OK;
}

/* SPDX-License-Identifier: MIT
 *
 * attention.c -- times attention and its gradient, by the kernels of a pack:
 *     gpu_attention PACK
 * A line for each shape: forward and backward, milliseconds and TFLOP/s as
 * papers count them, 2 and 5 products of half of the scores; and whether two
 * runs gave the same bits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attrs.h"
#include "log.h"
#include "registry.h"
#include "rng.h"

/* Documents of LENGTH tokens each. */
static const struct {
    int64_t docs, length, heads, kv_heads, d;
} shapes[] = { { 4, 2048, 32, 8, 128 }, { 1, 8192, 32, 8, 128 },
               { 16, 512, 32, 8, 128 }, { 4, 2048, 32, 8, 64 },
               { 1, 8192, 32, 8, 64 },  { 8, 1024, 9, 3, 64 },
               { 4, 2048, 8, 4, 256 } };

enum { RUNS = 10, ROUNDS = 5, Q = 0, K, V, DOCS, O, LSE, DO, DQ, DK, DV, ALL };

typedef struct {
    const hone_pack *pack;
    const hone_device *device;
    hone_instance instance;
    hone_stream stream;
    hone_arena arena;
    hone_type type[ALL];
    hone_ptr ptr[ALL];
    hone_attention_attrs attrs;
    void *workspace;
    int64_t workspace_bytes;
} bench;

/* One call: its operands among all, and what the pack prepared. */
typedef struct {
    const hone_kernel *kernel;
    hone_call call;
    hone_type type[10];
    uint8_t mode[10];
    hone_ptr ptr[16]; /* behind operands: what outputs add to, nothing */
    void *prepared;
} timed;

static const uint8_t forward[] = { Q, K, V, DOCS, O, LSE };
static const uint8_t backward[] = { DO, Q, K, V, O, LSE, DOCS, DQ, DK, DV };

static hone_status open_call(bench *b, timed *t, const char *op,
                             const uint8_t *operand, uint32_t nin,
                             uint32_t nout, hone_err *err)
{
    hone_storage want[10];
    hone_need need = { .size = sizeof need, .want = want };

    memset(t, 0, sizeof *t);
    t->call = (hone_call){ .size = sizeof t->call, .op = op,
                           .attrs = &b->attrs, .nin = nin, .nout = nout,
                           .type = t->type, .mode = t->mode,
                           .compute = HONE_BF16 };
    for (uint32_t i = 0; i < nin + nout; i++) {
        t->type[i] = b->type[operand[i]];
        t->ptr[i] = b->ptr[operand[i]];
        t->mode[i] = i < nin ? HONE_READ : HONE_WRITE;
        want[i] = t->type[i].storage;
    }
    for (t->kernel = b->pack->kernels; t->kernel->op; t->kernel++)
        if (!strcmp(t->kernel->op, op))
            break;
    if (!t->kernel->op)
        return hone_fail(err, HONE_ENOSUP, "the pack has no %s", op);
    hone_try(t->kernel->prepare(&t->call, 1, &need, err));
    t->prepared = hone_alloc(&b->arena, (size_t)need.prepared_bytes + 1);
    if (need.workspace_bytes > b->workspace_bytes)
        b->workspace_bytes = need.workspace_bytes;
    return t->kernel->init(&t->call, 1, b->instance.state, t->prepared, err);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The best of a few rounds: seconds of one run. */
static hone_status clock_call(bench *b, timed *t, double *seconds,
                              hone_err *err)
{
    *seconds = 1e30;
    for (int round = 0; round <= ROUNDS; round++) {
        double start, each;

        hone_try(b->device->sync(b->instance.state, b->stream, err));
        start = now();
        for (int i = 0; i < RUNS; i++)
            t->kernel->run(t->prepared, t->ptr, b->workspace, b->stream);
        hone_try(b->device->sync(b->instance.state, b->stream, err));
        each = (now() - start) / RUNS;
        if (round && each < *seconds) /* the first one warms up */
            *seconds = each;
    }
    return HONE_OK;
}

static int64_t bytes_of(const bench *b, int operand)
{
    return hone_part_bytes(b->type[operand].storage, 0,
                           hone_count(&b->type[operand]));
}

static uint64_t sum_of(bench *b, int first, int end, hone_err *err)
{
    uint64_t sum = 14695981039346656037u;

    for (int k = first; k < end; k++) {
        int64_t bytes = bytes_of(b, k);
        unsigned char *host = hone_alloc(&b->arena, (size_t)bytes);

        b->device->copy(b->instance.state, host, b->ptr[k].part[0], bytes,
                        HONE_TO_HOST, b->stream);
        (void)b->device->sync(b->instance.state, b->stream, err);
        for (int64_t i = 0; i < bytes; i++)
            sum = (sum ^ host[i]) * 1099511628211u;
    }
    return sum;
}

/* Numbers near 1 in bf16, either sign; the documents. */
static void fill(bench *b, int shape)
{
    for (int k = 0; k < ALL; k++) {
        uint16_t *host = hone_alloc(&b->arena, (size_t)bytes_of(b, k));
        int32_t *docs = (int32_t *)(void *)host;
        uint32_t r[4];

        for (int64_t i = 0; i < bytes_of(b, k) / 2; i++) {
            hone_rng_draw(1, (uint64_t)k, (uint64_t)i, r);
            host[i] = (uint16_t)(0x3e80 + (r[0] & 0x81ff));
        }
        for (int64_t n = 0; k == DOCS && n < shapes[shape].docs; n++) {
            docs[4 * n] = docs[4 * n + 2] = (int32_t)(n * shapes[shape].length);
            docs[4 * n + 1] = docs[4 * n + 3] = (int32_t)shapes[shape].length;
        }
        b->device->copy(b->instance.state, b->ptr[k].part[0], host,
                        bytes_of(b, k), HONE_TO_DEVICE, b->stream);
    }
}

static hone_status lay(bench *b, int shape, hone_err *err)
{
    const int64_t t = shapes[shape].docs * shapes[shape].length;
    const int64_t d = shapes[shape].d, h = shapes[shape].heads;
    const int64_t kv = shapes[shape].kv_heads;

    b->attrs = (hone_attention_attrs){ .heads = h, .kv_heads = kv,
                                       .scale = 0.1 };
    for (int k = 0; k < ALL; k++) {
        int keys = k == K || k == V || k == DK || k == DV;

        b->type[k] = hone_type_of(HONE_BF16, 2, t, (keys ? kv : h) * d);
    }
    b->type[DOCS] = hone_type_of(HONE_I32, 2, shapes[shape].docs, 4);
    b->type[LSE] = hone_type_of(HONE_F32, 2, t, h);
    for (int k = 0; k < ALL; k++)
        hone_try(b->device->reserve(b->instance.state, HONE_DEVICE_SPACE,
                                    bytes_of(b, k), &b->ptr[k].part[0], err));
    fill(b, shape);
    return b->device->sync(b->instance.state, b->stream, err);
}

static hone_status one(bench *b, int shape, hone_err *err)
{
    const double products = (double)shapes[shape].docs *
                            (double)shapes[shape].length *
                            (double)shapes[shape].length *
                            (double)(shapes[shape].heads * shapes[shape].d);
    double seconds[2];
    uint64_t first, again;
    timed f, g;

    hone_try(lay(b, shape, err));
    b->workspace_bytes = 1;
    hone_try(open_call(b, &f, "attention", forward, 4, 2, err));
    hone_try(open_call(b, &g, "attention_grad", backward, 7, 3, err));
    hone_try(b->device->reserve(b->instance.state, HONE_DEVICE_SPACE,
                                b->workspace_bytes, &b->workspace, err));
    hone_try(clock_call(b, &f, &seconds[0], err));
    hone_try(clock_call(b, &g, &seconds[1], err));
    first = sum_of(b, DQ, ALL, err) + sum_of(b, O, DO, err);
    f.kernel->run(f.prepared, f.ptr, b->workspace, b->stream);
    g.kernel->run(g.prepared, g.ptr, b->workspace, b->stream);
    again = sum_of(b, DQ, ALL, err) + sum_of(b, O, DO, err);
    printf("%2lld x %-5lld %2lld/%lld heads of %-4lld %8.3f ms %5.0f %9.3f ms "
           "%5.0f  %s\n",
           (long long)shapes[shape].docs, (long long)shapes[shape].length,
           (long long)shapes[shape].heads, (long long)shapes[shape].kv_heads,
           (long long)shapes[shape].d, 1e3 * seconds[0],
           2e-12 * products / seconds[0], 1e3 * seconds[1],
           5e-12 * products / seconds[1],
           first == again ? "same bits" : "OTHER BITS");
    fflush(stdout);
    return first == again
               ? HONE_OK
               : hone_fail(err, HONE_EIO, "two runs give different bits");
}

static void clear(bench *b)
{
    for (int k = 0; k < ALL; k++)
        b->device->release(b->instance.state, HONE_DEVICE_SPACE,
                           b->ptr[k].part[0]);
    b->device->release(b->instance.state, HONE_DEVICE_SPACE, b->workspace);
    b->workspace = NULL; /* what is refused next reserves none */
    hone_arena_free(&b->arena);
    memset(&b->arena, 0, sizeof b->arena);
}

static hone_status run(const char *name, hone_err *err)
{
    const char *const dirs[] = { NULL };
    const hone_component *p, *d;
    hone_arena arena = { 0 };
    bench b = { .workspace = NULL };

    hone_try(hone_registry_open(dirs, err));
    hone_try(hone_need_component(HONE_KIND_PACK, name, &p, err));
    b.pack = p->ops;
    hone_try(hone_need_component(HONE_KIND_DEVICE, b.pack->device, &d, err));
    hone_try(hone_instance_open(&b.instance, d, NULL, &arena, err));
    b.device = d->ops;
    hone_try(b.device->stream_open(b.instance.state, &b.stream, err));
    printf("%-30s %17s %18s\n", name, "forward TFLOP/s", "backward TFLOP/s");
    for (int i = 0; i < (int)(sizeof shapes / sizeof *shapes); i++) {
        hone_status s = one(&b, i, err);

        clear(&b);
        if (s == HONE_ENOSUP)
            printf("heads of %lld: %s\n", (long long)shapes[i].d, err->msg);
        else if (s != HONE_OK)
            return s;
    }
    b.device->stream_close(b.instance.state, b.stream);
    hone_instance_close(&b.instance);
    hone_arena_free(&arena);
    return HONE_OK;
}

int main(int argc, char **argv)
{
    hone_err err = { 0 };

    if (argc != 2) {
        fprintf(stderr, "usage: gpu_attention PACK\n");
        return 2;
    }
    if (run(argv[1], &err) == HONE_OK)
        return 0;
    fprintf(stderr, "gpu_attention: %s\n", err.msg);
    return 1;
}

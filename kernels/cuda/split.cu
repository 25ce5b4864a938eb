/* SPDX-License-Identifier: MIT
 *
 * split.cu -- the columns of a matrix as two, and two side by side: a block
 * takes a row of the whole one, eight columns a thread where no eight of them
 * belong to both.
 */
#include "device.cuh"

struct sides {
    int64_t rows, left, width;
    unsigned char storage[3]; /* left, right, whole */
};

template <int JOIN>
static __global__ void __launch_bounds__(THREADS)
    move_sides(sides s, cell left, cell right, cell whole, int wide)
{
    const int64_t row = blockIdx.x;
    float v[VECTOR];

    for (int64_t k = (int64_t)threadIdx.x * VECTOR; k < s.width;
         k += THREADS * VECTOR)
        for (int64_t at = k, end = min(k + VECTOR, s.width); at < end;) {
            const int is_left = at < s.left;
            const int64_t cols = is_left ? s.left : s.width - s.left;
            const int64_t col = is_left ? at : at - s.left;
            const int live = (int)min(end - at, cols - col);
            const cell part = is_left ? left : right;

            if (JOIN) {
                load(v, part, row * cols + col, live, wide);
                store(whole, row * s.width + at, v, live, wide);
            } else {
                load(v, whole, row * s.width + at, live, wide);
                store(part, row * cols + col, v, live, wide);
            }
            at += live;
        }
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    (void)threads;
    return cuda_plain(c, need, sizeof(sides), err);
}

/* Operands of split: whole, left, right; of join: left, right, whole. */
static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    sides *s = (sides *)prepared;
    uint32_t first = strcmp(c->op, "join") ? 1 : 0;

    (void)threads;
    (void)ctx;
    (void)err;
    s->rows = c->type[0].dim[0];
    s->left = c->type[first].dim[1];
    s->width = s->left + c->type[first + 1].dim[1];
    for (uint32_t i = 0; i < 3; i++)
        s->storage[i] = cuda_storage(c, (first + i) % 3);
    return HONE_OK;
}

template <int JOIN>
static void run(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream stream)
{
    const sides *s = (const sides *)prepared;
    const int first = JOIN ? 0 : 1;
    const int wide = s->left % VECTOR == 0 && s->width % VECTOR == 0 &&
                     cuda_aligned(ptr, 3);

    (void)workspace;
    move_sides<JOIN><<<(unsigned)s->rows, THREADS, 0, (cudaStream_t)stream>>>(
        *s, cell_of(ptr, first, s->storage[0]),
        cell_of(ptr, first + 1, s->storage[1]),
        cell_of(ptr, (first + 2) % 3, s->storage[2]), wide);
}

CUDA_KERNELS(split) = {
    { "split", prepare, init, run<0> },
    { "join", prepare, init, run<1> },
    { NULL, NULL, NULL, NULL }
};

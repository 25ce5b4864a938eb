/* SPDX-License-Identifier: MIT
 *
 * sdpa.c -- see sdpa.h. cuDNN knows attention by its parts: products, point
 * by point operations and sums over [documents, heads, queries, keys], none of
 * which is ever stored. It looks for this order of them and runs one kernel.
 * Documents lie end to end: each tensor has a second one that says where in
 * it a document begins. Scores are masked twice: outside of a document, then
 * behind the diagonal, whose end is the last query and the last key.
 */
#include "sdpa.h"

#include <math.h>
#include <string.h>

enum { MOST_DESCS = 256, MOST_OPS = 48, MOST_CONFIGS = 16 };

typedef struct builder {
    const cudnn_library *l;
    const cudnn_shape *s;
    cudnn_desc desc[MOST_DESCS], op[MOST_OPS];
    cudnn_desc tensor[CUDNN_END];
    int descs, ops, status;
    const char *what; /* of what failed first */
    int64_t next_id;
    cudnn_handle handle;
} builder;

/* ----------------------------------------------------------- descriptors */

static void note(builder *b, int status, const char *what)
{
    if (status && !b->status) {
        b->status = status;
        b->what = what;
    }
}

static cudnn_desc make(builder *b, cudnn_kind kind)
{
    cudnn_desc d = NULL;

    if (b->descs == MOST_DESCS)
        note(b, -1, "too many descriptors");
    if (b->status)
        return NULL;
    note(b, b->l->desc_create(kind, &d), "a descriptor");
    if (d)
        b->desc[b->descs++] = d;
    return d;
}

static void set(builder *b, cudnn_desc d, cudnn_attr attr, cudnn_is is,
                int64_t count, const void *value)
{
    if (!b->status)
        note(b, b->l->desc_set(d, attr, is, count, value), "an attribute");
}

static void set_int(builder *b, cudnn_desc d, cudnn_attr attr, cudnn_is is,
                    int value)
{
    set(b, d, attr, is, 1, &value);
}

static void set_desc(builder *b, cudnn_desc d, cudnn_attr attr,
                     cudnn_desc value)
{
    if (value)
        set(b, d, attr, CUDNN_IS_DESC, 1, &value);
}

static cudnn_desc finish(builder *b, cudnn_desc d, const char *what)
{
    if (!b->status)
        note(b, b->l->desc_finish(d), what);
    return d;
}

static void add_op(builder *b, cudnn_desc op, const char *what)
{
    finish(b, op, what);
    if (b->ops < MOST_OPS)
        b->op[b->ops++] = op;
    else
        note(b, -1, "too many operations");
}

/* --------------------------------------------------------------- tensors */

typedef struct extent {
    int64_t dim[4], stride[4];
} extent;

typedef enum { REAL = 0, VIRTUAL = 1, BY_VALUE = 2 } place;

static cudnn_desc tensor(builder *b, int64_t id, cudnn_type type,
                         const extent *e, place p, cudnn_desc ragged)
{
    cudnn_desc t = make(b, CUDNN_TENSOR);
    int64_t align = 16;
    char yes = 1;

    set_int(b, t, CUDNN_TENSOR_TYPE, CUDNN_IS_TYPE, type);
    set(b, t, CUDNN_TENSOR_DIMS, CUDNN_IS_I64, 4, e->dim);
    set(b, t, CUDNN_TENSOR_STRIDES, CUDNN_IS_I64, 4, e->stride);
    set(b, t, CUDNN_TENSOR_ID, CUDNN_IS_I64, 1, &id);
    set(b, t, CUDNN_TENSOR_ALIGN, CUDNN_IS_I64, 1, &align);
    if (p != REAL)
        set(b, t, p == VIRTUAL ? CUDNN_TENSOR_VIRTUAL : CUDNN_TENSOR_BY_VALUE,
            CUDNN_IS_BOOL, 1, &yes);
    set_desc(b, t, CUDNN_TENSOR_RAGGED, ragged);
    return finish(b, t, "a tensor");
}

/* [documents, heads, rows, size]; the heads of a row lie side by side, those
 * of this plan and others. */
static extent rows_of(const builder *b, int64_t heads, int64_t rows,
                      int64_t size)
{
    const cudnn_shape *s = b->s;
    int64_t wide = heads == s->heads ? s->row_heads : s->row_kv_heads;
    extent e = { { s->docs, heads, rows, size },
                 { wide * rows * size, size, wide * size, 1 } };
    return e;
}

/* The same with its last two dimensions exchanged. */
static extent flipped(extent e)
{
    extent f = { { e.dim[0], e.dim[1], e.dim[3], e.dim[2] },
                 { e.stride[0], e.stride[1], e.stride[3], e.stride[2] } };
    return f;
}

static extent packed(int64_t a, int64_t b, int64_t c, int64_t d)
{
    extent e = { { a, b, c, d }, { b * c * d, c * d, d, 1 } };
    return e;
}

static cudnn_desc passing(builder *b, cudnn_type type, extent e)
{
    return tensor(b, b->next_id++, type, &e, VIRTUAL, NULL);
}

/* A number for each pair of a query and a key. */
static cudnn_desc scores(builder *b, cudnn_type type)
{
    const cudnn_shape *s = b->s;

    return passing(b, type, packed(s->docs, s->heads, s->tokens, s->keys));
}

/* A number for each query. */
static cudnn_desc column(builder *b)
{
    return passing(b, CUDNN_F32,
                   packed(b->s->docs, b->s->heads, b->s->tokens, 1));
}

static void rows_tensor(builder *b, cudnn_operand id, cudnn_type type,
                        int64_t heads, int64_t rows, int64_t size,
                        cudnn_operand at, int flip)
{
    extent e = rows_of(b, heads, rows, size);

    if (flip)
        e = flipped(e);
    b->tensor[id] = tensor(b, id, type, &e, REAL, b->tensor[at]);
}

static void small_tensor(builder *b, cudnn_operand id, cudnn_type type,
                         int64_t count, place p)
{
    extent e = packed(count, 1, 1, 1);

    b->tensor[id] = tensor(b, id, type, &e, p, NULL);
}

/* ------------------------------------------------------------ operations */

static cudnn_desc point_op(builder *b, cudnn_point how, cudnn_type math,
                           int64_t axis, cudnn_desc x, cudnn_desc y,
                           cudnn_desc choose, cudnn_desc out)
{
    cudnn_desc mode = make(b, CUDNN_POINTWISE), op;

    set_int(b, mode, CUDNN_POINTWISE_MODE, CUDNN_IS_POINTWISE, how);
    set_int(b, mode, CUDNN_POINTWISE_MATH, CUDNN_IS_TYPE, math);
    if (how == CUDNN_INDEX)
        set(b, mode, CUDNN_POINTWISE_AXIS, CUDNN_IS_I64, 1, &axis);
    finish(b, mode, "a pointwise mode");
    op = make(b, CUDNN_POINTWISE_OP);
    set_desc(b, op, CUDNN_POINTWISE_OP_MODE, mode);
    set_desc(b, op, CUDNN_POINTWISE_OP_X, x);
    set_desc(b, op, CUDNN_POINTWISE_OP_Y, out);
    set_desc(b, op, CUDNN_POINTWISE_OP_B, y);
    set_desc(b, op, CUDNN_POINTWISE_OP_T, choose);
    add_op(b, op, "a pointwise operation");
    return out;
}

static cudnn_desc point(builder *b, cudnn_point how, cudnn_desc x,
                        cudnn_desc y, cudnn_desc out)
{
    return point_op(b, how, CUDNN_F32, 0, x, y, NULL, out);
}

static cudnn_desc reduce(builder *b, cudnn_reduce how, cudnn_desc x,
                         cudnn_desc out)
{
    cudnn_desc mode = make(b, CUDNN_REDUCTION), op;

    set_int(b, mode, CUDNN_REDUCTION_TYPE, CUDNN_IS_TYPE, CUDNN_F32);
    set_int(b, mode, CUDNN_REDUCTION_HOW, CUDNN_IS_REDUCTION, how);
    finish(b, mode, "a reduction's mode");
    op = make(b, CUDNN_REDUCTION_OP);
    set_desc(b, op, CUDNN_REDUCTION_OP_HOW, mode);
    set_desc(b, op, CUDNN_REDUCTION_OP_X, x);
    set_desc(b, op, CUDNN_REDUCTION_OP_Y, out);
    add_op(b, op, "a reduction");
    return out;
}

/* M, N, K: the operands that say how many of each there are, or 0. */
static cudnn_desc product(builder *b, cudnn_desc x, cudnn_desc y,
                          cudnn_desc out, int m, int n, int k)
{
    cudnn_desc mode = make(b, CUDNN_MATMUL), op;

    set_int(b, mode, CUDNN_MATMUL_TYPE, CUDNN_IS_TYPE, CUDNN_F32);
    finish(b, mode, "a product's mode");
    op = make(b, CUDNN_MATMUL_OP);
    set_desc(b, op, CUDNN_MATMUL_OP_A, x);
    set_desc(b, op, CUDNN_MATMUL_OP_B, y);
    set_desc(b, op, CUDNN_MATMUL_OP_C, out);
    set_desc(b, op, CUDNN_MATMUL_OP_HOW, mode);
    set_desc(b, op, CUDNN_MATMUL_OP_M, b->tensor[m]);
    set_desc(b, op, CUDNN_MATMUL_OP_N, b->tensor[n]);
    set_desc(b, op, CUDNN_MATMUL_OP_K, b->tensor[k]);
    add_op(b, op, "a product");
    return out;
}

static cudnn_desc reshape(builder *b, cudnn_desc x, cudnn_desc out)
{
    cudnn_desc op = make(b, CUDNN_RESHAPE_OP);

    set_desc(b, op, CUDNN_RESHAPE_OP_X, x);
    set_desc(b, op, CUDNN_RESHAPE_OP_Y, out);
    add_op(b, op, "a reshape");
    return out;
}

/* ----------------------------------------------------------------- masks */

static cudnn_desc index_of(builder *b, cudnn_desc score, int64_t axis,
                           cudnn_type math)
{
    return point_op(b, CUDNN_INDEX, math, axis, score, NULL, NULL,
                    scores(b, CUDNN_I32));
}

static cudnn_desc compare(builder *b, cudnn_point how, cudnn_desc x,
                          cudnn_desc y)
{
    return point_op(b, how, CUDNN_BOOL, 0, x, y, NULL, scores(b, CUDNN_BOOL));
}

static cudnn_desc shift(builder *b, cudnn_point how, cudnn_desc x,
                        cudnn_desc y)
{
    return point_op(b, how, CUDNN_I32, 0, x, y, NULL, scores(b, CUDNN_I32));
}

/* -inf where KEEP is false. */
static cudnn_desc mask(builder *b, cudnn_desc score, cudnn_desc keep)
{
    return point_op(b, CUDNN_SELECT, CUDNN_F32, 0, score,
                    b->tensor[CUDNN_NOTHING], keep, scores(b, CUDNN_F32));
}

static cudnn_desc mask_document(builder *b, cudnn_desc score)
{
    cudnn_desc row = index_of(b, score, 2, CUDNN_I32);
    cudnn_desc col = index_of(b, score, 3, CUDNN_I32);

    row = compare(b, CUDNN_LESS, row, b->tensor[CUDNN_Q_LEN]);
    col = compare(b, CUDNN_LESS, col, b->tensor[CUDNN_K_LEN]);
    return mask(b, score, compare(b, CUDNN_AND, row, col));
}

static cudnn_desc mask_future(builder *b, cudnn_desc score)
{
    cudnn_desc row = index_of(b, score, 2, CUDNN_F32);
    cudnn_desc col = index_of(b, score, 3, CUDNN_F32);

    row = shift(b, CUDNN_ADD, row, b->tensor[CUDNN_K_LEN]);
    row = shift(b, CUDNN_SUB, row, b->tensor[CUDNN_Q_LEN]);
    return mask(b, score, compare(b, CUDNN_NOT_LESS, row, col));
}

static cudnn_desc mask_past(builder *b, cudnn_desc score)
{
    cudnn_desc row = index_of(b, score, 2, CUDNN_F32);
    cudnn_desc col = index_of(b, score, 3, CUDNN_F32);

    col = shift(b, CUDNN_ADD, col, b->tensor[CUDNN_WINDOW]);
    col = shift(b, CUDNN_SUB, col, b->tensor[CUDNN_K_LEN]);
    col = shift(b, CUDNN_ADD, col, b->tensor[CUDNN_Q_LEN]);
    return mask(b, score, compare(b, CUDNN_GREATER, col, row));
}

static cudnn_desc mask_far(builder *b, cudnn_desc score)
{
    score = mask_future(b, score);
    return b->s->window ? mask_past(b, score) : score;
}

/* ------------------------------------------------------------- attention */

static cudnn_type half_of(const builder *b)
{
    return (cudnn_type)b->s->half;
}

static cudnn_desc scaled_scores(builder *b)
{
    cudnn_desc s = product(b, b->tensor[CUDNN_Q], b->tensor[CUDNN_K],
                           scores(b, CUDNN_F32), CUDNN_Q_LEN, CUDNN_K_LEN, 0);

    return point(b, CUDNN_MUL, s, b->tensor[CUDNN_SCALE],
                 scores(b, CUDNN_F32));
}

static void common_tensors(builder *b)
{
    const cudnn_shape *s = b->s;
    cudnn_type half = half_of(b);

    small_tensor(b, CUDNN_Q_AT, CUDNN_I32, s->docs + 1, REAL);
    small_tensor(b, CUDNN_K_AT, CUDNN_I32, s->docs + 1, REAL);
    small_tensor(b, CUDNN_LSE_AT, CUDNN_I32, s->docs + 1, REAL);
    small_tensor(b, CUDNN_Q_LEN, CUDNN_I32, s->docs, REAL);
    small_tensor(b, CUDNN_K_LEN, CUDNN_I32, s->docs, REAL);
    small_tensor(b, CUDNN_SCALE, CUDNN_F32, 1, BY_VALUE);
    small_tensor(b, CUDNN_NOTHING, CUDNN_F32, 1, BY_VALUE);
    if (s->window)
        small_tensor(b, CUDNN_WINDOW, CUDNN_I32, 1, BY_VALUE);
    rows_tensor(b, CUDNN_Q, half, s->heads, s->tokens, s->d, CUDNN_Q_AT, 0);
    rows_tensor(b, CUDNN_K, half, s->kv_heads, s->keys, s->d, CUDNN_K_AT, 1);
    rows_tensor(b, CUDNN_V, half, s->kv_heads, s->keys, s->d, CUDNN_K_AT,
                s->grad);
    rows_tensor(b, CUDNN_O, half, s->heads, s->tokens, s->d, CUDNN_Q_AT, 0);
    rows_tensor(b, CUDNN_LSE, CUDNN_F32, s->heads, s->tokens, 1, CUDNN_LSE_AT,
                0);
}

static void forward(builder *b)
{
    cudnn_desc s, max, sum, e, p;

    s = mask_far(b, mask_document(b, scaled_scores(b)));
    max = reduce(b, CUDNN_MAX, s, column(b));
    e = point(b, CUDNN_SUB, s, max, scores(b, CUDNN_F32));
    e = point(b, CUDNN_EXP, e, NULL, scores(b, CUDNN_F32));
    sum = reduce(b, CUDNN_SUM, e, column(b));
    p = point(b, CUDNN_LOG, sum, NULL, column(b));
    point(b, CUDNN_ADD, max, p, b->tensor[CUDNN_LSE]);
    p = point(b, CUDNN_DIV, e, sum, scores(b, half_of(b)));
    product(b, p, b->tensor[CUDNN_V], b->tensor[CUDNN_O], CUDNN_Q_LEN, 0,
            CUDNN_K_LEN);
}

/* Transposed: [documents, heads, keys, queries]. */
static cudnn_desc turned(builder *b, cudnn_desc x)
{
    const cudnn_shape *s = b->s;
    extent e = packed(s->docs, s->heads, s->tokens, s->keys);

    return reshape(b, x, passing(b, half_of(b), flipped(e)));
}

/* x^T y into the heads of k and v; those of a group are added up. */
static void key_grad(builder *b, cudnn_desc x, cudnn_operand y,
                     cudnn_operand full, cudnn_operand out)
{
    cudnn_desc to = b->tensor[out];

    if (b->s->heads != b->s->kv_heads)
        to = b->tensor[full];
    product(b, turned(b, x), b->tensor[y], to, CUDNN_K_LEN, 0, CUDNN_Q_LEN);
    if (b->s->heads != b->s->kv_heads)
        reduce(b, CUDNN_SUM, to, b->tensor[out]);
}

static void grad_tensors(builder *b)
{
    const cudnn_shape *s = b->s;
    cudnn_type half = half_of(b);

    small_tensor(b, CUDNN_ONE, CUDNN_F32, 1, BY_VALUE);
    rows_tensor(b, CUDNN_DO, half, s->heads, s->tokens, s->d, CUDNN_Q_AT, 0);
    rows_tensor(b, CUDNN_DQ, half, s->heads, s->tokens, s->d, CUDNN_Q_AT, 0);
    rows_tensor(b, CUDNN_DK, half, s->kv_heads, s->keys, s->d, CUDNN_K_AT, 0);
    rows_tensor(b, CUDNN_DV, half, s->kv_heads, s->keys, s->d, CUDNN_K_AT, 0);
    rows_tensor(b, CUDNN_DELTA, CUDNN_F32, s->heads, s->tokens, 1,
                CUDNN_LSE_AT, 0);
    if (s->heads != s->kv_heads) { /* offsets count as those of dk, dv */
        rows_tensor(b, CUDNN_DK_HEAD, half, s->heads, s->keys, s->d,
                    CUDNN_K_AT, 0);
        rows_tensor(b, CUDNN_DV_HEAD, half, s->heads, s->keys, s->d,
                    CUDNN_K_AT, 0);
    }
}

/* ds from do, v, the probabilities P and the sums of do * o. */
static cudnn_desc score_grad(builder *b, cudnn_desc p)
{
    cudnn_desc ds = product(b, b->tensor[CUDNN_DO], b->tensor[CUDNN_V],
                            scores(b, CUDNN_F32), CUDNN_Q_LEN, CUDNN_K_LEN, 0);

    ds = point(b, CUDNN_SUB, ds, b->tensor[CUDNN_DELTA], scores(b, CUDNN_F32));
    ds = point(b, CUDNN_MUL, ds, p, scores(b, CUDNN_F32));
    return point(b, CUDNN_MUL, ds, b->tensor[CUDNN_SCALE],
                 scores(b, CUDNN_F32));
}

static void backward(builder *b)
{
    const cudnn_shape *s = b->s;
    extent wide = packed(s->docs, s->heads, s->tokens, s->d), keys;
    cudnn_desc x, p, ds, k;

    wide.stride[2] = s->heads * s->d; /* as the library's own graphs have it */
    x = point(b, CUDNN_MUL, b->tensor[CUDNN_DO], b->tensor[CUDNN_O],
              passing(b, CUDNN_F32, wide));
    x = reduce(b, CUDNN_SUM, x, column(b));
    point(b, CUDNN_MUL, x, b->tensor[CUDNN_ONE], b->tensor[CUDNN_DELTA]);
    x = point(b, CUDNN_SUB, scaled_scores(b), b->tensor[CUDNN_LSE],
              scores(b, CUDNN_F32));
    x = mask_far(b, mask_document(b, x));
    p = point(b, CUDNN_EXP, x, NULL, scores(b, CUDNN_F32));
    key_grad(b, p, CUDNN_DO, CUDNN_DV_HEAD, CUDNN_DV);
    ds = score_grad(b, p);
    key_grad(b, ds, CUDNN_Q, CUDNN_DK_HEAD, CUDNN_DK);
    keys = rows_of(b, s->kv_heads, s->keys, s->d);
    k = reshape(b, b->tensor[CUDNN_K],
                tensor(b, b->next_id++, half_of(b), &keys, VIRTUAL,
                       b->tensor[CUDNN_K_AT]));
    /* Straight into dq: the library then keeps ds and sums it in one order. */
    product(b, ds, k, b->tensor[CUDNN_DQ], CUDNN_Q_LEN, 0, CUDNN_K_LEN);
}

/* -------------------------------------------------------------- planning */

static hone_status failed(const builder *b, hone_err *err)
{
    char why[512] = "";

    if (b->status > 0)
        b->l->last_error(why, sizeof why);
    return hone_fail(err, HONE_EIO, "cudnn: %s for attention (%lld documents, "
                     "%lld tokens, %lld of %lld heads of %lld) is refused: "
                     "%s; %.300s", b->what, (long long)b->s->docs,
                     (long long)b->s->tokens, (long long)b->s->heads,
                     (long long)b->s->kv_heads, (long long)b->s->d,
                     b->status > 0 ? b->l->error_text(b->status) : "too large",
                     why);
}

static cudnn_desc op_graph(builder *b)
{
    cudnn_desc g;

    common_tensors(b);
    if (b->s->grad)
        grad_tensors(b);
    (b->s->grad ? backward : forward)(b);
    g = make(b, CUDNN_GRAPH);
    set(b, g, CUDNN_GRAPH_OPS, CUDNN_IS_DESC, b->ops, b->op);
    set(b, g, CUDNN_GRAPH_HANDLE, CUDNN_IS_HANDLE, 1, &b->handle);
    return finish(b, g, "the graph");
}

/* A plan of one configuration; NULL where the library cannot. */
static cudnn_desc plan_of(builder *b, cudnn_desc config)
{
    cudnn_desc plan = NULL;
    int e = b->l->desc_create(CUDNN_PLAN, &plan);

    if (!e)
        e = b->l->desc_set(plan, CUDNN_PLAN_CONFIG, CUDNN_IS_DESC, 1, &config);
    if (!e)
        e = b->l->desc_set(plan, CUDNN_PLAN_HANDLE, CUDNN_IS_HANDLE, 1,
                           &b->handle);
    if (!e)
        e = b->l->desc_finish(plan);
    if (e && plan) {
        (void)b->l->desc_destroy(plan);
        plan = NULL;
    }
    return plan;
}

/* The first plan of those that the library thinks best. */
static cudnn_desc best_plan(builder *b, cudnn_desc graph, cudnn_mode mode)
{
    cudnn_desc heuristics = make(b, CUDNN_HEURISTICS), config[MOST_CONFIGS];
    cudnn_desc plan = NULL;
    int64_t found = 0;

    set_desc(b, heuristics, CUDNN_HEURISTICS_GRAPH, graph);
    set_int(b, heuristics, CUDNN_HEURISTICS_MODE, CUDNN_IS_HEURISTICS, mode);
    finish(b, heuristics, "the choice of an engine");
    for (int i = 0; i < MOST_CONFIGS; i++)
        config[i] = make(b, CUDNN_CONFIG);
    if (!b->status)
        note(b, b->l->desc_get(heuristics, CUDNN_HEURISTICS_RESULTS,
                               CUDNN_IS_DESC, MOST_CONFIGS, &found, config),
             "the choice of an engine");
    for (int64_t i = 0; i < found && !plan && !b->status; i++)
        plan = plan_of(b, config[i]);
    return plan;
}

hone_status cudnn_plan_make(const cudnn_library *l, cudnn_handle handle,
                            const cudnn_shape *s, cudnn_plan *p,
                            hone_err *err)
{
    builder b = { .l = l, .s = s, .handle = handle, .next_id = CUDNN_END };
    cudnn_desc graph = op_graph(&b);
    hone_status status = HONE_OK;
    int64_t count;

    memset(p, 0, sizeof *p);
    p->shape = *s;
    p->scale = s->scale;
    p->nothing = -INFINITY;
    p->one = 1;
    p->window = (int32_t)s->window;
    p->plan = best_plan(&b, graph, CUDNN_BEST);
    if (!p->plan && !b.status)
        p->plan = best_plan(&b, graph, CUDNN_FALLBACK);
    if (!p->plan)
        note(&b, -1, "every engine");
    else
        note(&b, l->desc_get(p->plan, CUDNN_PLAN_WORKSPACE, CUDNN_IS_I64, 1,
                             &count, &p->workspace), "the plan");
    if (b.status)
        status = failed(&b, err);
    for (int i = b.descs; i--;)
        (void)l->desc_destroy(b.desc[i]);
    return status;
}

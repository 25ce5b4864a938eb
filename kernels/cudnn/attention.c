/* SPDX-License-Identifier: MIT
 *
 * attention.c -- the calls of attention and attention_grad. prepare() knows
 * what is covered and how many bytes that takes, without the library's help;
 * init() makes the library's plan and holds it to those bytes. Gradients are
 * summed in one order, which costs the library a workspace of all scores: it
 * is given the heads a few at a time, so that this stays below a limit.
 */
#include <cuda_runtime_api.h>
#include <stdlib.h>
#include <string.h>

#include "attrs.h"
#include "cuda.h"
#include "documents.h"
#include "sdpa.h"

/* What the library's plans took at most, beside the scores: 17 KiB were seen
 * on 132 multiprocessors. */
#define PLAN_BYTES ((int64_t)256 << 10)
#define SCORES_BYTES ((int64_t)640 << 20)

enum { SMALL = 16, /* rows of q below which this pack is not meant */
       LARGEST = 256, MOST_PLANS = 2048 };

/* Where things begin in the workspace. */
typedef struct layout {
    int64_t q_at, k_at, lse_at, q_len, k_len, delta, dk_head, dv_head, plan;
    int64_t bytes;
} layout;

typedef struct attention {
    cudnn_shape shape;
    int64_t tokens, keys; /* rows of q and of k */
    int parts;            /* the heads are done in so many */
    layout at;
    const cudnn_library *library;
    cudnn_handle handle;
    const cudnn_plan *plan;
} attention;

static int is_grad(const hone_call *c)
{
    return !strcmp(c->op, "attention_grad");
}

/* ------------------------------------------------------------- the layout */

static int64_t up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static int64_t take(int64_t *end, int64_t bytes)
{
    int64_t at = *end;

    *end += up(bytes, HONE_ALIGN);
    return at;
}

/* Of the scores of so many heads, as the library rounds them up. */
static int64_t score_bytes(const cudnn_shape *s, int64_t heads)
{
    return s->docs * heads * up(s->tokens, 64) * up(s->keys, 128) * 2;
}

static layout lay_out(const attention *a)
{
    const cudnn_shape *s = &a->shape;
    int grouped = s->grad && s->row_heads != s->row_kv_heads;
    int64_t index = (s->docs + 1) * 4, heads = s->row_heads;
    layout l = { 0 };

    l.q_at = take(&l.bytes, index);
    l.k_at = take(&l.bytes, index);
    l.lse_at = take(&l.bytes, index);
    l.q_len = take(&l.bytes, index);
    l.k_len = take(&l.bytes, index);
    if (s->grad)
        l.delta = take(&l.bytes, a->tokens * heads * 4);
    if (grouped) {
        l.dk_head = take(&l.bytes, a->keys * heads * s->d * 2);
        l.dv_head = take(&l.bytes, a->keys * heads * s->d * 2);
    }
    l.plan = take(&l.bytes, PLAN_BYTES +
                            (s->grad ? score_bytes(s, s->heads) : 0));
    return l;
}

static attention attention_of(const hone_call *c)
{
    const hone_attention_attrs *p = c->attrs;
    uint32_t q = is_grad(c) ? 1 : 0, docs = is_grad(c) ? 6 : 3;
    attention a = { .parts = 1 };
    cudnn_shape *s = &a.shape;

    a.tokens = s->tokens = c->type[q].dim[0];
    a.keys = s->keys = c->type[q + 1].dim[0];
    s->docs = c->type[docs].dim[0];
    s->heads = s->row_heads = p->heads;
    s->kv_heads = s->row_kv_heads = p->kv_heads;
    s->d = c->type[q].dim[1] / p->heads;
    s->window = p->window;
    s->half = c->compute == HONE_BF16 ? CUDNN_BF16 : CUDNN_F16;
    s->grad = is_grad(c);
    s->scale = (float)p->scale;
    if (s->grad)
        for (a.parts = 1; a.parts < p->kv_heads; a.parts++)
            if (p->kv_heads % a.parts == 0 &&
                score_bytes(s, p->heads / a.parts) <= SCORES_BYTES)
                break;
    s->heads /= a.parts;
    s->kv_heads /= a.parts;
    a.at = lay_out(&a);
    return a;
}

/* ----------------------------------------------------------------- prepare */

/* Of the GPU that is planned for; 0: not known. */
static int arch_of(const hone_call *c)
{
    return c->size > offsetof(hone_call, device) && c->device ? c->device->arch
                                                              : 0;
}

static hone_status covered(const hone_call *c, const attention *a,
                           hone_err *err)
{
    const hone_attention_attrs *p = c->attrs;
    const cudnn_shape *s = &a->shape;

    if (c->compute != HONE_BF16 && c->compute != HONE_F16)
        return hone_fail(err, HONE_ENOSUP, "cudnn: %s: only in bf16 and fp16",
                         c->op);
    if (p->softcap > 0)
        return hone_fail(err, HONE_ENOSUP,
                         "cudnn: %s: scores with a soft cap are not covered",
                         c->op);
    if (s->d > LARGEST || s->d % (s->grad ? 16 : 8))
        return hone_fail(err, HONE_ENOSUP,
                         "cudnn: %s: heads of %lld are not covered, but "
                         "multiples of %d up to %d", c->op, (long long)s->d,
                         s->grad ? 16 : 8, LARGEST);
    if (s->grad && arch_of(c) && arch_of(c) != 90)
        return hone_fail(err, HONE_ENOSUP, "cudnn: %s: the same gradients at "
                         "each run are to be had for compute capability 9.0 "
                         "alone, this is %d.%d", c->op, arch_of(c) / 10,
                         arch_of(c) % 10);
    if (a->tokens < SMALL)
        return hone_fail(err, HONE_ENOSUP, "cudnn: %s: %lld rows are too few "
                         "to be worth it", c->op, (long long)a->tokens);
    if (a->tokens * s->row_heads * s->d > INT32_MAX ||
        a->keys * s->row_heads * s->d > INT32_MAX)
        return hone_fail(err, HONE_ENOSUP, "cudnn: %s: more than 2^31 numbers "
                         "in a tensor", c->op);
    if (s->grad && score_bytes(s, s->heads) > SCORES_BYTES)
        return hone_fail(err, HONE_ENOSUP, "cudnn: %s: gradients of up to "
                         "%lld documents of %lld tokens take a workspace of "
                         "%lld MiB to be the same at each run", c->op,
                         (long long)s->docs, (long long)s->tokens,
                         (long long)(score_bytes(s, s->heads) >> 20));
    return HONE_OK;
}

static hone_status prepare(const hone_call *c, int threads, hone_need *need,
                           hone_err *err)
{
    const cudnn_library *library;
    attention a = attention_of(c);

    (void)threads;
    hone_try(covered(c, &a, err));
    hone_try(cudnn_library_open(&library, err));
    need->prepared_bytes = sizeof(attention);
    need->workspace_bytes = a.at.bytes;
    for (uint32_t i = 0; i < c->nin + c->nout; i++)
        if (cuda_is_float(c->type[i].storage))
            need->want[i] = c->compute;
    need->want[is_grad(c) ? 5 : c->nin + 1] = HONE_F32; /* lse */
    return HONE_OK;
}

/* -------------------------------------------------------------------- init */

/* The library's handle of this process, for the GPU that was opened. */
static hone_status open_handle(const cudnn_library *l, cudnn_handle *out,
                               hone_err *err)
{
    static cudnn_handle handle;
    int e = handle ? 0 : l->create(&handle);

    *out = handle;
    return e ? hone_fail(err, HONE_EIO, "cudnn: cuDNN does not start: %s; is "
                         "the GPU's memory full?", l->error_text(e))
             : HONE_OK;
}

/* One plan for all calls of a shape: the layers of a model have the same. */
static hone_status find_plan(attention *a, hone_err *err)
{
    static cudnn_plan plans[MOST_PLANS];
    static int count;

    for (int i = 0; i < count; i++)
        if (!memcmp(&plans[i].shape, &a->shape, sizeof a->shape)) {
            a->plan = &plans[i];
            return HONE_OK;
        }
    if (count == MOST_PLANS)
        return hone_fail(err, HONE_ENOMEM, "cudnn: more than %d shapes of "
                         "attention in one process", MOST_PLANS);
    hone_try(cudnn_plan_make(a->library, a->handle, &a->shape, &plans[count],
                             err));
    a->plan = &plans[count++];
    return HONE_OK;
}

static hone_status init(const hone_call *c, int threads, void *ctx,
                        void *prepared, hone_err *err)
{
    attention *a = prepared;
    int64_t planned;

    (void)threads;
    (void)ctx;
    *a = attention_of(c);
    planned = a->at.bytes - a->at.plan;
    hone_try(cudnn_library_open(&a->library, err));
    hone_try(open_handle(a->library, &a->handle, err));
    hone_try(find_plan(a, err));
    if (a->plan->workspace > planned)
        return hone_fail(err, HONE_EIO,
                         "cudnn: %s: cuDNN %zu wants %lld bytes of workspace, "
                         "planned were %lld; write packs = \"cuda\", and "
                         "please report it", c->op, a->library->version,
                         (long long)a->plan->workspace, (long long)planned);
    return HONE_OK;
}

/* --------------------------------------------------------------------- run */

typedef struct operands {
    void *at[CUDNN_END];
} operands;

static void put_documents(const attention *a, operands *o, char *w)
{
    o->at[CUDNN_Q_AT] = w + a->at.q_at;
    o->at[CUDNN_K_AT] = w + a->at.k_at;
    o->at[CUDNN_LSE_AT] = w + a->at.lse_at;
    o->at[CUDNN_Q_LEN] = w + a->at.q_len;
    o->at[CUDNN_K_LEN] = w + a->at.k_len;
}

static cudnn_documents documents_of(const attention *a, const operands *o,
                                    const hone_ptr *docs)
{
    const cudnn_shape *s = &a->shape;
    cudnn_documents d = { .docs = docs->part[0], .count = s->docs,
                          .q_unit = (int32_t)(s->row_heads * s->d),
                          .k_unit = (int32_t)(s->row_kv_heads * s->d),
                          .lse_unit = (int32_t)s->row_heads,
                          .q_at = o->at[CUDNN_Q_AT],
                          .k_at = o->at[CUDNN_K_AT],
                          .lse_at = o->at[CUDNN_LSE_AT],
                          .q_len = o->at[CUDNN_Q_LEN],
                          .k_len = o->at[CUDNN_K_LEN] };
    return d;
}

/* Those that lie on the host are the plan's. The library is to change none. */
static void put_numbers(const cudnn_plan *p, operands *o)
{
    o->at[CUDNN_SCALE] = (void *)(uintptr_t)&p->scale;
    o->at[CUDNN_NOTHING] = (void *)(uintptr_t)&p->nothing;
    o->at[CUDNN_ONE] = p->shape.grad ? (void *)(uintptr_t)&p->one : NULL;
    o->at[CUDNN_WINDOW] =
        p->shape.window ? (void *)(uintptr_t)&p->window : NULL;
}

/* PART of the heads: its first ones lie so many bytes into a row. */
static void shift(const attention *a, operands *o, int part)
{
    static const struct {
        int operand, key, bytes; /* of one number; 0: no head size */
    } table[] = { { CUDNN_Q, 0, 2 },       { CUDNN_K, 1, 2 },
                  { CUDNN_V, 1, 2 },       { CUDNN_O, 0, 2 },
                  { CUDNN_DO, 0, 2 },      { CUDNN_DQ, 0, 2 },
                  { CUDNN_DK, 1, 2 },      { CUDNN_DV, 1, 2 },
                  { CUDNN_DK_HEAD, 0, 2 }, { CUDNN_DV_HEAD, 0, 2 },
                  { CUDNN_LSE, 0, 0 },     { CUDNN_DELTA, 0, 0 } };
    const cudnn_shape *s = &a->shape;

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        int64_t head = part * (table[i].key ? s->kv_heads : s->heads);
        char *at = o->at[table[i].operand];

        if (at)
            o->at[table[i].operand] =
                at + head * (table[i].bytes ? table[i].bytes * s->d : 4);
    }
}

/* Descriptors of addresses cannot be used again: one is made for each run, by
 * the library, in host memory. Runs are captured into a graph before step 0,
 * and later only this is replayed. A failure shows at the next sync. */
static void run_part(const attention *a, const operands *o, void *workspace,
                     hone_stream stream)
{
    const cudnn_library *l = a->library;
    int64_t id[CUDNN_END], count = 0;
    void *at[CUDNN_END];
    cudnn_desc variant = NULL;

    for (int i = 0; i < CUDNN_END; i++)
        if (o->at[i]) {
            id[count] = i;
            at[count++] = o->at[i];
        }
    if (l->desc_create(CUDNN_VARIANT, &variant))
        return;
    (void)l->desc_set(variant, CUDNN_VARIANT_POINTERS, CUDNN_IS_POINTER, count,
                      at);
    (void)l->desc_set(variant, CUDNN_VARIANT_IDS, CUDNN_IS_I64, count, id);
    (void)l->desc_set(variant, CUDNN_VARIANT_WORKSPACE, CUDNN_IS_POINTER, 1,
                      &workspace);
    (void)l->desc_finish(variant);
    (void)l->set_stream(a->handle, stream);
    (void)l->execute(a->handle, a->plan->plan, variant);
    (void)l->desc_destroy(variant);
}

static void run_parts(const attention *a, const operands *all, char *workspace,
                      hone_stream stream)
{
    for (int part = 0; part < a->parts; part++) {
        operands o = *all;

        shift(a, &o, part);
        run_part(a, &o, workspace + a->at.plan, stream);
    }
}

static void forward_run(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    const attention *a = prepared;
    const cudnn_shape *s = &a->shape;
    operands o = { { NULL } };
    cudnn_documents d;
    cudnn_rows rows[2] = {
        { ptr[4].part[0], a->tokens, s->row_heads * s->d * 2, 0 },
        { ptr[5].part[0], a->tokens, s->row_heads * 4, 0 }
    };

    put_documents(a, &o, workspace);
    put_numbers(a->plan, &o);
    for (int i = 0; i < 3; i++)
        o.at[CUDNN_Q + i] = ptr[i].part[0];
    o.at[CUDNN_O] = ptr[4].part[0];
    o.at[CUDNN_LSE] = ptr[5].part[0];
    d = documents_of(a, &o, &ptr[3]);
    cudnn_documents_place(&d, stream);
    cudnn_rows_clear(&d, rows, 2, stream);
    run_parts(a, &o, workspace, stream);
}

static void grad_run(const void *prepared, const hone_ptr *ptr,
                     void *workspace, hone_stream stream)
{
    const attention *a = prepared;
    const cudnn_shape *s = &a->shape;
    operands o = { { NULL } };
    cudnn_documents d;
    int64_t q_bytes = s->row_heads * s->d * 2;
    int64_t k_bytes = s->row_kv_heads * s->d * 2;
    cudnn_rows rows[3] = { { ptr[7].part[0], a->tokens, q_bytes, 0 },
                           { ptr[8].part[0], a->keys, k_bytes, 1 },
                           { ptr[9].part[0], a->keys, k_bytes, 1 } };

    put_documents(a, &o, workspace);
    put_numbers(a->plan, &o);
    o.at[CUDNN_DO] = ptr[0].part[0];
    for (int i = 0; i < 5; i++)
        o.at[CUDNN_Q + i] = ptr[1 + i].part[0]; /* q, k, v, o, lse */
    for (int i = 0; i < 3; i++)
        o.at[CUDNN_DQ + i] = ptr[7 + i].part[0];
    o.at[CUDNN_DELTA] = (char *)workspace + a->at.delta;
    if (s->row_heads != s->row_kv_heads) {
        o.at[CUDNN_DK_HEAD] = (char *)workspace + a->at.dk_head;
        o.at[CUDNN_DV_HEAD] = (char *)workspace + a->at.dv_head;
    }
    d = documents_of(a, &o, &ptr[6]);
    cudnn_documents_place(&d, stream);
    cudnn_rows_clear(&d, rows, 3, stream);
    run_parts(a, &o, workspace, stream);
}

static const hone_kernel kernels[] = {
    { "attention", prepare, init, forward_run },
    { "attention_grad", prepare, init, grad_run },
    { NULL, NULL, NULL, NULL }
};

/* Behind pack cuda, whose own kernels were faster at every shape that was
 * measured (docs/design.md): for what those lack, or where a recipe says
 * packs = "cudnn,cuda". */
static const hone_pack pack = {
    .size = sizeof(hone_pack), .device = "cuda", .kernels = kernels,
    .behind = 1
};

static const hone_component cudnn_pack = {
    .size = sizeof(hone_component),
    .kind = HONE_KIND_PACK,
    .name = "cudnn",
    .help = "attention by cuDNN 9, which is looked for at run time",
    .ops = &pack
};

HONE_PLUGIN("cudnn", HONE_VERSION, &cudnn_pack)

/* SPDX-License-Identifier: MIT
 *
 * attention_sm90_call.cu -- attention on Hopper from the host: the workspace,
 * the tensor maps, which are made anew for each call because they hold the
 * operands' addresses, and the launches in their order.
 */
#include "attention_sm90.cuh"

enum { PART = 256, LEAST_ROWS = 64 /* of any tile */ };

/* Parts begin at multiples of PART bytes. */
int64_t attention_sm90_layout(const attention &a, bool grad, void *workspace,
                              lists *l)
{
    const int64_t q = most_tiles(a.tokens, a.docs, LEAST_ROWS);
    const int64_t k = most_tiles(a.keys, a.docs, LEAST_ROWS);
    char *at = (char *)workspace;
    int64_t used = PART;

    l->counts = (int *)at;
    l->queries = (listed *)(at + used);
    used += cuda_ceil(q * (int64_t)sizeof(listed), PART) * PART;
    l->keys = (listed *)(at + used);
    l->stats = NULL;
    l->stat_row = 0;
    if (!grad)
        return used;
    used += cuda_ceil(k * (int64_t)sizeof(listed), PART) * PART;
    l->stats = (float *)(at + used);
    l->stat_row = cuda_ceil(a.tokens, 4) * 4;
    return used + 2 * a.heads * l->stat_row * (int64_t)sizeof(float);
}

int64_t attention_sm90_bytes(const attention &a, bool grad)
{
    lists l;

    return attention_sm90_layout(a, grad, NULL, &l);
}

/* ------------------------------------------------------------- tensor maps */

static CUtensorMap make_map(const attention &a, CUtensorMapDataType type,
                            const void *at, const cuuint64_t (&dim)[3],
                            const cuuint64_t (&stride)[2],
                            const cuuint32_t (&box)[3], bool swizzled)
{
    static const cuuint32_t one[3] = { 1, 1, 1 };
    CUtensorMap m = {};

    ((decltype(&cuTensorMapEncodeTiled))a.encode)(
        &m, type, 3, (void *)at, dim, stride, box, one,
        CU_TENSOR_MAP_INTERLEAVE_NONE,
        swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
        CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return m;
}

/* Heads of d features in rows, by boxes of 64 rows and 64 features. */
static CUtensorMap rows_map(const attention &a, const void *at, int64_t rows,
                            int heads)
{
    const cuuint64_t d = (cuuint64_t)a.d, h = (cuuint64_t)heads;

    return make_map(a, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, at,
                    { d, h, (cuuint64_t)rows }, { 2 * d, 2 * d * h },
                    { SLAB, 1, BOX }, true);
}

static maps make_maps(const attention &a, const attention_ptr &p)
{
    maps m = {};

    m.q = rows_map(a, p.q, a.tokens, a.heads);
    m.k = rows_map(a, p.k, a.keys, a.kv_heads);
    m.v = rows_map(a, p.v, a.keys, a.kv_heads);
    return m;
}

static CUtensorMap stats_map(const attention &a, const lists &l, int rows)
{
    const cuuint64_t row = (cuuint64_t)l.stat_row;

    return make_map(a, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, l.stats,
                    { row, 2, (cuuint64_t)a.heads }, { 4 * row, 8 * row },
                    { (cuuint32_t)rows, 2, 1 }, false);
}

/* --------------------------------------------------------------- the calls */

/* Finds the driver's function without a link to it. */
cudaError_t attention_sm90_open(attention &a, bool grad)
{
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    cudaError_t e;

#if CUDART_VERSION >= 12050
    e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &a.encode,
                                         12000, cudaEnableDefault, &found);
#else
    e = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &a.encode,
                                cudaEnableDefault, &found);
#endif
    if (e == cudaSuccess && found != cudaDriverEntryPointSuccess)
        e = cudaErrorSymbolNotFound;
    if (e != cudaSuccess)
        return e;
    if (!grad)
        return attention_sm90_forward_open(a);
    e = attention_sm90_keys_open(a);
    return e == cudaSuccess ? attention_sm90_queries_open(a) : e;
}

void attention_sm90(const attention &a, const attention_ptr &p, void *workspace,
                    cudaStream_t stream)
{
    lists l;

    (void)attention_sm90_layout(a, false, workspace, &l);
    attention_sm90_lists(a, p, l, false, attention_sm90_forward_rows(a), 0,
                         stream);
    attention_sm90_forward(a, p, make_maps(a, p), l, stream);
}

void attention_sm90_grad(const attention &a, const attention_ptr &p,
                         void *workspace, cudaStream_t stream)
{
    maps m = make_maps(a, p);
    lists l;
    int stats, key_rows = attention_sm90_keys_rows(a, &stats);

    (void)attention_sm90_layout(a, true, workspace, &l);
    m.d_o = rows_map(a, p.d_o, a.tokens, a.heads);
    m.stats = stats_map(a, l, stats);
    attention_sm90_lists(a, p, l, true, attention_sm90_queries_rows(a),
                         key_rows, stream);
    attention_sm90_keys(a, p, m, l, stream);
    attention_sm90_queries(a, p, m, l, stream);
}

// SPDX-License-Identifier: MIT
//
// swiglu_linear.cc -- a fused op from outside, in C++: "mine.swiglu_linear" is
// scale * (silu(gate) * up) w^T, the end of a Llama's MLP. Its decomposition
// is three ops of hone's, and that is the pattern which hone looks for: models
// need not name the op. It has no backward rule, so that of its parts is used.
// The kernel for the CPU keeps one row of the product in its workspace.
#include <hone/plugin.h>

#include <cmath>

namespace {

struct attrs {
    double scale;
};

const hone_option options[] = {
    HONE_OPT_REAL(attrs, scale, 1, -1e38, 1e38, "factor on the product"),
    HONE_OPT_END
};

enum operand { GATE, UP, W, Y }; // [T,F], [T,F], [O,F]; [T,O]

const hone_operand inputs[] = {
    { "gate", HONE_ROWS }, { "up", HONE_ROWS }, { "w", 0 }, { nullptr, 0 }
};
const hone_operand outputs[] = { { "y", HONE_ROWS }, { nullptr, 0 } };

hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const hone_type &gate = c->type[GATE], &up = c->type[UP], &w = c->type[W];

    if (gate.rank != 2 || up.rank != 2 || w.rank != 2 ||
        gate.dim[0] != up.dim[0] || gate.dim[1] != up.dim[1] ||
        gate.dim[1] != w.dim[1])
        return hone_fail(err, HONE_EINVAL,
                         "%s: gate and up must be [T,F] and w [O,F]", c->op);
    out[0] = hone_type_of(c->compute, 2, gate.dim[0], w.dim[0]);
    return HONE_OK;
}

// The same by simpler ops, in this order: 0 silu, 1 mul, 2 linear.
hone_status decompose(hone_builder *b, const hone_rule *r, hone_err *err)
{
    const hone_attr scale = { "scale", static_cast<const attrs *>(r->attrs)
                                           ->scale, nullptr };
    hone_id act = HONE_NONE, product = HONE_NONE;

    hone_try(b->emit(b, "silu", nullptr, nullptr, 0, &r->in[GATE], 1, &act, 1,
                     err));
    const hone_id both[] = { act, r->in[UP] };
    hone_try(b->emit(b, "mul", nullptr, nullptr, 0, both, 2, &product, 1, err));
    const hone_id last[] = { product, r->in[W] };
    return b->emit(b, "linear", nullptr, &scale, 1, last, 2, &r->out[0], 1,
                   err);
}

// Where the attribute comes from when the pattern is found: node 2, "scale".
const hone_bind binds[] = { { "scale", 2, "scale" }, { nullptr, 0, nullptr } };

double silu(double x)
{
    return x / (1 + std::exp(-x));
}

template <typename real>
void reference(const hone_call *c, const hone_ptr *p)
{
    auto gate = static_cast<const real *>(p[GATE].part[0]);
    auto up = static_cast<const real *>(p[UP].part[0]);
    auto w = static_cast<const real *>(p[W].part[0]);
    auto y = static_cast<real *>(p[Y].part[0]);
    const int64_t T = c->type[Y].dim[0], O = c->type[Y].dim[1];
    const int64_t F = c->type[W].dim[1];

    for (int64_t t = 0; t < T; t++)
        for (int64_t o = 0; o < O; o++) {
            double sum = 0;
            for (int64_t f = 0; f < F; f++)
                sum += silu(gate[t * F + f]) * up[t * F + f] * w[o * F + f];
            y[t * O + o] = static_cast<real>(
                static_cast<const attrs *>(c->attrs)->scale * sum);
        }
}

double flops(const hone_call *c)
{
    const double T = double(c->type[Y].dim[0]), F = double(c->type[W].dim[1]);

    return T * F * (2 * double(c->type[Y].dim[1]) + 5);
}

// Shapes for `hone kernels check`, which cannot know how operands fit.
void draw(uint64_t seed, int64_t rows, void *, hone_type *type, uint32_t *nin,
          uint32_t *)
{
    const int64_t T = rows ? rows : 1 + int64_t(seed * 7 % 40);
    const int64_t F = rows ? 1536 : 1 + int64_t(seed * 13 % 90);
    const int64_t O = rows ? 576 : 1 + int64_t(seed * 29 % 70);

    type[GATE] = type[UP] = hone_type_of(HONE_F32, 2, T, F);
    type[W] = hone_type_of(HONE_F32, 2, O, F);
    *nin = 3;
}

hone_op make_op()
{
    hone_op op = {};

    op.size = sizeof op;
    op.in = inputs;
    op.out = outputs;
    op.shape = shape;
    op.decompose = decompose;
    op.binds = binds;
    op.ref_f32 = reference<float>;
    op.ref_f64 = reference<double>;
    op.flops = flops;
    op.draw = draw;
    return op;
}

// ------------------------------------------------------------- for the CPU

struct prepared {
    int64_t T, F, O;
    float scale;
};

hone_status prepare(const hone_call *c, int, hone_need *need, hone_err *err)
{
    for (int i = GATE; i <= Y; i++)
        if (c->type[i].storage != HONE_F32)
            return hone_fail(err, HONE_ENOSUP, "%s: fp32 is covered", c->op);
    need->prepared_bytes = sizeof(prepared);
    need->workspace_bytes = c->type[W].dim[1] * int64_t(sizeof(float));
    return HONE_OK;
}

hone_status init(const hone_call *c, int, void *, void *to, hone_err *)
{
    auto p = static_cast<prepared *>(to);

    *p = { c->type[Y].dim[0], c->type[W].dim[1], c->type[Y].dim[1],
           float(static_cast<const attrs *>(c->attrs)->scale) };
    return HONE_OK;
}

void run(const void *from, const hone_ptr *ptr, void *workspace, hone_stream)
{
    auto p = static_cast<const prepared *>(from);
    auto gate = static_cast<const float *>(ptr[GATE].part[0]);
    auto up = static_cast<const float *>(ptr[UP].part[0]);
    auto w = static_cast<const float *>(ptr[W].part[0]);
    auto y = static_cast<float *>(ptr[Y].part[0]);
    auto row = static_cast<float *>(workspace);

    for (int64_t t = 0; t < p->T; t++, gate += p->F, up += p->F, y += p->O) {
        for (int64_t f = 0; f < p->F; f++)
            row[f] = gate[f] / (1 + std::exp(-gate[f])) * up[f];
        for (int64_t o = 0; o < p->O; o++) {
            double sum = 0;
            for (int64_t f = 0; f < p->F; f++)
                sum += double(row[f]) * w[o * p->F + f];
            y[o] = p->scale * float(sum);
        }
    }
}

const hone_kernel kernels[] = { { "mine.swiglu_linear", prepare, init, run },
                                { nullptr, nullptr, nullptr, nullptr } };
const hone_pack pack = { sizeof pack, "cpu", kernels, 0 };
const hone_op op = make_op();

const hone_component op_component = {
    sizeof op_component, HONE_KIND_OP, "mine.swiglu_linear",
    "scale * (silu(gate) * up) w^T", options, sizeof(attrs), 0, 0, nullptr,
    nullptr, &op
};
const hone_component pack_component = {
    sizeof pack_component, HONE_KIND_PACK, "swiglu_linear_cpu",
    "mine.swiglu_linear on the CPU", nullptr, 0, 0, 0, nullptr, nullptr, &pack
};

} // namespace

HONE_PLUGIN("swiglu_linear", "1.0", &op_component, &pack_component)

/* SPDX-License-Identifier: MIT
 *
 * case.c -- draws calls of ops: how operands' shapes hang together. Ops of
 * others say so themselves; of the built-in ones a table does, one short
 * function a family.
 */
#include <string.h>

#include "../../../kernels/ops/philox.h"
#include "kernels.h"

typedef struct {
    kernel_case *c;
    const hone_component *op;
    uint64_t seed, drawn; /* numbers so far */
    hone_storage compute;
    int big, coded;
    char *attrs;
    hone_err *err;
} gen;

void case_random(uint64_t seed, uint32_t stream, uint64_t index, uint32_t r[4])
{
    const hone_philox key = { { (uint32_t)seed, (uint32_t)(seed >> 32) } };

    hone_philox_draw(key, stream, (uint32_t)(index >> 32), (uint32_t)index, r);
}

/* From LOW to HIGH; BIG when it is for timing. */
static int64_t pick(gen *g, int64_t low, int64_t high, int64_t big)
{
    uint32_t r[4];

    case_random(g->seed, 0, g->drawn++, r);
    if (g->big) /* rows of a micro-batch, or a chunk of logits */
        return big == 1024 || big == 256 ? g->big * big : big;
    return low + (int64_t)(r[0] % (uint64_t)(high - low + 1));
}

/* ---------------------------------------------------------- attributes */

static const hone_option *option(const hone_component *op, const char *name)
{
    const hone_option *o = op->options;

    while (o && o->name && strcmp(o->name, name))
        o++;
    return o && o->name ? o : NULL;
}

static void set(const hone_option *o, char *attrs, double value)
{
    if (o->type == HONE_REAL)
        *(double *)(attrs + o->offset) = value;
    else if (o->type == HONE_INT)
        *(int64_t *)(attrs + o->offset) = (int64_t)value;
    else
        *(int *)(attrs + o->offset) = (int)value;
}

static void set_text(const hone_option *o, char *attrs, const char *text)
{
    int choice = 0;

    if (o->type == HONE_STR) {
        *(const char **)(attrs + o->offset) = text;
        return;
    }
    while (strcmp(o->choices[choice], text))
        choice++;
    set(o, attrs, choice);
}

void component_defaults(const hone_component *c, void *config)
{
    for (const hone_option *o = c->options; o && o->name; o++)
        if (o->type == HONE_STR || (o->type == HONE_ENUM && o->sdef))
            set_text(o, config, o->sdef);
        else
            set(o, config, o->def);
}

/* If the op has it. */
static void attr(gen *g, const char *name, double value)
{
    const hone_option *o = option(g->op, name);

    if (o)
        set(o, g->attrs, value);
}

/* ------------------------------------------------------------- families */

static void in(gen *g, hone_storage s, int rank, int64_t d0, int64_t d1)
{
    g->c->type[g->c->call.nin++] = hone_type_of(s, rank, d0, d1);
}

/* An output that the shape rule takes as given; after all inputs. */
static void out(gen *g, hone_storage s, int rank, int64_t d0, int64_t d1)
{
    hone_call *c = &g->c->call;

    g->c->type[c->nin + c->nout++] = hone_type_of(s, rank, d0, d1);
}

static hone_storage any_storage(gen *g)
{
    static const hone_storage all[] = { HONE_F32, HONE_BF16, HONE_F16 };

    return all[pick(g, 0, 2, 0)];
}

static void flat(gen *g)
{
    int64_t t = pick(g, 1, 90, 1024), h = pick(g, 1, 700, 1536);

    for (const hone_operand *o = g->c->op->in; o->name; o++)
        in(g, HONE_F32, 2, t, h);
    attr(g, "by", (double)pick(g, -3, 3, 2) + 0.25);
    attr(g, "cap", (double)pick(g, 1, 3, 2));
}

static void halves(gen *g)
{
    int64_t t = pick(g, 1, 90, 1024), h = pick(g, 1, 700, 1536);
    int64_t more = pick(g, 1, 300, 512);

    attr(g, "at", (double)h);
    if (!strcmp(g->op->name, "split"))
        in(g, HONE_F32, 2, t, h + more);
    else {
        in(g, HONE_F32, 2, t, h);
        in(g, HONE_F32, 2, t, more);
    }
}

static void linear(gen *g)
{
    int64_t t = pick(g, 1, 140, 1024), i = pick(g, 1, 150, 576);
    int64_t o = pick(g, 1, 150, 1536);

    if (pick(g, 0, 3, 1) == 0)
        t = pick(g, 1, 4, 1);
    if (pick(g, 0, 1, 0)) { /* a low-rank factor, either way round */
        int64_t r = 8 * pick(g, 1, 8, 2), wide = 64 * pick(g, 1, 10, 64);
        int down = (int)pick(g, 0, 1, 0);

        t = pick(g, 1, 700, 1024);
        i = g->big ? i : down ? wide : r;
        o = g->big ? o : down ? r : wide;
    }
    attr(g, "scale", pick(g, 0, 1, 0) ? 0.75 : 1);
    if (!strcmp(g->op->name, "linear")) {
        in(g, HONE_F32, 2, t, i);
        in(g, HONE_F32, 2, o, i);
        if (pick(g, 0, 1, 0))
            in(g, pick(g, 0, 2, 0) ? HONE_F32 : HONE_NOTHING, 1, o, 1);
    } else if (!strcmp(g->op->name, "linear_dx")) {
        in(g, HONE_F32, 2, t, o);
        in(g, HONE_F32, 2, o, i);
    } else {
        in(g, HONE_F32, 2, t, o);
        in(g, HONE_F32, 2, t, i);
    }
}

static void norm(gen *g)
{
    int64_t d = pick(g, 1, 200, 576), groups = pick(g, 1, 3, 1);
    int64_t t = pick(g, 1, 150, 1024);

    for (const hone_operand *o = g->c->op->in; o->name; o++) {
        int weight = !strcmp(o->name, "w");
        in(g, HONE_F32, weight ? 1 : 2, weight ? d : t, d * groups);
    }
    attr(g, "eps", 1e-5);
    attr(g, "offset", (double)pick(g, 0, 1, 0));
    attr(g, "d", (double)d);
}

static void rope(gen *g)
{
    int64_t m = pick(g, 1, 40, 32), d = 2 * m + pick(g, 0, 6, 0);
    int64_t t = pick(g, 1, 60, 1024);

    in(g, HONE_F32, 2, t, d * pick(g, 1, 4, 9));
    in(g, HONE_F32, 1, m, 1);
    in(g, HONE_I32, 1, t, 1);
    attr(g, "head_dim", d == 2 * m ? 0 : (double)d);
    attr(g, "factor", pick(g, 0, 1, 0) ? 1.25 : 1);
    attr(g, "inverse", (double)pick(g, 0, 1, 0));
}

static void attention(gen *g)
{
    int64_t kv = pick(g, 1, 3, 3), heads = kv * pick(g, 1, 3, 3);
    int64_t d = pick(g, 0, 1, 0) ? 8 * pick(g, 1, 16, 8) : pick(g, 1, 72, 64);
    int64_t t = pick(g, 1, 200, 1024);
    int64_t keys = t + (pick(g, 0, 2, 1) ? 0 : pick(g, 1, 90, 0));
    int grad = !strcmp(g->op->name, "attention_grad");

    if (grad)
        in(g, HONE_F32, 2, t, heads * d);
    in(g, HONE_F32, 2, t, heads * d);
    in(g, HONE_F32, 2, keys, kv * d);
    in(g, HONE_F32, 2, keys, kv * d);
    if (grad) {
        in(g, HONE_F32, 2, t, heads * d);
        in(g, HONE_F32, 2, t, heads);
    }
    in(g, HONE_I32, 2, pick(g, 1, 6, 1), 4);
    attr(g, "heads", (double)heads);
    attr(g, "kv_heads", (double)kv);
    attr(g, "scale", 0.125);
    attr(g, "window", pick(g, 0, 2, 1) ? 0 : (double)pick(g, 1, 90, 0));
    attr(g, "softcap", pick(g, 0, 2, 1) ? 0 : 1.5);
}

static void xent(gen *g)
{
    int64_t t = pick(g, 1, 40, 256), v = pick(g, 1, 5000, 49152);

    g->c->limit = v;
    if (!strcmp(g->op->name, "xent_grad"))
        in(g, HONE_F32, 1, 1, 1);
    in(g, HONE_F32, 2, t, v);
    if (!strcmp(g->op->name, "xent_grad"))
        in(g, HONE_F32, 1, t, 1);
    in(g, HONE_I32, 1, t, 1);
}

/* A table or rows, and an index. */
static void indexed(gen *g)
{
    int64_t h = pick(g, 1, 300, 576), n = pick(g, 1, 90, 1024);
    int64_t rows = pick(g, 1, 120, 49152);
    int back = !strcmp(g->op->name, "embed_grad") ||
               !strcmp(g->op->name, "scatter");

    g->c->limit = rows;
    in(g, strcmp(g->op->name, "embed") ? HONE_F32 : any_storage(g), 2,
       back ? n : rows, h);
    in(g, HONE_I32, 1, n, 1);
    attr(g, "vocab", (double)rows);
    attr(g, "rows", (double)rows);
}

static void cache_write(gen *g)
{
    int64_t t = pick(g, 1, 30, 256), h = pick(g, 1, 100, 192);

    g->c->limit = 1;
    in(g, HONE_F32, 2, t, h);
    in(g, HONE_I32, 1, 1, 1);
    out(g, HONE_F32, 2, t + pick(g, 0, 40, 1024), h);
}

static void dropout(gen *g)
{
    int64_t t = pick(g, 1, 60, 1024), h = pick(g, 1, 700, 576);

    in(g, HONE_F32, 2, t, h);
    in(g, HONE_I32, 1, t, 1);
    in(g, HONE_I32, 1, t, 1);
    in(g, HONE_I64, 1, 2, 1);
    attr(g, "p", (double)pick(g, 0, 6, 1) / 10);
    attr(g, "key", (double)pick(g, 0, 1000, 7));
}

static void convert(gen *g)
{
    const hone_option *o = option(g->op, "to");
    static const char *const names[] = { "f32", "bf16", "f16" };
    int nf4 = g->compute == HONE_NF4;
    hone_storage from = g->big ? HONE_BF16 : any_storage(g);

    if (nf4)
        from = pick(g, 0, 2, 1) ? HONE_NF4 : HONE_NF4_PLAIN;
    in(g, from, 2, pick(g, 1, 90, nf4 ? 14336 : 1536),
       pick(g, 1, 700, nf4 ? 4096 : 576));
    if (o)
        set_text(o, g->attrs, names[pick(g, 0, 2, nf4)]);
}

static void list(gen *g)
{
    int64_t n = pick(g, 1, 7, 7);

    for (int64_t i = 0; i < n; i++) {
        int64_t rows = pick(g, 1, 300, 1536), cols = pick(g, 1, 300, 576);
        hone_storage s = g->big ? HONE_F32 : any_storage(g);
        if (strcmp(g->op->name, "fill"))
            in(g, s, 2, rows, cols);
        else
            out(g, s, 2, rows, cols);
    }
    attr(g, "value", (double)pick(g, -9, 9, 0) / 4);
}

/* AdamW's, which packs may have compiled. */
#define ADAM                                                                   \
    "x0 s2 * =r0 y1 r0 0.1 lerp =y1 y2 0.9 * r0 0.1 * r0 * + =y2 "             \
    "y0 s3 y1 * y2 sqrt s4 / 1e-2 + / - =y0"

/* s0 guards; each program with its reads and writes of a tensor. */
static const struct {
    const char *text;
    int reads, writes, scalars;
} programs[] = {
    { "x0 s1 * =r0 y1 r0 0.1 lerp =y1 y2 abs r0 dup * 0.001 lerp =y2 "
      "y0 s1 y1 * y2 sqrt 1e-8 + / - =y0", 1, 3, 2 },
    { "x0 x1 + y0 * =y0", 2, 1, 1 },
    { "y0 1 =y0 y0 + =y0", 0, 1, 1 },
    { "x0 x1 swap - dup abs 0.5 < swap x0 select =y0", 2, 1, 1 },
    { "x0 neg exp x0 expm1 min x0 abs 1 + log max =y1 x0 sign =y0", 1, 2, 1 },
    { "x0 finite x0 x1 > * =y0 x1 =r3 r3 y0 r3 * - =y0", 2, 1, 1 },
    { ADAM, 1, 3, 5 },
    { "y0 s1 0.01 * y0 * - =y0 " ADAM, 1, 3, 5 }
};

static void map(gen *g)
{
    int p = (int)pick(g, 0, 7, 6);
    int64_t n = pick(g, 1, 4, 4), count[4];
    const hone_option *o = option(g->op, "program");

    for (int i = 0; i < programs[p].scalars; i++)
        in(g, HONE_F32, 1, 1, 1);
    for (int64_t i = 0; i < n; i++) {
        count[i] = pick(g, 1, 90, 1536) * pick(g, 1, 900, 576);
        for (int k = 0; k < programs[p].reads; k++)
            in(g, any_storage(g), 1, count[i], 1);
    }
    if (pick(g, 0, 1, 0)) {
        attr(g, "stochastic", 1);
        in(g, HONE_I64, 1, 2, 1);
        in(g, HONE_I64, 1, n * programs[p].writes, 1);
    }
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < programs[p].writes; k++)
            out(g, any_storage(g), 1, count[i], 1);
    attr(g, "scalars", programs[p].scalars);
    attr(g, "reads", programs[p].reads);
    attr(g, "writes", programs[p].writes);
    attr(g, "guard", (double)pick(g, 0, 1, 1));
    if (o)
        set_text(o, g->attrs, programs[p].text);
}

static const struct {
    const char *op;
    void (*draw)(gen *);
} families[] = {
    { "add", flat }, { "mul", flat }, { "scale", flat }, { "silu", flat },
    { "silu_grad", flat }, { "gelu_tanh", flat },
    { "gelu_tanh_grad", flat }, { "softcap", flat }, { "softcap_grad", flat },
    { "split", halves }, { "join", halves },
    { "swiglu", flat }, { "swiglu_grad", flat },
    { "sum_rows", flat }, { "linear", linear }, { "linear_dx", linear },
    { "linear_dw", linear }, { "rmsnorm", norm }, { "rmsnorm_dx", norm },
    { "rmsnorm_dw", norm }, { "rmsnorm_grads", norm },
    { "add_rmsnorm", norm }, { "rope", rope },
    { "attention", attention }, { "attention_grad", attention },
    { "xent", xent }, { "xent_grad", xent }, { "embed", indexed },
    { "embed_grad", indexed }, { "gather", indexed }, { "scatter", indexed },
    { "cache_write", cache_write }, { "dropout", dropout },
    { "convert", convert }, { "fill", list }, { "sumsq", list },
    { "map", map }, { NULL, NULL }
};

static int draws(const hone_op *op)
{
    return op->size >= offsetof(hone_op, draw) + sizeof op->draw && op->draw;
}

/* As the op says by itself. */
static hone_status by_op(gen *g)
{
    hone_call *c = &g->c->call;

    g->c->op->draw(g->seed, g->big * (int64_t)1024, g->attrs, g->c->type,
                   &c->nin, &c->nout);
    if (c->nin + c->nout > CASE_OPERANDS)
        return hone_fail(g->err, HONE_EINVAL, "%s: draw names %u operands, at "
                         "most %d are possible", c->op, c->nin + c->nout,
                         CASE_OPERANDS);
    return HONE_OK;
}

/* Matrices of activations and weights, and vectors of weights, in COMPUTE. */
static hone_status halve(gen *g, hone_storage compute)
{
    static const char *const stay[] = { "lse", "dloss", "inv_freq" };
    hone_call *c = &g->c->call;
    const hone_operand *o = g->c->op->in;
    int changed = 0;

    for (uint32_t i = 0; i < c->nin + c->nout; i++) {
        hone_type *t = &g->c->type[i];
        int stays = i < c->nin && o->flags & HONE_VARIADIC;

        for (int k = 0; k < 3 && i < c->nin; k++)
            stays |= !strcmp(o->name, stay[k]);
        if (i < c->nin && !(o->flags & HONE_VARIADIC))
            o++;
        if (stays || t->storage != HONE_F32 || !c->nin)
            continue;
        t->storage = compute;
        changed = 1;
    }
    c->compute = compute;
    return changed ? HONE_OK
                   : hone_fail(g->err, HONE_ENOSUP, "%s: the same as in fp32",
                               c->op);
}

static int reads_fp8(const char *op)
{
    return !strcmp(op, "linear") || !strcmp(op, "linear_dx") ||
           !strcmp(op, "linear_list") || !strcmp(op, "dora_norm");
}

int case_has(const hone_component *op, hone_storage codes)
{
    const hone_operand *o = ((const hone_op *)op->ops)->out;
    int converts = !strcmp(op->name, "convert");

    if (codes != HONE_FP8)
        return codes != HONE_NF4 || converts;
    while (o->name && !(o->flags & HONE_TWICE))
        o++;
    return converts || o->name || reads_fp8(op->name);
}

/* Rows of multiples of 16; of whole heads where other vectors than weights say
 * what those are. */
static void widen(gen *g)
{
    hone_type *t = g->c->type;
    const hone_option *to = option(g->op, "to");
    static const char *const made[] = { "fp8", "fp8_turned", "bf16" };
    int64_t which = pick(g, 0, 2, 1);
    int heads = 0;

    for (uint32_t i = 0; i < g->c->call.nin; i++)
        heads |= t[i].rank == 1 && t[i].storage != g->c->call.compute;
    for (uint32_t i = 0; i < g->c->call.nin; i++)
        if (t[i].rank == 2 && !to)
            t[i].dim[1] = heads ? 16 * t[i].dim[1]
                                : (t[i].dim[1] + 15) / 16 * 16;
        else if (t[i].rank == 1 && t[i].storage == g->c->call.compute)
            t[i].dim[0] = t[0].dim[1];
    if (!to)
        return;
    for (int i = 0; i < 2; i++)
        t->dim[i] = (t->dim[i] + 15) / 16 * 16;
    t->storage = which ? HONE_FP8 : HONE_BF16;
    set_text(to, g->attrs, made[which]);
}

/* Weights as codes, whose dimensions are multiples of 16 then. */
static void encode(gen *g)
{
    hone_type *x = &g->c->type[0], *w = &g->c->type[1];
    int is_list = !strcmp(g->op->name, "linear_list");

    for (uint32_t n = 0; n + 1 < (is_list ? g->c->call.nin : 2); n++) {
        w[n].storage = HONE_FP8;
        for (int i = 0; i < 2; i++)
            w[n].dim[i] = (w[n].dim[i] + 15) / 16 * 16;
    }
    x->dim[1] = w->dim[strcmp(g->op->name, "linear_dx") != 0];
    if (!is_list && g->c->call.nin > 2)
        w[1].dim[0] = w->dim[0];
}

/* Types of outputs by the shape rule; how they are written by their flags. */
static hone_status finish(gen *g)
{
    kernel_case *c = g->c;
    hone_type given[CASE_OPERANDS];
    const hone_operand *o = c->op->out;
    uint32_t n = c->call.nout;

    if (!n)
        for (; o[n].name;)
            n++;
    c->call.nout = n;
    hone_try(c->op->shape(&c->call, given, g->err));
    memcpy(c->type + c->call.nin, given, n * sizeof *given);
    for (uint32_t i = 0; i < c->call.nin; i++)
        c->mode[i] = HONE_READ;
    for (uint32_t i = 0; i < n && g->coded; i++)
        if (!(o->flags & HONE_VARIADIC) && c->op->out[i].flags & HONE_TWICE) {
            hone_type *to = &c->type[c->call.nin + n + (uint32_t)c->copies];

            *to = given[i];
            to->storage = HONE_FP8;
            c->mode[to - c->type] = HONE_WRITE;
            c->copied[c->copies++] = i;
        }
    c->call.nout += (uint32_t)c->copies;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t mode = HONE_WRITE;

        if (o->flags & HONE_UPDATED)
            mode = HONE_UPDATE;
        else if (o->flags & HONE_CAN_ADD && pick(g, 0, 1, 0))
            mode = HONE_ADD;
        c->mode[c->call.nin + i] = mode;
        if (!(o->flags & HONE_VARIADIC))
            o++;
    }
    return HONE_OK;
}

hone_status case_draw(kernel_case *c, const hone_component *op, uint64_t seed,
                      int big, hone_storage compute, void *attrs, hone_err *err)
{
    gen g = { .c = c, .op = op, .seed = seed, .compute = compute, .big = big,
              .attrs = attrs, .err = err };
    hone_status s;
    int i = 0;

    memset(c, 0, sizeof *c);
    c->op = op->ops;
    c->limit = 1000;
    c->call = (hone_call){ .size = sizeof c->call, .op = op->name,
                           .attrs = attrs, .type = c->type, .mode = c->mode,
                           .compute = HONE_F32 };
    component_defaults(op, attrs);
    while (families[i].op && strcmp(families[i].op, op->name))
        i++;
    if (draws(c->op))
        hone_try(by_op(&g));
    else
        (families[i].op ? families[i].draw : flat)(&g);
    if (compute != HONE_F32 && compute != HONE_NF4)
        hone_try(halve(&g, compute == HONE_FP8 ? HONE_BF16 : compute));
    g.coded = compute == HONE_FP8 && !reads_fp8(op->name);
    if (g.coded)
        widen(&g);
    else if (compute == HONE_FP8)
        encode(&g);
    s = finish(&g);
    if (s != HONE_OK && !draws(c->op) && !families[i].op)
        return hone_fail(err, HONE_ENOSUP, "%s: no shapes to try it with; "
                         "its `draw` could name them", op->name);
    return s;
}

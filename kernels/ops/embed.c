/* SPDX-License-Identifier: MIT
 *
 * embed.c -- rows of a table by token, and the gradient of the table: tokens
 * are taken in order, so that a table row's sum has one fixed order.
 */
#include "op.h"

REF(embed)
{
    view table = input(c, p, 0), y = output(c, p, 0);
    const int32_t *token = ints(p, 1);
    int64_t t, h;

    for (t = 0; t < y.rows; t++)
        for (h = 0; h < y.cols; h++)
            put(y, t * y.cols + h, get(table, token[t] * y.cols + h));
}

REF(embed_grad)
{
    view dy = input(c, p, 0), dtable = sum_into(output(c, p, 0));
    const int32_t *token = ints(p, 1);
    int64_t t, h;

    for (t = 0; t < dy.rows; t++)
        for (h = 0; h < dy.cols; h++)
            put(dtable, token[t] * dy.cols + h, get(dy, t * dy.cols + h));
}

#ifndef HONE_REF_DOUBLE

static hone_status embed_shape(const hone_call *c, hone_type *out,
                               hone_err *err)
{
    hone_try(want_rank(c, 0, "table", 2, err));
    hone_try(want_ints(c, 1, "tokens", -1, err));
    out[0] = hone_type_of(c->compute, 2, c->type[1].dim[0], c->type[0].dim[1]);
    return HONE_OK;
}

static hone_status embed_backward(hone_builder *b, const hone_rule *r,
                                  hone_err *err)
{
    hone_type table = b->type(b, r->in[0]);
    if (!r->need[0])
        return HONE_OK;
    return emit(b, "embed_grad",
                ATTRS({ "vocab", (double)table.dim[0], NULL }),
                IDS(r->dout[0], r->in[1]), &r->din[0], err);
}

static void embed_sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    draw_ints(c, p, 1, 0, c->type[0].dim[0], seed);
}

static hone_status grad_shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const hone_embed_attrs *a = c->attrs;
    hone_try(want_rank(c, 0, "dy", 2, err));
    hone_try(want_ints(c, 1, "tokens", c->type[0].dim[0], err));
    out[0] = hone_type_of(stat_storage(c), 2, a->vocab, c->type[0].dim[1]);
    return HONE_OK;
}

static void grad_sample(const hone_call *c, uint64_t seed, const hone_ptr *p)
{
    const hone_embed_attrs *a = c->attrs;
    draw_ints(c, p, 1, 0, a->vocab, seed);
}

static const hone_option grad_options[] = {
    HONE_OPT_INT(hone_embed_attrs, vocab, 1, 1, 2147483647,
                 "rows of the table"),
    HONE_OPT_END
};

OP(embed, "rows of a table by token", NULL, 0,
   .in = OPERANDS({ "table", 0 },
                  { "tokens", HONE_ROWS | HONE_IMPLICIT | HONE_NO_GRAD }),
   .out = OPERANDS({ "y", HONE_ROWS }),
   .shape = embed_shape, .backward = embed_backward, .sample = embed_sample);

OP(embed_grad, "gradient of the table of embed", grad_options,
   sizeof(hone_embed_attrs),
   .in = OPERANDS({ "dy", HONE_ROWS },
                  { "tokens", HONE_ROWS | HONE_IMPLICIT | HONE_NO_GRAD }),
   .out = OPERANDS({ "dtable", HONE_SUMMED | HONE_CAN_ADD }),
   .shape = grad_shape, .sample = grad_sample);

EXPORT_OPS(embed, &embed_component, &embed_grad_component);

#endif

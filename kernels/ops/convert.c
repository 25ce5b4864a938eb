/* SPDX-License-Identifier: MIT
 *
 * convert.c -- the same values in another storage, rounded to nearest even.
 * The compiler inserts it where no pack takes a storage as it is. Numbers
 * become fp8 with a scale a row, its largest magnitude / 448; codes with one
 * scale for all rows are turned as they are. This reference is for plain ones.
 */
#include "op.h"

REF(convert)
{
    view x = input(c, p, 0), y = output(c, p, 0);
    int64_t i;

    for (i = 0; i < y.count; i++)
        put(y, i, get(x, i));
}

#ifndef HONE_REF_DOUBLE

/* In the order of hone_storage, so that an index is a storage. */
static const char *const storages[] = { "nothing", "f32", "bf16", "f16",
                                        "f64",     "i32", "i64",  "u8",
                                        "nf4",     "fp8", "int8", "uint8",
                                        "nf4_plain", "fp8_turned", NULL };

/* nf4 is made by the engine, as weights are loaded: it is read alone. */
static hone_status covered(const hone_call *c, hone_storage s, int written,
                           hone_err *err)
{
    if (hone_is_nf4(s) && !written)
        return HONE_OK;
    switch (s) {
    case HONE_F32:
    case HONE_BF16:
    case HONE_F16:
    case HONE_F64:
        return HONE_OK;
    case HONE_FP8:
    case HONE_FP8_TURNED:
        return HONE_OK;
    case HONE_NF4:
    case HONE_NF4_PLAIN:
    case HONE_INT8:
    case HONE_UINT8:
        return hone_fail(err, HONE_ENOSUP,
                         "%s: storage %s is not %s by this version; use f32, "
                         "bf16, f16 or fp8",
                         c->op, storages[s], written ? "made" : "read");
    default:
        return hone_fail(err, HONE_EINVAL,
                         "%s: storage %s holds no real numbers; use f32, bf16 "
                         "or f16",
                         c->op, storages[s < HONE_STORAGES ? s : 0]);
    }
}

static hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    const hone_convert_attrs *a = c->attrs;
    hone_try(covered(c, c->type[0].storage, 0, err));
    hone_try(covered(c, (hone_storage)a->to, 1, err));
    out[0] = c->type[0];
    out[0].storage = (hone_storage)a->to;
    return HONE_OK;
}

static hone_status backward(hone_builder *b, const hone_rule *r, hone_err *err)
{
    hone_storage from = b->type(b, r->in[0]).storage;
    if (!r->need[0])
        return HONE_OK;
    return emit(b, "convert", ATTRS({ "to", 0, storages[from] }),
                IDS(r->dout[0]), &r->din[0], err);
}

static const hone_option options[] = {
    HONE_OPT_ENUM(hone_convert_attrs, to, "f32", storages, "the new storage"),
    HONE_OPT_END
};

OP(convert, "the same values in another storage", options,
   sizeof(hone_convert_attrs),
   .in = OPERANDS({ "x", 0 }), .out = OPERANDS({ "y", 0 }),
   .shape = shape, .backward = backward);

EXPORT_OPS(convert, &convert_component);

#endif

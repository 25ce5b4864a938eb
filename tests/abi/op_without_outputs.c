/* SPDX-License-Identifier: MIT */
#define KIND HONE_KIND_OP
#define OPS &op
#include "hone/plugin.h"
extern const hone_op op;
#include "right.h"

static hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    (void)c;
    (void)out;
    (void)err;
    return HONE_OK;
}

static void reference(const hone_call *c, const hone_ptr *p)
{
    (void)c;
    (void)p;
}

static const hone_operand none[] = { { NULL, 0 } };

const hone_op op = { .size = sizeof op,
                     .in = none,
                     .out = none,
                     .shape = shape,
                     .ref_f32 = reference,
                     .ref_f64 = reference };

/* SPDX-License-Identifier: MIT
 *
 * copy.c -- the same bytes in another memory space. Inserted by the pass that
 * plans offloading and streaming; carried out by the device.
 */
#include "op.h"

REF(copy)
{
    int i;

    for (i = 0; i < HONE_PARTS; i++) {
        int64_t bytes = hone_type_bytes(&c->type[0], i);
        if (bytes > 0)
            memcpy(p[1].part[i], p[0].part[i], (size_t)bytes);
    }
}

#ifndef HONE_REF_DOUBLE

static hone_status shape(const hone_call *c, hone_type *out, hone_err *err)
{
    (void)err;
    out[0] = c->type[0];
    return HONE_OK;
}

OP(copy, "the same bytes elsewhere", NULL, 0,
   .in = OPERANDS({ "x", 0 }), .out = OPERANDS({ "y", 0 }), .shape = shape);

EXPORT_OPS(copy, &copy_component);

#endif

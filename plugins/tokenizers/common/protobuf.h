/* SPDX-License-Identifier: MIT
 *
 * protobuf.h -- reads the wire format of protocol buffers, field by field,
 * from memory that may hold anything.
 */
#ifndef TK_PROTOBUF_H
#define TK_PROTOBUF_H

#include "memory.h"

typedef struct tk_proto {
    const unsigned char *at, *end;
    int broken;
    /* The field at hand. */
    uint32_t number, wire; /* wire: 0 varint, 1 64 bits, 2 bytes, 5 32 bits */
    uint64_t value;        /* of a number; a float by its bits */
    tk_text bytes;
} tk_proto;

static inline tk_proto tk_proto_of(tk_text t)
{
    return (tk_proto){ .at = (const unsigned char *)t.at,
                       .end = (const unsigned char *)t.at + t.len };
}

/* The next field; 0 at the end, or with p->broken. */
int tk_proto_next(tk_proto *p);
float tk_proto_float(const tk_proto *p);

#endif

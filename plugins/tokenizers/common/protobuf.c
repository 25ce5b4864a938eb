/* SPDX-License-Identifier: MIT
 *
 * protobuf.c -- see protobuf.h.
 */
#include "protobuf.h"

#include <string.h>

static int varint(tk_proto *p, uint64_t *to)
{
    *to = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        unsigned char b;

        if (p->at == p->end)
            return 0;
        b = *p->at++;
        *to |= (uint64_t)(b & 127) << shift;
        if (!(b & 128))
            return 1;
    }
    return 0;
}

static int fixed(tk_proto *p, size_t n)
{
    p->value = 0;
    if ((size_t)(p->end - p->at) < n)
        return 0;
    memcpy(&p->value, p->at, n);
    p->at += n;
    return 1;
}

static int field(tk_proto *p)
{
    uint64_t key, n;

    if (!varint(p, &key) || key > UINT32_MAX || key < 8)
        return 0;
    p->number = (uint32_t)(key >> 3);
    p->wire = (uint32_t)(key & 7);
    switch (p->wire) {
    case 0:
        return varint(p, &p->value);
    case 1:
        return fixed(p, 8);
    case 5:
        return fixed(p, 4);
    case 2:
        if (!varint(p, &n) || n > (size_t)(p->end - p->at))
            return 0;
        p->bytes = (tk_text){ (const char *)p->at, (size_t)n };
        p->at += n;
        return 1;
    default:
        return 0;
    }
}

int tk_proto_next(tk_proto *p)
{
    if (p->at == p->end || p->broken)
        return 0;
    p->broken = !field(p);
    return !p->broken;
}

float tk_proto_float(const tk_proto *p)
{
    uint32_t bits = (uint32_t)p->value;
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

/* SPDX-License-Identifier: MIT
 *
 * thrift.c -- the compact protocol, as far as Parquet needs it (no maps).
 */
#include "parquet.h"

enum { T_BYTE = 3, T_I16, T_I32, T_I64, T_DOUBLE, T_BINARY };

static int fail(thrift *t)
{
    t->bad = 1;
    t->at = t->end;
    return 0;
}

static int next_byte(thrift *t)
{
    return t->at < t->end ? *t->at++ : fail(t);
}

static uint64_t varint(thrift *t)
{
    uint64_t x = 0;

    for (int shift = 0; shift < 64; shift += 7) {
        int byte = next_byte(t);

        x |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return x;
    }
    return (uint64_t)fail(t);
}

static int64_t zigzag(thrift *t)
{
    uint64_t x = varint(t);

    return (int64_t)(x >> 1 ^ -(x & 1));
}

int thrift_field(thrift *t, int *id, int *type)
{
    int byte = next_byte(t);

    if (t->bad || !byte)
        return 0;
    *type = byte & 15;
    if (byte >> 4) {
        *id += byte >> 4;
        return 1;
    }
    byte = (int)(int16_t)zigzag(t);
    *id = byte;
    return !t->bad;
}

int64_t thrift_int(thrift *t, int type)
{
    if (type == T_BYTE)
        return (int8_t)next_byte(t);
    if (type < T_I16 || type > T_I64)
        return fail(t);
    return zigzag(t);
}

int thrift_bool(thrift *t, int type)
{
    if (type != T_TRUE && type != T_FALSE)
        return fail(t);
    return type == T_TRUE;
}

const uint8_t *thrift_bytes(thrift *t, int type, uint32_t *bytes)
{
    uint64_t n = type == T_BINARY ? varint(t) : (uint64_t)fail(t);
    const uint8_t *data = t->at;

    *bytes = 0;
    if (t->bad || n > (uint64_t)(t->end - t->at)) {
        fail(t);
        return NULL;
    }
    *bytes = (uint32_t)n;
    t->at += n;
    return data;
}

uint32_t thrift_list(thrift *t, int type, int *element)
{
    int byte = type == T_LIST || type == T_SET ? next_byte(t) : fail(t);
    uint64_t n = (uint64_t)(byte >> 4);

    *element = byte & 15;
    if (n == 15)
        n = varint(t);
    if (t->bad || n > (uint64_t)(t->end - t->at))
        return (uint32_t)fail(t);
    return (uint32_t)n;
}

int thrift_enter(thrift *t, int type)
{
    if (t->bad || type != T_STRUCT || ++t->depth > MOST_DEPTH)
        return fail(t);
    return 1;
}

void thrift_leave(thrift *t)
{
    t->depth--;
}

static void skip_struct(thrift *t)
{
    int id = 0, type;

    if (!thrift_enter(t, T_STRUCT))
        return;
    while (thrift_field(t, &id, &type))
        thrift_skip(t, type);
    thrift_leave(t);
}

static void skip_list(thrift *t, int type)
{
    int element;
    uint32_t n = thrift_list(t, type, &element);

    if (++t->depth > MOST_DEPTH)
        fail(t);
    for (uint32_t i = 0; i < n && !t->bad; i++)
        if (element == T_TRUE || element == T_FALSE)
            next_byte(t);
        else
            thrift_skip(t, element);
    t->depth--;
}

void thrift_skip(thrift *t, int type)
{
    uint32_t bytes;

    switch (type) {
    case T_TRUE:
    case T_FALSE:
        break;
    case T_BYTE:
        next_byte(t);
        break;
    case T_I16:
    case T_I32:
    case T_I64:
        varint(t);
        break;
    case T_DOUBLE:
        for (int i = 0; i < 8; i++)
            next_byte(t);
        break;
    case T_BINARY:
        thrift_bytes(t, type, &bytes);
        break;
    case T_LIST:
    case T_SET:
        skip_list(t, type);
        break;
    case T_STRUCT:
        skip_struct(t);
        break;
    default:
        fail(t);
    }
}

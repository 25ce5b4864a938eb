/* SPDX-License-Identifier: MIT
 *
 * page.c -- the next page of a column: its head, its bytes from the file,
 * their checksum, unpacked, levels and values decoded. A dictionary is kept
 * for the pages behind it.
 */
#include "parquet.h"

#include <snappy-c.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, DATA_PAGE_2 };
enum { E_PLAIN, E_PLAIN_DICTIONARY = 2, E_RLE, E_BIT_PACKED };
enum { PLAIN, SNAPPY, GZIP, LZO, BROTLI, LZ4, ZSTD, LZ4_RAW };
enum { HEAD_BYTES = 1 << 14, MOST_HEAD = 1 << 24 };

typedef struct {
    int type, has_crc, encoding, def_encoding, rep_encoding, is_packed;
    int64_t bytes, packed, values, nulls, def_bytes, rep_bytes;
    uint32_t crc;
} head;

/* The struct of the page's kind: data (1: v1, 2: v2) or dictionary (0). */
static void read_kind(thrift *t, int type, int kind, head *h)
{
    int id = 0, inner;

    if (!thrift_enter(t, type))
        return;
    while (thrift_field(t, &id, &inner)) {
        if (id == 1)
            h->values = thrift_int(t, inner);
        else if (id == (kind == 2 ? 4 : 2))
            h->encoding = (int)thrift_int(t, inner);
        else if (kind == 1 && id == 3)
            h->def_encoding = (int)thrift_int(t, inner);
        else if (kind == 1 && id == 4)
            h->rep_encoding = (int)thrift_int(t, inner);
        else if (kind == 2 && id == 2)
            h->nulls = thrift_int(t, inner);
        else if (kind == 2 && id == 5)
            h->def_bytes = thrift_int(t, inner);
        else if (kind == 2 && id == 6)
            h->rep_bytes = thrift_int(t, inner);
        else if (kind == 2 && id == 7)
            h->is_packed = thrift_bool(t, inner);
        else
            thrift_skip(t, inner);
    }
    thrift_leave(t);
}

static void read_head(thrift *t, head *h)
{
    int id = 0, type;

    *h = (head){ .type = -1, .encoding = -1, .is_packed = 1, .values = -1,
                 .bytes = -1, .packed = -1, .nulls = -1 };
    if (!thrift_enter(t, T_STRUCT))
        return;
    while (thrift_field(t, &id, &type)) {
        if (id == 1) {
            h->type = (int)thrift_int(t, type);
        } else if (id == 2) {
            h->bytes = thrift_int(t, type);
        } else if (id == 3) {
            h->packed = thrift_int(t, type);
        } else if (id == 4) {
            h->crc = (uint32_t)thrift_int(t, type);
            h->has_crc = 1;
        } else if ((id == 5 && h->type == DATA_PAGE) ||
                   (id == 7 && h->type == DICTIONARY_PAGE) ||
                   (id == 8 && h->type == DATA_PAGE_2)) {
            read_kind(t, type, id == 5 ? 1 : id == 8 ? 2 : 0, h);
        } else {
            thrift_skip(t, type);
        }
    }
    thrift_leave(t);
}

static int read_at(parquet *p, const column *c, int64_t at, void *to,
                   size_t bytes)
{
    while (bytes) {
        ssize_t n = pread(p->fd, to, bytes, (off_t)at);

        if (n <= 0)
            return parquet_fail(p, c, "the file cannot be read at byte %lld",
                                (long long)at);
        to = (char *)to + n;
        at += n;
        bytes -= (size_t)n;
    }
    return 1;
}

/* The head at c->at, which moves behind it. How long it is shows when it is
 * read: statistics in it can be long texts. */
static int next_head(parquet *p, column *c, head *h)
{
    for (int64_t most = HEAD_BYTES;; most *= 8) {
        int64_t bytes = c->end - c->at < most ? c->end - c->at : most;
        thrift t = { 0 };

        if (bytes <= 0)
            return parquet_fail(p, c, "its pages hold fewer values than the "
                                "file says");
        if (!block_room(p, c, &p->packed, (size_t)bytes) ||
            !read_at(p, c, c->at, p->packed.data, (size_t)bytes))
            return 0;
        t.at = p->packed.data;
        t.end = t.at + bytes;
        read_head(&t, h);
        if (!t.bad) {
            c->at += t.at - p->packed.data;
            break;
        }
        if (bytes < most || most >= MOST_HEAD)
            return parquet_fail(p, c, "the head of a page is damaged");
    }
    if (h->bytes < 0 || h->packed < 0 || h->packed > c->end - c->at ||
        (h->type != INDEX_PAGE && h->values < 0))
        return parquet_fail(p, c, "the head of a page is damaged");
    if (h->bytes > MOST_PAGE || h->values > MOST_PAGE_VALUES)
        return parquet_fail(p, c, "a page of %lld bytes and %lld values; write "
                            "the file with pages of at most 256 MiB and 16 "
                            "million values", (long long)h->bytes,
                            (long long)h->values);
    return 1;
}

/* --------------------------------------------------------------- unpacking */

static int gunzip(const uint8_t *from, size_t bytes, uint8_t *to, size_t room)
{
    z_stream z = { 0 };
    int code = Z_STREAM_END;

    z.next_in = (uint8_t *)from;
    z.avail_in = (uInt)bytes;
    z.next_out = to;
    z.avail_out = (uInt)room;
    if (inflateInit2(&z, 15 + 32) != Z_OK)
        return 0;
    while (code == Z_STREAM_END && z.avail_in) {
        code = inflate(&z, Z_FINISH); /* a page may be several members */
        if (code == Z_STREAM_END && z.avail_in)
            inflateReset(&z);
    }
    inflateEnd(&z);
    return code == Z_STREAM_END && !z.avail_out;
}

static int unsnappy(const uint8_t *from, size_t bytes, uint8_t *to, size_t room)
{
    size_t n = 0;

    return snappy_uncompressed_length((const char *)from, bytes, &n) ==
               SNAPPY_OK && n == room &&
           snappy_uncompress((const char *)from, bytes, (char *)to, &n) ==
               SNAPPY_OK && n == room;
}

static int unpack(parquet *p, const column *c, const uint8_t *from,
                  size_t bytes, uint8_t *to, size_t room)
{
    static const char *const other[] = { [LZO] = "LZO", [BROTLI] = "Brotli",
                                         [LZ4] = "LZ4", [LZ4_RAW] = "LZ4" };
    int done = 0;

    if (!bytes && !room)
        return 1;
    switch (c->codec) {
    case PLAIN:
        done = bytes == room;
        if (done)
            memcpy(to, from, bytes);
        break;
    case SNAPPY:
        done = unsnappy(from, bytes, to, room);
        break;
    case GZIP:
        done = gunzip(from, bytes, to, room);
        break;
    case ZSTD:
        done = ZSTD_decompress(to, room, from, bytes) == room;
        break;
    default:
        return parquet_fail(p, c, "packed with %s, which hone does not read; "
                            "write it with snappy, gzip, zstd or unpacked",
                            c->codec >= 0 && c->codec <= LZ4_RAW
                                ? other[c->codec] : "an unknown codec");
    }
    return done || parquet_fail(p, c, "a page does not unpack to the %zu bytes "
                                "that it should have", room);
}

/* The page's bytes as they are in the file. */
static int read_packed(parquet *p, column *c, const head *h)
{
    if (!block_room(p, c, &p->packed, (size_t)h->packed) ||
        !read_at(p, c, c->at, p->packed.data, (size_t)h->packed))
        return 0;
    c->at += h->packed;
    if (h->has_crc &&
        crc32(0, p->packed.data, (uInt)h->packed) != h->crc)
        return parquet_fail(p, c, "the checksum of a page does not fit; the "
                            "file is damaged");
    return 1;
}

static int read_dictionary(parquet *p, column *c, const head *h)
{
    span s;

    if (h->encoding != E_PLAIN && h->encoding != E_PLAIN_DICTIONARY)
        return parquet_fail(p, c, "a dictionary in encoding %d, which hone "
                            "does not read", h->encoding);
    if (c->key || c->leaf->type == P_BOOLEAN)
        return parquet_fail(p, c, "a dictionary where none can be");
    c->keys = (uint32_t)h->values;
    if (!read_packed(p, c, h) ||
        !block_room(p, c, &c->key_body, (size_t)h->bytes) ||
        !block_room(p, c, &c->key_slices, c->keys * sizeof *c->key) ||
        !unpack(p, c, p->packed.data, (size_t)h->packed, c->key_body.data,
                (size_t)h->bytes))
        return 0;
    c->key = (slice *)(void *)c->key_slices.data;
    s = (span){ c->key_body.data, c->key_body.data + h->bytes };
    return decode_keys(p, c, s);
}

/* ------------------------------------------------------------------- levels */

/* Levels of version 1 are inside of what is packed, behind their size. */
static int levels_1(parquet *p, column *c, span *s, int most, int encoding,
                    uint8_t *to)
{
    span part;
    uint32_t bytes;

    if (!most)
        return 1;
    if (encoding == E_BIT_PACKED)
        return parquet_fail(p, c, "levels in the encoding BIT_PACKED, which "
                            "hone does not read");
    if (encoding != E_RLE)
        return parquet_fail(p, c, "levels in encoding %d, which hone does not "
                            "read", encoding);
    if (s->end - s->at < 4)
        return parquet_fail(p, c, "the page ends before its levels do");
    bytes = (uint32_t)s->at[0] | (uint32_t)s->at[1] << 8 |
            (uint32_t)s->at[2] << 16 | (uint32_t)s->at[3] << 24;
    s->at += 4;
    if (bytes > (size_t)(s->end - s->at))
        return parquet_fail(p, c, "the page ends before its levels do");
    part = (span){ s->at, s->at + bytes };
    s->at += bytes;
    return decode_levels(p, c, &part, most, c->count, to);
}

static int levels_2(parquet *p, column *c, span part, int most, uint8_t *to)
{
    return !most || decode_levels(p, c, &part, most, c->count, to);
}

static int room_for_entries(parquet *p, column *c, const head *h)
{
    c->count = (uint32_t)h->values;
    c->i = c->v = c->values = 0;
    if (!block_room(p, c, &c->levels, 2 * (size_t)c->count))
        return 0;
    c->def = c->leaf->def ? c->levels.data : NULL;
    c->rep = c->leaf->rep ? c->levels.data + c->count : NULL;
    return 1;
}

/* How many entries are values, and room for them. */
static int count_values(parquet *p, column *c)
{
    c->values = c->def ? 0 : c->count;
    for (uint32_t i = 0; c->def && i < c->count; i++)
        c->values += c->def[i] == c->leaf->def;
    if (!block_room(p, c, &c->slices, c->values * sizeof *c->value))
        return 0;
    c->value = (slice *)(void *)c->slices.data;
    return 1;
}

static int read_data(parquet *p, column *c, const head *h)
{
    span s;

    if (!read_packed(p, c, h) || !room_for_entries(p, c, h) ||
        !block_room(p, c, &c->body, (size_t)h->bytes) ||
        !unpack(p, c, p->packed.data, (size_t)h->packed, c->body.data,
                (size_t)h->bytes))
        return 0;
    s = (span){ c->body.data, c->body.data + h->bytes };
    return levels_1(p, c, &s, c->leaf->rep, h->rep_encoding, c->rep) &&
           levels_1(p, c, &s, c->leaf->def, h->def_encoding, c->def) &&
           count_values(p, c) && decode_values(p, c, s, h->encoding);
}

/* Version 2: levels are in front, as they are. */
static int read_data_2(parquet *p, column *c, const head *h)
{
    int64_t front = h->def_bytes + h->rep_bytes;
    column how = { .leaf = c->leaf, .codec = h->is_packed ? c->codec : PLAIN };
    const uint8_t *at;

    if (h->def_bytes < 0 || h->rep_bytes < 0 || h->def_bytes > h->packed ||
        h->rep_bytes > h->packed || front > h->packed || front > h->bytes)
        return parquet_fail(p, c, "the head of a page is damaged");
    if (!read_packed(p, c, h) || !room_for_entries(p, c, h) ||
        !block_room(p, c, &c->body, (size_t)(h->bytes - front)))
        return 0;
    at = p->packed.data;
    if (!levels_2(p, c, (span){ at, at + h->rep_bytes }, c->leaf->rep,
                  c->rep) ||
        !levels_2(p, c, (span){ at + h->rep_bytes, at + front }, c->leaf->def,
                  c->def) ||
        !count_values(p, c))
        return 0;
    if (h->nulls != (int64_t)c->count - (int64_t)c->values)
        return parquet_fail(p, c, "a page says it has %lld nulls and has %lld",
                            (long long)h->nulls,
                            (long long)c->count - (long long)c->values);
    if (!unpack(p, &how, at + front, (size_t)(h->packed - front), c->body.data,
                (size_t)(h->bytes - front)))
        return 0;
    return decode_values(p, c, (span){ c->body.data, c->body.data + h->bytes -
                                                         front },
                         h->encoding);
}

int page_next(parquet *p, column *c)
{
    head h;

    for (;;) {
        if (!next_head(p, c, &h))
            return 0;
        if (h.type == DICTIONARY_PAGE) {
            if (!read_dictionary(p, c, &h))
                return 0;
        } else if (h.type == INDEX_PAGE) {
            c->at += h.packed;
        } else if (h.type != DATA_PAGE && h.type != DATA_PAGE_2) {
            return parquet_fail(p, c, "a page of type %d, which hone does not "
                                "read", h.type);
        } else {
            if (h.values > c->left)
                return parquet_fail(p, c, "its pages hold more values than "
                                    "the file says");
            c->left -= h.values;
            if (!(h.type == DATA_PAGE ? read_data : read_data_2)(p, c, &h))
                return 0;
            if (c->count)
                return 1;
        }
    }
}

/* SPDX-License-Identifier: MIT
 *
 * decode.c -- the encodings of values and levels (Encodings.md of the format).
 * A value is a slice of bytes, little-endian as in the file: of the page, of
 * the dictionary, or of the column's scratch memory where it was put together.
 */
#include "parquet.h"

enum { E_PLAIN, E_PLAIN_DICTIONARY = 2, E_RLE, E_BIT_PACKED, E_DELTA_BINARY,
       E_DELTA_LENGTH, E_DELTA_BYTES, E_RLE_DICTIONARY, E_SPLIT };

static size_t left_in(const span *s)
{
    return (size_t)(s->end - s->at);
}

static int short_page(parquet *p, const column *c)
{
    return parquet_fail(p, c, "the page ends before its values do");
}

static int read_varint(span *s, uint64_t *x)
{
    *x = 0;
    for (int shift = 0; shift < 64 && s->at < s->end; shift += 7) {
        uint8_t byte = *s->at++;

        *x |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return 1;
    }
    return 0;
}

/* Bits [AT, AT + WIDTH) of the bytes from FROM on, the lowest first. */
static uint64_t bits_at(const uint8_t *from, const uint8_t *end, uint64_t at,
                        int width)
{
    uint64_t x = 0;
    int got = 0;

    from += at / 8;
    at %= 8;
    while (got < width && from < end) {
        x |= (uint64_t)(*from++ >> at) << got;
        got += 8 - (int)at;
        at = 0;
    }
    return width < 64 ? x & (((uint64_t)1 << width) - 1) : x;
}

/* ------------------------------------------------- runs, packed or repeated */

typedef struct {
    span *from;
    int width;      /* bits of a number */
    uint64_t left;  /* numbers of the run that were not read */
    int is_packed;
    uint32_t value; /* of a repeated one */
    uint64_t bit;   /* of a packed one: the next number's, from from->at */
} runs;

static int next_run(runs *r)
{
    span *s = r->from;
    uint64_t head;
    int bytes = (r->width + 7) / 8;

    if (r->is_packed) { /* the last one may be cut behind what is needed */
        s->at += (r->bit + 7) / 8 < left_in(s) ? (r->bit + 7) / 8 : left_in(s);
        r->bit = 0;
    }
    if (!read_varint(s, &head) || head >> 1 > MOST_PAGE)
        return 0;
    r->is_packed = (int)(head & 1);
    r->left = r->is_packed ? (head >> 1) * 8 : head >> 1;
    if (r->is_packed)
        return 1;
    if (left_in(s) < (size_t)bytes)
        return 0;
    r->value = (uint32_t)bits_at(s->at, s->end, 0, r->width);
    s->at += bytes;
    return 1;
}

static int read_run(runs *r, uint32_t n, uint32_t *to)
{
    uint64_t end = r->bit + (uint64_t)n * (uint64_t)r->width;

    r->left -= n;
    if (!r->is_packed) {
        for (uint32_t i = 0; i < n; i++)
            to[i] = r->value;
        return 1;
    }
    if ((end + 7) / 8 > left_in(r->from))
        return 0;
    for (; r->bit < end; r->bit += (uint64_t)r->width)
        *to++ = (uint32_t)bits_at(r->from->at, r->from->end, r->bit, r->width);
    if (!r->width)
        memset(to, 0, n * sizeof *to);
    return 1;
}

static int read_runs(parquet *p, column *c, runs *r, uint32_t n, uint32_t *to)
{
    while (n) {
        uint32_t count;

        if (!r->left && !next_run(r))
            return short_page(p, c);
        count = r->left < n ? (uint32_t)r->left : n;
        if (!read_run(r, count, to))
            return short_page(p, c);
        to += count;
        n -= count;
    }
    return 1;
}

int decode_runs(parquet *p, column *c, span *s, int width, uint32_t n,
                uint32_t *to)
{
    runs r = { .from = s, .width = width };

    return read_runs(p, c, &r, n, to);
}

int decode_levels(parquet *p, column *c, span *s, int most, uint32_t n,
                  uint8_t *to)
{
    uint32_t part[1024];
    runs r = { .from = s };

    while (most >> r.width)
        r.width++;
    while (n) {
        uint32_t count = n < 1024 ? n : 1024;

        if (!read_runs(p, c, &r, count, part))
            return 0;
        for (uint32_t i = 0; i < count; i++) {
            if (part[i] > (uint32_t)most)
                return parquet_fail(p, c, "a level above the schema's");
            *to++ = (uint8_t)part[i];
        }
        n -= count;
    }
    return 1;
}

/* -------------------------------------------------------------------- plain */

static int plain_booleans(parquet *p, column *c, span s, uint32_t n, slice *to,
                          block *scratch)
{
    if (left_in(&s) < ((size_t)n + 7) / 8)
        return short_page(p, c);
    if (!block_room(p, c, scratch, n))
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        scratch->data[i] = s.at[i / 8] >> i % 8 & 1;
        to[i] = (slice){ scratch->data + i, 1 };
    }
    return 1;
}

static int plain(parquet *p, column *c, span s, uint32_t n, slice *to,
                 block *scratch)
{
    uint32_t width = (uint32_t)c->leaf->width;

    if (c->leaf->type == P_BOOLEAN)
        return plain_booleans(p, c, s, n, to, scratch);
    if (width) {
        if (left_in(&s) / width < n)
            return short_page(p, c);
        for (uint32_t i = 0; i < n; i++)
            to[i] = (slice){ s.at + (size_t)i * width, width };
        return 1;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bytes;

        if (left_in(&s) < 4)
            return short_page(p, c);
        bytes = (uint32_t)bits_at(s.at, s.end, 0, 32);
        s.at += 4;
        if (bytes > left_in(&s))
            return short_page(p, c);
        to[i] = (slice){ s.at, bytes };
        s.at += bytes;
    }
    return 1;
}

/* --------------------------------------------------------------- dictionary */

static int from_dictionary(parquet *p, column *c, span s)
{
    uint32_t *at;
    int width;

    if (!c->values)
        return 1;
    if (!c->key)
        return parquet_fail(p, c, "values by their place in a dictionary, "
                            "which is not there");
    if (s.at == s.end)
        return short_page(p, c);
    width = *s.at++;
    if (width > 32)
        return parquet_fail(p, c, "places in a dictionary of %d bits", width);
    if (!block_room(p, c, &c->scratch, (size_t)c->values * sizeof *at))
        return 0;
    at = (uint32_t *)(void *)c->scratch.data;
    if (!decode_runs(p, c, &s, width, c->values, at))
        return 0;
    for (uint32_t i = 0; i < c->values; i++) {
        if (at[i] >= c->keys)
            return parquet_fail(p, c, "place %u in a dictionary of %u",
                                (unsigned)at[i], (unsigned)c->keys);
        c->value[i] = c->key[at[i]];
    }
    return 1;
}

/* -------------------------------------------------------------------- delta */

/* Blocks of small blocks: each a width in bits, and what is added beside the
 * block's least step to the number before. Exactly N numbers. */
typedef struct {
    uint64_t per_block, minis, total, last, least;
    uint64_t in_mini, in_block;
    const uint8_t *widths;
} delta;

static uint64_t unzigzag(uint64_t x)
{
    return x >> 1 ^ -(x & 1);
}

static int delta_head(span *s, delta *d, uint32_t n)
{
    uint64_t first;

    if (!read_varint(s, &d->per_block) || !read_varint(s, &d->minis) ||
        !read_varint(s, &d->total) || !read_varint(s, &first))
        return 0;
    d->last = unzigzag(first);
    return d->total == n && d->per_block <= MOST_PAGE && d->minis &&
           d->per_block % d->minis == 0 &&
           d->per_block / d->minis % 8 == 0 && d->per_block;
}

/* The numbers of one small block, LEFT of them wanted; all of its bytes. */
static int delta_mini(span *s, delta *d, int width, uint64_t left,
                      uint64_t *to)
{
    uint64_t size = d->per_block / d->minis;
    uint64_t count = left < size ? left : size;
    uint64_t bytes = size / 8 * (uint64_t)width;

    if (width > 64 || left_in(s) < (count * (uint64_t)width + 7) / 8)
        return 0;
    for (uint64_t i = 0; i < count; i++) {
        d->last += d->least + bits_at(s->at, s->end, i * (uint64_t)width,
                                      width);
        to[i] = d->last;
    }
    s->at += bytes < left_in(s) ? bytes : left_in(s);
    return 1;
}

static int delta_block(span *s, delta *d, uint64_t left, uint64_t *to)
{
    uint64_t size = d->per_block / d->minis, least;
    const uint8_t *widths;

    if (!read_varint(s, &least) || d->minis > left_in(s))
        return 0;
    d->least = unzigzag(least);
    widths = s->at;
    s->at += d->minis;
    for (uint64_t m = 0; m < d->minis && left; m++) {
        if (!delta_mini(s, d, widths[m], left, to))
            return 0;
        to += left < size ? left : size;
        left -= left < size ? left : size;
    }
    return 1;
}

static int delta_numbers(parquet *p, column *c, span *s, uint32_t n,
                         uint64_t *to)
{
    delta d = { 0 };

    if (!delta_head(s, &d, n))
        return parquet_fail(p, c, "a page of steps has a damaged head");
    if (n)
        to[0] = d.last;
    for (uint64_t done = 1; done < n; done += d.per_block)
        if (!delta_block(s, &d, n - done, to + done))
            return short_page(p, c);
    return 1;
}

/* What a page decodes into lies in the scratch block: first numbers, then
 * bytes. */
static int delta_integers(parquet *p, column *c, span s)
{
    uint32_t width = (uint32_t)c->leaf->width;
    uint64_t *x;

    if (c->leaf->type != P_INT32 && c->leaf->type != P_INT64)
        return parquet_fail(p, c, "steps of what is no integer");
    if (!block_room(p, c, &c->scratch, (size_t)c->values * sizeof *x))
        return 0;
    x = (uint64_t *)(void *)c->scratch.data;
    if (!delta_numbers(p, c, &s, c->values, x))
        return 0;
    for (uint32_t i = 0; i < c->values; i++) {
        for (int k = 0, shift = 0; k < 8; k++, shift += 8)
            c->scratch.data[8 * (size_t)i + (size_t)k] =
                (uint8_t)(x[i] >> shift);
        c->value[i] = (slice){ c->scratch.data + 8 * (size_t)i, width };
    }
    return 1;
}

static int delta_lengths(parquet *p, column *c, span *s, uint64_t *lengths,
                         slice *to)
{
    if (!delta_numbers(p, c, s, c->values, lengths))
        return 0;
    for (uint32_t i = 0; i < c->values; i++) {
        if (lengths[i] > left_in(s))
            return short_page(p, c);
        to[i] = (slice){ s->at, (uint32_t)lengths[i] };
        s->at += lengths[i];
    }
    return 1;
}

static int bytes_alone(parquet *p, column *c)
{
    int type = c->leaf->type;

    return type == P_BYTES || type == P_FIXED ||
           parquet_fail(p, c, "steps of what are no bytes");
}

static int check_widths(parquet *p, const column *c)
{
    uint32_t width = (uint32_t)c->leaf->width;

    for (uint32_t i = 0; width && i < c->values; i++)
        if (c->value[i].bytes != width)
            return parquet_fail(p, c, "a value of %u bytes, and all have %u",
                                (unsigned)c->value[i].bytes, (unsigned)width);
    return 1;
}

static int delta_length_bytes(parquet *p, column *c, span s)
{
    if (!bytes_alone(p, c) ||
        !block_room(p, c, &c->scratch, (size_t)c->values * 8))
        return 0;
    return delta_lengths(p, c, &s, (uint64_t *)(void *)c->scratch.data,
                         c->value) && check_widths(p, c);
}

/* Each value begins with some bytes of the one before. What a few bytes make
 * can be far more than the page: it is added up first. */
static int join_prefixes(parquet *p, column *c, const uint64_t *prefix)
{
    uint8_t *to;
    uint64_t total = 0, before = 0;
    size_t numbers = (size_t)c->values * 16;

    for (uint32_t i = 0; i < c->values; i++) {
        if (prefix[i] > before)
            return parquet_fail(p, c, "a value begins with %llu bytes of one "
                                "of %llu", (unsigned long long)prefix[i],
                                (unsigned long long)before);
        before = prefix[i] + c->value[i].bytes;
        total += before;
        if (total > MOST_PAGE)
            return parquet_fail(p, c, "a page of more than 256 MiB");
    }
    if (!block_room(p, c, &c->key_scratch, numbers + total))
        return 0;
    to = c->key_scratch.data;
    for (uint32_t i = 0; i < c->values; i++) {
        uint32_t n = (uint32_t)prefix[i];

        if (n)
            memcpy(to, c->value[i - 1].data, n);
        if (c->value[i].bytes)
            memcpy(to + n, c->value[i].data, c->value[i].bytes);
        c->value[i] = (slice){ to, n + c->value[i].bytes };
        to += c->value[i].bytes;
    }
    return check_widths(p, c);
}

/* A column with a dictionary may fall back to this: its keys' scratch memory
 * is for booleans only, which no dictionary has, and so is free. */
static int delta_bytes(parquet *p, column *c, span s)
{
    uint64_t *prefix;

    if (!bytes_alone(p, c) ||
        !block_room(p, c, &c->scratch, (size_t)c->values * 16))
        return 0;
    prefix = (uint64_t *)(void *)c->scratch.data;
    return delta_numbers(p, c, &s, c->values, prefix) &&
           delta_lengths(p, c, &s, prefix + c->values, c->value) &&
           join_prefixes(p, c, prefix);
}

/* ------------------------------------------------------------------- others */

/* All first bytes, then all second ones... */
static int split_bytes(parquet *p, column *c, span s)
{
    size_t width = (size_t)c->leaf->width, n = c->values;

    if (!width || c->leaf->type == P_BOOLEAN || c->leaf->type == P_INT96)
        return parquet_fail(p, c, "split bytes of values without a width");
    if (left_in(&s) / width < n)
        return short_page(p, c);
    if (!block_room(p, c, &c->scratch, n * width))
        return 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < width; k++)
            c->scratch.data[i * width + k] = s.at[k * n + i];
        c->value[i] = (slice){ c->scratch.data + i * width, (uint32_t)width };
    }
    return 1;
}

/* Booleans in runs, behind the number of bytes they take. */
static int run_booleans(parquet *p, column *c, span s)
{
    uint8_t *to;

    if (c->leaf->type != P_BOOLEAN)
        return parquet_fail(p, c, "runs of what are no booleans");
    if (!c->values)
        return 1;
    if (left_in(&s) < 4 || !block_room(p, c, &c->scratch, c->values))
        return short_page(p, c);
    s.at += 4;
    to = c->scratch.data;
    if (!decode_levels(p, c, &s, 1, c->values, to))
        return 0;
    for (uint32_t i = 0; i < c->values; i++)
        c->value[i] = (slice){ to + i, 1 };
    return 1;
}

int decode_values(parquet *p, column *c, span s, int encoding)
{
    switch (encoding) {
    case E_PLAIN:
        return plain(p, c, s, c->values, c->value, &c->scratch);
    case E_PLAIN_DICTIONARY:
    case E_RLE_DICTIONARY:
        return from_dictionary(p, c, s);
    case E_RLE:
        return run_booleans(p, c, s);
    case E_DELTA_BINARY:
        return delta_integers(p, c, s);
    case E_DELTA_LENGTH:
        return delta_length_bytes(p, c, s);
    case E_DELTA_BYTES:
        return delta_bytes(p, c, s);
    case E_SPLIT:
        return split_bytes(p, c, s);
    default:
        return parquet_fail(p, c, "encoding %d, which hone does not read",
                            encoding);
    }
}

int decode_keys(parquet *p, column *c, span s)
{
    return plain(p, c, s, c->keys, c->key, &c->key_scratch);
}

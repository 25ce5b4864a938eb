/* SPDX-License-Identifier: MIT
 *
 * feed.c -- see feed.h. Positions that hold no row get token 0, no target and
 * belong to no document, so that nothing learns from them.
 */
#include "feed.h"

#include "machine.h"

#include <string.h>

static void *take(char *base, int64_t *used, int64_t count, int64_t size)
{
    char *p = base ? base + *used : NULL;

    *used += (count * size + 63) / 64 * 64;
    return p;
}

static int64_t lay_out(hone_feed *f, const hone_bucket *bucket,
                       uint32_t buckets, int64_t batch, char *base)
{
    int64_t tokens = 1, docs = 1, used = 0;

    for (uint32_t i = 0; i < buckets; i++) {
        tokens = bucket[i].tokens > tokens ? bucket[i].tokens : tokens;
        docs = bucket[i].docs > docs ? bucket[i].docs : docs;
    }
    f->layout.micro = take(base, &used, batch, sizeof(int32_t));
    f->layout.start = take(base, &used, batch, sizeof(int64_t));
    f->layout.bucket = take(base, &used, batch, sizeof(int32_t));
    f->layout.scratch = take(base, &used, 4 * batch, sizeof(int32_t));
    f->lengths = take(base, &used, batch, sizeof(int32_t));
    f->tokens = take(base, &used, tokens, sizeof(int32_t));
    f->targets = take(base, &used, tokens, sizeof(int32_t));
    f->target_at = take(base, &used, tokens, sizeof(int32_t));
    f->positions = take(base, &used, tokens, sizeof(int32_t));
    f->rows = take(base, &used, tokens, sizeof(int32_t));
    f->docs = take(base, &used, 4 * docs, sizeof(int32_t));
    return used;
}

int64_t hone_feed_bytes(const hone_bucket *bucket, uint32_t buckets,
                        int64_t batch)
{
    hone_feed f;

    return lay_out(&f, bucket, buckets, batch, NULL);
}

void hone_feed_init(hone_feed *f, int64_t batch, void *memory)
{
    lay_out(f, f->bucket, f->buckets, batch, memory);
}

hone_status hone_feed_step(hone_feed *f, const hone_rows *rows, hone_err *err)
{
    const hone_collator *api = f->collator->component->ops;

    for (int i = 0; i < rows->count; i++)
        f->lengths[i] = rows->sample[i].length;
    return api->layout(f->collator->config, f->bucket, f->buckets, f->lengths,
                       rows->count, &f->layout, err);
}

static void place_row(hone_feed *f, const hone_sample *s, int64_t at)
{
    for (int32_t i = 0; i < s->length; i++) {
        f->tokens[at + i] = s->tokens[i];
        f->positions[at + i] = i;
        f->rows[at + i] = s->index;
        if (i + 1 < s->length && s->mask[i + 1]) {
            f->targets[f->targets_here] = s->tokens[i + 1];
            f->target_at[f->targets_here++] = (int32_t)(at + i);
        }
    }
}

hone_status hone_feed_put(hone_feed *f, const char *name, const void *data,
                          int64_t bytes, hone_err *err)
{
    const hone_kept *k = hone_store_find(f->store, name);

    if (!k) /* no program reads it */
        return HONE_OK;
    return hone_machine_put(f->machine, hone_store_address(f->store, k), data,
                            bytes, err);
}

hone_status hone_feed_micro(hone_feed *f, const hone_rows *rows, int m,
                            hone_err *err)
{
    const hone_bucket *b = &f->bucket[f->layout.bucket[m]];
    size_t bytes = (size_t)b->tokens * sizeof(int32_t);
    int doc = 0;

    memset(f->tokens, 0, bytes);
    memset(f->targets, 0xff, bytes);
    memset(f->target_at, 0xff, bytes);
    f->targets_here = 0;
    memset(f->positions, 0, bytes);
    memset(f->rows, 0, bytes);
    memset(f->docs, 0, (size_t)b->docs * 4 * sizeof(int32_t));
    for (int i = 0; i < rows->count; i++) {
        int32_t at = (int32_t)f->layout.start[i];
        int32_t n = rows->sample[i].length;

        if (f->layout.micro[i] != m)
            continue;
        place_row(f, &rows->sample[i], at);
        f->docs[4 * doc] = f->docs[4 * doc + 2] = at;
        f->docs[4 * doc + 1] = f->docs[4 * doc + 3] = n;
        doc++;
    }
    hone_try(hone_feed_put(f, "tokens", f->tokens, (int64_t)bytes, err));
    hone_try(hone_feed_put(f, "targets", f->targets, (int64_t)bytes, err));
    hone_try(hone_feed_put(f, "target_at", f->target_at, (int64_t)bytes, err));
    hone_try(hone_feed_put(f, "positions", f->positions, (int64_t)bytes, err));
    hone_try(hone_feed_put(f, "rows", f->rows, (int64_t)bytes, err));
    return hone_feed_put(f, "docs", f->docs, b->docs * 4 * 4, err);
}

/* SPDX-License-Identifier: MIT
 *
 * feed.c -- see feed.h. Positions that hold no row get token 0, no target and
 * belong to no document, so that nothing learns from them.
 */
#include "feed.h"

#include <string.h>

#include "machine.h"

static void *take(char *base, int64_t *used, int64_t count, int64_t size)
{
    char *p = base ? base + *used : NULL;

    *used += (count * size + 63) / 64 * 64;
    return p;
}

static int64_t lay_out(hone_feed *f, int64_t batch, char *base)
{
    int64_t used = 0;

    f->layout.micro = take(base, &used, batch, sizeof(int32_t));
    f->layout.start = take(base, &used, batch, sizeof(int64_t));
    f->layout.bucket = take(base, &used, batch, sizeof(int32_t));
    f->layout.scratch = take(base, &used, 4 * batch, sizeof(int32_t));
    f->lengths = take(base, &used, batch, sizeof(int32_t));
    return used;
}

int64_t hone_feed_bytes(int64_t batch)
{
    hone_feed f;

    return lay_out(&f, batch, NULL);
}

int64_t hone_feed_pinned(const hone_store *store, const hone_machine *m)
{
    return m->info.is_host ? 0 : HONE_FEED_SLOTS * store->input_bytes;
}

static void *find(const hone_feed *f, char *memory, const char *name)
{
    const hone_kept *k = hone_store_find(f->store, name);

    return k ? memory + k->offset : NULL;
}

static void open_slot(hone_feed *f, int i, char *memory)
{
    f->memory[i] = memory;
    f->slot[i] = (hone_inputs){ .tokens = find(f, memory, "tokens"),
                                .targets = find(f, memory, "targets"),
                                .target_at = find(f, memory, "target_at"),
                                .positions = find(f, memory, "positions"),
                                .rows = find(f, memory, "rows"),
                                .docs = find(f, memory, "docs"),
                                .rng = find(f, memory, "rng"),
                                .dloss = find(f, memory, "dloss"),
                                .lr = find(f, memory, "lr") };
}

hone_status hone_feed_open(hone_feed *f, int64_t batch, void *memory,
                           void *pinned, hone_err *err)
{
    const hone_machine *m = f->machine;
    int64_t bytes = f->store->input_bytes;

    lay_out(f, batch, memory);
    if (m->info.is_host) {
        open_slot(f, 0, f->store->base);
        f->slots = 1;
        return HONE_OK;
    }
    memset(pinned, 0, (size_t)hone_feed_pinned(f->store, m));
    for (; f->slots < HONE_FEED_SLOTS; f->slots++) {
        hone_try(m->api->event_open(m->self, &f->sent[f->slots], err));
        open_slot(f, f->slots, (char *)pinned + f->slots * bytes);
    }
    return HONE_OK;
}

void hone_feed_close(hone_feed *f)
{
    for (int i = 0; i < f->slots; i++)
        if (f->sent[i])
            f->machine->api->event_close(f->machine->self, f->sent[i]);
    f->slots = 0;
}

hone_status hone_feed_step(hone_feed *f, const hone_rows *rows, hone_err *err)
{
    const hone_collator *api = f->collator->component->ops;

    for (int i = 0; i < rows->count; i++)
        f->lengths[i] = rows->sample[i].length;
    return api->layout(f->collator->config, f->bucket, f->buckets, f->lengths,
                       rows->count, &f->layout, err);
}

/* Whether COUNT rows, whose lengths are set, are laid out so. */
static int lies_in_one(hone_feed *f, int64_t count)
{
    const hone_collator *api = f->collator->component->ops;

    return api->layout(f->collator->config, f->bucket, f->buckets, f->lengths,
                       count, &f->layout, NULL) == HONE_OK &&
           f->layout.micros == 1;
}

static int all_lie_in_one(hone_feed *f, const hone_loader_spec *s)
{
    hone_order o = { 0, 0 };
    int64_t count;

    for (; o.step < s->steps; o.step++, o.at += count) {
        count = hone_order_count(s, o.at);
        for (int64_t i = 0; i < count; i++)
            f->lengths[i] = s->split->length[hone_order_row(s, o.at + i)];
        if (!lies_in_one(f, count))
            return 0;
    }
    return 1;
}

int hone_feed_is_single(const hone_instance *collator, const hone_bucket *b,
                        uint32_t buckets, const hone_loader_spec *s)
{
    hone_feed f = { .collator = collator, .bucket = b, .buckets = buckets };
    hone_arena a = { 0 };
    int single;

    if (!s->split->rows)
        return 0;
    lay_out(&f, s->batch,
            hone_alloc(&a, (size_t)hone_feed_bytes(s->batch) + 1));
    for (int64_t i = 0; i < s->batch; i++)
        f.lengths[i] = (int32_t)s->split->shard.max_length;
    single = lies_in_one(&f, s->batch) || all_lie_in_one(&f, s);
    hone_arena_free(&a);
    return single;
}

static void place_row(hone_feed *f, const hone_inputs *to,
                      const hone_sample *s, int64_t at)
{
    memcpy(to->tokens + at, s->tokens, (size_t)s->length * sizeof *s->tokens);
    for (int32_t i = 0; i < s->length; i++) {
        to->positions[at + i] = i;
        to->rows[at + i] = s->index;
        if (i + 1 < s->length && s->mask[i + 1]) {
            to->targets[f->targets_here] = s->tokens[i + 1];
            to->target_at[f->targets_here++] = (int32_t)(at + i);
        }
    }
}

static void fill(hone_feed *f, const hone_inputs *to, const hone_rows *rows,
                 int m)
{
    const hone_bucket *b = &f->bucket[f->layout.bucket[m]];
    size_t bytes = (size_t)b->tokens * sizeof(int32_t);
    int doc = 0;

    memset(to->tokens, 0, bytes);
    memset(to->targets, 0xff, bytes);
    memset(to->target_at, 0xff, bytes);
    f->targets_here = 0;
    memset(to->positions, 0, bytes);
    memset(to->rows, 0, bytes);
    memset(to->docs, 0, (size_t)b->docs * 4 * sizeof(int32_t));
    for (int i = 0; i < rows->count; i++) {
        int32_t at = (int32_t)f->layout.start[i];
        int32_t n = rows->sample[i].length;

        if (f->layout.micro[i] != m)
            continue;
        place_row(f, to, &rows->sample[i], at);
        to->docs[4 * doc] = to->docs[4 * doc + 2] = at;
        to->docs[4 * doc + 1] = to->docs[4 * doc + 3] = n;
        doc++;
    }
}

hone_status hone_feed_micro(hone_feed *f, const hone_rows *rows, int m,
                            const hone_step_inputs *step, hone_err *err)
{
    int i = (int)(f->made % f->slots);
    const hone_machine *machine = f->machine;
    const hone_inputs *to = &f->slot[i];

    if (machine->info.is_host)
        hone_try(hone_machine_sync(f->machine, err));
    else if (f->made >= f->slots)
        hone_try(hone_machine_await(machine, f->sent[i], err));
    f->made++;
    fill(f, to, rows, m);
    memcpy(to->rng, step->rng, sizeof step->rng);
    *to->dloss = step->dloss;
    if (to->lr)
        *to->lr = step->lr;
    if (machine->info.is_host)
        return HONE_OK;
    machine->api->copy(machine->self, f->store->base, f->memory[i],
                       f->store->input_bytes, HONE_TO_DEVICE,
                       machine->stream[0]);
    machine->api->record(machine->self, f->sent[i], machine->stream[0]);
    return HONE_OK;
}

/* SPDX-License-Identifier: MIT
 *
 * scalars.c -- see scalars.h.
 */
#include "scalars.h"

#include "machine.h"

int64_t hone_scalars_pinned(const hone_store *store, const hone_machine *m)
{
    return m->info.is_host ? 0 : HONE_IN_FLIGHT * store->scalar_bytes;
}

static const float *find(const hone_scalars *s, int i, const char *name)
{
    const hone_kept *k = hone_store_find(s->store, name);

    return k ? (const float *)(s->memory[i] + k->offset -
                               s->store->input_bytes)
             : NULL;
}

static void open_slot(hone_scalars *s, int i, char *memory)
{
    s->memory[i] = memory;
    s->loss_sum[i] = find(s, i, "loss_sum");
    s->norm[i] = find(s, i, "step.norm");
    s->ok[i] = find(s, i, "step.ok");
    s->scale[i] = find(s, i, "step.scale");
    s->again[i] = find(s, i, "step.again");
}

hone_status hone_scalars_open(hone_scalars *s, hone_machine *m,
                              const hone_store *store, void *pinned,
                              hone_err *err)
{
    *s = (hone_scalars){ .machine = m, .store = store };
    if (m->info.is_host) {
        open_slot(s, 0, store->base + store->input_bytes);
        s->slots = 1;
        return HONE_OK;
    }
    hone_try(m->api->event_open(m->self, &s->begun, err));
    for (; s->slots < HONE_IN_FLIGHT; s->slots++) {
        hone_try(m->api->event_open(m->self, &s->landed[s->slots], err));
        open_slot(s, s->slots, (char *)pinned + s->slots * store->scalar_bytes);
    }
    return HONE_OK;
}

void hone_scalars_close(hone_scalars *s)
{
    for (int i = 0; i < s->slots; i++)
        if (s->landed[i])
            s->machine->api->event_close(s->machine->self, s->landed[i]);
    if (s->begun)
        s->machine->api->event_close(s->machine->self, s->begun);
    s->begun = NULL;
    s->slots = 0;
}

void hone_scalars_begin(hone_scalars *s)
{
    const hone_machine *m = s->machine;
    int i = (int)(s->sent % s->slots);

    if (m->info.is_host)
        return;
    s->since[i] = s->begun;
    if (s->sent > s->taken)
        s->since[i] = s->landed[(s->sent - 1) % s->slots];
    else
        m->api->record(m->self, s->begun, m->stream[0]);
}

void hone_scalars_send(hone_scalars *s)
{
    const hone_machine *m = s->machine;
    int i = (int)(s->sent++ % s->slots);

    if (m->info.is_host)
        return;
    m->api->copy(m->self, s->memory[i], s->store->base + s->store->input_bytes,
                 s->store->scalar_bytes, HONE_TO_HOST, m->stream[0]);
    m->api->record(m->self, s->landed[i], m->stream[0]);
}

int hone_scalars_ahead(const hone_scalars *s)
{
    return s->machine->info.is_host ? 0 : 1;
}

hone_status hone_scalars_take(hone_scalars *s, int *slot, hone_err *err)
{
    *slot = (int)(s->taken % s->slots);
    hone_try(s->machine->info.is_host
                 ? hone_machine_sync(s->machine, err)
                 : hone_machine_await(s->machine, s->landed[*slot], err));
    s->taken++;
    return HONE_OK;
}

double hone_scalars_seconds(const hone_scalars *s, int slot)
{
    if (s->machine->info.is_host)
        return -1;
    return hone_machine_seconds(s->machine, s->since[slot], s->landed[slot]);
}

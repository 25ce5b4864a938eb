/* SPDX-License-Identifier: MIT
 *
 * machine.c -- see machine.h.
 */
#include "machine.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "option.h"
#include "registry.h"

/* Devices that "auto" tries, the fastest first. */
static const char *const automatic[] = { "cuda", "cpu", NULL };

/* The device's component with its config, not opened. */
static hone_status make_device(hone_machine *m, hone_instance *in,
                               const char *name, int64_t index, hone_arena *a,
                               hone_err *err)
{
    const hone_component *c;
    void *config;

    hone_try(hone_need_component(HONE_KIND_DEVICE, name, &c, err));
    config = hone_alloc(a, c->config_size + sizeof(int64_t));
    hone_option_defaults(c->options, config);
    *(int64_t *)config = index;
    hone_instance_make(in, c, config, a);
    m->component = c;
    return HONE_OK;
}

static hone_status open_device(hone_machine *m, const char *name, int64_t index,
                               hone_arena *a, hone_err *err)
{
    hone_instance in;

    hone_try(make_device(m, &in, name, index, a, err));
    hone_try(hone_instance_start(&in, err));
    m->api = m->component->ops;
    m->self = in.state;
    m->info.size = sizeof m->info;
    hone_try(m->api->info(m->self, &m->info, err));
    for (int i = 0; i < 2; i++)
        hone_try(m->api->stream_open(m->self, &m->stream[i], err));
    return HONE_OK;
}

static hone_status pick_device(hone_machine *m, const char *device,
                               hone_arena *a, hone_err *err)
{
    const char *colon = strchr(device, ':');
    char name[64];

    if (strcmp(device, "auto") != 0) {
        snprintf(name, sizeof name, "%.*s",
                 colon ? (int)(colon - device) : (int)strlen(device), device);
        return open_device(m, name, colon ? atoll(colon + 1) : 0, a, err);
    }
    for (int i = 0; automatic[i]; i++)
        if (hone_find(HONE_KIND_DEVICE, automatic[i]) &&
            open_device(m, automatic[i], 0, a, err) == HONE_OK)
            return HONE_OK;
    return open_device(m, "cpu", 0, a, err);
}

/* Where a pack stands: before the device's own, that one, or behind it. */
static int place_of(const hone_machine *m, const hone_component *c)
{
    const hone_pack *pack = c->ops;

    if (!strcmp(c->name, m->component->name))
        return 1;
    return pack->size > offsetof(hone_pack, behind) && pack->behind ? 2 : 0;
}

/* All packs for the device. */
static void all_packs(hone_machine *m, int max)
{
    const hone_component *c;
    int n = 0;

    for (int place = 0; place < 3; place++)
        for (int i = 0; (c = hone_component_at(i)) && n + 1 < max; i++)
            if (c->kind == HONE_KIND_PACK &&
                !strcmp(((const hone_pack *)c->ops)->device,
                        m->component->name) &&
                place_of(m, c) == place)
                m->packs[n++] = c;
    m->packs[n] = NULL;
}

static hone_status named_packs(hone_machine *m, const char *names, int max,
                               hone_err *err)
{
    int n = 0;

    while (*names) {
        size_t len = strcspn(names, ",");
        char name[64];
        const hone_component *c;

        snprintf(name, sizeof name, "%.*s", (int)len, names);
        hone_try(hone_need_component(HONE_KIND_PACK, name, &c, err));
        if (strcmp(((const hone_pack *)c->ops)->device, m->component->name))
            return hone_fail(err, HONE_EINVAL,
                             "packs: '%s' runs on device '%s', not on '%s'",
                             name, ((const hone_pack *)c->ops)->device,
                             m->component->name);
        if (n + 1 < max)
            m->packs[n++] = c;
        names += len + (names[len] == ',');
    }
    m->packs[n] = NULL;
    return HONE_OK;
}

/* The same without a device: its component, and what the card says of it. */
static hone_status take_card(hone_machine *m, const hone_card *card,
                             const char *device, hone_arena *a, hone_err *err)
{
    size_t n = strcspn(device, ":");
    hone_instance in;

    if (strcmp(device, "auto") && (n != strlen(card->device) ||
                                   strncmp(device, card->device, n)))
        return hone_fail(err, HONE_EINVAL, "card %s is of a device \"%s\", the "
                         "recipe says device = \"%s\"", card->name,
                         card->device, device);
    hone_try(make_device(m, &in, card->device, 0, a, err));
    hone_card_info(card, &m->info);
    return HONE_OK;
}

static hone_status pick_packs(hone_machine *m, const char *packs,
                              hone_arena *a, hone_err *err)
{
    enum { MAX = 32 };

    m->packs = hone_alloc(a, (MAX + 1) * sizeof *m->packs);
    if (packs && *packs)
        return named_packs(m, packs, MAX, err);
    all_packs(m, MAX);
    return HONE_OK;
}

hone_status hone_machine_open(hone_machine *m, const char *device,
                              const char *packs, hone_arena *a, hone_err *err)
{
    memset(m, 0, sizeof *m);
    hone_try(pick_device(m, device, a, err));
    return pick_packs(m, packs, a, err);
}

hone_status hone_machine_find(hone_machine *m, const char *name,
                              const char *device, const char *packs,
                              hone_card *card, hone_arena *a, hone_err *err)
{
    double context;
    int near;

    if (name)
        hone_try(hone_card_find(card, name, err));
    if (name && strcmp(card->device, "cpu")) { /* every machine has that one */
        memset(m, 0, sizeof *m);
        hone_try(take_card(m, card, device, a, err));
        return pick_packs(m, packs, a, err);
    }
    hone_try(hone_machine_open(m, name ? card->device : device, packs, a, err));
    if (!name && hone_card_of(card, m->component->name, &m->info, &near, NULL)) {
        card->name[0] = '\0';
        return HONE_OK;
    }
    context = card->figure[HONE_CARD_CONTEXT].value;
    if (!m->info.is_host && context > 0)
        m->info.context_bytes = (int64_t)context;
    if (!name)
        hone_log(near ? HONE_LOG_NOTE : HONE_LOG_DETAIL, "card %s for %s%s",
                 card->name, m->info.name,
                 near ? ", the nearest there is: times and the context's "
                        "memory are guesses; hone doctor --card \"\" measures "
                        "this one" : "");
    return HONE_OK;
}

void hone_machine_join(hone_machine *m, const hone_component *collective,
                       void *group, hone_arena *a)
{
    int n = 0;

    while (m->packs[n])
        n++;
    m->packs = hone_copy(a, m->packs, (size_t)n + 1, (size_t)n + 2,
                         sizeof *m->packs);
    memmove(m->packs + 1, m->packs, ((size_t)n + 1) * sizeof *m->packs);
    m->packs[0] = collective;
    m->collective = collective;
    m->group = group;
}

hone_status hone_machine_sync(hone_machine *m, hone_err *err)
{
    hone_try(m->api->sync(m->self, m->stream[1], err));
    return m->api->sync(m->self, m->stream[0], err);
}

double hone_machine_seconds(const hone_machine *m, hone_event from,
                            hone_event to)
{
    return hone_device_has(m->api, seconds)
               ? m->api->seconds(m->self, from, to) : -1;
}

hone_status hone_machine_await(const hone_machine *m, hone_event event,
                               hone_err *err)
{
    if (hone_device_has(m->api, await))
        return m->api->await(m->self, event, err);
    return m->api->sync(m->self, m->stream[0], err);
}

hone_status hone_machine_put(hone_machine *m, void *device, const void *host,
                             int64_t bytes, hone_err *err)
{
    m->api->copy(m->self, device, host, bytes, HONE_TO_DEVICE, m->stream[0]);
    return m->api->sync(m->self, m->stream[0], err);
}

hone_status hone_machine_get(hone_machine *m, void *host, const void *device,
                             int64_t bytes, hone_err *err)
{
    m->api->copy(m->self, host, device, bytes, HONE_TO_HOST, m->stream[0]);
    return m->api->sync(m->self, m->stream[0], err);
}

int64_t hone_machine_host_bytes(void)
{
    const hone_component *c = hone_find(HONE_KIND_DEVICE, "cpu");
    hone_device_info info = { .size = sizeof info };
    hone_arena a = { 0 };
    hone_status status = HONE_ENOSUP;

    if (c) /* not opened: it would start its threads for this */
        status = ((const hone_device *)c->ops)->info(
            hone_alloc(&a, c->state_size + 1), &info, NULL);
    hone_arena_free(&a);
    return status == HONE_OK ? info.free_bytes : 0;
}

void hone_machine_close(hone_machine *m)
{
    if (!m->api)
        return;
    for (int i = 0; i < 2; i++)
        m->api->stream_close(m->self, m->stream[i]);
    if (m->component->close)
        m->component->close(m->self);
    m->api = NULL;
}

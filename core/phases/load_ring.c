/* SPDX-License-Identifier: MIT
 *
 * load_ring.c -- see load.h: from files to the device at the speed of either.
 * The tensors are cut into pieces. Threads take them in order, read and convert
 * each into a slot of a ring of pinned memory; the caller's thread, the only
 * one that calls the device, copies the slots in the same order and frees them
 * when the copies are done. Where device memory is host memory the threads
 * write to the tensors themselves, and there is no ring.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "hone/nf4.h"
#include "load.h"
#include "machine.h"

enum {
    PIECE = 2 << 20,
    SLOTS = 32,
    READERS = 8, /* 16 are no faster on a link of 54 GB/s */
    THREADS = 16, /* but where weights are quantised, or made at random */
    STACK_BYTES = HONE_FILLING_STACK + (256 << 10)
};

/* Elements [from, from + count) of a tensor. */
typedef struct {
    const hone_filling *of;
    int64_t from, count;
} piece;

typedef struct {
    char *memory;
    hone_ptr to; /* on the device, by parts */
    int64_t at[HONE_PARTS], bytes[HONE_PARTS];
    int64_t filled; /* the number of the piece in it, from 1 */
    hone_event copied;
} slot;

typedef struct {
    const hone_store *store;
    hone_machine *m;
    const hone_filling *list;
    int count, is_host, slots;
    slot slot[SLOTS];
    pthread_t thread[THREADS];
    int threads;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* under the lock: */
    int next;        /* tensor that the next piece is of */
    int64_t at;      /* and its first element */
    int64_t taken, copied; /* pieces */
    hone_status status;
    hone_err err;
} ring;

/* Bytes of COUNT elements in a slot, and where its parts begin. */
static int64_t lay_out(hone_storage s, int64_t count, int64_t at[HONE_PARTS])
{
    int64_t end = 0;

    for (int p = 0; p < HONE_PARTS; p++) {
        at[p] = end;
        if (hone_parts(s)[p].per > 0)
            end += (hone_part_bytes(s, p, count) + HONE_ALIGN - 1) /
                   HONE_ALIGN * HONE_ALIGN;
    }
    return end;
}

/* Elements of a piece: as many whole units as a slot holds. */
static int64_t most_of(hone_storage s)
{
    int64_t at[HONE_PARTS];
    int64_t n = PIECE / hone_parts(s)[0].bytes * hone_parts(s)[0].per;

    while (lay_out(s, n, at) > PIECE)
        n -= HONE_FILLING_UNIT;
    return n;
}

/* ----------------------------------------------------------------- threads */

/* The next piece; 0 when there is none. The lock is held. */
static int take_piece(ring *r, piece *p)
{
    int64_t most, all;
    const hone_kept *k;

    if (r->next == r->count || r->status != HONE_OK)
        return 0;
    p->of = &r->list[r->next];
    k = p->of->kept;
    all = hone_count(&k->type);
    most = most_of(k->type.storage);
    p->from = r->at;
    p->count = most < all - r->at ? most : all - r->at;
    r->at += p->count;
    if (r->at >= all) {
        r->next++;
        r->at = 0;
    }
    r->taken++;
    return 1;
}

/* Where its parts are on the device. */
static hone_ptr device_address(const ring *r, const piece *p)
{
    const hone_kept *k = p->of->kept;
    char *at = hone_store_address(r->store, k);
    hone_ptr to = { { NULL } };

    for (int i = 0; i < HONE_PARTS; i++) {
        hone_storage s = k->type.storage;

        if (hone_parts(s)[i].per > 0)
            to.part[i] = at + hone_part_bytes(s, i, p->from);
        at += (hone_type_bytes(&k->type, i) + HONE_ALIGN - 1) / HONE_ALIGN *
              HONE_ALIGN;
    }
    return to;
}

/* Whether threads write where it belongs, without a copy by the device. */
static int is_near(const ring *r, const piece *p)
{
    return r->is_host || p->of->kept->space == HONE_PINNED_SPACE;
}

static void say_where(slot *s, const ring *r, const piece *p)
{
    hone_storage storage = p->of->kept->type.storage;

    s->to = device_address(r, p);
    lay_out(storage, p->count, s->at);
    for (int i = 0; i < HONE_PARTS; i++)
        s->bytes[i] = s->to.part[i] && !is_near(r, p)
                          ? hone_part_bytes(storage, i, p->count) : 0;
}

/* Into a slot, or where it belongs. */
static hone_status fill_piece(const ring *r, const piece *p, slot *s,
                              hone_err *err)
{
    hone_ptr to = device_address(r, p);

    if (!r->is_host)
        say_where(s, r, p);
    for (int i = 0; i < HONE_PARTS && !is_near(r, p); i++)
        to.part[i] = s->memory + s->at[i];
    return hone_filling_parts(p->of, p->from, p->count, &to, err);
}

static void *fill_slots(void *arg)
{
    ring *r = arg;
    hone_status status;
    hone_err err;
    piece p;

    pthread_mutex_lock(&r->lock);
    for (;;) {
        int64_t number;
        slot *s;

        while (!r->is_host && r->taken - r->copied >= r->slots &&
               r->status == HONE_OK)
            pthread_cond_wait(&r->changed, &r->lock);
        if (!take_piece(r, &p))
            break;
        number = r->taken;
        s = &r->slot[(number - 1) % r->slots];
        pthread_mutex_unlock(&r->lock);
        status = fill_piece(r, &p, s, &err);
        pthread_mutex_lock(&r->lock);
        if (status != HONE_OK && r->status == HONE_OK) {
            r->status = status;
            r->err = err;
        }
        if (!r->is_host)
            s->filled = number;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static int wanted_threads(const ring *r)
{
    for (int i = 0; i < r->count; i++) {
        const hone_filling *f = &r->list[i];
        hone_storage s = f->kept->type.storage;

        if ((hone_is_nf4(s) && !(f->weight && f->weight->type.storage == s)) ||
            (!f->weight && !f->data && !f->kept->adapter))
            return THREADS;
    }
    return READERS;
}

/* Signals stay with the threads that ask for them. */
static void start_threads(ring *r)
{
    int wanted = wanted_threads(r);
    pthread_attr_t attr;
    sigset_t all, before;

    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (r->threads < wanted &&
           !pthread_create(&r->thread[r->threads], &attr, fill_slots, r))
        r->threads++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
}

/* -------------------------------------------------------------- the caller */

/* Waits for piece NUMBER in its slot; NULL: it was the last one before, or a
 * thread failed. */
static slot *wait_filled(ring *r, int64_t number)
{
    slot *s = &r->slot[(number - 1) % r->slots];
    int ready;

    pthread_mutex_lock(&r->lock);
    while (s->filled != number && r->status == HONE_OK &&
           !(r->next == r->count && number > r->taken))
        pthread_cond_wait(&r->changed, &r->lock);
    ready = s->filled == number && r->status == HONE_OK;
    pthread_mutex_unlock(&r->lock);
    return ready ? s : NULL;
}

/* Half of the ring is being copied while the other half is being filled. */
static hone_status copy_slots(ring *r, hone_err *err)
{
    const hone_device *api = r->m->api;
    int behind = r->slots / 2;
    slot *s;

    for (int64_t n = 1; (s = wait_filled(r, n)); n++) {
        for (int i = 0; i < HONE_PARTS; i++)
            if (s->bytes[i])
                api->copy(r->m->self, s->to.part[i], s->memory + s->at[i],
                          s->bytes[i], HONE_TO_DEVICE, r->m->stream[0]);
        api->record(r->m->self, s->copied, r->m->stream[0]);
        if (n <= behind)
            continue;
        hone_try(hone_machine_await(
            r->m, r->slot[(n - behind - 1) % r->slots].copied, err));
        pthread_mutex_lock(&r->lock);
        r->copied = n - behind;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
    }
    return HONE_OK;
}

int64_t hone_load_bytes(const hone_store *store, const hone_machine *m)
{
    int64_t pieces = 0;

    for (int i = 0; i < store->count; i++)
        pieces += (store->list[i].bytes + PIECE - 1) / PIECE;
    if (m->info.is_host)
        return 0;
    return (pieces < SLOTS ? pieces : SLOTS) * PIECE;
}

static hone_status open_ring(ring *r, int64_t bytes, void **memory,
                             hone_err *err)
{
    r->slots = bytes ? (int)(bytes / PIECE) : 1;
    if (r->is_host || !bytes)
        return HONE_OK;
    hone_try(r->m->api->reserve(r->m->self, HONE_PINNED_SPACE, bytes, memory,
                                err));
    for (int i = 0; i < r->slots; i++) {
        r->slot[i].memory = (char *)*memory + (int64_t)i * PIECE;
        hone_try(r->m->api->event_open(r->m->self, &r->slot[i].copied, err));
    }
    return HONE_OK;
}

static void close_ring(ring *r, void *memory)
{
    for (int i = 0; i < r->slots; i++)
        if (r->slot[i].copied)
            r->m->api->event_close(r->m->self, r->slot[i].copied);
    if (memory)
        r->m->api->release(r->m->self, HONE_PINNED_SPACE, memory);
}

static hone_status join_threads(ring *r, hone_status status, hone_err *err)
{
    pthread_mutex_lock(&r->lock);
    if (status != HONE_OK && r->status == HONE_OK) {
        r->status = status; /* nobody takes another piece */
        r->err = *err;
    }
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    for (int i = 0; i < r->threads; i++)
        pthread_join(r->thread[i], NULL);
    if (r->status != HONE_OK && err)
        *err = r->err;
    return r->status;
}

hone_status hone_load_ring(const hone_store *store, hone_machine *m,
                           const hone_filling *list, int count, hone_err *err)
{
    ring r = { .store = store, .m = m, .list = list, .count = count,
               .is_host = m->info.is_host };
    void *memory = NULL;
    hone_err mine, late;
    hone_status status = open_ring(&r, hone_load_bytes(store, m), &memory,
                                   &mine);

    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.changed, NULL);
    if (status == HONE_OK) {
        start_threads(&r);
        if (!r.threads)
            status = hone_fail(&mine, HONE_EIO, "no thread starts that reads "
                               "the weights");
        else if (!r.is_host)
            status = copy_slots(&r, &mine);
    }
    status = join_threads(&r, status, &mine);
    if (status == HONE_OK)
        status = hone_machine_sync(m, &mine);
    else
        (void)hone_machine_sync(m, &late); /* before its memory goes */
    close_ring(&r, memory);
    pthread_cond_destroy(&r.changed);
    pthread_mutex_destroy(&r.lock);
    if (status != HONE_OK && err)
        *err = mine;
    return status;
}

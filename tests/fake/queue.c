/* SPDX-License-Identifier: MIT
 *
 * queue.c -- streams of the device `fake`: a worker thread and a fixed ring
 * each, events between them, capture and replay. Nothing here takes memory
 * once the device and its streams are open.
 */
#include "fake.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* A delay of up to 0.2 ms before one task in four, from HONE_FAKE_JITTER: what
 * works only because a queue happened to be early then fails. */
static void delay(hone_stream s)
{
    struct timespec t = { 0, 0 };

    if (!s->jitter)
        return;
    s->jitter ^= s->jitter << 13;
    s->jitter ^= s->jitter >> 7;
    s->jitter ^= s->jitter << 17;
    if (s->jitter & 3)
        return;
    t.tv_nsec = (long)((s->jitter >> 8) % 200000);
    nanosleep(&t, NULL);
}

/* Records of one event take effect in the order they were issued. */
static void reach(fake_device *dev, hone_event e, uint64_t number)
{
    struct timespec now;

    pthread_mutex_lock(&dev->lock);
    while (e->done + 1 < number)
        pthread_cond_wait(&dev->reached, &dev->lock);
    e->done = number;
    clock_gettime(CLOCK_MONOTONIC, &now);
    e->at_s = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    pthread_cond_broadcast(&dev->reached);
    pthread_mutex_unlock(&dev->lock);
}

static void await(fake_device *dev, hone_event e, uint64_t number)
{
    pthread_mutex_lock(&dev->lock);
    while (e->done < number)
        pthread_cond_wait(&dev->reached, &dev->lock);
    pthread_mutex_unlock(&dev->lock);
}

static void perform(fake_device *dev, const fake_task *t)
{
    switch (t->kind) {
    case FAKE_RUN:
        t->run(t->prepared, t->ptr, t->to, NULL);
        break;
    case FAKE_COPY:
        memmove(t->to, t->from, (size_t)t->bytes);
        break;
    case FAKE_FILL:
        memset(t->to, t->byte, (size_t)t->bytes);
        break;
    case FAKE_RECORD:
        reach(dev, t->event, t->number);
        break;
    case FAKE_WAIT:
        await(dev, t->event, t->number);
        break;
    }
}

static void *work(void *argument)
{
    hone_stream s = argument;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        const fake_task *t = &s->task[s->tail % FAKE_TASKS];

        while (s->tail == s->head && !s->closing)
            pthread_cond_wait(&s->changed, &s->lock);
        if (s->tail == s->head)
            break;
        pthread_mutex_unlock(&s->lock);
        delay(s);
        perform(s->dev, t);
        pthread_mutex_lock(&s->lock);
        s->pointers_tail = t->pointers_done;
        s->tail++;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

hone_status fake_stream_start(fake_device *dev, hone_stream *out, hone_err *err)
{
    const char *jitter = getenv("HONE_FAKE_JITTER");
    hone_stream s;
    int i = 0;

    while (i < FAKE_STREAMS && dev->stream[i])
        i++;
    if (i == FAKE_STREAMS)
        return hone_fail(err, HONE_EIO, "fake: more than %d streams",
                         FAKE_STREAMS);
    s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED)
        return hone_fail(err, HONE_EIO, "fake: no memory for a stream");
    s->dev = dev;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    if (jitter)
        s->jitter = (strtoull(jitter, NULL, 10) + 1) * 0x9e3779b97f4a7c15u +
                    (uint64_t)i;
    if (pthread_create(&s->thread, NULL, work, s)) {
        munmap(s, sizeof *s);
        return hone_fail(err, HONE_EIO, "fake: no thread for a stream");
    }
    dev->stream[i] = s;
    *out = s;
    return HONE_OK;
}

void fake_stream_stop(hone_stream s)
{
    fake_device *dev = s->dev;

    pthread_mutex_lock(&s->lock);
    s->closing = 1;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    for (int i = 0; i < FAKE_STREAMS; i++)
        if (dev->stream[i] == s)
            dev->stream[i] = NULL;
    munmap(s, sizeof *s);
}

void fake_stream_drain(hone_stream s)
{
    pthread_mutex_lock(&s->lock);
    while (s->tail != s->head)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

/* Room for COUNT pointers side by side: at the ring's head, or at its start
 * when the rest of it is too short. The lock is held. */
static hone_ptr *pointer_room(hone_stream s, uint32_t count)
{
    uint64_t at = s->pointers_head;
    uint64_t rest = FAKE_POINTERS - at % FAKE_POINTERS;

    if (rest < count)
        at += rest;
    while (at + count - s->pointers_tail > FAKE_POINTERS)
        pthread_cond_wait(&s->changed, &s->lock);
    s->pointers_head = at + count;
    return &s->pointer[at % FAKE_POINTERS];
}

/* A graph's tasks keep their own pointers; they are not copied again. */
static void enqueue(hone_stream s, const fake_task *task, int keep)
{
    fake_task *slot;

    if (task->count > FAKE_POINTERS) {
        fake_fault(s->dev, "a kernel of %u operands, at most %d", task->count,
                   FAKE_POINTERS);
        return;
    }
    pthread_mutex_lock(&s->lock);
    while (s->head - s->tail == FAKE_TASKS)
        pthread_cond_wait(&s->changed, &s->lock);
    slot = &s->task[s->head % FAKE_TASKS];
    *slot = *task;
    if (task->count && !keep) {
        slot->ptr = pointer_room(s, task->count);
        memcpy(slot->ptr, task->ptr, task->count * sizeof *task->ptr);
    }
    slot->pointers_done = s->pointers_head;
    s->head++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void *graph_alloc(fake_device *dev, size_t bytes)
{
    char *at = dev->graph_memory + dev->graph_used;

    bytes = (bytes + 15) / 16 * 16;
    if (bytes > FAKE_GRAPH_BYTES - dev->graph_used)
        return NULL;
    dev->graph_used += bytes;
    return at;
}

static void add_to_graph(hone_stream s, const fake_task *task)
{
    fake_device *dev = s->dev;
    hone_graph_exec g = dev->capturing;
    fake_task *t = graph_alloc(dev, sizeof *t);
    size_t bytes = task->count * sizeof *task->ptr;
    hone_ptr *ptr = t ? graph_alloc(dev, bytes) : NULL;

    if (!ptr) {
        fake_fault(dev, "captured graphs need more than %zu bytes",
                   FAKE_GRAPH_BYTES);
        return;
    }
    *t = *task;
    t->stream = s;
    t->next = NULL;
    if (bytes)
        memcpy(ptr, task->ptr, bytes);
    t->ptr = ptr;
    if (g->last)
        g->last->next = t;
    else
        g->first = t;
    g->last = t;
}

void fake_issue(hone_stream s, const fake_task *task)
{
    s->last_record = task->kind == FAKE_RECORD ? task->event : NULL;
    s->joined = 0;
    if (s->captured)
        add_to_graph(s, task);
    else
        enqueue(s, task, 0);
}

void fake_record(fake_device *dev, hone_event e, hone_stream s)
{
    fake_task t = { .kind = FAKE_RECORD, .event = e };

    e->capture = s->captured ? dev->captures : 0;
    if (!s->captured)
        t.number = ++e->issued;
    fake_issue(s, &t);
}

/* Waiting inside a capture for what was recorded in it brings the stream into
 * the capture, and brings the recording stream back. */
void fake_wait(fake_device *dev, hone_stream s, hone_event e)
{
    fake_task t = { .kind = FAKE_WAIT, .event = e, .number = e->issued };
    int inside = dev->capturing && e->capture == dev->captures;

    if (e->capture && !inside) {
        fake_fault(dev, "a wait for an event that was recorded in a capture "
                        "which has ended");
        return;
    }
    if (s->captured && !inside) {
        fake_fault(dev, "a wait in a capture for an event recorded outside");
        return;
    }
    if (inside) {
        s->captured = 1;
        for (int i = 0; i < FAKE_STREAMS; i++)
            if (dev->stream[i] && dev->stream[i]->last_record == e)
                dev->stream[i]->joined = 1;
    }
    if (inside || t.number)
        fake_issue(s, &t);
}

void fake_await(fake_device *dev, hone_event e)
{
    await(dev, e, e->issued);
}

hone_status fake_capture(fake_device *dev, hone_stream s, hone_err *err)
{
    hone_graph_exec g;

    if (dev->capturing)
        return hone_fail(err, HONE_EIO, "fake: a capture is under way");
    g = graph_alloc(dev, sizeof *g);
    if (!g)
        return hone_fail(err, HONE_EIO, "fake: no memory for a graph");
    memset(g, 0, sizeof *g);
    g->origin = s;
    dev->capturing = g;
    dev->captures++;
    dev->graphs++;
    s->captured = 1;
    return HONE_OK;
}

hone_status fake_capture_end(fake_device *dev, hone_stream s,
                             hone_graph_exec *out, hone_err *err)
{
    hone_graph_exec g = dev->capturing;

    if (!g || g->origin != s)
        return hone_fail(err, HONE_EIO, "fake: no capture on this stream");
    for (int i = 0; i < FAKE_STREAMS; i++) {
        hone_stream other = dev->stream[i];

        if (!other)
            continue;
        if (other->captured && other != s && !other->joined)
            fake_fault(dev,
                       "stream %d was not joined before its capture "
                       "ended",
                       i);
        other->captured = 0;
    }
    dev->capturing = NULL;
    if (dev->fault.code != HONE_OK) {
        *err = dev->fault;
        return err->code;
    }
    *out = g;
    return HONE_OK;
}

/* The graph is issued task by task; its events order the streams among each
 * other exactly as they did in the capture. */
void fake_launch(fake_device *dev, hone_graph_exec g, hone_stream on)
{
    if (on->captured) {
        fake_fault(dev, "a graph launched inside a capture");
        return;
    }
    on->last_record = NULL;
    for (const fake_task *t = g->first; t; t = t->next) {
        hone_stream s = t->stream == g->origin ? on : t->stream;
        fake_task copy = *t;

        if (t->kind == FAKE_RECORD)
            copy.number = ++t->event->issued;
        else if (t->kind == FAKE_WAIT)
            copy.number = t->event->issued;
        enqueue(s, &copy, 1);
    }
}

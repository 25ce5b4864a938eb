/* SPDX-License-Identifier: MIT
 *
 * fake.h -- the test device `fake`: what device.c, queue.c and pack.c share.
 *
 * A device as a GPU is one, built of host memory and threads: its addresses
 * fault when the host touches them, its streams are worker threads, ordered by
 * events alone, and a capture is replayed. A misuse is not mended but kept as
 * the device's fault, which every later sync() reports, as CUDA does.
 */
#ifndef FAKE_H
#define FAKE_H

#include <pthread.h>

#include "hone/plugin.h"

enum {
    FAKE_STREAMS = 8,
    FAKE_EVENTS = 16384,
    FAKE_REGIONS = 256,
    FAKE_CALL_BYTES = 16, /* of a graph, as planned: the models are small, too */
    FAKE_TASKS = 1024,    /* a ring a stream */
    FAKE_POINTERS = 65536 /* a ring a stream: operands of waiting kernels */
};

#define FAKE_WINDOW ((size_t)64 << 30)       /* bytes of device addresses */
#define FAKE_GRAPH_BYTES ((size_t)256 << 20) /* for all captured graphs */

typedef enum {
    FAKE_RUN = 1,
    FAKE_COPY,
    FAKE_FILL,
    FAKE_RECORD,
    FAKE_WAIT
} fake_kind;

typedef void fake_kernel(const void *prepared, const hone_ptr *,
                         void *workspace, hone_stream);

/* One entry of a queue or of a graph; addresses are those of the host. */
typedef struct fake_task {
    fake_kind kind;
    hone_stream stream;
    fake_kernel *run;
    const void *prepared;
    hone_ptr *ptr;
    uint32_t count; /* of PTR */
    void *to;       /* copy, fill; a kernel's workspace */
    const void *from;
    int64_t bytes;
    int byte;
    hone_event event;
    uint64_t number;        /* of the event's record */
    uint64_t pointers_done; /* ring position behind PTR */
    struct fake_task *next; /* in a graph */
} fake_task;

struct hone_event_s {
    int open;
    uint64_t issued, done; /* records asked for, and reached */
    uint32_t capture;      /* the capture that the last record is part of */
    double at_s;           /* when it was reached */
};

typedef struct fake_device fake_device;

struct hone_stream_s {
    fake_device *dev;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t head, tail; /* issued, done; a slot is number % FAKE_TASKS */
    uint64_t pointers_head, pointers_tail;
    int closing;
    uint64_t jitter; /* state of its random delays; 0: none */
    int captured, joined;
    hone_event last_record; /* NULL: other work came after it */
    fake_task task[FAKE_TASKS];
    hone_ptr pointer[FAKE_POINTERS];
};

struct hone_graph_s {
    hone_stream origin;
    fake_task *first, *last;
};

struct fake_device {
    char *window; /* device addresses; the bytes lie FAKE_WINDOW above them */
    size_t used, in_use, most, limit; /* MOST: ever in use */
    struct {
        char *at;
        size_t bytes;
    } region[FAKE_REGIONS], pinned[FAKE_REGIONS];
    int frozen, threads;
    hone_stream stream[FAKE_STREAMS];
    struct hone_event_s event[FAKE_EVENTS];
    pthread_mutex_t lock; /* events and fault */
    pthread_cond_t reached;
    hone_err fault;
    hone_graph_exec capturing; /* NULL: no capture */
    uint32_t captures, graphs;
    char *graph_memory;
    size_t graph_used;
};

/* Keeps the first fault. Any thread. */
void fake_fault(fake_device *, const char *fmt, ...) HONE_PRINTF(2, 3);

/* The host address of BYTES at device address P; 0 bytes: any number. NULL
 * and a fault when they are not reserved. */
void *fake_real(fake_device *, const void *p, int64_t bytes, const char *what);
/* Whether P is in pinned memory, which a kernel could read where it is. */
int fake_is_pinned(const fake_device *, const void *p);

/* queue.c */
hone_status fake_stream_start(fake_device *, hone_stream *, hone_err *);
void fake_stream_stop(hone_stream);
/* Waits until all that was issued is done. */
void fake_stream_drain(hone_stream);
/* Issues a task, or adds it to the capture. PTR is copied. */
void fake_issue(hone_stream, const fake_task *);
void fake_record(fake_device *, hone_event, hone_stream);
void fake_wait(fake_device *, hone_stream, hone_event);
/* The host waits for all records of the event that were issued. */
void fake_await(fake_device *, hone_event);
hone_status fake_capture(fake_device *, hone_stream, hone_err *);
hone_status fake_capture_end(fake_device *, hone_stream, hone_graph_exec *,
                             hone_err *);
void fake_launch(fake_device *, hone_graph_exec, hone_stream);

/* pack.c: the plugin of that name; NULL where it is missing. */
const hone_plugin *fake_plugin(const char *name);
/* The CPU pack's plugin; NULL with a message where it is missing. */
const hone_plugin *fake_cpu(hone_err *);
const hone_component *fake_cpu_component(hone_kind);
extern const hone_component fake_pack, fake_pack_before, fake_pack_behind;
/* half.c: NULL: none. The one for any op whose reference does. */
const hone_kernel *fake_half_kernels(void);
extern const hone_kernel fake_reference;
/* device.c */
extern const hone_component fake_device_component;

#endif

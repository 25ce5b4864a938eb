/* SPDX-License-Identifier: MIT
 *
 * program.h -- compiled graphs made executable, and the store of tensors that
 * outlive a program. A program is bound to addresses once, before step 0;
 * running it is a walk over an array, or the replay of a captured one, and
 * allocates nothing.
 */
#ifndef HONE_PROGRAM_H
#define HONE_PROGRAM_H

#include "graph.h"
#include "passes.h"

/* A tensor that several programs share, by name. */
typedef struct hone_kept {
    const char *name;
    uint64_t key; /* of the name */
    hone_type type;
    hone_tensor_kind kind;
    hone_space space; /* of which region OFFSET is in */
    int trainable, adapter, zeros;
    const char *alias;
    const void *data; /* CONST */
    int64_t bytes, offset; /* in the region of its space */
} hone_kept;

typedef struct hone_store {
    hone_arena *arena;
    hone_kept *list;
    int *slot; /* [slots] by the hashes of names: the index, + 1 */
    int count, cap, slots;
    int64_t bytes; /* of the region */
    int64_t pinned_bytes; /* of that for states in pinned memory */
    /* At its start the inputs, side by side, and behind them what is one
     * number: each is moved by one copy. */
    int64_t input_bytes, scalar_bytes;
    char *base, *pinned; /* NULL until reserved */
} hone_store;

void hone_store_init(hone_store *, hone_arena *);
hone_kept *hone_store_find(const hone_store *, const char *name);
/* Adds every lasting tensor of the graph; an input that another program has
 * smaller grows. */
void hone_store_take(hone_store *, const hone_graph *);
void *hone_store_address(const hone_store *, const hone_kept *);

/* The device with its streams: what programs run on. */
typedef struct hone_machine {
    const hone_component *component;
    const hone_device *api;
    void *self;
    hone_device_info info;
    hone_stream stream[2];
    const hone_component **packs; /* in order, ends with NULL */
    const hone_component *collective; /* among the packs; NULL: one rank */
    void *group;                      /* its state */
} hone_machine;

/* What was added to the struct after its first version. */
#define hone_device_has(api, slot)                                             \
    ((api)->size >= offsetof(hone_device, slot) + sizeof(api)->slot &&         \
     (api)->slot)

/* Of the device's memory, what it takes to map so much pinned memory: a card
 * has an entry of 8 bytes for each page of 4 KiB. */
static inline int64_t hone_map_bytes(const hone_machine *m, int64_t pinned)
{
    return m->info.is_host || !m->info.context_bytes ? 0 : pinned / 512;
}

typedef struct hone_regions {
    char *temps;        /* device, shared by all programs */
    char *pinned;       /* for what is sent out */
    char *workspace[2]; /* by stream */
} hone_regions;

typedef struct hone_op_run hone_op_run;

typedef struct hone_program {
    const char *name;
    hone_graph graph;   /* in the scratch arena; gone after binding */
    hone_placement place;
    hone_op_run *run;   /* bound */
    int count;
    hone_event *event;
    int events;
    hone_graph_exec captured; /* NULL: run() walks the array */
    double flops;             /* of one run, as its ops count them */
    int64_t logits_rows;      /* at a time, of a micro-batch */
    int64_t mlp_rows;
    int64_t vocab;            /* of the LM head, and so of tokens */
    double span;              /* keys that a query has on average in its row,
                                 twice the ones it sees; 0: not known */
} hone_program;

/* Host memory that the bound program takes: prepared calls, pointers. */
int64_t hone_program_bytes(const hone_program *);
/* The sizes of micro-batches that there are. */
typedef struct hone_sizes {
    hone_bucket bucket[HONE_MAX_BUCKETS];
    int count;
} hone_sizes;

/* Device memory that it takes to replay the program, before it is bound. LIKE:
 * and others like it of all those sizes, as far as that is known without them;
 * NULL: it alone. */
int64_t hone_program_graph_bytes(const hone_program *, const hone_machine *,
                                 const hone_sizes *like);
/* Resolves every operand and runs the kernels' device halves. MEMORY: zeroed,
 * hone_program_bytes() of it. */
hone_status hone_program_bind(hone_program *, const hone_store *,
                              const hone_regions *, hone_machine *,
                              void *memory, hone_err *);
/* Runs each distinct call once, over zeros, before the store is loaded, where
 * programs can be captured: devices load a kernel when it first runs, which
 * must be neither within a capture nor after the freeze. */
hone_status hone_program_rehearse(const hone_program *, const hone_store *,
                                  const hone_regions *, const hone_machine *,
                                  hone_err *);
/* Where the device can: from now on run() replays the program. Runs nothing;
 * before the device is frozen. */
hone_status hone_program_capture(hone_program *, const hone_machine *,
                                 hone_err *);
/* LIVE_ROWS: ops made by chunking that begin at this row or behind it have
 * nothing to do and are left out, unless the program is replayed. */
void hone_program_run(const hone_program *, const hone_machine *,
                      int64_t live_rows);
void hone_program_close(hone_program *, const hone_machine *);

#endif

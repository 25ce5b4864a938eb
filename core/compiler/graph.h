/* SPDX-License-Identifier: MIT
 *
 * graph.h -- the model, and later the whole step, as tensors and op calls.
 *
 * One structure from the family's first op to the executor: every pass
 * rewrites it with ordinary ops, and the order of the nodes is the order of
 * execution. Tensors are written once (SSA), but for those that outlive a
 * program (parameters, gradients, states), which updates write in place.
 */
#ifndef HONE_GRAPH_H
#define HONE_GRAPH_H

#include "arena.h"
#include "hone/plugin.h"

typedef enum {
    HONE_T_TEMP = 1, /* lives between its first write and its last read */
    HONE_T_INPUT,    /* filled by the host before each micro-step or step */
    HONE_T_CONST,    /* filled once, from `data` */
    HONE_T_PARAM,    /* from the checkpoint, or initialised */
    HONE_T_GRAD,     /* of a parameter; summed over micro-batches */
    HONE_T_STATE,    /* of the optimizer, of the step, a KV cache */
    HONE_T_IMAGE,    /* a parameter in another storage */
    HONE_T_KINDS
} hone_tensor_kind;

typedef struct hone_tensor {
    const char *name; /* unique among tensors that are not TEMP */
    hone_type type;
    hone_tensor_kind kind;
    hone_space space;
    int trainable;    /* PARAM */
    int adapter;      /* PARAM of an adapter: made, not read from the model */
    int zeros;        /* PARAM: where it is new, it starts at 0 */
    const char *alias; /* PARAM: its other name in the files, or NULL;
                          IMAGE: the parameter's name */
    const void *data; /* CONST */
    hone_id base;     /* a view: rows [row, row + dim[0]) of BASE */
    int64_t row;
    int near;         /* about where the node is that writes it */
    int uses;         /* by hone_graph_count() */
    /* Set by place.c. */
    int first, last;  /* positions of the nodes that touch it */
    hone_id root;     /* the tensor whose bytes it shares; itself if none */
    int64_t offset;   /* of the root in its region */
} hone_tensor;

typedef enum { HONE_FORWARD = 1, HONE_BACKWARD, HONE_STEP } hone_phase;

typedef struct hone_node {
    const hone_component *component;
    const hone_op *op;
    void *attrs;
    const char *name; /* unique before fusing; random numbers depend on it */
    hone_phase phase;
    int layer;        /* -1: none */
    int updates;      /* an optimizer's: computes in what all it reads is in */
    uint32_t nin, nout;
    hone_id *in, *out;
    hone_id *acc;     /* [nout] the value that out adds to; HONE_NONE: none */
    int stream;       /* 0: compute; 1: copies beside it */
    int join;         /* stream 1: node before which stream 0 waits for it */
    int64_t row; /* of a run over rows: its first */
    int64_t from_row; /* that, where it may be left out; see program_run() */
    /* Set by assign.c. */
    const hone_kernel *kernel;
    const char *pack;
    int64_t workspace_bytes, prepared_bytes;
    int adds_from; /* what outputs add to may lie elsewhere */
    int twice;     /* of hone_need */
} hone_node;

typedef struct hone_graph {
    hone_arena *arena; /* scratch: gone once the program is bound */
    hone_arena *keep;  /* attributes: as long as the program */
    hone_storage compute;
    int decoded; /* weights of fp8 are converted for each use, so that what they
                    meet is not coded either */
    const hone_device_info *device; /* that it is for; NULL: not known */
    hone_tensor *tensor;
    hone_node *node;
    int tensors, nodes, tensor_cap, node_cap;
    /* Where the next node goes. */
    hone_phase phase;
    int layer, updates;
    hone_builder builder;
    int anonymous; /* counts nodes without a name of their own */
    hone_id *named; /* those that are not TEMP */
    hone_id *slot;  /* [slots] the same by the hashes of their names */
    int nameds, named_cap, slots;
} hone_graph;

void hone_graph_init(hone_graph *, hone_arena *scratch, hone_arena *keep,
                     hone_storage compute);

/* FROM once more; names and attributes are shared. */
void hone_graph_clone(hone_graph *, const hone_graph *from, hone_arena *scratch,
                      hone_arena *keep);

hone_id hone_graph_tensor(hone_graph *, const char *name, hone_type,
                          hone_tensor_kind);
/* The tensor of that name that is not TEMP, or HONE_NONE. */
hone_id hone_graph_find(const hone_graph *, const char *name);
/* Rows [row, row + rows) of BASE as a tensor of its own. */
hone_id hone_graph_view(hone_graph *, hone_id base, int64_t row, int64_t rows);

/* Appends a node; see hone_builder.emit. ATTRS: a filled attribute struct of
 * the op, copied. Implicit inputs are added behind the given ones. */
hone_status hone_graph_emit(hone_graph *, const hone_component *op,
                            const char *name, const void *attrs,
                            const hone_id *in, uint32_t nin, hone_id *out,
                            uint32_t nout, hone_err *);
/* The same with attributes by name: what rules and families use. */
hone_status hone_graph_op(hone_graph *, const char *op, const char *name,
                          const hone_attr *attrs, uint32_t nattrs,
                          const hone_id *in, uint32_t nin, hone_id *out,
                          uint32_t nout, hone_err *);
/* Floating-point operations, as the ops count them: of one node, of all. */
double hone_node_flops(const hone_graph *, const hone_node *);
double hone_graph_flops(const hone_graph *);
/* Attributes by name into a new struct of the op. */
hone_status hone_graph_attrs(hone_arena *, const hone_component *op,
                             const hone_attr *, uint32_t count, void **out,
                             hone_err *);

/* The node as packs and rules see it; arrays live in the graph's arena. */
hone_call hone_node_call(const hone_graph *, const hone_node *);
/* Flags of operand I: inputs first, then outputs. */
uint32_t hone_node_flags(const hone_node *, uint32_t i);
/* Whether it is an input of the node; whether it is that, or is added to. */
int hone_node_reads(const hone_node *, hone_id);
int hone_node_uses(const hone_node *, hone_id);
int hone_graph_writes(const hone_graph *, int node, hone_id);
/* The node that writes a TEMP, or -1. */
int hone_graph_producer(const hone_graph *, hone_id);
/* How many inputs and accumulations of nodes from FROM on read it. */
int hone_graph_uses(const hone_graph *, hone_id, int from);
/* Counts those of all nodes into hone_tensor.uses, which a pass keeps true as
 * long as it reads them; adds BY for those of one node. */
void hone_graph_count(hone_graph *);
void hone_node_count(hone_graph *, const hone_node *, int by);

/* Marks the node as one to be removed; until then it does nothing. */
void hone_node_drop(hone_node *);
/* Removes nodes whose component is NULL (marked by a pass). */
void hone_graph_compact(hone_graph *);
/* Puts the last COUNT nodes, in their order, before those that stand at AT. */
void hone_graph_spread(hone_graph *, const int *at, int count);
/* Puts COUNT nodes in the place of all. */
void hone_graph_renew(hone_graph *, const hone_node *, int count);
/* Replaces reads of FROM by TO in nodes [at, end). */
void hone_graph_replace(hone_graph *, hone_id from, hone_id to, int at,
                        int end);
/* The f32[1] of that name; made as KIND if there is none. */
hone_id hone_graph_scalar(hone_graph *, const char *name, hone_tensor_kind);
/* A copy on the stream beside, before the node at AT. */
hone_status hone_graph_copy(hone_graph *, hone_id from, hone_id to, int at,
                            hone_err *);
/* Moves the last COUNT nodes so that they begin at position AT; a single one
 * into the place of one that is to be removed. */
void hone_graph_move(hone_graph *, int count, int at);

#endif

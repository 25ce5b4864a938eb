/* SPDX-License-Identifier: MIT
 *
 * solve.h -- how one size of micro-batch fits into so many bytes at the best
 * predicted speed: which layers are kept, computed again, wholly or lightly,
 * or sent out, and how many rows of logits and of layers there are at a time.
 * None of it changes what a step learns. Everything that is tried is compiled
 * and placed, by the code that makes the programs of a run.
 */
#ifndef HONE_SOLVE_H
#define HONE_SOLVE_H

#include "compile.h"
#include "cost.h"

/* How the programs of a run are laid out; all 0: as the recipe says, with all
 * kept that it leaves open. */
typedef struct hone_means {
    int64_t tokens;       /* most of a micro-batch; 0: as the collator has it */
    int64_t logits_chunk; /* rows; 0: as compile.c has it */
    int64_t mlp_chunk;    /* rows; 0: all */
    int streamed;         /* layers with their weights in pinned memory */
    int layers;
    uint8_t *keep[HONE_MAX_BUCKETS]; /* [layers] hone_keep, for each size */
    int solved;           /* by the solver */
} hone_means;

/* One way for one size, and what it takes. */
typedef struct hone_way_out {
    uint8_t *keep;   /* [layers] hone_keep, none of them AUTO */
    int64_t tokens;  /* of the micro-batch */
    int64_t asked;   /* rows of logits: of hone_compiler, 0: its choice */
    int64_t rows;    /* those that it came to */
    int64_t mlp;     /* rows of layers at a time; 0: all */
    int64_t docs;    /* of the micro-batch */
    int single;      /* of hone_compiler */
    int streamed;    /* layers with their weights in pinned memory */
    int sizes;       /* of micro-batches that there are with this one */
    int aside;       /* for smaller micro-batches alone */
    int64_t bytes;   /* of temporaries, and the graphs of all sizes */
    int64_t pinned;  /* of those that wait in host memory */
    double seconds;
} hone_way_out;

/* All that was compiled for a recipe, so that nothing is twice. */
typedef struct hone_ways {
    hone_arena arena;
    hone_way_out *list;
    int count, cap;
    int compiled; /* micro-steps, also what was forgotten and laid out */
} hone_ways;

void hone_ways_forget(hone_ways *);

enum { HONE_SOLVE_LEVELS = 5 };

typedef struct hone_solver {
    hone_ways *ways;
    hone_arena *scratch;           /* of what is compiled */
    const hone_compiler *compiler; /* its arenas are not touched */
    const hone_card *card;
    const uint8_t *pinned; /* [layers] hone_keep; AUTO: free to choose */
    int layers;
    int64_t chunk;  /* rows of logits; 0: as compile.c has it */
    int chunk_is_free; /* it may be made smaller */
    int64_t mlp;    /* rows of layers at a time; 0: all */
    int mlp_is_free;
    int64_t budget; /* for the bytes of hone_way_out */
    int64_t pinned_budget; /* of those in pinned memory; 0: any */
    int64_t mapped; /* pinned bytes that are there anyhow */
    double limit;   /* seconds: what takes longer is of no use; 0: any */
    int64_t least;  /* bytes of the smallest that was tried for this size */
    int streamed, aside; /* of hone_way_out */
    const hone_sizes *sizes; /* of the micro-batches of a run; NULL: this */
    /* Of the best so far: the two levels it mixes, and the bytes of each. */
    int more, less;
    int64_t level_bytes[HONE_SOLVE_LEVELS];
} hone_solver;

/* Compiles a micro-batch with so much kept. KEEP is copied. */
hone_status hone_solve_try(hone_solver *, hone_bucket, const uint8_t *keep,
                           int64_t chunk, int64_t mlp, hone_way_out *,
                           hone_err *);
/* Only sets `least`; what takes more than the budget is made smaller. */
hone_status hone_solve_least(hone_solver *, hone_bucket, hone_err *);
/* The fastest way that fits, as far as the search sees. HONE_ENOMEM: none
 * does. */
hone_status hone_solve(hone_solver *, hone_bucket, hone_way_out *, hone_err *);
/* The same for another size, with what was found for one as a first guess. */
hone_status hone_solve_like(hone_solver *, const hone_way_out *, hone_bucket,
                            hone_way_out *, hone_err *);

#endif

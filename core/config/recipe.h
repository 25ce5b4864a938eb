/* SPDX-License-Identifier: MIT
 *
 * recipe.h -- a recipe, read and checked: plain structs, no Lua left.
 * Written by recipe.c (the Lua host), read by every phase.
 */
#ifndef HONE_RECIPE_H
#define HONE_RECIPE_H

#include "arena.h"
#include "hone/plugin.h"
#include "registry.h"

/* hone.model { "folder", storage = , init = } */
typedef struct hone_model_config {
    const char *path; /* absolute */
    int storage;      /* 0: as in the file; else index into its choices */
    int nested;       /* of nf4 */
    int embeddings;   /* 0: with nf4 on the host; 1: device; 2: host */
    int copies;       /* of fp8 */
    int64_t host_layers; /* whose frozen weights are in pinned memory; -1: as
                            many as must be */
    const char *init; /* "random" or NULL */
    const char *revision; /* of a model in the Hub's cache, or NULL */
} hone_model_config;

/* hone.lora { ... } */
typedef struct hone_lora_config {
    int64_t r;
    double alpha, dropout;
    const char *targets; /* "all-linear" or names joined by commas */
    int rslora, dora;
    double lr_ratio;   /* of LoRA+; 1: one rate for all */
    const char *saved; /* modules_to_save, joined by commas; NULL: none */
    const char *rank_pattern, *alpha_pattern; /* modules.h; NULL: none */
    const char *init; /* a PEFT folder, absolute, or NULL */
} hone_lora_config;

/* Functions of a recipe that data goes through while it is prepared; both run
 * in the state that the recipe was read in. */
typedef struct hone_data_functions {
    struct lua_State *lua; /* NULL: closed, all data is prepared */
    int map, template;     /* references in its registry; 0: not given */
    const char *code;      /* what they depend on: see hone_lua_print() */
    size_t code_bytes;
    /* The same functions once more, in a state of their own for one thread,
     * which calls this: the recipe is read again. NULL: not possible. */
    hone_status (*fork)(const struct hone_data_functions *,
                        struct hone_data_functions *to, hone_err *);
    const char *file, *source; /* of the recipe, and its text */
    const char *const *sets;   /* its --set */
    struct hone_recipe *own;   /* of a fork */
    int borrowed;              /* the state is another source's */
} hone_data_functions;

enum { HONE_MOST_SOURCES = 64 }; /* of hone.mix */

/* The options that a recipe gives a format. */
typedef struct hone_format_config {
    const hone_component *component; /* NULL ends a list */
    const void *config;
} hone_format_config;

/* hone.data.SHAPE { ... }; the shape is a file recipes/data/SHAPE.lua */
typedef struct hone_data_config {
    const char *shape;             /* "alpaca" */
    const char *const *files;      /* absolute; ends with NULL */
    double val;                    /* rows, or a share below 1; 0: none */
    const char *val_file;          /* instead of val, or NULL */
    int64_t max_tokens;            /* 0: nothing is cut */
    int too_long;                  /* hone_long */
    int skip_broken;               /* broken = "skip" */
    int loss;                      /* hone_loss */
    const char *const *field;      /* renames: "prompt", "question", NULL */
    hone_data_functions *functions; /* or NULL */
    const hone_format_config *formats; /* or NULL: all defaults */
    const char *notes[2]; /* what files and shape were taken for, or NULL */
    int line;             /* of its constructor */
    const struct hone_data_config *next; /* source of hone.mix, or NULL */
    double weight;        /* of this source; 0: its number of rows */
} hone_data_config;

typedef enum { HONE_LONG_CUT = 1, HONE_LONG_DROP, HONE_LONG_SPLIT,
               HONE_LONG_ERROR } hone_long;
typedef enum { HONE_LOSS_ASSISTANT = 1, HONE_LOSS_LAST,
               HONE_LOSS_ALL } hone_loss;
typedef enum { HONE_KEEP_AUTO = 1, HONE_KEEP_ALL, HONE_KEEP_NONE,
               HONE_KEEP_OFFLOAD, HONE_KEEP_LIGHT,
               HONE_KEEP_AWAY } hone_keep;
typedef enum { HONE_UPDATE_AFTER = 1, HONE_UPDATE_BACKWARD } hone_update;
typedef enum { HONE_PRECISION_AUTO = 1, HONE_PRECISION_FP32,
               HONE_PRECISION_BF16, HONE_PRECISION_FP16 } hone_precision;

/* A choice that decides what a run learns, as a recipe would write it; not
 * one that only moves time and memory. */
typedef struct hone_choice {
    const char *key, *text; /* "optimizer.lr", "0.001" */
    const char *file;       /* of its constructor */
    int line;
} hone_choice;

typedef struct hone_recipe {
    hone_arena arena;
    const char *file;   /* as typed */
    const char *source; /* its text, for recipe.lua in the run */
    int line;           /* of hone.train */
    hone_model_config model;
    int has_adapter;
    hone_lora_config adapter;
    int has_data;
    hone_data_config data;
    int model_line, adapter_line, data_line;
    hone_instance batch, optimizer, schedule; /* config set, not opened */
    int64_t global_batch, global_tokens; /* one of them is 0 */
    double epochs;                       /* 0 when steps is given */
    int64_t steps;
    int64_t seed;
    int shuffle;
    double clip; /* 0: off */
    int precision;
    const char *memory; /* NULL: what is free */
    const char *device; /* "auto", "cpu"... */
    const char *packs;  /* names joined by commas, or NULL */
    int64_t eval_every; /* 0: only at start and end */
    int64_t save_every, save_keep;
    int keep;
    const char *keep_layers; /* a table by layer as "0=none,1=all", or NULL */
    int64_t logits_chunk, mlp_chunk; /* rows of a chunk; 0: chosen */
    int master;
    int update;         /* hone_update */
    int states_on_host; /* those of the optimizer */
    const char *loggers; /* names joined by commas, beside metrics */
    const char *out; /* absolute */
    const char *card; /* not of the recipe: what `plan --card` names, or NULL */
    hone_choice *choice;
    int choices;
} hone_recipe;

/* SETS: "key=value" texts of --set, ends with NULL. All messages of a wrong
 * recipe are joined by newlines in MESSAGES (in the recipe's arena) and the
 * status is HONE_EINVAL. Free with hone_recipe_free() in any case. */
hone_status hone_recipe_read(hone_recipe *, const char *file,
                             const char *const *sets, const char **messages);
void hone_recipe_free(hone_recipe *);
/* Closes the Lua state of its functions, once all data is prepared. */
void hone_recipe_close_functions(const hone_recipe *);
/* Ends a fork, in whatever thread; nothing else is freed. */
void hone_recipe_unfork(hone_data_functions *);

/* PATH from the folder of FILE (NULL: the current folder), absolute, without
 * "x/.." where that changes nothing. */
const char *hone_absolute(hone_arena *, const char *file, const char *path);

/* Prints option KEY of a recipe ("optimizer.lr", "optimizer"; NULL: all), its
 * value and where that comes from, to OUT; what is wrong to PROBLEMS. */
hone_status hone_recipe_explain(const char *file, const char *const *sets,
                                const char *key, FILE *out, FILE *problems);

#endif

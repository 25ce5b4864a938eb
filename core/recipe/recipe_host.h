/* SPDX-License-Identifier: MIT
 *
 * recipe_host.h -- what the files of the recipe host share. A constructor call
 * in a recipe makes a hone_made: the config of an option table, filled, with
 * the line of the call. That of hone.train holds the others; --set changes
 * them the same way; recipe.c turns them into the plain hone_recipe.
 *
 * Nothing here fails early: every message is collected, so that a person sees
 * all that is wrong at once.
 */
#ifndef HONE_RECIPE_HOST_H
#define HONE_RECIPE_HOST_H

#include "arena.h"
#include "hone/plugin.h"
#include "lua_host.h"
#include "recipe.h"

/* How the recipe's own options are written, beyond their type: bits 8 and up
 * of an option's flags. */
typedef enum {
    HONE_FORM_PLAIN,
    HONE_FORM_PATH,  /* HONE_STR, made absolute */
    HONE_FORM_PATHS, /* one or a list, absolute; ends with NULL */
    HONE_FORM_MODEL, /* HONE_STR, a path or a name in the Hub's cache */
    HONE_FORM_LIST,  /* HONE_STR: one name or a list, joined by commas */
    HONE_FORM_NUMBERS, /* HONE_STR: numbers by pattern; modules.h */
    HONE_FORM_BYTES, /* HONE_STR: "16GiB" */
    HONE_FORM_MADE,  /* another constructor's; sdef is an example */
    HONE_FORM_VAL,   /* hone_val */
    HONE_FORM_KEEP,  /* hone_keeping */
    HONE_FORM_FUNCTION /* int: its reference in the registry, or 0 */
} hone_form;

#define HONE_FORM(f) ((uint32_t)(f) << 8)

static inline hone_form hone_form_of(const hone_option *o)
{
    return (hone_form)(o->flags >> 8);
}

/* How an option's type is called, and what a message expects. */
typedef struct hone_words {
    const char *name, *expected;
} hone_words;

const hone_words *hone_form_words(const hone_option *);

/* A constructor. */
typedef struct hone_maker {
    const char *name, *help; /* "lora", "data.alpaca" */
    const hone_option *options;
    size_t config_size;
    const char *positional;          /* option of values without a key */
    const char *shape;               /* hone.data.SHAPE, or NULL */
    const hone_option *fields;       /* the shape's: last rows of options */
    const hone_format_config *formats; /* whose options are among them; their
                                        config is an offset into this one */
    const hone_component *component; /* a plugin's, or NULL */
} hone_maker;

typedef struct hone_made {
    const hone_maker *maker;
    void *config;
    uint64_t given; /* bit i: option i was written by the user */
    struct hone_where *from; /* [option] where; a copy of a value has its own */
    const char *file;
    int line;
    int unknown; /* a key was refused: what is missing may be meant by it */
} hone_made;

/* Rows or a share of them held out, or a file of them. */
typedef struct hone_val {
    double rows;
    const char *file;
} hone_val;

typedef struct hone_keeping {
    int all;            /* hone_keep */
    const char *layers; /* "0=none,1=all", or NULL */
} hone_keeping;

typedef struct hone_train {
    hone_made *model, *adapter, *data, *batch, *optimizer, *schedule;
    int64_t global_batch, global_tokens, steps, seed;
    double epochs, clip;
    int shuffle, precision, master, update, states;
    const char *memory, *device, *packs, *loggers, *out;
    int64_t eval_every, save_every, save_keep, logits_chunk, mlp_chunk;
    hone_keeping keep;
} hone_train;

typedef struct hone_rows {
    const char *const *files;
    hone_val val;
    int64_t max_tokens;
    int too_long, broken, loss; /* index into their choices */
    int map, template;    /* functions */
    const char *revision; /* of a dataset in the Hub's cache */
    const char *shape;        /* that hone.data.auto found, or NULL */
    const char *const *found; /* its field, the name in the file, ..., NULL */
    const char *notes[2]; /* what the names of files and the shape stand for */
    hone_made *next;      /* the next source of hone.mix, or NULL */
    double weight;        /* 0: not given */
    const char *rename[]; /* one for each field of the shape; then the configs
                             of the formats */
} hone_rows;

/* Fields of a shape; options of a constructor, as hone_made counts them. */
enum { HONE_MOST_FIELDS = 32, HONE_MOST_OPTIONS = 64 };

extern const hone_maker hone_maker_train, hone_maker_model, hone_maker_lora;
/* What an unknown constructor makes: nothing more is said about it. */
extern const hone_maker hone_maker_none;
/* What all shapes of data have; hone_maker_find() adds the shape's fields. */
extern const hone_maker hone_maker_data;

/* The constructor hone.NAME ("adamw", "data.alpaca"); NULL if there is none:
 * then WHY says so, with what there is. */
const hone_maker *hone_maker_find(hone_arena *, const char *name,
                                  const char **why);

/* -------------------------------------------------------------- the reader */

typedef struct hone_message {
    const char *file;
    int line;
    const char *text;
} hone_message;

typedef struct hone_reader {
    hone_arena *arena;
    lua_State *L;
    const char *file; /* the recipe, as typed */
    hone_message *messages;
    int count, cap;
    int calls; /* of constructors */
    const char *const *names; /* of other tools: name, meaning, ..., NULL */
    int done;  /* the recipe is read: only its functions still run */
    const char *extending[8]; /* files being extended, against circles */
    int depth;
} hone_reader;

/* Where a value comes from: a constructor's call, or --set (SET not NULL). */
typedef struct hone_where {
    const char *file;
    int line;
    const char *label; /* "hone.adamw" */
    const char *set;   /* "optimizer.lr=1" */
} hone_where;

void hone_reader_say(hone_reader *, const hone_where *, const char *fmt, ...)
    HONE_PRINTF(3, 4);
hone_where hone_made_where(hone_reader *, const hone_made *);

/* A value with the defaults of its options. */
hone_made *hone_made_new(hone_reader *, const hone_maker *, const char *file,
                         int line);

/* Sets one option from the Lua value at INDEX, or from text. What is wrong
 * becomes a message. Relative paths are made absolute from WHERE. */
void hone_made_set_lua(hone_reader *, hone_made *, const hone_option *,
                       int index, const hone_where *);
void hone_made_set_text(hone_reader *, hone_made *, const hone_option *,
                        const char *text, const hone_where *);
/* Says that KEY is no option of it, and what may be meant. */
void hone_made_unknown(hone_reader *, hone_made *, const char *key,
                       const hone_where *);
/* The rest of the first option "GROUP.x" ("every"), or NULL. */
const char *hone_made_group(const hone_made *, const char *group);
/* A later word wins: setting `steps` unsets `epochs`, and so on. */
void hone_made_displace(hone_made *train, const char *option);
int hone_made_given(const hone_made *, const char *option);
/* Whether it was written on the command line. */
int hone_made_typed(const hone_made *, const char *option);
/* With a config of its own, to change. */
hone_made *hone_made_copy(hone_reader *, const hone_made *);
/* The value at INDEX of the Lua stack, or NULL. */
hone_made *hone_made_at(lua_State *, int index);
/* Whether a value may stand for the option of hone.train with this name. */
int hone_made_fits(const hone_made *, const char *option);

/* Its formats with their configs, for the recipe. */
const hone_format_config *hone_made_formats(hone_arena *,
                                            const hone_made *data);

/* Of hone.data.auto: finds the shape of its first file's rows. */
void hone_reader_recognise(hone_reader *, const hone_made *data,
                           const hone_where *);

/* Makes `require "hone"` work. */
void hone_reader_module(hone_reader *);

/* A name that may stand in the Hub's cache, until check_files() finds it. */
#define HONE_HUB_MARK "hub:"

/* --set KEY=VALUE on the value of hone.train. */
void hone_reader_set(hone_reader *, hone_made *train, const char *set);

/* Prints option KEY ("optimizer.lr", "optimizer"; NULL: all) with its value and
 * where that comes from. */
hone_status hone_reader_explain(hone_reader *, const hone_made *train,
                                const char *key, FILE *out, hone_err *);

/* The second pass: what only shows across options. Run after every --set. */
void hone_reader_cross_check(hone_reader *, hone_made *train);

/* Fills in the recipe's choices. */
void hone_reader_choices(hone_recipe *, const hone_made *train);

/* With init, shape comes from the adapter's own config: fills it in and
 * refuses other values. */
void hone_reader_adapter_init(hone_reader *, hone_made *lora);

#endif

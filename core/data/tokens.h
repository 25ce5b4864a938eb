/* SPDX-License-Identifier: MIT
 *
 * tokens.h -- a model folder's tokenizer: finds the plugin that reads its
 * tokenizer.json, or what else there is, and the ids that training and
 * generation need.
 */
#ifndef HONE_TOKENS_H
#define HONE_TOKENS_H

#include <pthread.h>

#include "arena.h"
#include "hone/plugin.h"

typedef struct hone_tokens {
    const hone_tokenizer *api;
    void *self;
    int32_t eos, bos, pad; /* -1: none; eos from tokenizer_config.json, else
                              generation_config.json, else config.json */
    int32_t eos_list[8];   /* every id that ends a generation */
    int eos_count;
    char hash[65];         /* SHA-256 of what was read, hexadecimal */
    const char *path;
} hone_tokens;

/* PATH: a model folder, a tokenizer.json or another tokenizer's file. */
hone_status hone_tokens_open(hone_tokens *, const char *path, hone_err *);
void hone_tokens_close(hone_tokens *);
/* How many tokens the tokenizer adds behind a text, such as an end token: they
 * do not belong behind a prompt that an answer follows. */
int hone_tokens_behind(const hone_tokens *);

/* The same in a thread: a large tokenizer.json takes as long to read as a GPU
 * does to wake up. end() waits for it; twice, it says the same again. */
typedef struct hone_tokens_job {
    hone_tokens *to;
    const char *path;
    pthread_t thread;
    int started;
    hone_status status;
    hone_err err;
} hone_tokens_job;

void hone_tokens_begin(hone_tokens_job *, hone_tokens *, const char *path);
hone_status hone_tokens_end(hone_tokens_job *, hone_err *);

/* What is in FOLDER/NAME, numbers as doubles; NULL when there is no such
 * file. */
struct json_t;
hone_status hone_json_beside(const char *folder, const char *name,
                             struct json_t **, hone_err *);

/* TEXT with each maximal subpart of broken UTF-8 replaced by U+FFFD. Returns
 * TEXT itself if it is valid, else memory from A. */
const char *hone_utf8_repair(hone_arena *a, const char *text, size_t bytes,
                             size_t *out_bytes);

#endif

/* SPDX-License-Identifier: MIT
 *
 * tokenize.h -- what the files of `hone tokenize` share: what a thread works
 * with, lines to ids and back (line.c), chats (chat.c), and many lines at a
 * time (many.c).
 */
#ifndef HONE_TOKENIZE_H
#define HONE_TOKENIZE_H

#include <jansson.h>

#include "hone/plugin.h"

typedef struct {
    int decode, chat, text, no_special, json, bench;
    int64_t threads;
} config;

/* Memory that grows. */
typedef struct {
    char *text;
    int64_t used, cap;
} buffer;

/* What one thread works with; all share the options and what is loaded. */
typedef struct {
    const hone_host *host;
    const config *options;
    const hone_tokenizer *api;
    void *tokens;
    const hone_template *chat; /* NULL: lines are no chats */
    void *template;
    int64_t line;
    int32_t *ids;
    int64_t ids_cap;
    buffer text, valid; /* decoded; made valid UTF-8 */
    buffer out;         /* lines that are done */
    int64_t bytes, count; /* encoded so far */
    int failed;           /* a chat could not be rendered */
} job;

/* One line without its end; what comes of it is appended to `out`. */
hone_status one_line(job *, const char *line, size_t bytes, hone_err *);
hone_status chat_line(job *, const char *line, size_t bytes);

/* A text's ids, as a line. FLAGS: of encode(). */
void put_encoded(job *, const char *text, size_t bytes, uint32_t flags);
/* VALUE as a line of JSON; takes the reference. */
void put_json(job *, json_t *value);
void flush_out(job *);

/* TEXT with each maximal subpart of broken UTF-8 replaced by U+FFFD, until the
 * next call. */
const char *repaired(job *, const char *text, size_t bytes, size_t *out);

/* All of the input, many lines at a time; or a few times over, to be timed. */
hone_status each_block(job *, int threads, hone_err *);
hone_status bench(job *, int threads, hone_err *);

void *grown(void *old, int64_t *cap, int64_t need, size_t size);

enum { MOST_THREADS = 256 };

#endif

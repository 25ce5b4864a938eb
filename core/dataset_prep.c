/* SPDX-License-Identifier: MIT
 *
 * dataset_prep.c -- see dataset_prep.h. A row is read, mapped, tokenized, made
 * to fit and written before the next is read; only the index of the shards
 * grows with the data.
 */
#include "dataset_prep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "registry.h"
#include "shard.h"

enum { PROGRESS_S = 2 };

typedef struct {
    hone_shard_writer *writer;
    hone_shard_counts counts;
    int64_t rows;
} half;

typedef struct {
    const hone_data_config *config;
    const hone_tokens *tokens;
    hone_shape *shape;
    half train, val;
    int64_t train_rows; /* source rows before the held-out ones */
    int64_t seen;       /* source rows of all files so far */
    hone_arena row;     /* repaired text; freed after each row */
    int32_t *ids;
    uint8_t *mask;
    int64_t count, cap;
    time_t said;
} prep;

/* Where a row is, for messages. */
typedef struct {
    const char *path;
    int file;
    int64_t number, line;
} place;

/* ---------------------------------------------------------------- formats */

static void list_endings(char *to, size_t bytes)
{
    const hone_component *c;
    size_t at = 0;

    to[0] = 0;
    for (int i = 0; (c = hone_component_at(i)); i++) {
        const hone_format *f = c->ops;
        if (c->kind != HONE_KIND_FORMAT)
            continue;
        for (const char *const *e = f->endings; *e && at < bytes; e++)
            at += (size_t)snprintf(to + at, bytes - at, "%s.%s",
                                   at ? ", " : "", *e);
    }
}

hone_status hone_format_find(const char *path, const hone_component **out,
                             hone_err *err)
{
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *ending = strrchr(name, '.');
    const hone_component *c;
    char known[512];

    for (int i = 0; ending && (c = hone_component_at(i)); i++) {
        const hone_format *f = c->ops;
        if (c->kind != HONE_KIND_FORMAT)
            continue;
        for (const char *const *e = f->endings; *e; e++)
            if (!strcmp(*e, ending + 1)) {
                *out = c;
                return HONE_OK;
            }
    }
    list_endings(known, sizeof known);
    return hone_fail(err, HONE_EINVAL,
                     "%s: no format reads files that end in '%s'; there are: "
                     "%s", path, ending ? ending : "", known);
}

/* ------------------------------------------------------- a row's tokens */

static void make_room(prep *p, int64_t count)
{
    if (count <= p->cap)
        return;
    while (p->cap < count)
        p->cap = p->cap ? 2 * p->cap : 4096;
    p->ids = realloc(p->ids, (size_t)p->cap * sizeof *p->ids);
    p->mask = realloc(p->mask, (size_t)p->cap);
    if (!p->ids || !p->mask) {
        hone_log(HONE_LOG_ERROR, "out of host memory (%lld tokens of a row)",
                 (long long)p->cap);
        abort();
    }
}

/* Ids that a tokenizer of the row's maker gave. */
static hone_status add_ids(prep *p, const hone_segment *g, hone_err *err)
{
    int32_t vocab = p->tokens->api->vocab(p->tokens->self);

    make_room(p, p->count + g->count);
    for (int64_t i = 0; i < g->count; i++) {
        if (g->ids[i] >= vocab)
            return hone_fail(err, HONE_EINVAL, "id %d, and the tokenizer knows "
                             "ids below %d; are the rows another model's?",
                             (int)g->ids[i], (int)vocab);
        p->ids[p->count + i] = g->ids[i];
        p->mask[p->count + i] = g->mask ? g->mask[i] != 0 : g->target != 0;
    }
    p->count += g->count;
    return HONE_OK;
}

static void add_segment(prep *p, const hone_segment *g)
{
    const hone_tokens *t = p->tokens;
    uint32_t flags = g->special ? HONE_SPECIALS : 0;
    int64_t from = p->count, n;

    if (g->text) {
        size_t bytes;
        const char *text = hone_utf8_repair(&p->row, g->text, g->bytes, &bytes);

        n = t->api->encode(t->self, text, bytes, flags, p->ids + from,
                           p->cap - from);
        if (n > p->cap - from) {
            make_room(p, from + n);
            t->api->encode(t->self, text, bytes, flags, p->ids + from, n);
        }
    } else {
        make_room(p, from + 1);
        p->ids[from] = t->eos;
        n = 1;
    }
    memset(p->mask + from, g->target != 0, (size_t)n);
    p->count += n;
}

/* Damage of the row alone, with its place. */
static hone_status tokenize_row(prep *p, const hone_row *row, const place *at,
                                hone_err *err)
{
    const hone_segment *segment;
    size_t bytes;
    const char *json = hone_utf8_repair(&p->row, row->json, row->bytes, &bytes);
    int count, line;
    hone_err why;
    hone_status s = hone_shape_map(p->shape, json, bytes, &segment, &count,
                                   &line, &why);

    p->count = 0;
    for (int i = 0; i < count && s == HONE_OK; i++) {
        if (segment[i].ids)
            s = add_ids(p, &segment[i], &why);
        else
            add_segment(p, &segment[i]);
    }
    if (s == HONE_OK)
        return HONE_OK;
    return hone_fail(err, HONE_EINVAL, "%s: row %lld (line %lld): %.900s",
                     at->path, (long long)at->number,
                     (long long)at->line + line - 1, why.msg);
}

/* -------------------------------------------------------- a row's length */

/* Writes tokens [FROM, FROM + COUNT) as one row, if they have a target: that
 * of the first does not count, nothing predicts it. */
static hone_status write_row(prep *p, half *to, int64_t from, int64_t count,
                             const place *at, int *written, hone_err *err)
{
    const uint8_t *mask = p->mask + from;

    if (count < 2 || !memchr(mask + 1, 1, (size_t)count - 1))
        return HONE_OK;
    *written = 1;
    to->rows++;
    return hone_shard_add(to->writer, p->ids + from, mask, count,
                          hone_origin(at->file, at->number), err);
}

static hone_status fit_row(prep *p, half *to, const place *at, hone_err *err)
{
    int64_t most = p->config->max_tokens, left = p->count;
    int written = 0;

    if (most && left > most) {
        switch (p->config->too_long) {
        case HONE_LONG_DROP:
            to->counts.dropped++;
            left = 0;
            break;
        case HONE_LONG_SPLIT:
            to->counts.split++;
            break;
        case HONE_LONG_ERROR:
            return hone_fail(err, HONE_EINVAL,
                             "%s: row %lld (line %lld): %lld tokens, more "
                             "than max_tokens = %lld; raise it, or choose "
                             "long = \"cut\", \"drop\" or \"split\"",
                             at->path, (long long)at->number,
                             (long long)at->line, (long long)left,
                             (long long)most);
        default:
            to->counts.cut++;
            left = most;
        }
    }
    for (int64_t from = 0; left > 0;) {
        int64_t n = most && left > most ? most : left;

        hone_try(write_row(p, to, from, n, at, &written, err));
        from += n;
        left -= n;
    }
    to->counts.skipped += !written;
    return HONE_OK;
}

/* ------------------------------------------------------------------ files */

static void say_progress(prep *p, const place *at)
{
    char line[512];
    time_t now = time(NULL);

    if (now < p->said + PROGRESS_S)
        return;
    p->said = now;
    snprintf(line, sizeof line, "preparing %s: row %lld", at->path,
             (long long)at->number);
    hone_log_live(line);
}

/* One row: read with STATUS, to its half. Damage is an error or counted. */
static hone_status take_row(prep *p, hone_status status, const hone_row *row,
                            const char *path, int file, hone_err *err)
{
    place at = { path, file, row->number, row->line };
    half *to = p->seen++ < p->train_rows ? &p->train : &p->val;

    if (status == HONE_OK)
        status = tokenize_row(p, row, &at, err);
    hone_arena_free(&p->row);
    if (status == HONE_OK) {
        say_progress(p, &at);
        return fit_row(p, to, &at, err);
    }
    if (status != HONE_EINVAL || !row->number || !p->config->skip_broken)
        return status;
    hone_log(HONE_LOG_WARN, "%s; left out", err->msg);
    to->counts.broken++;
    to->counts.skipped++;
    return HONE_OK;
}

/* Reads a file to its end; without P it counts rows only. */
static hone_status read_file(prep *p, const char *path, int file,
                             int64_t *count, hone_err *err)
{
    const hone_component *c;
    const hone_format *format;
    void *reader;
    hone_status status;

    hone_try(hone_format_find(path, &c, err));
    format = c->ops;
    hone_try(format->open(&hone_the_host, path, &reader, err));
    for (;;) {
        hone_row row = { NULL, 0, 0, 0 };

        status = format->next(reader, &row, err);
        if (status == HONE_END) {
            status = HONE_OK;
            break;
        }
        if (p)
            status = take_row(p, status, &row, path, file, err);
        else if (status == HONE_EINVAL && row.number)
            status = HONE_OK; /* a damaged row is a row */
        if (status != HONE_OK)
            break;
        if (count)
            ++*count;
    }
    format->close(reader);
    return status;
}

/* Held out: the last rows of all files. Their number must be known first. */
static hone_status divide(prep *p, hone_err *err)
{
    const hone_data_config *c = p->config;
    int64_t rows = 0, held;

    p->train_rows = INT64_MAX;
    if (c->val_file || c->val <= 0)
        return HONE_OK;
    for (const char *const *f = c->files; *f; f++)
        hone_try(read_file(NULL, *f, 0, &rows, err));
    /* 0.07 * 100 is a little more than 7: a share is not meant so exactly */
    held = (int64_t)(c->val < 1 ? ceil(c->val * (double)rows - 1e-9) : c->val);
    if (held >= rows)
        return hone_fail(err, HONE_EINVAL,
                         "%s: %lld rows, %lld of them held out by val = %g: "
                         "nothing is left to train on",
                         c->files[0], (long long)rows, (long long)held,
                         c->val);
    p->train_rows = rows - held;
    return HONE_OK;
}

static hone_status read_all(prep *p, hone_err *err)
{
    const hone_data_config *c = p->config;
    int file = 0;

    hone_try(divide(p, err));
    for (; c->files[file]; file++)
        hone_try(read_file(p, c->files[file], file, NULL, err));
    if (c->val_file) {
        p->train_rows = 0;
        hone_try(read_file(p, c->val_file, file, NULL, err));
    }
    if (!p->train.rows)
        return hone_fail(err, HONE_EINVAL,
                         "%s: no row to train on; %lld were read, %lld "
                         "without a target token, left out, broken or too "
                         "long",
                         c->files[0], (long long)p->seen,
                         (long long)p->train.counts.skipped);
    return HONE_OK;
}

/* Takes the writer in any case. */
static hone_status finish(half *h, hone_err *err)
{
    hone_shard_writer *w = h->writer;

    h->writer = NULL;
    return hone_shard_finish(w, &h->counts, err);
}

static hone_status prepare(prep *p, const char *folder, hone_err *err)
{
    const hone_tokens *t = p->tokens;
    int32_t vocab = t->api->vocab(t->self);
    char path[4096];

    if (t->eos < 0)
        return hone_fail(err, HONE_EINVAL,
                         "%s: the model names no end token (eos_token), which "
                         "every row ends with", t->path);
    if (t->eos >= vocab)
        vocab = t->eos + 1;
    snprintf(path, sizeof path, "%s/train.shard", folder);
    hone_try(hone_shard_create(&p->train.writer, path, vocab, t->hash, err));
    snprintf(path, sizeof path, "%s/val.shard", folder);
    hone_try(hone_shard_create(&p->val.writer, path, vocab, t->hash, err));
    make_room(p, 1);
    hone_try(read_all(p, err));
    hone_try(finish(&p->val, err));
    return finish(&p->train, err); /* last: now both are there */
}

hone_status hone_dataset_prepare(const hone_data_config *c, hone_shape *shape,
                                 const hone_tokens *tokens, const char *folder,
                                 hone_err *err)
{
    prep p = { .config = c, .tokens = tokens, .shape = shape,
               .said = time(NULL) };
    hone_status status = prepare(&p, folder, err);

    hone_shard_discard(p.train.writer);
    hone_shard_discard(p.val.writer);
    hone_arena_free(&p.row);
    free(p.ids);
    free(p.mask);
    return status;
}

/* SPDX-License-Identifier: MIT
 *
 * dataset_block.c -- see dataset_block.h. Buffers grow to the largest block
 * and stay.
 */
#include "dataset_block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "shard_write.h"

enum { KEPT_BYTES = 4 << 20 }; /* a larger buffer is given back */

/* At least COUNT items in an array of CAP. */
static void *grow(void *array, int64_t *cap, int64_t count, size_t size)
{
    if (count <= *cap)
        return array;
    while (*cap < count)
        *cap = *cap ? 2 * *cap : 256;
    array = realloc(array, (size_t)*cap * size);
    if (!array) {
        hone_log(HONE_LOG_ERROR, "out of host memory (%lld bytes of rows)",
                 (long long)((size_t)*cap * size));
        abort();
    }
    return array;
}

/* ----------------------------------------------------------------- filling */

void hone_block_clear(hone_block *b)
{
    for (int i = 0; i < b->rows; i++)
        free(b->row[i].err);
    if (b->text_cap > KEPT_BYTES) {
        free(b->text);
        b->text = NULL;
        b->text_cap = 0;
    }
    if (b->cap > KEPT_BYTES) {
        free(b->ids);
        free(b->mask);
        b->ids = NULL;
        b->mask = NULL;
        b->cap = 0;
    }
    b->rows = b->pieces = 0;
    b->text_bytes = 0;
    b->count = 0;
}

void hone_block_free(hone_block *b)
{
    hone_block_clear(b);
    free(b->text);
    free(b->row);
    free(b->ids);
    free(b->mask);
    free(b->piece);
}

static void keep_error(hone_source_row *r, const hone_err *err)
{
    r->err = malloc(sizeof *r->err);
    if (!r->err)
        abort();
    *r->err = *err;
}

void hone_block_add(hone_block *b, hone_status status, const hone_row *row,
                    const hone_err *err)
{
    size_t bytes = status == HONE_OK ? row->bytes : 0;
    int64_t cap = b->row_cap, text_cap = (int64_t)b->text_cap;
    hone_source_row *r;

    b->row = grow(b->row, &cap, b->rows + 1, sizeof *b->row);
    b->row_cap = (int)cap;
    b->text = grow(b->text, &text_cap, (int64_t)(b->text_bytes + bytes), 1);
    b->text_cap = (size_t)text_cap;
    r = &b->row[b->rows++];
    *r = (hone_source_row){ .number = row->number, .line = row->line,
                            .at = b->text_bytes, .bytes = bytes,
                            .status = status };
    if (status != HONE_OK) {
        keep_error(r, err);
        r->fatal = status != HONE_EINVAL || !row->number;
    }
    if (bytes)
        memcpy(b->text + b->text_bytes, row->json, bytes);
    b->text_bytes += bytes;
}

/* ------------------------------------------------------- a row's tokens */

static void make_room(hone_block *b, int64_t count)
{
    int64_t cap = b->cap;

    b->ids = grow(b->ids, &cap, count, sizeof *b->ids);
    b->mask = grow(b->mask, &b->cap, count, 1);
}

/* Ids that a tokenizer of the row's maker gave. */
static hone_status add_ids(hone_block *b, const hone_tokens *t,
                           const hone_segment *g, hone_err *err)
{
    int32_t vocab = t->api->vocab(t->self);

    make_room(b, b->count + g->count);
    for (int64_t i = 0; i < g->count; i++) {
        if (g->ids[i] >= vocab)
            return hone_fail(err, HONE_EINVAL, "id %d, and the tokenizer knows "
                             "ids below %d; are the rows another model's?",
                             (int)g->ids[i], (int)vocab);
        b->ids[b->count + i] = g->ids[i];
        b->mask[b->count + i] = g->mask ? g->mask[i] != 0 : g->target != 0;
    }
    b->count += g->count;
    return HONE_OK;
}

/* MORE: the row goes on behind it. */
static void add_segment(hone_block *b, hone_mapper *m, const hone_segment *g,
                        int more)
{
    const hone_tokens *t = m->tokens;
    uint32_t flags = g->special ? HONE_SPECIALS : 0;
    int64_t from = b->count, n;

    if (g->text) {
        size_t bytes;
        const char *text = hone_utf8_repair(&m->row, g->text, g->bytes, &bytes);

        make_room(b, from + 1);
        n = t->api->encode(t->self, text, bytes, flags, b->ids + from,
                           b->cap - from);
        if (n > b->cap - from) {
            make_room(b, from + n);
            t->api->encode(t->self, text, bytes, flags, b->ids + from, n);
        }
        n -= g->special && more ? m->behind : 0;
    } else {
        make_room(b, from + 1);
        b->ids[from] = t->eos;
        n = 1;
    }
    memset(b->mask + from, g->target != 0, (size_t)n);
    b->count += n;
}

static hone_status fit(hone_block *b, hone_mapper *m, hone_source_row *r,
                       int64_t from, hone_err *err);

enum { PLACE_BYTES = 64 };

/* "row 3 (line 5)"; not every format has lines. LINE: of the row's text. */
static const char *place(char *to, const hone_source_row *r, int line)
{
    if (r->line)
        snprintf(to, PLACE_BYTES, "row %lld (line %lld)", (long long)r->number,
                 (long long)r->line + line - 1);
    else
        snprintf(to, PLACE_BYTES, "row %lld", (long long)r->number);
    return to;
}

/* Damage of the row alone, with its place. *FROM: the block's first token of
 * the row of tokens that is not finished. */
static hone_status tokenize(hone_block *b, hone_mapper *m, hone_source_row *r,
                            int64_t *from, hone_err *err)
{
    const hone_segment *segment;
    size_t bytes;
    const char *json = hone_utf8_repair(&m->row, b->text + r->at, r->bytes,
                                        &bytes);
    int count = 0, line = 1;
    char where[PLACE_BYTES];
    hone_err why;
    hone_status s = hone_shape_map(m->shape[b->source], json, bytes, &segment,
                                   &count, &line, &why);

    for (int i = 0; i < count && s == HONE_OK; i++) {
        if (segment[i].begins) {
            hone_try(fit(b, m, r, *from, err));
            *from = b->count;
        }
        if (segment[i].ids)
            s = add_ids(b, m->tokens, &segment[i], &why);
        else
            add_segment(b, m, &segment[i],
                        i + 1 < count && !segment[i + 1].begins);
    }
    r->what |= s == HONE_OK && !count ? HONE_ROW_LEFT : 0;
    r->what |= json != b->text + r->at ? HONE_ROW_REPAIRED : 0;
    if (s == HONE_OK)
        return HONE_OK;
    return hone_fail(err, HONE_EINVAL, "%s: %s: %.900s", b->path,
                     place(where, r, line), why.msg);
}

/* -------------------------------------------------------- a row's length */

/* Tokens [FROM, FROM + COUNT) as one row, if they have a target: that of the
 * first does not count, nothing predicts it. */
static void add_piece(hone_block *b, hone_source_row *r, int64_t from,
                      int64_t count)
{
    const uint8_t *mask = b->mask + from;
    int64_t cap = b->piece_cap;
    hone_piece *p;
    int32_t targets = 0;

    for (int64_t i = 1; i < count; i++)
        targets += mask[i];
    if (!targets)
        return;
    b->piece = grow(b->piece, &cap, b->pieces + 1, sizeof *b->piece);
    b->piece_cap = (int)cap;
    p = &b->piece[b->pieces++];
    *p = (hone_piece){ from, count, targets,
                       hone_row_hash(b->ids + from, mask, count) };
    r->pieces++;
}

static hone_status too_long(const hone_block *b, const hone_source_row *r,
                            int64_t count, int64_t most, hone_err *err)
{
    char where[PLACE_BYTES];

    return hone_fail(err, HONE_EINVAL,
                     "%s: %s: %lld tokens, more than max_tokens = %lld; raise "
                     "it, or choose long = \"cut\", \"drop\" or \"split\"",
                     b->path, place(where, r, 1), (long long)count,
                     (long long)most);
}

static int is_space(const hone_tokens *t, int32_t id)
{
    char text[16];
    int64_t n = t->api->decode(t->self, &id, 1, 0, text, sizeof text);

    for (int64_t i = 0; i < n; i++)
        if (n > (int64_t)sizeof text || !memchr(" \n\r\t", text[i], 4))
            return 0;
    return 1; /* or nothing, such as the first space of a text */
}

/* Whether what is learnt of the tokens from FROM on ends with a token that
 * ends texts or turns; templates write white space behind it, which
 * loss = "all" learns as well. */
static int ends(const hone_block *b, const hone_tokens *t, int64_t from)
{
    int64_t last = b->count - 1;

    while (last > from && (!b->mask[last] || is_space(t, b->ids[last])))
        last--;
    return b->ids[last] == t->eos ||
           t->api->is_special(t->self, b->ids[last]);
}

/* The block's tokens from FROM on, as one row or several. */
static hone_status fit(hone_block *b, hone_mapper *m, hone_source_row *r,
                       int64_t from, hone_err *err)
{
    const hone_data_config *c = m->config[b->source];
    const hone_tokens *t = m->tokens;
    int64_t most = c->max_tokens, left = b->count - from;

    if (left && !ends(b, t, from))
        r->what |= HONE_ROW_NO_END;
    if (left > 1 && t->bos >= 0 && b->ids[from] == t->bos &&
        b->ids[from + 1] == t->bos)
        r->what |= HONE_ROW_TWICE_BEGUN;
    if (most && left > most) {
        switch (c->too_long) {
        case HONE_LONG_DROP:
            r->what |= HONE_ROW_DROPPED;
            return HONE_OK;
        case HONE_LONG_SPLIT:
            r->what |= HONE_ROW_SPLIT;
            break;
        case HONE_LONG_ERROR:
            r->fatal = 1;
            return too_long(b, r, left, most, err);
        default:
            r->what |= HONE_ROW_CUT;
            left = most;
        }
    }
    for (; left > 0; left -= most, from += most) {
        add_piece(b, r, from, most && left > most ? most : left);
        if (!most)
            break;
    }
    return HONE_OK;
}

/* -------------------------------------------------------------- a worker's */

/* Opened in the thread that uses it: its timer measures that thread. */
static hone_status open_shape(hone_mapper *m, int source, hone_err *err)
{
    const hone_data_config *c = m->config[source];
    hone_data_config *own = &m->own[source];

    if (m->shape[source])
        return HONE_OK;
    m->behind = hone_tokens_behind(m->tokens);
    *own = *c;
    if (c->functions && c->functions->fork) {
        hone_try(c->functions->fork(c->functions, &m->functions[source], err));
        own->functions = &m->functions[source];
    }
    return hone_shape_open(&m->shape[source], own, m->tokens, err);
}

void hone_mapper_close(hone_mapper *m)
{
    for (int i = 0; i < HONE_MOST_SOURCES; i++) {
        hone_shape_close(m->shape[i]);
        if (m->functions[i].own)
            hone_recipe_unfork(&m->functions[i]);
    }
    hone_arena_free(&m->row);
}

/* Of a row that is damaged nothing stays, not its answers before that. */
static void refuse(hone_block *b, hone_source_row *r, const hone_err *err)
{
    b->pieces -= r->pieces;
    r->pieces = 0;
    keep_error(r, err);
}

void hone_block_map(hone_job *job, int worker)
{
    hone_block *b = (hone_block *)job;
    hone_mapper *m = &b->mappers[worker];
    hone_err err = { 0 };
    hone_status opened = open_shape(m, b->source, &err);

    for (int i = 0; i < b->rows; i++) {
        hone_source_row *r = &b->row[i];
        int64_t from = b->count;

        if (r->status != HONE_OK)
            continue;
        r->status = opened;
        r->fatal = opened != HONE_OK;
        if (opened == HONE_OK)
            r->status = tokenize(b, m, r, &from, &err);
        if (r->status == HONE_OK)
            r->status = fit(b, m, r, from, &err);
        if (r->status != HONE_OK)
            refuse(b, r, &err);
        hone_arena_free(&m->row);
    }
}

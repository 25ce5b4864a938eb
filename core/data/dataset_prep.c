/* SPDX-License-Identifier: MIT
 *
 * dataset_prep.c -- see dataset_prep.h. One thread reads the files and writes
 * the shards, both in order; in between blocks of rows are with the workers.
 * About once a second it writes down how far it is.
 */
#include "dataset_prep.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "dataset_block.h"
#include "dataset_progress.h"
#include "dataset_state.h"
#include "dataset_twins.h"
#include "log.h"
#include "registry.h"
#include "shard_write.h"
#include "signals.h"

enum { INFLIGHT_BYTES = 64 << 20 };

#define SAVE_S 1.0

/* A data file in the order of the numbers that rows carry. */
typedef struct {
    const char *path;
    int source, held; /* HELD: all of it is held out */
    struct stat found; /* as it was before it was hashed */
} data_file;

typedef struct {
    hone_arena arena;
    const hone_data_config *const *config; /* [sources] */
    int sources;
    const hone_tokens *tokens;
    const char *folder;
    const char *path[2]; /* of the shards */
    data_file *file;
    int files;
    /* threads */
    hone_workers *workers;
    hone_mapper *mappers;
    hone_block *block; /* a ring */
    int blocks;
    uint64_t first, next; /* blocks on their way: numbers from first to next */
    size_t inflight;      /* bytes of their texts */
    /* the file being read */
    int at, ended;
    const hone_format *format;
    void *reader;
    int64_t rows; /* of it, so far */
    /* what is done */
    hone_prep_state *state;
    hone_shard_writer *writer[2]; /* train, val */
    double saved_s;
    int repaired; /* rows with bytes that are no UTF-8 */
    hone_progress_line progress;
} prep;

/* ---------------------------------------------------------------- reading */

static hone_status open_file(prep *p, hone_err *err)
{
    const data_file *f = &p->file[p->at];
    const hone_component *c;

    hone_try(hone_format_find(f->path, &c, err));
    p->format = c->ops;
    p->rows = 0;
    return hone_format_open(p->config[f->source], c, f->path, &p->reader, err);
}

static void close_file(prep *p)
{
    if (p->reader)
        p->format->close(p->reader);
    p->reader = NULL;
}

static double share_read(const prep *p)
{
    if (!p->reader || p->format->size <= offsetof(hone_format, share) ||
        !p->format->share)
        return -1;
    return p->format->share(p->reader);
}

/* The rows that were done before. */
static hone_status skip_rows(prep *p, int64_t rows, hone_err *err)
{
    while (p->rows < rows) {
        hone_row row = { NULL, 0, 0, 0 };
        hone_status status = p->format->next(p->reader, &row, err);

        if (status == HONE_END || (status != HONE_OK && !row.number))
            return hone_fail(err, HONE_EINVAL, "%s: it has changed while it "
                             "was prepared", p->file[p->at].path);
        p->rows++;
        hone_progress_row(&p->progress, row.bytes);
        if (hone_interrupted())
            return hone_fail(err, HONE_EINTR, "interrupted");
    }
    return HONE_OK;
}

/* Fills a block from one file. An error that ends the reading is a row of it,
 * so that it comes up in its turn. */
static void read_block(prep *p, hone_block *b)
{
    hone_status status = HONE_OK;
    hone_err err = { 0 };

    hone_block_clear(b);
    b->file = p->at;
    b->source = p->file[p->at].source;
    b->path = p->file[p->at].path;
    if (!p->reader)
        status = open_file(p, &err);
    if (status != HONE_OK)
        hone_block_add(b, status, &(hone_row){ NULL, 0, 0, 0 }, &err);
    while (status == HONE_OK && b->rows < HONE_BLOCK_ROWS &&
           b->text_bytes < HONE_BLOCK_BYTES) {
        hone_row row = { NULL, 0, 0, 0 };

        status = p->format->next(p->reader, &row, &err);
        if (status == HONE_END)
            break;
        p->rows++;
        hone_block_add(b, status, &row, &err);
        if (status == HONE_EINVAL && row.number)
            status = HONE_OK; /* it goes on behind a damaged row */
    }
    b->end = p->rows;
    b->share = share_read(p);
    if (status == HONE_OK)
        return;
    close_file(p);
    p->ended = status != HONE_END || ++p->at == p->files;
}

static void send_blocks(prep *p)
{
    while (!p->ended && p->next - p->first < (uint64_t)p->blocks &&
           (p->inflight < INFLIGHT_BYTES || p->first == p->next)) {
        hone_block *b = &p->block[p->next % (uint64_t)p->blocks];

        read_block(p, b);
        p->inflight += b->text_bytes;
        p->next++;
        hone_workers_add(p->workers, &b->job, 0);
    }
}

/* ---------------------------------------------------------------- writing */

static int half_of(prep *p, const hone_block *b)
{
    if (p->file[b->file].held)
        return 1;
    return p->state->seen[b->source]++ >= p->state->train_rows[b->source];
}

/* Damage is an error or counted. */
static hone_status refuse(prep *p, const hone_block *b,
                          const hone_source_row *r, hone_shard_counts *c,
                          hone_err *err)
{
    if (r->status != HONE_EINVAL || r->fatal ||
        !p->config[b->source]->skip_broken) {
        *err = *r->err;
        return r->status;
    }
    hone_log(HONE_LOG_WARN, "%s; left out", r->err->msg);
    c->broken++;
    c->skipped++;
    return HONE_OK;
}

static void count_row(hone_shard_counts *c, const hone_source_row *r)
{
    c->cut += (r->what & HONE_ROW_CUT) != 0;
    c->split += (r->what & HONE_ROW_SPLIT) != 0;
    c->dropped += (r->what & HONE_ROW_DROPPED) != 0;
    c->left += (r->what & HONE_ROW_LEFT) != 0;
    if (!r->pieces) {
        c->skipped++;
        c->no_target += !(r->what & (HONE_ROW_DROPPED | HONE_ROW_LEFT));
        return;
    }
    c->no_end += (r->what & HONE_ROW_NO_END) != 0;
    c->twice_begun += (r->what & HONE_ROW_TWICE_BEGUN) != 0;
}

/* Of the first row only: in a file of another encoding it is all of them. */
static void warn_repaired(prep *p, const hone_block *b,
                          const hone_source_row *r)
{
    if (r->what & HONE_ROW_REPAIRED && !p->repaired++)
        hone_log(HONE_LOG_WARN, "%s: row %lld: bytes that are no UTF-8 are "
                 "taken as U+FFFD, here and in rows behind; save the file as "
                 "UTF-8", b->path, (long long)r->number);
}

static hone_status write_rows(prep *p, const hone_block *b, hone_err *err)
{
    const hone_piece *piece = b->piece;

    for (int i = 0; i < b->rows; i++) {
        const hone_source_row *r = &b->row[i];
        int half = half_of(p, b);
        hone_shard_counts *c = &p->state->half[half].counts;

        hone_progress_row(&p->progress, r->bytes);
        if (r->status != HONE_OK) {
            hone_try(refuse(p, b, r, c, err));
            continue;
        }
        count_row(c, r);
        warn_repaired(p, b, r);
        for (int k = 0; k < r->pieces; k++, piece++) {
            hone_shard_row row = { b->ids + piece->from, b->mask + piece->from,
                                   piece->count, piece->targets,
                                   hone_origin(b->file, r->number),
                                   piece->hash };

            /* what follows a split is learnt whole by right */
            c->all_target += k == 0 && piece->targets == piece->count - 1;
            p->progress.tokens += piece->count;
            hone_try(hone_shard_add(p->writer[half], &row, err));
        }
    }
    return HONE_OK;
}

/* The oldest block, when its worker is done with it. */
static hone_status take_block(prep *p, hone_err *err)
{
    hone_block *b = &p->block[p->first % (uint64_t)p->blocks];

    hone_workers_wait(p->workers, &b->job);
    p->first++;
    p->inflight -= b->text_bytes;
    hone_progress_file(&p->progress, b->file, b->path);
    hone_progress_share(&p->progress, b->share);
    hone_try(write_rows(p, b, err));
    p->state->file = b->file;
    p->state->row = b->end;
    hone_progress_say(&p->progress);
    return HONE_OK;
}

static hone_status save(prep *p, hone_err *err)
{
    for (int i = 0; i < 2; i++)
        hone_try(hone_shard_stand(p->writer[i], &p->state->half[i].mark, err));
    p->saved_s = hone_now_s();
    return hone_prep_state_save(p->state, p->folder, err);
}

static hone_status run(prep *p, hone_err *err)
{
    for (;;) {
        if (hone_interrupted()) {
            hone_try(save(p, err));
            return hone_fail(err, HONE_EINTR, "interrupted while preparing "
                             "data; the same command goes on from there");
        }
        send_blocks(p);
        if (p->first == p->next)
            return HONE_OK;
        hone_try(take_block(p, err));
        if (hone_now_s() - p->saved_s > SAVE_S)
            hone_try(save(p, err));
    }
}

/* ------------------------------------------------------------- held-out rows */

static hone_status count_rows(prep *p, int file, int64_t *rows, hone_err *err)
{
    hone_status status;

    p->at = file;
    hone_try(open_file(p, err));
    hone_progress_file(&p->progress, file, p->file[file].path);
    do {
        hone_row row = { NULL, 0, 0, 0 };

        status = p->format->next(p->reader, &row, err);
        if (status == HONE_EINVAL && row.number)
            status = HONE_OK; /* a damaged row is a row */
        *rows += status == HONE_OK;
        hone_progress_row(&p->progress, row.bytes);
        if (*rows % 1024 == 0) {
            hone_progress_share(&p->progress, share_read(p));
            hone_progress_say(&p->progress);
        }
        if (hone_interrupted())
            status = hone_fail(err, HONE_EINTR, "interrupted");
    } while (status == HONE_OK);
    close_file(p);
    return status == HONE_END ? HONE_OK : status;
}

/* Held out: the last rows of all files of a source. Their number must be known
 * first. */
static hone_status divide(prep *p, int source, hone_err *err)
{
    const hone_data_config *c = p->config[source];
    int64_t rows = 0, held;

    p->state->train_rows[source] = INT64_MAX;
    if (c->val_file || c->val <= 0)
        return HONE_OK;
    for (int i = 0; i < p->files; i++)
        if (p->file[i].source == source && !p->file[i].held)
            hone_try(count_rows(p, i, &rows, err));
    /* 0.07 * 100 is a little more than 7: a share is not meant so exactly */
    held = (int64_t)(c->val < 1 ? ceil(c->val * (double)rows - 1e-9) : c->val);
    if (held >= rows)
        return hone_fail(err, HONE_EINVAL,
                         "%s: %lld rows, %lld of them held out by val = %g: "
                         "nothing is left to train on",
                         c->files[0], (long long)rows, (long long)held,
                         c->val);
    p->state->train_rows[source] = rows - held;
    p->state->all_rows += rows;
    return HONE_OK;
}

static hone_status divide_all(prep *p, hone_err *err)
{
    if (p->state->counted)
        return HONE_OK;
    hone_progress_begin(&p->progress, "counting");
    for (int i = 0; i < p->sources; i++)
        hone_try(divide(p, i, err));
    p->state->counted = 1;
    p->at = 0;
    return HONE_OK;
}

/* --------------------------------------------------------- begin and go on */

static hone_status create(prep *p, int resume, hone_err *err)
{
    const hone_tokens *t = p->tokens;
    int32_t vocab = t->api->vocab(t->self);

    for (int i = 0; i < 2; i++) {
        hone_shard_spec spec = { p->path[i], t->eos >= vocab ? t->eos + 1
                                                             : vocab,
                                 t->hash, p->workers };

        hone_try(hone_shard_create(&p->writer[i], &spec,
                                   resume ? &p->state->half[i].mark : NULL,
                                   err));
    }
    return HONE_OK;
}

static void close_writers(prep *p)
{
    for (int i = 0; i < 2; i++) {
        hone_shard_close_writer(p->writer[i]);
        p->writer[i] = NULL;
    }
}

/* Whether the training shard, which gets its name last, waits for it. A shard
 * that has it and was found wanting is made anew. */
static int is_sealed(prep *p)
{
    const char *part = hone_format_text(&p->arena, "%s.part", p->path[0]);

    return p->state->sealed && access(part, F_OK) == 0;
}

/* From where an earlier process stood, or from the beginning. */
static hone_status begin(prep *p, hone_err *err)
{
    hone_prep_state *s = p->state;

    if (hone_prep_state_load(s, p->folder)) {
        if (is_sealed(p) || (!s->sealed && s->file < p->files &&
                             create(p, 1, NULL) == HONE_OK))
            return HONE_OK;
        close_writers(p);
        memset(s, 0, sizeof *s);
    }
    return create(p, 0, err);
}

/* Whether the rows of every file were counted to hold some out. */
static int all_counted(const prep *p)
{
    for (int i = 0; i < p->sources; i++)
        if (p->config[i]->val_file || p->config[i]->val <= 0)
            return 0;
    return 1;
}

static hone_status go_on(prep *p, hone_err *err)
{
    hone_prep_state *s = p->state;
    int64_t done = s->row;

    hone_progress_begin(&p->progress, "preparing");
    p->progress.all_rows = all_counted(p) ? s->all_rows : 0;
    p->at = (int)s->file;
    hone_progress_file(&p->progress, p->at, p->file[p->at].path);
    if (!done && !s->file)
        return HONE_OK;
    hone_log(HONE_LOG_NOTE, "going on behind row %lld of %s", (long long)done,
             p->file[p->at].path);
    hone_try(open_file(p, err));
    hone_try(skip_rows(p, done, err));
    hone_progress_share(&p->progress, share_read(p));
    hone_progress_skipped(&p->progress);
    return HONE_OK;
}

/* ------------------------------------------------------------------ the end */

/* Shards are found again by the contents that the files had at first. */
static hone_status check_files(const prep *p, hone_err *err)
{
    for (int i = 0; i < p->files; i++) {
        const struct stat *was = &p->file[i].found;
        struct stat is;

        if (stat(p->file[i].path, &is) || is.st_size != was->st_size ||
            is.st_mtim.tv_sec != was->st_mtim.tv_sec ||
            is.st_mtim.tv_nsec != was->st_mtim.tv_nsec)
            return hone_fail(err, HONE_EINVAL, "%s: it has changed while it "
                             "was prepared; start again", p->file[i].path);
    }
    return HONE_OK;
}

static hone_status seal(prep *p, hone_err *err)
{
    hone_prep_state *s = p->state;
    hone_shard_counts *train = &s->half[0].counts, *val = &s->half[1].counts;
    uint64_t rows[2];
    int64_t seen = 0;

    hone_try(check_files(p, err));
    hone_try(save(p, err));
    rows[0] = s->half[0].mark.rows;
    rows[1] = s->half[1].mark.rows;
    for (int i = 0; i < p->sources; i++)
        seen += s->seen[i];
    if (!rows[0])
        return hone_fail(err, HONE_EINVAL,
                         "%s: no row to train on; %lld were read, %lld "
                         "without a target token, left out, broken or too "
                         "long", p->file[0].path, (long long)seen,
                         (long long)train->skipped);
    hone_try(hone_twins_count(p->writer[0], rows[0], train, p->writer[1],
                              rows[1], val, err));
    hone_try(hone_shard_seal(p->writer[1], val, err));
    hone_try(hone_shard_seal(p->writer[0], train, err));
    s->sealed = 1;
    return hone_prep_state_save(s, p->folder, err);
}

/* The train shard is last: where it is, both are. */
static hone_status publish(prep *p, hone_err *err)
{
    hone_try(hone_shard_publish(p->path[1], err));
    hone_try(hone_shard_publish(p->path[0], err));
    hone_prep_state_remove(p->folder);
    return HONE_OK;
}

static hone_status prepare(prep *p, hone_err *err)
{
    hone_try(begin(p, err));
    if (!p->state->sealed) {
        hone_try(divide_all(p, err));
        hone_try(go_on(p, err));
        hone_try(run(p, err));
        hone_try(seal(p, err));
    }
    return publish(p, err);
}

/* ------------------------------------------------------------------ opening */

/* A file that is not there is an error of who opens it. */
static void add_file(prep *p, const char *path, int source, int held)
{
    data_file *f = &p->file[p->files++];

    *f = (data_file){ .path = path, .source = source, .held = held };
    if (stat(path, &f->found))
        f->found.st_size = -1;
}

static void list_files(prep *p)
{
    int most = p->sources;

    for (int i = 0; i < p->sources; i++)
        for (const char *const *f = p->config[i]->files; *f; f++)
            most++;
    p->file = hone_alloc(&p->arena, sizeof *p->file * (size_t)most);
    for (int i = 0; i < p->sources; i++)
        for (const char *const *f = p->config[i]->files; *f; f++)
            add_file(p, *f, i, 0);
    for (int i = 0; i < p->sources; i++)
        if (p->config[i]->val_file)
            add_file(p, p->config[i]->val_file, i, 1);
}

const char *const *hone_prep_files(hone_arena *a,
                                   const hone_data_config *const *source,
                                   int count)
{
    prep p = { .config = source, .sources = count };
    const char **list;

    list_files(&p);
    list = hone_alloc(a, sizeof *list * (size_t)(p.files + 1));
    for (int i = 0; i < p.files; i++)
        list[i] = hone_text(a, p.file[i].path);
    hone_arena_free(&p.arena);
    return list;
}

const struct stat *hone_prep_stand(hone_arena *a,
                                   const hone_data_config *const *source,
                                   int count)
{
    prep p = { .config = source, .sources = count };
    struct stat *found;

    list_files(&p);
    found = hone_alloc(a, sizeof *found * (size_t)(p.files + 1));
    for (int i = 0; i < p.files; i++)
        found[i] = p.file[i].found;
    hone_arena_free(&p.arena);
    return found;
}

/* Threads: none where the recipe's functions cannot be had twice. */
static int worker_count(const prep *p)
{
    const char *given = getenv("HONE_WORKERS");
    int n = given && given[0] ? atoi(given) : hone_cores();

    for (int i = 0; i < p->sources; i++)
        if (p->config[i]->functions && !p->config[i]->functions->fork)
            return 0;
    return n < 1 ? 1 : n > 256 ? 256 : n;
}

static hone_status open_workers(prep *p, hone_err *err)
{
    int n = worker_count(p), mappers = n > 0 ? n : 1;

    json_object_seed(0); /* before there are threads */
    hone_share_dir();
    p->mappers = hone_alloc(&p->arena, sizeof *p->mappers * (size_t)mappers);
    for (int i = 0; i < mappers; i++) {
        p->mappers[i].config = p->config;
        p->mappers[i].tokens = p->tokens;
    }
    p->blocks = 2 * n + 2;
    p->block = hone_alloc(&p->arena, sizeof *p->block * (size_t)p->blocks);
    for (int i = 0; i < p->blocks; i++) {
        p->block[i].job.run = hone_block_map;
        p->block[i].mappers = p->mappers;
    }
    return hone_workers_open(&p->workers, n, err);
}

static void close_all(prep *p)
{
    int n = p->workers ? hone_workers_count(p->workers) : 0;

    for (; p->first < p->next; p->first++)
        hone_workers_wait(p->workers,
                          &p->block[p->first % (uint64_t)p->blocks].job);
    close_writers(p);
    hone_workers_close(p->workers);
    for (int i = 0; i < p->blocks; i++)
        hone_block_free(&p->block[i]);
    for (int i = 0; p->mappers && i < (n ? n : 1); i++)
        hone_mapper_close(&p->mappers[i]);
    close_file(p);
    hone_arena_free(&p->arena);
}

/* What is wrong with the data does not get better by going on. */
static void clean(const prep *p, hone_status status)
{
    if (status == HONE_EINTR || status == HONE_EIO)
        return;
    for (int i = 0; i < 2; i++)
        hone_shard_clean(p->path[i]);
    hone_prep_state_remove(p->folder);
}

hone_status hone_dataset_prepare(const hone_data_config *const *source,
                                 int count, const hone_tokens *tokens,
                                 const struct stat *found, const char *folder,
                                 hone_err *err)
{
    prep p = { .config = source, .sources = count, .tokens = tokens,
               .folder = folder, .saved_s = hone_now_s() };
    hone_status status;

    if (tokens->eos < 0)
        return hone_fail(err, HONE_EINVAL,
                         "%s: the model names no end token (eos_token), which "
                         "every row ends with", tokens->path);
    if (count > HONE_MOST_SOURCES)
        return hone_fail(err, HONE_EINVAL, "%d sources of data, at most %d",
                         count, HONE_MOST_SOURCES);
    p.path[0] = hone_format_text(&p.arena, "%s/train.shard", folder);
    p.path[1] = hone_format_text(&p.arena, "%s/val.shard", folder);
    p.state = hone_alloc(&p.arena, sizeof *p.state);
    list_files(&p);
    for (int i = 0; i < p.files; i++) {
        p.file[i].found = found[i];
        hone_progress_add(&p.progress, &p.arena, p.file[i].path);
    }
    hone_signals_catch();
    status = open_workers(&p, err);
    if (status == HONE_OK)
        status = prepare(&p, err);
    hone_signals_release();
    clean(&p, status);
    close_all(&p);
    return status;
}

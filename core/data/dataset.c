/* SPDX-License-Identifier: MIT
 *
 * dataset.c -- see dataset.h: the hash that names prepared data, the cache
 * folder it lies in, and opening it.
 */
#include "dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataset_files.h"
#include "dataset_prep.h"
#include "dataset_shape.h"
#include "dataset_state.h"
#include "log.h"
#include "option.h"
#include "signals.h"

/* ---------------------------------------------------------------- hashing */

enum { READ_BYTES = 1 << 20 };

/* Every item is preceded by its size, so that no two lists of items give the
 * same bytes. */
static void hash_bytes(EVP_MD_CTX *h, const void *data, size_t bytes)
{
    uint64_t size = bytes;

    EVP_DigestUpdate(h, &size, sizeof size);
    EVP_DigestUpdate(h, data, bytes);
}

static void hash_text(EVP_MD_CTX *h, const char *text)
{
    hash_bytes(h, text ? text : "", text ? strlen(text) : 0);
}

static void hash_format(EVP_MD_CTX *h, const hone_data_config *c,
                        const hone_component *format)
{
    const void *config = hone_format_config_of(c, format);
    char text[256];

    hash_text(h, format->name);
    for (const hone_option *o = format->options; config && o->name; o++) {
        hone_option_text(o, config, text, sizeof text);
        hash_text(h, text);
    }
}

static hone_status hash_file(EVP_MD_CTX *h, const hone_data_config *c,
                             const char *path, hone_err *err)
{
    hone_arena a = { 0 };
    uint8_t *buffer;
    uint64_t total = 0;
    const hone_component *format;
    ssize_t n = -1;
    int fd;

    hone_try(hone_format_find(path, &format, err));
    hash_format(h, c, format);
    buffer = hone_alloc(&a, READ_BYTES);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (n = read(fd, buffer, READ_BYTES)) > 0) {
        EVP_DigestUpdate(h, buffer, (size_t)n);
        total += (uint64_t)n;
    }
    if (n < 0)
        hone_fail(err, HONE_EINVAL, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    hone_arena_free(&a);
    EVP_DigestUpdate(h, &total, sizeof total);
    return n < 0 ? HONE_EINVAL : HONE_OK;
}

static hone_status hash_source(EVP_MD_CTX *h, const hone_data_config *c,
                               const hone_shape *shape, const hone_tokens *t,
                               hone_err *err)
{
    char options[256];
    const char *text;
    size_t bytes;

    snprintf(options, sizeof options,
             "shard %d, %d; prep %d; val %.17g; max_tokens %lld; long %d; "
             "skip_broken %d; loss %d; eos %d; val_file %d",
             HONE_SHARD_VERSION, HONE_FRAME_TOKENS, HONE_PREP_VERSION, c->val,
             (long long)c->max_tokens, c->too_long, c->skip_broken, c->loss,
             t->eos, c->val_file != NULL);
    hash_text(h, options);
    hash_text(h, t->hash);
    text = hone_shape_text(shape, &bytes);
    hash_bytes(h, text, bytes);
    for (const char *const *f = c->field; f && *f; f++)
        hash_text(h, *f);
    if (c->functions)
        hash_bytes(h, c->functions->code, c->functions->code_bytes);
    for (const char *const *f = c->files; *f; f++)
        hone_try(hash_file(h, c, *f, err));
    return c->val_file ? hash_file(h, c, c->val_file, err) : HONE_OK;
}

static hone_status hash_all(EVP_MD_CTX *h, hone_dataset *d,
                            const hone_data_config *c, const hone_tokens *t,
                            hone_err *err)
{
    for (; c; c = c->next) {
        hone_shape *shape;
        hone_status status;

        hone_try(hone_shape_open(&shape, c, t, err));
        if (!hone_shape_trains(shape))
            d->untrained = hone_text(&d->arena, c->shape);
        status = hash_source(h, c, shape, t, err);
        hone_shape_close(shape);
        hone_try(status);
    }
    return HONE_OK;
}

static hone_status hash_data(hone_dataset *d, const hone_data_config *c,
                             const hone_tokens *t, hone_err *err)
{
    EVP_MD_CTX *h = EVP_MD_CTX_new();
    uint8_t digest[EVP_MAX_MD_SIZE];
    char hex[65];
    hone_status status;

    EVP_DigestInit_ex(h, EVP_sha256(), NULL);
    status = hash_all(h, d, c, t, err);
    EVP_DigestFinal_ex(h, digest, NULL);
    EVP_MD_CTX_free(h);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    d->hash = hone_text(&d->arena, hex);
    return status;
}

/* -------------------------------------------------------------- the cache */

const char *hone_cache_dir(hone_arena *a)
{
    static const struct {
        const char *variable, *below;
    } places[] = { { "HONE_CACHE", "" },
                   { "XDG_CACHE_HOME", "/hone" },
                   { "HOME", "/.cache/hone" } };

    for (int i = 0; i < 3; i++) {
        const char *value = getenv(places[i].variable);
        if (value && value[0])
            return hone_format_text(a, "%s%s", value, places[i].below);
    }
    return hone_format_text(a, "/tmp/hone-%ld", (long)getuid());
}

static hone_status make_folder(hone_dataset *d, const char *path,
                               hone_err *err)
{
    char *part = hone_text(&d->arena, path);

    for (char *at = part + 1;; at++) {
        char c = *at;

        if (c && c != '/')
            continue;
        *at = 0;
        if (mkdir(part, 0777) && errno != EEXIST)
            return hone_fail(err, HONE_EIO,
                             "%s: %s; set HONE_CACHE to a folder for prepared "
                             "data", part, strerror(errno));
        *at = c;
        if (!c)
            return HONE_OK;
    }
}

/* ---------------------------------------------------------------- opening */

static hone_status open_split(hone_dataset *d, hone_split *s,
                              const char *folder, const char *name,
                              hone_err *err)
{
    const hone_shard_head *h;

    s->path = hone_format_text(&d->arena, "%s/%s.shard", folder, name);
    hone_try(hone_shard_open(&s->shard, &d->arena, s->path, err));
    h = s->shard.head;
    s->rows = (int64_t)h->rows;
    s->tokens = (int64_t)h->tokens;
    s->target_tokens = (int64_t)h->targets;
    s->cut = (int64_t)h->counts.cut;
    s->skipped = (int64_t)h->counts.skipped;
    s->length = s->shard.length;
    s->targets = s->shard.targets;
    return HONE_OK;
}

static hone_status open_both(hone_dataset *d, const char *folder, hone_err *err)
{
    hone_try(open_split(d, &d->train, folder, "train", err));
    return open_split(d, &d->val, folder, "val", err);
}

static void close_both(hone_dataset *d)
{
    hone_split *splits[] = { &d->train, &d->val };

    for (int i = 0; i < 2; i++)
        if (splits[i]->shard.map)
            hone_shard_close(&splits[i]->shard);
}

/* What was prepared before, if it is whole. The source is at hand, so damage
 * costs time only; with broken = "skip" frames are looked at as well. */
static int open_cached(hone_dataset *d, const hone_data_config *c,
                       const char *folder)
{
    hone_err err;
    hone_status status = open_both(d, folder, &err);

    if (status == HONE_OK && c->skip_broken)
        status = hone_shard_verify(&d->train.shard, &err);
    if (status == HONE_OK && c->skip_broken)
        status = hone_shard_verify(&d->val.shard, &err);
    if (status == HONE_OK) {
        hone_prep_state_remove(folder); /* of one who was killed at the end */
        return 1;
    }
    if (status == HONE_EINVAL && !d->warned++) {
        char *cure = strrchr(err.msg, ';');
        if (cure)
            *cure = 0;
        hone_log(HONE_LOG_WARN, "%s; preparing it again", err.msg);
    }
    close_both(d);
    return 0;
}

static void say_counts(const hone_split *s, const char *name)
{
    const hone_shard_counts *c = &s->shard.head->counts;
    char more[256] = "";
    struct {
        uint64_t n;
        const char *what;
    } parts[] = { { c->cut, "cut" }, { c->split, "split" },
                  { c->skipped, "left out" },
                  { c->dropped, "of these too long" },
                  { c->broken, "of these broken" } };
    size_t at = 0;

    for (int i = 0; i < 5; i++)
        if (parts[i].n && at < sizeof more)
            at += (size_t)snprintf(more + at, sizeof more - at, "%s%llu %s",
                                   at ? ", " : "; ",
                                   (unsigned long long)parts[i].n,
                                   parts[i].what);
    hone_log(HONE_LOG_NOTE, "%s: %lld rows, %lld tokens, %lld of them "
             "targets%s", name, (long long)s->rows, (long long)s->tokens,
             (long long)s->target_tokens, more);
}

/* ---------------------------------------------------------------- sources */

typedef struct {
    const hone_data_config *config[HONE_MOST_SOURCES];
    int count;
} source_list;

static source_list list_sources(const hone_data_config *c)
{
    source_list l = { .count = 0 };

    for (; c && l.count < HONE_MOST_SOURCES; c = c->next)
        l.config[l.count++] = c;
    return l;
}

/* The first row of the training half that comes from file FILE or one behind
 * it: rows lie in the order of the files. */
static int64_t first_row_from(const hone_split *s, int file)
{
    int64_t low = 0, high = s->rows;

    while (low < high) {
        int64_t middle = low + (high - low) / 2;

        if (hone_origin_file(s->shard.origin[middle]) < file)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* An epoch has as many rows as all sources together. Of each it takes its part
 * of the weights, whole rows by the largest remainder. */
static void share_by_weight(hone_share *share, const source_list *l,
                            int64_t rows)
{
    double rest[HONE_MOST_SOURCES], all = 0;
    int64_t left = rows;

    for (int i = 0; i < l->count; i++)
        all += l->config[i]->weight;
    for (int i = 0; i < l->count; i++) {
        double part = (double)rows * (l->config[i]->weight / all);

        share[i].take = (int64_t)part;
        rest[i] = part - (double)share[i].take;
        left -= share[i].take;
    }
    for (; left > 0; left--) {
        int most = 0;

        for (int i = 1; i < l->count; i++)
            if (rest[i] > rest[most])
                most = i;
        share[most].take++;
        rest[most] = -1;
    }
}

static hone_status share_rows(hone_dataset *d, const source_list *l,
                              hone_err *err)
{
    hone_split *s = &d->train;
    hone_share *share = hone_alloc(&d->arena, sizeof *share * (size_t)l->count);
    int file = 0;

    if (l->count < 2)
        return HONE_OK;
    for (int i = 0; i < l->count; i++) {
        share[i].first = first_row_from(s, file);
        for (const char *const *f = l->config[i]->files; *f; f++)
            file++;
        share[i].rows = first_row_from(s, file) - share[i].first;
        share[i].take = share[i].rows;
        if (!share[i].rows)
            return hone_fail(err, HONE_EINVAL, "%s: no row to train on; a "
                             "source of a mix needs one",
                             l->config[i]->files[0]);
    }
    if (l->config[0]->weight > 0)
        share_by_weight(share, l, s->rows);
    for (int i = 0; i < l->count; i++)
        if (!share[i].take)
            return hone_fail(err, HONE_EINVAL, "%s: its weight %g is less than "
                             "a row in an epoch of %lld",
                             l->config[i]->files[0], l->config[i]->weight,
                             (long long)s->rows);
    s->share = share;
    s->shares = l->count;
    return HONE_OK;
}

/* By one process at a time; the others find it done. */
static hone_status make_data(hone_dataset *d, const source_list *l,
                             const hone_tokens *t, const struct stat *found,
                             const char *folder, hone_err *err)
{
    hone_status status = HONE_OK;
    int lock;

    hone_try(make_folder(d, folder, err));
    hone_try(hone_prep_lock(folder, &lock, err));
    if (!open_cached(d, l->config[0], folder)) {
        status = hone_dataset_prepare(l->config, l->count, t, found, folder,
                                      err);
        if (status == HONE_OK)
            status = open_both(d, folder, err);
    }
    close(lock);
    return status;
}

static void say_sources(const hone_dataset *d, const source_list *l)
{
    const hone_split *s = &d->train;

    for (int i = 0; i < s->shares; i++)
        hone_log(HONE_LOG_NOTE, "%s%s: %lld of %lld rows of an epoch, from "
                 "%lld", l->config[i]->files[0],
                 l->config[i]->files[1] ? "..." : "",
                 (long long)s->share[i].take,
                 (long long)hone_split_epoch(s), (long long)s->share[i].rows);
}

static hone_status open_data(hone_dataset *d, const source_list *l,
                             const hone_tokens *t, hone_err *err)
{
    const struct stat *found = hone_prep_stand(&d->arena, l->config, l->count);
    const char *folder;

    for (int i = 0; i < 2 * l->count; i++)
        if (l->config[i / 2]->notes[i % 2])
            hone_log(HONE_LOG_NOTE, "%s", l->config[i / 2]->notes[i % 2]);
    hone_try(hash_data(d, l->config[0], t, err));
    folder = hone_format_text(&d->arena, "%s/data/%s",
                              hone_cache_dir(&d->arena), d->hash);
    if (!open_cached(d, l->config[0], folder))
        hone_try(make_data(d, l, t, found, folder, err));
    d->train.files = d->val.files = hone_prep_files(&d->arena, l->config,
                                                    l->count);
    hone_try(share_rows(d, l, err));
    say_counts(&d->train, "train");
    if (d->val.rows || d->val.skipped)
        say_counts(&d->val, "val");
    say_sources(d, l);
    return HONE_OK;
}

hone_status hone_dataset_open(hone_dataset *d, const hone_recipe *r,
                              const hone_tokens *t, hone_err *err)
{
    source_list l = list_sources(&r->data);
    hone_status status;

    memset(d, 0, sizeof *d);
    status = open_data(d, &l, t, err);
    if (status != HONE_OK)
        hone_dataset_close(d);
    return status;
}

void hone_dataset_close(hone_dataset *d)
{
    close_both(d);
    hone_arena_free(&d->arena);
}

/* -------------------------------------------------------------- vocabulary */

static hone_status check_row(const hone_split *s, int64_t row,
                             const int32_t *ids, int64_t vocab, hone_err *err)
{
    char where[500];
    int32_t i = 0;

    while (i < s->length[row] && ids[i] < vocab)
        i++;
    if (i == s->length[row])
        return HONE_OK;
    hone_split_name(s, row, where, sizeof where);
    return hone_fail(err, HONE_EINVAL, "%s: token id %d is beyond the model's "
                     "vocabulary of %lld ids (vocab_size); the tokenizer has "
                     "%u: if it, or what made the rows, is another model's, "
                     "take the model's own; else resize the model's embeddings",
                     where, (int)ids[i], (long long)vocab,
                     (unsigned)s->shard.head->vocab);
}

/* What cannot be read is for the loader to speak of. */
static hone_status check_rows(const hone_split *s, int64_t vocab,
                              hone_err *err)
{
    size_t longest = (size_t)s->shard.max_length;
    hone_arena a = { 0 };
    int32_t *ids = hone_alloc(&a, longest * sizeof *ids);
    uint8_t *mask = hone_alloc(&a, longest);
    hone_row_reader *reader;
    hone_status status;
    void *memory = NULL;

    if (posix_memalign(&memory, 64, (size_t)hone_row_reader_bytes(&s->shard)))
        status = hone_fail(err, HONE_ENOMEM, "out of host memory");
    else
        status = hone_row_reader_open(&reader, &s->shard, memory, err);
    for (int64_t i = 0; i < s->rows && !status && !hone_interrupted(); i++)
        if (hone_row_read(reader, i, ids, mask, NULL) == HONE_OK)
            status = check_row(s, i, ids, vocab, err);
    free(memory);
    hone_arena_free(&a);
    return status;
}

hone_status hone_dataset_check_ids(const hone_dataset *d, int64_t vocab,
                                   hone_err *err)
{
    const hone_split *splits[] = { &d->train, &d->val };

    for (int i = 0; i < 2; i++)
        if (splits[i]->rows && splits[i]->shard.head->vocab > vocab)
            hone_try(check_rows(splits[i], vocab, err));
    return HONE_OK;
}

/* ---------------------------------------------------------------- lengths */

hone_lengths hone_dataset_lengths(const hone_dataset *d, int64_t batch)
{
    const hone_split *splits[] = { &d->train, &d->val };
    hone_lengths all = { .size = sizeof all, .batch = batch };

    for (int i = 0; i < 2; i++) {
        const hone_split *s = splits[i];

        if (!s->rows)
            continue;
        if (!all.rows || s->shard.min_length < all.min)
            all.min = s->shard.min_length;
        if (s->shard.max_length > all.max)
            all.max = s->shard.max_length;
        all.rows += s->rows;
        all.total += s->tokens;
        all.squares += s->shard.squares;
    }
    return all;
}

void hone_split_name(const hone_split *s, int64_t row, char *to, size_t bytes)
{
    uint64_t origin = s->shard.origin[row];
    int file = 0;

    while (s->files[file] && file < hone_origin_file(origin))
        file++;
    snprintf(to, bytes, "%s: row %lld", s->files[file] ? s->files[file] : "?",
             (long long)hone_origin_row(origin));
}

void hone_dataset_longest(const hone_dataset *d, char *to, size_t bytes)
{
    int in_val = d->val.shard.max_length > d->train.shard.max_length;
    const hone_split *s = in_val ? &d->val : &d->train;
    int64_t row = 0;

    for (int64_t i = 1; i < s->rows; i++)
        if (s->length[i] > s->length[row])
            row = i;
    hone_split_name(s, row, to, bytes);
}

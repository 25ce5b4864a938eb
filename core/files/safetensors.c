/* SPDX-License-Identifier: MIT
 *
 * safetensors.c -- the reader, see safetensors.h. The header is read with
 * pread(2), without read-ahead, and everything in it is checked before an
 * address is made from it; the weights are mapped and not touched here.
 *
 *     u64 N, little-endian | N bytes of JSON | data
 *     { "name": { "dtype": "F32", "shape": [2,3], "data_offsets": [0,24] } }
 */
#include "safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "option.h"

enum {
    HEADER_MAX = 100000000, /* the format's own limit */
    NAME_MAX_BYTES = 512,
    SHARDS_MAX = 4096
};

#define DAMAGED "the file is damaged or cut short: fetch it again"

struct hone_mapping {
    void *base; /* NULL: not open */
    size_t bytes;
    int fd;
};

/* One file while its header is read. */
typedef struct {
    hone_weights *weights;
    const char *path;
    int file; /* its index */
    int cap;  /* of weights->list */
    const char *data;
    int64_t data_bytes;
} reader;

/* The dtypes of the format that have a storage here. */
static hone_storage storage_of(const char *dtype)
{
    static const struct {
        const char *name;
        hone_storage storage;
    } table[] = { { "F32", HONE_F32 }, { "BF16", HONE_BF16 },
                  { "F16", HONE_F16 }, { "F64", HONE_F64 },
                  { "I32", HONE_I32 }, { "I64", HONE_I64 },
                  { "U8", HONE_U8 } };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i].name, dtype))
            return table[i].storage;
    return HONE_NOTHING;
}

/* Makes text from a file safe for a message of one line. */
static void make_plain(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

static int is_printable(const char *name)
{
    for (; *name; name++)
        if ((unsigned char)*name < 0x20 || *name == 0x7f)
            return 0;
    return 1;
}

static int by_address(const void *a, const void *b)
{
    const hone_weight *x = a, *y = b;

    if (x->data != y->data)
        return (const char *)x->data < (const char *)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const hone_weight *)a)->name,
                  ((const hone_weight *)b)->name);
}

static hone_status fail_json(const char *path, const char *what,
                             json_error_t *why, hone_err *err)
{
    make_plain(why->text);
    return hone_fail(err, HONE_EINVAL, "%s: %s is not valid JSON: %s; %s",
                     path, what, why->text, DAMAGED);
}

/* ------------------------------------------------------------ one tensor */

static hone_status read_shape(const reader *r, const char *name,
                              const json_t *shape, hone_type *type,
                              int64_t *bytes, hone_err *err)
{
    size_t rank = json_array_size(shape);

    if (!json_is_array(shape))
        return hone_fail(err, HONE_EINVAL, "%s: tensor '%s': no shape; %s",
                         r->path, name, DAMAGED);
    if (rank > HONE_RANK)
        return hone_fail(err, HONE_EINVAL,
                         "%s: tensor '%s' has %zu dimensions; at most %d are "
                         "supported",
                         r->path, name, rank, HONE_RANK);
    type->rank = (int)rank;
    *bytes = (int64_t)hone_parts(type->storage)[0].bytes;
    for (int i = 0; i < HONE_RANK; i++)
        type->dim[i] = 1;
    for (size_t i = 0; i < rank; i++) {
        json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return hone_fail(err, HONE_EINVAL,
                             "%s: tensor '%s': dimension %zu is not a whole "
                             "number of at least 0; %s",
                             r->path, name, i, DAMAGED);
        type->dim[i] = json_integer_value(dim);
        if (__builtin_mul_overflow(*bytes, type->dim[i], bytes))
            return hone_fail(err, HONE_EINVAL,
                             "%s: tensor '%s': its shape overflows; %s",
                             r->path, name, DAMAGED);
    }
    return HONE_OK;
}

static hone_status read_tensor(reader *r, const char *name, const json_t *info,
                               hone_err *err)
{
    const char *dtype = json_string_value(json_object_get(info, "dtype"));
    const json_t *range = json_object_get(info, "data_offsets");
    const json_t *from = json_array_get(range, 0);
    const json_t *to = json_array_get(range, 1);
    hone_weights *w = r->weights;
    hone_weight *t;
    hone_type type = { 0 };
    int64_t bytes = 0, start, end;

    if (strlen(name) > NAME_MAX_BYTES || !is_printable(name))
        return hone_fail(err, HONE_EINVAL,
                         "%s: tensor %d: its name is over %d bytes long or "
                         "has control characters; %s",
                         r->path, w->count, NAME_MAX_BYTES, DAMAGED);
    if (!dtype)
        return hone_fail(err, HONE_EINVAL, "%s: tensor '%s': no dtype; %s",
                         r->path, name, DAMAGED);
    type.storage = storage_of(dtype);
    if (type.storage == HONE_NOTHING)
        return hone_fail(err, HONE_EINVAL,
                         "%s: tensor '%s': dtype '%.16s' is not supported; "
                         "convert it to F32, F16 or BF16",
                         r->path, name, is_printable(dtype) ? dtype : "?");
    hone_try(read_shape(r, name, json_object_get(info, "shape"), &type, &bytes,
                        err));
    if (json_array_size(range) != 2 || !json_is_integer(from) ||
        !json_is_integer(to))
        return hone_fail(err, HONE_EINVAL,
                         "%s: tensor '%s': data_offsets are not two whole "
                         "numbers; %s",
                         r->path, name, DAMAGED);
    start = json_integer_value(from);
    end = json_integer_value(to);
    if (start < 0 || end < start || end > r->data_bytes)
        return hone_fail(err, HONE_EINVAL,
                         "%s: tensor '%s': bytes %lld to %lld lie outside the "
                         "%lld bytes of data; %s",
                         r->path, name, (long long)start, (long long)end,
                         (long long)r->data_bytes, DAMAGED);
    if (end - start != bytes)
        return hone_fail(err, HONE_EINVAL,
                         "%s: tensor '%s' takes %lld bytes, its shape needs "
                         "%lld; %s",
                         r->path, name, (long long)(end - start),
                         (long long)bytes, DAMAGED);
    hone_push(&w->arena, w->list, w->count, r->cap);
    t = &w->list[w->count++];
    t->name = hone_text(&w->arena, name);
    t->type = type;
    t->data = r->data + start;
    t->bytes = bytes;
    t->file = r->file;
    return HONE_OK;
}

/* -------------------------------------------------------------- one file */

/* No byte of the data belongs to two tensors or to none. */
static hone_status check_cover(const reader *r, int first, hone_err *err)
{
    hone_weights *w = r->weights;
    const char *at = r->data;

    if (w->count > first)
        qsort(w->list + first, (size_t)(w->count - first), sizeof *w->list,
              by_address);
    for (int i = first; i < w->count; i++) {
        const hone_weight *t = &w->list[i];
        if ((const char *)t->data != at)
            return hone_fail(err, HONE_EINVAL,
                             "%s: tensor '%s' starts at byte %lld of the "
                             "data, %s; %s",
                             r->path, t->name,
                             (long long)((const char *)t->data - r->data),
                             (const char *)t->data < at
                                 ? "inside the one before it"
                                 : "behind a hole",
                             DAMAGED);
        at += t->bytes;
    }
    if (at != r->data + r->data_bytes)
        return hone_fail(err, HONE_EINVAL,
                         "%s: %lld bytes behind the last tensor%s%s%s belong "
                         "to none; %s",
                         r->path, (long long)(r->data + r->data_bytes - at),
                         w->count > first ? " '" : "",
                         w->count > first ? w->list[w->count - 1].name : "",
                         w->count > first ? "'" : "", DAMAGED);
    return HONE_OK;
}

static hone_status check_metadata(const reader *r, json_t *metadata,
                                  hone_err *err)
{
    const char *key;
    json_t *value;

    json_object_foreach(metadata, key, value)
        if (!json_is_string(value))
            return hone_fail(err, HONE_EINVAL,
                             "%s: __metadata__ holds a value that is not "
                             "text; %s",
                             r->path, DAMAGED);
    return json_is_object(metadata)
               ? HONE_OK
               : hone_fail(err, HONE_EINVAL,
                           "%s: __metadata__ is not an object; %s", r->path,
                           DAMAGED);
}

static hone_status read_tensors(reader *r, const char *text, size_t bytes,
                                hone_err *err)
{
    json_error_t why;
    json_t *root = NULL, *info;
    const char *name;
    int first = r->weights->count;
    hone_status s = HONE_OK;

    if (!bytes || text[0] != '{')
        return hone_fail(err, HONE_EINVAL,
                         "%s: its header does not start with '{': not a "
                         "safetensors file",
                         r->path);
    root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return fail_json(r->path, "its header", &why, err);
    json_object_foreach(root, name, info) {
        if (!strcmp(name, "__metadata__"))
            s = check_metadata(r, info, err);
        else
            s = read_tensor(r, name, info, err);
        if (s != HONE_OK)
            break;
    }
    json_decref(root);
    return s == HONE_OK ? check_cover(r, first, err) : s;
}

static hone_status read_all(int fd, void *to, size_t bytes, int64_t at,
                            const char *path, hone_err *err)
{
    char *p = to;

    while (bytes > 0) {
        ssize_t n = pread(fd, p, bytes, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return hone_fail(err, HONE_EIO, "%s: cannot read: %s", path,
                             n ? strerror(errno) : "it became shorter");
        p += n;
        at += n;
        bytes -= (size_t)n;
    }
    return HONE_OK;
}

static hone_status open_file(const char *path, int *fd, int64_t *bytes,
                             hone_err *err)
{
    struct stat st;

    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return hone_fail(err, errno == ENOENT ? HONE_EINVAL : HONE_EIO,
                         "%s: cannot open: %s", path, strerror(errno));
    if (fstat(*fd, &st) || !S_ISREG(st.st_mode)) {
        close(*fd);
        return hone_fail(err, HONE_EINVAL, "%s: not a file", path);
    }
    *bytes = st.st_size;
    return HONE_OK;
}

/* Length of the header, checked against the size of the file. */
static hone_status read_length(int fd, const char *path, int64_t file_bytes,
                               int64_t *header, hone_err *err)
{
    unsigned char raw[8];
    uint64_t n = 0;

    if (file_bytes < 8)
        return hone_fail(err, HONE_EINVAL,
                         "%s: %lld bytes are too few for a safetensors "
                         "file; %s",
                         path, (long long)file_bytes, DAMAGED);
    hone_try(read_all(fd, raw, sizeof raw, 0, path, err));
    for (int i = 7; i >= 0; i--)
        n = n << 8 | raw[i];
    if (n > HEADER_MAX)
        return hone_fail(err, HONE_EINVAL,
                         "%s: a header of %llu bytes, the limit is %d: not a "
                         "safetensors file, or damaged",
                         path, (unsigned long long)n, HEADER_MAX);
    if ((int64_t)n > file_bytes - 8)
        return hone_fail(err, HONE_EINVAL,
                         "%s: a header of %llu bytes in a file of %lld; %s",
                         path, (unsigned long long)n, (long long)file_bytes,
                         DAMAGED);
    *header = (int64_t)n;
    return HONE_OK;
}

/* Maps a file and appends its tensors to the list. */
static hone_status add_file(reader *r, hone_err *err)
{
    struct hone_mapping *map = &r->weights->maps[r->file];
    char *text = NULL;
    int64_t bytes = 0, header = 0;
    int fd = -1;
    hone_status s;

    hone_try(open_file(r->path, &fd, &bytes, err));
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* no read-ahead of weights */
    s = read_length(fd, r->path, bytes, &header, err);
    if (s != HONE_OK)
        goto out;
    text = malloc((size_t)header + 1);
    if (!text) {
        s = hone_fail(err, HONE_ENOMEM, "%s: no memory for its header",
                      r->path);
        goto out;
    }
    s = read_all(fd, text, (size_t)header, 8, r->path, err);
    if (s != HONE_OK)
        goto out;
    map->base = mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map->base == MAP_FAILED) {
        map->base = NULL;
        s = hone_fail(err, HONE_EIO, "%s: cannot map: %s", r->path,
                      strerror(errno));
        goto out;
    }
    map->bytes = (size_t)bytes;
    map->fd = fd;
    fd = -1;
    posix_fadvise(map->fd, 0, 0, POSIX_FADV_NORMAL);
    r->data = (const char *)map->base + 8 + header;
    r->data_bytes = bytes - 8 - header;
    s = read_tensors(r, text, (size_t)header, err);
out:
    free(text);
    if (fd >= 0)
        close(fd);
    return s;
}

/* ---------------------------------------------------------------- shards */

/* A shard lies in the folder of its index, nowhere else. */
static int is_safe_name(const char *name)
{
    return *name && strlen(name) < 256 && is_printable(name) &&
           !strchr(name, '/') && !strchr(name, '\\') && strcmp(name, ".") &&
           strcmp(name, "..");
}

/* The distinct files that a weight map names, sorted, into w->files. */
static hone_status list_shards(hone_weights *w, json_t *map, const char *path,
                               hone_err *err)
{
    const char *name;
    json_t *file;
    size_t n = 0;

    if (!json_object_size(map))
        return hone_fail(err, HONE_EINVAL, "%s: no weight_map; %s", path,
                         DAMAGED);
    w->files = hone_alloc(&w->arena, json_object_size(map) * sizeof *w->files);
    json_object_foreach(map, name, file) {
        if (!json_is_string(file) || !is_safe_name(json_string_value(file)))
            return hone_fail(err, HONE_EINVAL,
                             "%s: tensor '%.200s': its shard '%.200s' is not "
                             "the name of a file in this folder",
                             path, is_printable(name) ? name : "?",
                             json_is_string(file) &&
                                     is_printable(json_string_value(file))
                                 ? json_string_value(file)
                                 : "?");
        w->files[n++] = hone_text(&w->arena, json_string_value(file));
    }
    qsort(w->files, n, sizeof *w->files, hone_by_text);
    for (size_t i = 0; i < n; i++)
        if (!i || strcmp(w->files[i], w->files[w->file_count - 1]))
            w->files[w->file_count++] = w->files[i];
    if (w->file_count > SHARDS_MAX)
        return hone_fail(err, HONE_EINVAL, "%s: %d shards, at most %d", path,
                         w->file_count, SHARDS_MAX);
    return HONE_OK;
}

/* Every tensor of the index is where it says, none is in two shards. */
static hone_status check_index(const hone_weights *w, json_t *map,
                               const char *path, hone_err *err)
{
    const char *name;
    json_t *file;

    json_object_foreach(map, name, file) {
        const hone_weight *t = hone_weights_find(w, name);
        if (!t || strcmp(w->files[t->file], json_string_value(file)))
            return hone_fail(err, HONE_EINVAL,
                             "%s: tensor '%.200s' is not in its shard %s; %s",
                             path, is_printable(name) ? name : "?",
                             json_string_value(file), DAMAGED);
    }
    return HONE_OK;
}

static hone_status sort_names(hone_weights *w, const char *path, hone_err *err)
{
    if (w->count)
        qsort(w->list, (size_t)w->count, sizeof *w->list, by_name);
    for (int i = 1; i < w->count; i++)
        if (!strcmp(w->list[i - 1].name, w->list[i].name))
            return hone_fail(err, HONE_EINVAL,
                             "%s: tensor '%s' is in %s and in %s; %s", path,
                             w->list[i].name, w->files[w->list[i - 1].file],
                             w->files[w->list[i].file], DAMAGED);
    return HONE_OK;
}

/* Opens w->files, all in FOLDER. */
static hone_status add_files(hone_weights *w, const char *folder,
                             hone_err *err)
{
    reader r = { .weights = w };

    w->maps = hone_alloc(&w->arena, (size_t)w->file_count * sizeof *w->maps);
    for (int i = 0; i < w->file_count; i++) {
        r.file = i;
        r.path = *folder ? hone_format_text(&w->arena, "%s/%s", folder,
                                            w->files[i])
                         : w->files[i];
        hone_try(add_file(&r, err));
    }
    return sort_names(w, *folder ? folder : w->files[0], err);
}

static hone_status open_index(hone_weights *w, const char *folder,
                              const char *path, hone_err *err)
{
    json_error_t why;
    json_t *root, *map;
    struct stat st;
    hone_status s;

    if (stat(path, &st) == 0 && st.st_size > HEADER_MAX)
        return hone_fail(err, HONE_EINVAL, "%s: larger than %d bytes", path,
                         HEADER_MAX);
    root = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return fail_json(path, "it", &why, err);
    map = json_object_get(root, "weight_map");
    s = list_shards(w, map, path, err);
    if (s == HONE_OK)
        s = add_files(w, folder, err);
    if (s == HONE_OK)
        s = check_index(w, map, path, err);
    json_decref(root);
    return s;
}

/* ------------------------------------------------------------- the whole */

static hone_status open_single(hone_weights *w, const char *folder,
                               const char *name, hone_err *err)
{
    w->files = hone_alloc(&w->arena, sizeof *w->files);
    w->files[0] = hone_text(&w->arena, name);
    w->file_count = 1;
    return add_files(w, folder, err);
}

static hone_status open_any(hone_weights *w, const char *path,
                            const char *stem, hone_err *err)
{
    struct stat st;
    const char *name, *full;

    if (stat(path, &st))
        return hone_fail(err, HONE_EINVAL, "%s: %s; get one with: hone fetch "
                         "ORG/NAME", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return open_single(w, "", path, err);
    name = hone_format_text(&w->arena, "%s.safetensors", stem);
    full = hone_format_text(&w->arena, "%s/%s", path, name);
    if (!access(full, F_OK))
        return open_single(w, path, name, err);
    full = hone_format_text(&w->arena, "%s/%s.index.json", path, name);
    if (!access(full, F_OK))
        return open_index(w, path, full, err);
    return hone_fail(err, HONE_EINVAL,
                     "%s: neither %s nor %s.index.json in it; weights must be "
                     "safetensors",
                     path, name, name);
}

hone_status hone_weights_open(hone_weights *w, const char *path,
                              const char *stem, hone_err *err)
{
    hone_status s;

    memset(w, 0, sizeof *w);
    s = open_any(w, path, stem, err);
    if (s == HONE_OK)
        s = hone_weights_fold(w, path, err);
    if (s != HONE_OK)
        hone_weights_close(w);
    return s;
}

const hone_weight *hone_weights_find(const hone_weights *w, const char *name)
{
    hone_weight key = { .name = name };

    return w->count ? bsearch(&key, w->list, (size_t)w->count,
                              sizeof *w->list, by_name)
                    : NULL;
}

hone_status hone_weights_read(const hone_weights *w, const hone_weight *t,
                              int64_t at, int64_t bytes, void *to,
                              hone_err *err)
{
    const struct hone_mapping *map = &w->maps[t->file];

    at += (const char *)t->data - (const char *)map->base;
    return read_all(map->fd, to, (size_t)bytes, at, w->files[t->file], err);
}

void hone_weights_close(hone_weights *w)
{
    for (int i = 0; w->maps && i < w->file_count; i++)
        if (w->maps[i].base) {
            munmap(w->maps[i].base, w->maps[i].bytes);
            close(w->maps[i].fd);
        }
    hone_arena_free(&w->arena);
    memset(w, 0, sizeof *w);
}

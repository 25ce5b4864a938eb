/* SPDX-License-Identifier: MIT
 *
 * folder.c -- see folder.h. Files appear under their names once they are whole.
 */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"

enum { PATH_BYTES = 4096, BLOCK_BYTES = 8 << 20 };

#define INDEX "model.safetensors.index.json"

/* What lies beside the weights, where the source has it. */
static const char *const beside[] = {
    "generation_config.json", "tokenizer.json",
    "tokenizer.model",    "tokenizer_config.json",   "special_tokens_map.json",
    "added_tokens.json",  "vocab.json",              "merges.txt",
    "chat_template.json", "chat_template.jinja",
};

static const char *const dtypes[HONE_STORAGES] = {
    [HONE_F32] = "F32", [HONE_BF16] = "BF16", [HONE_F16] = "F16",
    [HONE_F64] = "F64", [HONE_I32] = "I32",   [HONE_I64] = "I64",
    [HONE_U8] = "U8",
};

/* The tensors of one file, in the order of its bytes. */
typedef struct {
    const hone_export *from;
    const folder_way *way;
    const char *file;
    uint32_t *list;
    uint32_t count;
} shard;

static int64_t bytes_of(const hone_export *e, uint32_t i)
{
    hone_type t = e->type(e->self, i);

    return hone_part_bytes(t.storage, 0, hone_count(&t));
}

static hone_status fail_io(const char *path, const char *what, hone_err *err)
{
    return hone_fail(err, HONE_EIO, "%s: cannot %s: %s", path, what,
                     strerror(errno));
}

/* --------------------------------------------------------- plain tensors */

uint32_t folder_plain(const hone_export *e, uint32_t i, folder_entry *out)
{
    hone_type t = e->type(e->self, i);

    *out = (folder_entry){ .dtype = dtypes[t.storage], .rank = t.rank,
                           .bytes = bytes_of(e, i) };
    snprintf(out->name, sizeof out->name, "%s", e->name(e->self, i));
    memcpy(out->dim, t.dim, sizeof out->dim);
    return 1;
}

hone_status folder_write_plain(const hone_export *e, uint32_t i, FILE *f,
                               hone_err *err)
{
    int64_t bytes = bytes_of(e, i);
    char *block = malloc(BLOCK_BYTES);
    hone_status s = HONE_OK;

    if (!block)
        return hone_fail(err, HONE_ENOMEM, "no memory for a block of 8 MiB");
    for (int64_t at = 0; at < bytes && s == HONE_OK; at += BLOCK_BYTES) {
        int64_t n = bytes - at < BLOCK_BYTES ? bytes - at : BLOCK_BYTES;

        s = e->read(e->self, i, at, n, block, err);
        if (s == HONE_OK)
            (void)fwrite(block, 1, (size_t)n, f); /* the caller looks */
    }
    free(block);
    return s;
}

int folder_no_group(const hone_export *e, uint32_t i)
{
    (void)e;
    (void)i;
    return 0;
}

/* ------------------------------------------------------------- file by file */

static hone_status open_part(const char *path, char *part, FILE **f,
                             hone_err *err)
{
    snprintf(part, PATH_BYTES, "%s.part", path);
    *f = fopen(part, "wb");
    return *f ? HONE_OK : fail_io(part, "create", err);
}

/* Closes, and renames if all went well so far. */
static hone_status close_part(FILE *f, const char *part, const char *path,
                              hone_status s, hone_err *err)
{
    if (s == HONE_OK && (fflush(f) || fsync(fileno(f))))
        s = fail_io(path, "write", err);
    if (fclose(f) && s == HONE_OK)
        s = fail_io(path, "close", err);
    if (s == HONE_OK && rename(part, path))
        s = fail_io(path, "rename into place", err);
    if (s != HONE_OK)
        unlink(part);
    return s;
}

static hone_status copy_beside(const hone_export *e, const char *name,
                               hone_err *err)
{
    char from[PATH_BYTES], path[PATH_BYTES - 8], part[PATH_BYTES];
    char block[65536];
    hone_status s = HONE_OK;
    FILE *in, *out;
    size_t n;

    snprintf(from, sizeof from, "%s/%s", e->model, name);
    snprintf(path, sizeof path, "%s/%s", e->out, name);
    in = fopen(from, "rb");
    if (!in)
        return errno == ENOENT ? HONE_OK : fail_io(from, "open", err);
    s = open_part(path, part, &out, err);
    if (s == HONE_OK) {
        while ((n = fread(block, 1, sizeof block, in)) > 0 && s == HONE_OK)
            if (fwrite(block, 1, n, out) != n)
                s = fail_io(path, "write", err);
        if (ferror(in) && s == HONE_OK)
            s = fail_io(from, "read", err);
        s = close_part(out, part, path, s, err);
    }
    fclose(in);
    return s;
}

static hone_status write_config(const hone_export *e, const folder_way *way,
                                hone_err *err)
{
    char path[PATH_BYTES - 8], part[PATH_BYTES];
    json_error_t why;
    json_t *config;
    hone_status s;
    FILE *f;

    snprintf(path, sizeof path, "%s/config.json", e->model);
    config = json_load_file(path, 0, &why);
    if (!config)
        return hone_fail(err, HONE_EINVAL, "%s: %s", path, why.text);
    if (!way->quantization && !json_object_get(config, "quantization_config")) {
        json_decref(config);
        return copy_beside(e, "config.json", err); /* byte by byte */
    }
    json_object_del(config, "quantization_config");
    if (way->quantization)
        json_object_set_new(config, "quantization_config",
                            way->quantization());
    snprintf(path, sizeof path, "%s/config.json", e->out);
    s = open_part(path, part, &f, err);
    if (s == HONE_OK) {
        if (json_dumpf(config, f, JSON_INDENT(2)))
            s = fail_io(path, "write", err);
        s = close_part(f, part, path, s, err);
    }
    json_decref(config);
    return s;
}

/* chat_templates/NAME.jinja, which templates for tools are. */
static hone_status copy_templates(const hone_export *e, hone_err *err)
{
    char path[PATH_BYTES], name[300];
    hone_status s = HONE_OK;
    struct dirent *d;
    DIR *from;

    snprintf(path, sizeof path, "%s/chat_templates", e->model);
    from = opendir(path);
    if (!from)
        return HONE_OK;
    snprintf(path, sizeof path, "%s/chat_templates", e->out);
    if (mkdir(path, 0777) && errno != EEXIST)
        s = fail_io(path, "create", err);
    while (s == HONE_OK && (d = readdir(from))) {
        size_t n = strlen(d->d_name);

        snprintf(name, sizeof name, "chat_templates/%s", d->d_name);
        if (n > 6 && !strcmp(d->d_name + n - 6, ".jinja"))
            s = copy_beside(e, name, err);
    }
    closedir(from);
    return s;
}

/* -------------------------------------------------------------- one shard */

/* Wide elements first, so that every tensor is aligned to its own; behind them
 * what becomes a group, which is a multiple of 8 bytes. */
static void sort_by_width(shard *s)
{
    uint32_t *sorted = malloc((s->count + 1) * sizeof *sorted);
    uint32_t n = 0;

    if (!sorted)
        return; /* readers cope with any order */
    for (uint32_t width = 8; width > 0; width /= 2)
        for (uint32_t i = 0; i < s->count; i++) {
            hone_type t = s->from->type(s->from->self, s->list[i]);
            int is = hone_parts(t.storage)[0].bytes == width;
            if (is && !s->way->is_group(s->from, s->list[i]))
                sorted[n++] = s->list[i];
        }
    for (uint32_t i = 0; i < s->count; i++)
        if (s->way->is_group(s->from, s->list[i]))
            sorted[n++] = s->list[i];
    memcpy(s->list, sorted, n * sizeof *sorted);
    free(sorted);
}

static json_t *entry_info(const folder_entry *x, int64_t *at)
{
    json_t *shape = json_array();
    int64_t from = *at;

    *at += x->bytes;
    for (int k = 0; k < x->rank; k++)
        json_array_append_new(shape, json_integer(x->dim[k]));
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", x->dtype, "shape", shape,
                     "data_offsets", (json_int_t)from, (json_int_t)*at);
}

static hone_status write_header(const shard *s, FILE *f, hone_err *err)
{
    json_t *root = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    int64_t at = 0;
    char *text;
    size_t n;
    int ok;

    for (uint32_t i = 0; i < s->count; i++) {
        folder_entry x[FOLDER_ENTRIES];
        uint32_t entries = s->way->entries(s->from, s->list[i], x);

        for (uint32_t k = 0; k < entries; k++)
            json_object_set_new(root, x[k].name, entry_info(&x[k], &at));
    }
    text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text)
        return hone_fail(err, HONE_EINVAL,
                         "%s: a tensor's name is not valid UTF-8", s->file);
    n = strlen(text);
    ok = 1;
    for (int i = 0; i < 8; i++)
        ok &= fputc((int)((n + 7) / 8 * 8 >> 8 * i & 0xff), f) != EOF;
    ok &= fwrite(text, 1, n, f) == n;
    for (; n % 8; n++)
        ok &= fputc(' ', f) != EOF;
    free(text);
    return ok ? HONE_OK : fail_io(s->file, "write", err);
}

static hone_status write_tensors(const shard *s, FILE *f, hone_err *err)
{
    hone_status status = HONE_OK;

    for (uint32_t i = 0; i < s->count && status == HONE_OK; i++) {
        status = s->way->write(s->from, s->list[i], f, err);
        if (status == HONE_OK && ferror(f))
            status = fail_io(s->file, "write", err);
    }
    return status;
}

static hone_status write_shard(shard *s, hone_err *err)
{
    char path[PATH_BYTES - 8], part[PATH_BYTES];
    hone_status status;
    FILE *f;

    sort_by_width(s);
    snprintf(path, sizeof path, "%s/%s", s->from->out, s->file);
    hone_try(open_part(path, part, &f, err));
    status = write_header(s, f, err);
    if (status == HONE_OK)
        status = write_tensors(s, f, err);
    return close_part(f, part, path, status, err);
}

/* -------------------------------------------------------------- the layout */

/* name -> file as the source has it, or NULL for one file. A single file
 * wins over an index, as it does for Transformers. */
static hone_status read_layout(const hone_export *e, json_t **map,
                               hone_err *err)
{
    char path[PATH_BYTES];
    json_error_t why;
    json_t *root;

    *map = NULL;
    snprintf(path, sizeof path, "%s/model.safetensors", e->model);
    if (!access(path, F_OK))
        return HONE_OK;
    snprintf(path, sizeof path, "%s/" INDEX, e->model);
    root = json_load_file(path, 0, &why);
    if (!root)
        return hone_fail(err, HONE_EINVAL, "%s: %s", path, why.text);
    *map = json_incref(json_object_get(root, "weight_map"));
    json_decref(root);
    return *map ? HONE_OK
                : hone_fail(err, HONE_EINVAL, "%s: no weight_map", path);
}

/* A tensor that the index leaves out lies with the first one. */
static const char *file_of(const hone_export *e, uint32_t i, json_t *map)
{
    json_t *file = json_object_get(map, e->name(e->self, i));
    const char *name;

    if (!file)
        file = json_object_iter_value(json_object_iter(map));
    name = json_string_value(file);
    return name && !strchr(name, '/') ? name : NULL;
}

static hone_status write_index(const hone_export *e, const folder_way *way,
                               json_t *map, hone_err *err)
{
    char path[PATH_BYTES - 8], part[PATH_BYTES];
    json_t *root, *written = json_object();
    hone_status s;
    int64_t total = 0;
    FILE *f;

    for (uint32_t i = 0; i < e->count; i++) {
        folder_entry x[FOLDER_ENTRIES];
        uint32_t n = way->entries(e, i, x);

        for (uint32_t k = 0; k < n; k++) {
            total += x[k].bytes;
            json_object_set_new(written, x[k].name,
                                json_string(file_of(e, i, map)));
        }
    }
    snprintf(path, sizeof path, "%s/" INDEX, e->out);
    s = open_part(path, part, &f, err);
    if (s != HONE_OK) {
        json_decref(written);
        return s;
    }
    root = json_pack("{s:{s:I}, s:o}", "metadata", "total_size",
                     (json_int_t)total, "weight_map", written);
    s = json_dumpf(root, f, JSON_INDENT(2)) ? fail_io(path, "write", err)
                                            : HONE_OK;
    json_decref(root);
    return close_part(f, part, path, s, err);
}

/* Writes every file of the map; FILES of tensor i are compared as text. */
static hone_status write_shards(const hone_export *e, const folder_way *way,
                                const char **file, hone_err *err)
{
    shard s = { .from = e, .way = way };
    hone_status status = HONE_OK;

    s.list = malloc((e->count + 1) * sizeof *s.list);
    if (!s.list)
        return hone_fail(err, HONE_ENOMEM, "no memory for %u tensors",
                         e->count);
    for (uint32_t i = 0; i < e->count && status == HONE_OK; i++) {
        if (!file[i])
            continue; /* written with an earlier one */
        s.file = file[i];
        s.count = 0;
        for (uint32_t k = i; k < e->count; k++)
            if (file[k] && !strcmp(file[k], s.file)) {
                s.list[s.count++] = k;
                file[k] = NULL;
            }
        status = write_shard(&s, err);
    }
    free(s.list);
    return status;
}

static hone_status write_weights(const hone_export *e, const folder_way *way,
                                 json_t *map, hone_err *err)
{
    const char **file = malloc((e->count + 1) * sizeof *file);
    hone_status s = HONE_OK;

    if (!file)
        return hone_fail(err, HONE_ENOMEM, "no memory for %u tensors",
                         e->count);
    for (uint32_t i = 0; i < e->count && s == HONE_OK; i++) {
        file[i] = map ? file_of(e, i, map) : "model.safetensors";
        if (!file[i])
            s = hone_fail(err, HONE_EINVAL,
                          "%s/" INDEX ": tensor '%s': its shard is not the "
                          "name of a file",
                          e->model, e->name(e->self, i));
        else if (!dtypes[e->type(e->self, i).storage])
            s = hone_fail(err, HONE_ENOSUP,
                          "tensor '%s' has a storage that safetensors does "
                          "not know",
                          e->name(e->self, i));
    }
    if (s == HONE_OK)
        s = write_shards(e, way, file, err);
    if (s == HONE_OK && map)
        s = write_index(e, way, map, err);
    free(file);
    return s;
}

/* One file and shards side by side: tools would load the wrong one. */
static hone_status check_mixed(const hone_export *e, const char *other,
                               hone_err *err)
{
    char path[PATH_BYTES];

    snprintf(path, sizeof path, "%s/%s", e->out, other);
    return access(path, F_OK)
               ? HONE_OK
               : hone_fail(err, HONE_EINVAL,
                           "%s: another model lies in this folder: name an "
                           "empty one",
                           path);
}

hone_status folder_write(const hone_export *e, const folder_way *way,
                         hone_err *err)
{
    json_t *map = NULL;
    hone_status s;

    hone_try(read_layout(e, &map, err));
    s = check_mixed(e, map ? "model.safetensors" : INDEX, err);
    for (size_t i = 0; s == HONE_OK && i < sizeof beside / sizeof *beside; i++)
        s = copy_beside(e, beside[i], err);
    if (s == HONE_OK)
        s = copy_templates(e, err);
    if (s == HONE_OK)
        s = write_config(e, way, err);
    if (s == HONE_OK)
        s = write_weights(e, way, map, err);
    json_decref(map);
    return s;
}

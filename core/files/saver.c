/* SPDX-License-Identifier: MIT
 *
 * saver.c -- writes files without allocating, see safetensors.h: everything is
 * laid out in the arena by prepare(); then open, write, fsync and rename. A
 * reader sees the old file or the whole new one, never a part.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "safetensors.h"

/* A file on its way: PART becomes PATH. */
typedef struct {
    const char *path, *part, *folder;
    int fd;
} outlet;

struct hone_saver {
    outlet out;
    char *header; /* the eight bytes of its length included */
    size_t header_bytes;
    int64_t bytes, written; /* of the file */
    const int *order;
};

/* ------------------------------------------------------------- one outlet */

static hone_status outlet_open(outlet *o, hone_err *err)
{
    o->fd = open(o->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (o->fd < 0)
        return hone_fail(err, HONE_EIO, "%s: cannot create: %s", o->part,
                         strerror(errno));
    return HONE_OK;
}

/* Gives up: the unfinished file goes, a finished older one stays. */
static hone_status outlet_drop(outlet *o, const char *what, int why,
                               hone_err *err)
{
    if (o->fd >= 0)
        close(o->fd);
    o->fd = -1;
    unlink(o->part);
    return hone_fail(err, HONE_EIO, "%s: cannot %s: %s", o->path, what,
                     strerror(why));
}

static hone_status outlet_write(outlet *o, const void *data, int64_t bytes,
                                hone_err *err)
{
    const char *p = data;

    while (bytes > 0) {
        ssize_t n = write(o->fd, p, (size_t)bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return outlet_drop(o, "write", n ? errno : ENOSPC, err);
        p += n;
        bytes -= n;
    }
    return HONE_OK;
}

void hone_sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

static hone_status outlet_publish(outlet *o, hone_err *err)
{
    int fd = o->fd;

    if (fsync(fd))
        return outlet_drop(o, "sync", errno, err);
    o->fd = -1;
    if (close(fd))
        return outlet_drop(o, "close", errno, err);
    if (rename(o->part, o->path))
        return outlet_drop(o, "rename into place", errno, err);
    hone_sync_folder(o->folder);
    return HONE_OK;
}

/* -------------------------------------------------------------- the header */

static const char *dtype_of(hone_storage s)
{
    switch (s) {
    case HONE_F32:
        return "F32";
    case HONE_BF16:
        return "BF16";
    case HONE_F16:
        return "F16";
    case HONE_F64:
        return "F64";
    case HONE_I32:
        return "I32";
    case HONE_I64:
        return "I64";
    case HONE_U8:
        return "U8";
    default:
        return NULL;
    }
}

typedef struct {
    const char *name;
    const hone_type *type;
    int index;
} entry;

/* Wide elements first, so that each tensor is aligned to its elements; then
 * by name: as the safetensors library does. */
static int by_layout(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    uint32_t m = hone_parts(x->type->storage)[0].bytes;
    uint32_t n = hone_parts(y->type->storage)[0].bytes;

    if (m != n)
        return m > n ? -1 : 1;
    if (x->type->storage != y->type->storage)
        return x->type->storage < y->type->storage ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_entry_name(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

/* Text that counts first (TO NULL) and is written the second time. */
typedef struct {
    char *to;
    size_t at;
} writer;

static void put_text(writer *w, const char *text, size_t bytes)
{
    if (w->to)
        memcpy(w->to + w->at, text, bytes);
    w->at += bytes;
}

static void put_string(writer *w, const char *text)
{
    char escape[8];

    put_text(w, "\"", 1);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            put_text(w, "\\", 1);
            put_text(w, text, 1);
        } else if (c < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", c);
            put_text(w, escape, 6);
        } else {
            put_text(w, text, 1);
        }
    }
    put_text(w, "\"", 1);
}

static void put_metadata(writer *w, const char *text)
{
    put_string(w, "__metadata__");
    put_text(w, ":{", 2);
    for (int first = 1; *text; first = 0) {
        if (!first)
            put_text(w, ",", 1);
        put_string(w, text);
        text += strlen(text) + 1;
        put_text(w, ":", 1);
        put_string(w, text);
        text += strlen(text) + 1;
    }
    put_text(w, "}", 1);
}

/* Writes the entry of a tensor whose data starts at FROM; returns its end. */
static int64_t put_entry(writer *w, const entry *e, int64_t from)
{
    const hone_type *t = e->type;
    int64_t end = from + hone_part_bytes(t->storage, 0, hone_count(t));
    char text[96];
    int n;

    put_string(w, e->name);
    n = snprintf(text, sizeof text, ":{\"dtype\":\"%s\",\"shape\":[",
                 dtype_of(t->storage));
    put_text(w, text, (size_t)n);
    for (int i = 0; i < t->rank; i++) {
        n = snprintf(text, sizeof text, "%s%lld", i ? "," : "",
                     (long long)t->dim[i]);
        put_text(w, text, (size_t)n);
    }
    n = snprintf(text, sizeof text, "],\"data_offsets\":[%lld,%lld]}",
                 (long long)from, (long long)end);
    put_text(w, text, (size_t)n);
    return end;
}

/* Returns the bytes of the data. */
static int64_t put_header(writer *w, const entry *list, int count,
                          const char *metadata)
{
    int64_t at = 0;

    put_text(w, "{", 1);
    if (metadata)
        put_metadata(w, metadata);
    for (int i = 0; i < count; i++) {
        if (i || metadata)
            put_text(w, ",", 1);
        at = put_entry(w, &list[i], at);
    }
    put_text(w, "}", 1);
    while (w->at % 8)
        put_text(w, " ", 1);
    return at;
}

static void set_header(hone_saver *s, hone_arena *a, const entry *list,
                       int count, const char *metadata)
{
    writer w = { NULL, 0 };
    size_t bytes;

    put_header(&w, list, count, metadata);
    bytes = w.at;
    s->header_bytes = bytes + 8;
    s->header = hone_alloc(a, s->header_bytes);
    for (int i = 0; i < 8; i++)
        s->header[i] = (char)(bytes >> 8 * i & 0xff);
    w = (writer){ s->header + 8, 0 };
    s->bytes = (int64_t)s->header_bytes + put_header(&w, list, count, metadata);
}

/* --------------------------------------------------------------- the saver */

static hone_status check_entries(entry *list, int count, const char *path,
                                 hone_err *err)
{
    if (count)
        qsort(list, (size_t)count, sizeof *list, by_entry_name);
    for (int i = 0; i < count; i++) {
        if (!dtype_of(list[i].type->storage))
            return hone_fail(err, HONE_ENOSUP,
                             "%s: tensor '%s' has a storage that safetensors "
                             "does not know",
                             path, list[i].name);
        if (i && !strcmp(list[i - 1].name, list[i].name))
            return hone_fail(err, HONE_EINVAL, "%s: two tensors '%s'", path,
                             list[i].name);
    }
    return HONE_OK;
}

hone_status hone_saver_prepare(hone_arena *a, const char *path,
                               const char *const *names,
                               const hone_type *types, int count,
                               const char *metadata, hone_saver **saver,
                               hone_err *err)
{
    hone_saver *s = hone_alloc(a, sizeof *s);
    entry *list = hone_alloc(a, (size_t)count * sizeof *list);
    int *order = hone_alloc(a, (size_t)count * sizeof *order);

    for (int i = 0; i < count; i++)
        list[i] = (entry){ names[i], &types[i], i };
    hone_try(check_entries(list, count, path, err));
    if (count)
        qsort(list, (size_t)count, sizeof *list, by_layout);
    for (int i = 0; i < count; i++)
        order[i] = list[i].index;
    s->order = order;
    s->out.path = hone_text(a, path);
    s->out.part = hone_format_text(a, "%s.part", path);
    s->out.folder = hone_folder_of(a, path);
    s->out.fd = -1;
    set_header(s, a, list, count, metadata);
    *saver = s;
    return HONE_OK;
}

int64_t hone_saver_bytes(const hone_saver *s)
{
    return s->bytes;
}

const void *hone_saver_header(const hone_saver *s, size_t *bytes)
{
    *bytes = s->header_bytes;
    return s->header;
}

int hone_saver_order(const hone_saver *s, int i)
{
    return s->order[i];
}

hone_status hone_saver_begin(hone_saver *s, hone_err *err)
{
    hone_try(outlet_open(&s->out, err));
    s->written = 0;
    return hone_saver_put(s, s->header, (int64_t)s->header_bytes, err);
}

hone_status hone_saver_put(hone_saver *s, const void *data, int64_t bytes,
                           hone_err *err)
{
    if (s->out.fd < 0)
        return hone_fail(err, HONE_EIO, "%s: not open for writing",
                         s->out.path);
    if (bytes < 0 || bytes > s->bytes - s->written)
        return outlet_drop(&s->out, "write more than was laid out", EFBIG,
                           err);
    hone_try(outlet_write(&s->out, data, bytes, err));
    s->written += bytes;
    return HONE_OK;
}

hone_status hone_saver_end(hone_saver *s, hone_err *err)
{
    if (s->out.fd < 0)
        return hone_fail(err, HONE_EIO, "%s: not open for writing",
                         s->out.path);
    if (s->written != s->bytes)
        return outlet_drop(&s->out, "finish: tensors are missing", EIO, err);
    return outlet_publish(&s->out, err);
}

hone_status hone_write_file(const char *path, const void *data, size_t bytes,
                            hone_err *err)
{
    char part[PATH_MAX], folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t cut = slash ? (size_t)(slash - path) + (slash == path) : 0;
    outlet o = { path, part, cut ? folder : ".", -1 };

    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return hone_fail(err, HONE_EINVAL, "%.200s...: the path is too long",
                         path);
    memcpy(folder, path, cut);
    folder[cut] = '\0';
    hone_try(outlet_open(&o, err));
    hone_try(outlet_write(&o, data, (int64_t)bytes, err));
    return outlet_publish(&o, err);
}

hone_status hone_make_folder(const char *path, hone_err *err)
{
    char part[PATH_MAX];
    struct stat st;
    size_t n = strlen(path);

    if (n >= sizeof part)
        return hone_fail(err, HONE_EINVAL, "%.200s...: the path is too long",
                         path);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        part[i] = '\0';
        if (mkdir(part, 0755) && errno != EEXIST)
            return hone_fail(err, HONE_EIO, "%s: cannot make the folder: %s",
                             part, strerror(errno));
        part[i] = path[i];
    }
    if (stat(path, &st) || !S_ISDIR(st.st_mode))
        return hone_fail(err, HONE_EIO, "%s: not a folder", path);
    return HONE_OK;
}

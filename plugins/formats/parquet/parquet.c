/* SPDX-License-Identifier: MIT
 *
 * parquet.c -- the component: opening a file by its footer, row groups one
 * after the other, their columns, rows. What is not understood is refused by
 * name; behind damage nothing is read.
 */
#include "parquet.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int parquet_fail(parquet *p, const column *c, const char *fmt, ...)
{
    char what[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (c && c->leaf)
        hone_fail(p->err, HONE_EINVAL, "%s: row %lld: column '%.200s': %s",
                  p->path, (long long)p->row + 1, c->leaf->path, what);
    else
        hone_fail(p->err, HONE_EINVAL, "%s: %s", p->path, what);
    return 0;
}

int block_room(parquet *p, const column *c, block *b, size_t bytes)
{
    uint8_t *data;

    bytes = bytes ? bytes : 1;
    if (bytes <= b->cap)
        return 1;
    if (p->memory - b->cap + bytes > MOST_MEMORY)
        return parquet_fail(p, c, "the pages of its columns take more than 1 "
                            "GiB; write the file with smaller pages");
    data = malloc(bytes);
    if (!data)
        return parquet_fail(p, c, "out of host memory");
    free(b->data);
    p->memory += bytes - b->cap;
    b->data = data;
    b->cap = bytes;
    return 1;
}

void block_free(block *b)
{
    free(b->data);
    *b = (block){ NULL, 0 };
}

/* --------------------------------------------------------------- row groups */

typedef struct {
    int codec, has_meta, is_elsewhere, is_secret;
    int64_t values, packed, data_at, dictionary_at;
    int type;
} chunk;

static void read_meta(thrift *t, int type, chunk *k)
{
    int id = 0, inner;

    if (!thrift_enter(t, type))
        return;
    k->has_meta = 1;
    while (thrift_field(t, &id, &inner)) {
        switch (id) {
        case 1: k->type = (int)thrift_int(t, inner); break;
        case 4: k->codec = (int)thrift_int(t, inner); break;
        case 5: k->values = thrift_int(t, inner); break;
        case 9: k->data_at = thrift_int(t, inner); break;
        case 11: k->dictionary_at = thrift_int(t, inner); break;
        default: thrift_skip(t, inner);
        }
    }
    thrift_leave(t);
}

static int read_chunk(parquet *p, thrift *t, column *c)
{
    chunk k = { .type = -1, .codec = -1 };
    int id = 0, type;

    if (!thrift_enter(t, T_STRUCT))
        return parquet_fail(p, c, "its description is damaged");
    while (thrift_field(t, &id, &type)) {
        if (id == 3)
            read_meta(t, type, &k);
        else
            thrift_skip(t, type);
        k.is_elsewhere |= id == 1;
        k.is_secret |= id == 8 || id == 9;
    }
    thrift_leave(t);
    if (k.is_secret)
        return parquet_fail(p, c, "it is encrypted, which hone does not read");
    if (k.is_elsewhere)
        return parquet_fail(p, c, "its values are in another file, which hone "
                            "does not read");
    if (t->bad || !k.has_meta || k.type != c->leaf->type || k.values < 0)
        return parquet_fail(p, c, "its description is damaged");
    c->codec = k.codec;
    c->left = k.values;
    c->at = k.dictionary_at > 0 && k.dictionary_at < k.data_at
                ? k.dictionary_at : k.data_at;
    c->end = p->bytes;
    c->count = c->i = c->values = c->v = c->keys = 0;
    c->key = NULL;
    if (c->left && (c->at < 4 || c->at > c->end))
        return parquet_fail(p, c, "its pages are outside of the file");
    return 1;
}

static int read_chunks(parquet *p, thrift *t, int type)
{
    int element;
    uint32_t n = thrift_list(t, type, &element);

    if (n != (uint32_t)p->column_count)
        return parquet_fail(p, NULL, "a row group of %u columns, and the "
                            "schema has %d", (unsigned)n, p->column_count);
    for (uint32_t i = 0; i < n; i++)
        if (!read_chunk(p, t, &p->columns[i]))
            return 0;
    return 1;
}

static int next_group(parquet *p)
{
    thrift *t = &p->groups;
    int id = 0, type, columns = 0;

    p->groups_left--;
    p->rows_left = -1;
    if (!thrift_enter(t, T_STRUCT))
        return parquet_fail(p, NULL, "a row group's description is damaged");
    while (thrift_field(t, &id, &type)) {
        if (id == 1) {
            if (columns++)
                return parquet_fail(p, NULL, "a row group has its columns "
                                    "twice");
            if (!read_chunks(p, t, type))
                return 0;
        } else if (id == 3) {
            p->rows_left = thrift_int(t, type);
        } else {
            thrift_skip(t, type);
        }
    }
    thrift_leave(t);
    if (t->bad || !columns || p->rows_left < 0)
        return parquet_fail(p, NULL, "a row group's description is damaged");
    return 1;
}

/* All that the columns of a group hold belongs to its rows. */
static int end_group(parquet *p)
{
    for (int i = 0; i < p->column_count; i++) {
        column *c = &p->columns[i];

        if (c->left || c->i < c->count)
            return parquet_fail(p, c, "more values than the rows of its group "
                                "have");
    }
    return 1;
}

/* ------------------------------------------------------------------- footer */

static int read_footer(parquet *p, thrift *t)
{
    int id = 0, type, element;

    if (!thrift_enter(t, T_STRUCT))
        return parquet_fail(p, NULL, "its footer is damaged");
    while (thrift_field(t, &id, &type)) {
        if (id == 2) {
            if (!schema_read(p, t, type))
                return 0;
        } else if (id == 3) {
            p->rows = thrift_int(t, type);
        } else if (id == 4) {
            p->groups = *t;
            p->groups_left = thrift_list(&p->groups, type, &element);
            thrift_skip(t, type);
        } else if (id == 8) {
            return parquet_fail(p, NULL, "it is encrypted, which hone does "
                                "not read");
        } else {
            thrift_skip(t, type);
        }
    }
    if (t->bad || !p->nodes || p->groups.bad)
        return parquet_fail(p, NULL, "its footer is damaged");
    return 1;
}

static int read_bytes(parquet *p, void *to, size_t bytes, int64_t at)
{
    return pread(p->fd, to, bytes, (off_t)at) == (ssize_t)bytes ||
           parquet_fail(p, NULL, "%s", errno ? strerror(errno) : "cut short");
}

/* PAR1, pages, footer, its size, PAR1. */
static int find_footer(parquet *p)
{
    uint8_t head[4], tail[8];
    struct stat s;
    uint32_t bytes;

    if (fstat(p->fd, &s) || !S_ISREG(s.st_mode))
        return parquet_fail(p, NULL, "not a file");
    p->bytes = s.st_size;
    if (p->bytes < 12)
        return parquet_fail(p, NULL, "no Parquet file: it has %lld bytes",
                            (long long)p->bytes);
    if (!read_bytes(p, head, 4, 0) || !read_bytes(p, tail, 8, p->bytes - 8))
        return 0;
    if (!memcmp(tail + 4, "PARE", 4))
        return parquet_fail(p, NULL, "it is encrypted, which hone does not "
                            "read");
    if (memcmp(head, "PAR1", 4) || memcmp(tail + 4, "PAR1", 4))
        return parquet_fail(p, NULL, "no Parquet file, or one that is cut "
                            "short: it does not begin and end with PAR1");
    bytes = (uint32_t)tail[0] | (uint32_t)tail[1] << 8 |
            (uint32_t)tail[2] << 16 | (uint32_t)tail[3] << 24;
    if (bytes > MOST_FOOTER || bytes > p->bytes - 12)
        return parquet_fail(p, NULL, "its footer has %u bytes, more than the "
                            "file or 128 MiB", (unsigned)bytes);
    p->bytes -= 8 + (int64_t)bytes;
    p->footer = malloc(bytes + 1);
    if (!p->footer)
        return parquet_fail(p, NULL, "out of host memory");
    p->groups.end = p->footer + bytes;
    return read_bytes(p, p->footer, bytes, p->bytes);
}

static int open_file(parquet *p)
{
    thrift t = { 0 };

    p->fd = open(p->path, O_RDONLY | O_CLOEXEC);
    if (p->fd < 0)
        return parquet_fail(p, NULL, "%s", strerror(errno));
    if (!find_footer(p))
        return 0;
    t.at = p->footer;
    t.end = p->groups.end;
    if (!read_footer(p, &t))
        return 0;
    p->columns = calloc((size_t)p->column_count, sizeof *p->columns);
    if (!p->columns)
        return parquet_fail(p, NULL, "out of host memory");
    for (int i = 0; i < p->node_count; i++)
        if (p->nodes[i].type >= 0)
            p->columns[p->nodes[i].leaf].leaf = &p->nodes[i];
    return 1;
}

/* ---------------------------------------------------------------- component */

static void parquet_close(void *self)
{
    parquet *p = self;

    for (int i = 0; p->columns && i < p->column_count; i++) {
        column *c = &p->columns[i];
        block *const all[] = { &c->levels,     &c->slices,   &c->body,
                               &c->scratch,    &c->key_slices, &c->key_body,
                               &c->key_scratch };

        for (size_t k = 0; k < sizeof all / sizeof *all; k++)
            block_free(all[k]);
    }
    for (int i = 0; i < p->node_count; i++)
        free(p->nodes[i].key.data);
    block_free(&p->packed);
    free(p->text.data);
    free(p->columns);
    free(p->nodes);
    free(p->names);
    free(p->footer);
    free(p->path);
    if (p->fd >= 0)
        close(p->fd);
    free(p);
}

static hone_status parquet_open(const hone_host *host, const char *path,
                                void **out, hone_err *err)
{
    parquet *p = calloc(1, sizeof *p);

    if (p)
        p->path = strdup(path);
    if (!p || !p->path) {
        free(p);
        return hone_fail(err, HONE_EIO, "%s: out of host memory", path);
    }
    p->host = host;
    p->fd = -1;
    p->err = err;
    if (!open_file(p)) {
        parquet_close(p);
        return HONE_EINVAL;
    }
    *out = p;
    return HONE_OK;
}

static hone_status parquet_next(void *self, hone_row *out, hone_err *err)
{
    parquet *p = self;

    p->err = err;
    out->number = 0;
    if (p->ended)
        return HONE_END;
    p->ended = 1; /* unless a row is found */
    while (!p->rows_left) {
        if (p->columns && !end_group(p))
            return HONE_EINVAL;
        if (!p->groups_left)
            return HONE_END;
        if (!next_group(p))
            return HONE_EINVAL;
    }
    if (!row_read(p))
        return HONE_EINVAL;
    p->ended = 0;
    p->rows_left--;
    *out = (hone_row){ p->text.data, p->text.bytes, ++p->row, 0 };
    if (p->text.too_long)
        return hone_fail(err, HONE_EINVAL, "%s: row %lld: longer than 64 MiB; "
                         "shorten it, or leave it out with broken = \"skip\"",
                         p->path, (long long)p->row);
    return HONE_OK;
}

static double parquet_share(const void *self)
{
    const parquet *p = self;

    if (p->row >= p->rows) /* a footer may say anything */
        return p->rows > 0;
    return (double)p->row / (double)p->rows;
}

static const char *const endings[] = { "parquet", NULL };
static const hone_format ops = { .size = sizeof ops, .endings = endings,
                                 .open = parquet_open, .next = parquet_next,
                                 .close = parquet_close,
                                 .share = parquet_share };

static const hone_component component = { .size = sizeof component,
                                          .kind = HONE_KIND_FORMAT,
                                          .name = "parquet",
                                          .help = "Apache Parquet",
                                          .ops = &ops };

HONE_PLUGIN("parquet", "1.0", &component)

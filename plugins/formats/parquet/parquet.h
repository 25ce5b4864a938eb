/* SPDX-License-Identifier: MIT
 *
 * parquet.h -- what the files of the Parquet reader share. A file is its
 * footer (thrift.c, schema.c), which is kept; then, one row group at a time, a
 * column for each leaf of the schema (column.c), whose pages are unpacked
 * (page.c) and decoded (decode.c) one after the other; rows are put together
 * from the columns' levels (row.c), as in the Dremel paper.
 *
 * Files are attacker input: every size is checked against the bytes that are
 * there, or against a limit below, before memory is taken for it.
 */
#ifndef HONE_PARQUET_H
#define HONE_PARQUET_H

#include "../row_text.h"
#include "hone/plugin.h"

enum {
    MOST_FOOTER = 128 << 20,
    MOST_NODES = 20000,
    MOST_DEPTH = 40,
    MOST_PAGE = 256 << 20,      /* bytes, unpacked */
    MOST_PAGE_VALUES = 16 << 20,
    MOST_MEMORY = 1 << 30       /* of all columns together */
};

/* ----------------------------------------------------------------- thrift */

/* Thrift's compact protocol over bytes in memory. After an error `bad` is set
 * and every read gives 0. */
typedef struct {
    const uint8_t *at, *end;
    int depth, bad;
} thrift;

enum { T_TRUE = 1, T_FALSE, T_LIST = 9, T_SET, T_STRUCT = 12 };

/* The next field of a struct: its id (ID: that of the one before, 0 at the
 * start) and type; 0: the struct ends. */
int thrift_field(thrift *, int *id, int *type);
int64_t thrift_int(thrift *, int type);
int thrift_bool(thrift *, int type);
const uint8_t *thrift_bytes(thrift *, int type, uint32_t *bytes);
/* The number of elements, never more than bytes are left; ELEMENT: their
 * type. */
uint32_t thrift_list(thrift *, int type, int *element);
/* Before and after the fields of a struct. */
int thrift_enter(thrift *, int type);
void thrift_leave(thrift *);
void thrift_skip(thrift *, int type);

/* ----------------------------------------------------------------- schema */

enum { P_BOOLEAN, P_INT32, P_INT64, P_INT96, P_FLOAT, P_DOUBLE, P_BYTES,
       P_FIXED, P_TYPES };
enum { R_REQUIRED, R_OPTIONAL, R_REPEATED };

/* What a value means beyond its physical type. */
typedef enum {
    M_PLAIN = 1, M_UNSIGNED, M_DECIMAL, M_DATE, M_TIME, M_STAMP, M_UUID,
    M_FLOAT16, M_LIST, M_MAP
} meaning;

typedef struct node {
    const char *name; /* ends with NUL; in the reader's memory */
    const char *path; /* "a.b" */
    int children, child; /* number, index of the first */
    int next;            /* index of the next sibling */
    int repetition, def, rep; /* largest levels here */
    int type, width;     /* of a leaf; bytes of a value, 0: they differ */
    meaning means;
    int64_t unit;        /* a second in units of M_TIME and M_STAMP */
    int utc, scale;
    int leaf, leaves;    /* index of the first leaf below, their number */
    row_text key;        /* "name": as JSON */
} node;

/* ---------------------------------------------------------------- columns */

typedef struct {
    const uint8_t *data;
    uint32_t bytes;
} slice;

typedef struct {
    uint8_t *data;
    size_t cap;
} block;

typedef struct column {
    const node *leaf;
    int codec;
    int64_t at, end;    /* of the chunk's next page in the file; limit */
    int64_t left;       /* entries in pages that were not loaded */
    uint32_t count, i;  /* entries of the page, the next one */
    uint32_t values, v; /* of them not null, the next one */
    uint8_t *def, *rep; /* [count] levels; NULL where all are 0 */
    slice *value;       /* [values] */
    uint32_t keys;      /* entries of the dictionary */
    slice *key;
    block levels, slices, body, scratch, key_slices, key_body, key_scratch;
} column;

typedef struct parquet {
    const hone_host *host;
    char *path;
    int fd;
    int64_t bytes;      /* of the file, up to the footer */
    uint8_t *footer;
    thrift groups;      /* at the next row group */
    uint32_t groups_left;
    int64_t rows_left;  /* of the group */
    int64_t row;        /* the last one handed out, from 1 */
    int64_t rows;       /* of the file, as its footer says: for the share */
    node *nodes;
    int node_count;
    char *names;        /* all names and paths */
    column *columns;
    int column_count;
    size_t memory;      /* of all blocks */
    block packed;       /* a page as it is in the file */
    row_text text;
    int ended;
    hone_err *err;      /* of the call that runs */
} parquet;

/* Fills P's error with the place of the next row; COLUMN may be NULL. Returns
 * 0, as all that can fail here does. */
HONE_PRINTF(3, 4)
int parquet_fail(parquet *, const column *, const char *fmt, ...);

/* Room for BYTES; its content is not kept. */
int block_room(parquet *, const column *, block *, size_t bytes);
void block_free(block *);

/* schema.c: the tree from the footer's list of elements. */
int schema_read(parquet *, thrift *, int type);
/* The element of the list N, and whether it is what repeats. */
int list_element(const parquet *, const node *n, int *is_repeated);

/* page.c: loads the next data page of a column that has entries left. */
int page_next(parquet *, column *);

/* decode.c. All of them: 0, with an error, if the bytes do not hold N. */
typedef struct {
    const uint8_t *at, *end;
} span;

/* N numbers of WIDTH bits, in runs or packed. */
int decode_runs(parquet *, column *, span *, int width, uint32_t n,
                uint32_t *to);
/* The same for levels, none above MOST. */
int decode_levels(parquet *, column *, span *, int most, uint32_t n,
                  uint8_t *to);
/* c->values values of the page in ENCODING. */
int decode_values(parquet *, column *, span, int encoding);
/* The same for the dictionary's c->keys. */
int decode_keys(parquet *, column *, span);

/* row.c: the next row of the group into p->text. */
int row_read(parquet *);
/* value.c */
int value_write(parquet *, const column *, const node *, const slice *);

#endif

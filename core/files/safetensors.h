/* SPDX-License-Identifier: MIT
 *
 * safetensors.h -- reads safetensors files by mmap, single or sharded, and
 * writes them without allocating. Files are attacker input: the header is at
 * most 100 MB, every offset and product of shapes is checked, no holes, no
 * overlaps; a refusal names file and tensor.
 */
#ifndef HONE_SAFETENSORS_H
#define HONE_SAFETENSORS_H

#include "arena.h"
#include "hone/plugin.h"

typedef struct hone_weight {
    const char *name;
    hone_type type; /* HONE_F32, HONE_F16, HONE_BF16, HONE_U8, HONE_I64... */
    const void *data; /* in the mapping; touching it reads the file. May be
                         unaligned: hone_convert() and memcpy() only */
    int64_t bytes;
    int file; /* index of the shard */
    const struct hone_weight_codes *codes; /* NULL: plain numbers */
} hone_weight;

/* Of a weight that bitsandbytes quantised: its type is [out,in] as HONE_NF4 or
 * HONE_NF4_PLAIN, its data and bytes are those of the codes. */
typedef struct hone_weight_codes {
    hone_weight part[3]; /* of the storage, that lie in files */
    float mean[2];       /* its last */
    hone_storage plain;  /* of what was quantised */
} hone_weight_codes;

typedef struct hone_weights {
    hone_arena arena;
    hone_weight *list; /* in the order of their names */
    int count;
    const char **files; /* names of the shards, relative to the folder */
    int file_count;
    struct hone_mapping *maps;
} hone_weights;

/* PATH: a .safetensors file, or a folder with STEM.safetensors or
 * STEM.safetensors.index.json ("model", "adapter_model"). */
hone_status hone_weights_open(hone_weights *, const char *path,
                              const char *stem, hone_err *);
const hone_weight *hone_weights_find(const hone_weights *, const char *name);
/* Bytes [AT, AT + BYTES) of it by read(2), from any thread: at the speed of the
 * disk, and no page of the mapping becomes the process's own. */
hone_status hone_weights_read(const hone_weights *, const hone_weight *,
                              int64_t at, int64_t bytes, void *to, hone_err *);
/* Elements [FROM, FROM + COUNT) the same way, as fp32, codes decoded. */
hone_status hone_weights_numbers(const hone_weights *, const hone_weight *,
                                 int64_t from, int64_t count, float *to,
                                 hone_err *);
/* Of what open() found: one weight for the tensors that make up each that
 * bitsandbytes quantised. FOLDER: for messages. */
hone_status hone_weights_fold(hone_weights *, const char *folder, hone_err *);
void hone_weights_close(hone_weights *);

/* Converts COUNT elements between F32, F16, BF16 and F64, rounding once, to
 * nearest even; the same storage: a copy of any plain one. TO and FROM do not
 * overlap and need no alignment. HONE_ENOSUP: no such conversion. */
hone_status hone_convert(void *to, hone_storage to_as, const void *from,
                         hone_storage from_as, int64_t count);

/* A writer: everything is laid out and every buffer taken by prepare();
 * write() to the end then allocates nothing. Written to PATH.part, synced and
 * renamed. NAMES, TYPES: [count]; METADATA: "key\0value\0...\0" or NULL. */
typedef struct hone_saver hone_saver;
hone_status hone_saver_prepare(hone_arena *, const char *path,
                               const char *const *names,
                               const hone_type *types, int count,
                               const char *metadata, hone_saver **,
                               hone_err *);
int64_t hone_saver_bytes(const hone_saver *); /* of the file */
/* All that stands in front of the tensors. */
const void *hone_saver_header(const hone_saver *, size_t *bytes);
hone_status hone_saver_begin(hone_saver *, hone_err *);
/* Tensors in the order of the header; BYTES of the next tensor(s). */
hone_status hone_saver_put(hone_saver *, const void *data, int64_t bytes,
                           hone_err *);
hone_status hone_saver_end(hone_saver *, hone_err *);
/* Order in which put() expects the tensors: index into NAMES. */
int hone_saver_order(const hone_saver *, int i);

/* Writes a small file the same way: beside, synced, renamed. No allocation. */
hone_status hone_write_file(const char *path, const void *data, size_t bytes,
                            hone_err *);

/* Names in a folder last once it is on disk itself; some file systems do not
 * sync folders, and lose nothing by it. */
void hone_sync_folder(const char *path);

/* Makes a folder and those above it, where they are missing. No allocation. */
hone_status hone_make_folder(const char *path, hone_err *);

#endif

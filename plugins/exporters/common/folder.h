/* SPDX-License-Identifier: MIT
 *
 * folder.h -- a Hugging Face folder, as exporters write it: the shards are
 * those of the source, the tokenizer lies beside them, and so does the
 * configuration. What a tensor becomes in a file is the exporter's.
 */
#ifndef HONE_FOLDER_H
#define HONE_FOLDER_H

#include <jansson.h>
#include <stdio.h>

#include "hone/plugin.h"

enum { FOLDER_ENTRIES = 8 };

/* A tensor of a file. */
typedef struct folder_entry {
    char name[640];
    const char *dtype;
    int rank;
    int64_t dim[HONE_RANK], bytes;
} folder_entry;

typedef struct folder_way {
    /* What tensor I becomes, FOLDER_ENTRIES at most, and their bytes. */
    uint32_t (*entries)(const hone_export *, uint32_t i, folder_entry *);
    hone_status (*write)(const hone_export *, uint32_t i, FILE *, hone_err *);
    /* Whether its entries are a group, of a multiple of 8 bytes. */
    int (*is_group)(const hone_export *, uint32_t i);
    /* The quantization_config of config.json; NULL: there is none. */
    json_t *(*quantization)(void);
} folder_way;

hone_status folder_write(const hone_export *, const folder_way *, hone_err *);

/* Of a tensor that stays what it is. */
uint32_t folder_plain(const hone_export *, uint32_t i, folder_entry *);
hone_status folder_write_plain(const hone_export *, uint32_t i, FILE *,
                               hone_err *);
int folder_no_group(const hone_export *, uint32_t i);

#endif

/* SPDX-License-Identifier: MIT
 *
 * model_files.h -- the small files of a Hugging Face folder: config.json for
 * the family code, and the texts that must lie beside saved weights.
 */
#ifndef HONE_MODEL_FILES_H
#define HONE_MODEL_FILES_H

#include "arena.h"
#include "hone/plugin.h"

struct json_t;

/* Reads FOLDER/NAME ("config.json"), an object. Free with json_decref(). */
hone_status hone_json_read(const char *folder, const char *name,
                           struct json_t **, hone_err *);

/* The tokenizer, configuration and template files that a folder has. */
typedef struct hone_model_files {
    int count;
    int64_t bytes; /* of their texts, all in the arena */
    struct hone_model_file {
        const char *path; /* where it will be written */
        const void *text; /* NULL: a folder */
        size_t bytes;
    } *list;
} hone_model_files;

/* Reads those of the folder FROM into the arena, to be written to TO. */
hone_status hone_model_files_prepare(hone_model_files *, hone_arena *,
                                     const char *from, const char *to,
                                     hone_err *);
/* Writes them; the folder exists. Allocates nothing. */
hone_status hone_model_files_write(const hone_model_files *, hone_err *);

#endif

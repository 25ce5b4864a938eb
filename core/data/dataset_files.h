/* SPDX-License-Identifier: MIT
 *
 * dataset_files.h -- from what a recipe names to data files, and from a file
 * to what reads it.
 */
#ifndef HONE_DATASET_FILES_H
#define HONE_DATASET_FILES_H

#include "arena.h"
#include "hone/plugin.h"
#include "recipe.h"

/* The component that reads a file, by its ending. */
hone_status hone_format_find(const char *path, const hone_component **,
                             hone_err *);
/* Opens a file with it and the recipe's options for it. */
hone_status hone_format_open(const hone_data_config *, const hone_component *,
                             const char *path, void **reader, hone_err *);
/* The recipe's options of a format; NULL: none. */
const void *hone_format_config_of(const hone_data_config *,
                                  const hone_component *);

/* Files, patterns (* ? [...]) and folders, absolute paths, to files: each name
 * in the order given, what it stands for in the order of the bytes of the
 * paths. A folder is all in it, and in folders in it, that a format reads;
 * where some of that is called train..., that alone, which *NOTE then says.
 * *FILES ends with NULL. */
hone_status hone_files_expand(hone_arena *, const char *const *names,
                              const char *const **files, const char **note,
                              hone_err *);

#endif

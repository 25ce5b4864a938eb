/* SPDX-License-Identifier: MIT
 *
 * file.h -- a small file, read whole; and the folder of a path.
 */
#ifndef HONE_FILE_H
#define HONE_FILE_H

#include "arena.h"
#include "hone/plugin.h"

/* The text of PATH, a file of at most MOST bytes, and a NUL behind it, in
 * memory of the arena. The name is left to the caller. */
hone_status hone_file_read(hone_arena *, const char *path, int64_t most,
                           hone_file *, hone_err *);

/* Where PATH lies: "." if it names no folder. */
const char *hone_folder_of(hone_arena *, const char *path);

#endif

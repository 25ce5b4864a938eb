/* SPDX-License-Identifier: MIT
 *
 * registry_elf.h -- is a file a shared library for this machine, and whole?
 * Asked by registry.c before dlopen(), which would map what is cut off and
 * then die of it, and whose messages do not say what to do.
 */
#ifndef HONE_REGISTRY_ELF_H
#define HONE_REGISTRY_ELF_H

#include "hone/plugin.h"

/* BYTES: the file's size. The path is left to the caller. */
hone_status hone_check_library(const char *path, int64_t bytes, hone_err *err);

#endif

/* SPDX-License-Identifier: MIT
 *
 * tables.h -- the kernels of a pack's files as one table. A pack calls it when
 * its plugin is loaded, before anyone can look at the table.
 */
#ifndef HONE_TABLES_H
#define HONE_TABLES_H

#include <stdlib.h>

#include "hone/plugin.h"

/* FILES ends with NULL, each of them and the result with a kernel of no op;
 * the result stays for as long as the process. NULL: no memory. */
static inline const hone_kernel *
hone_join_tables(const hone_kernel *const *files)
{
    size_t n = 0;
    hone_kernel *all;

    for (const hone_kernel *const *file = files; *file; file++)
        for (const hone_kernel *k = *file; k->op; k++)
            n++;
    all = (hone_kernel *)calloc(n + 1, sizeof *all);
    for (n = 0; all && *files; files++)
        for (const hone_kernel *k = *files; k->op; k++)
            all[n++] = *k;
    return all;
}

#endif

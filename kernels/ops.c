/* SPDX-License-Identifier: MIT
 *
 * ops.c -- the plugin of the built-in ops: collects the components of every
 * file in kernels/ops/, whose names the build lists in ops.list.
 */
#include "hone/plugin.h"

#define OPS(file) extern const hone_component *const hone_ops_##file[];
#include "ops.list"
#undef OPS

#define OPS(file) hone_ops_##file,
static const hone_component *const *const files[] = {
#include "ops.list"
};
#undef OPS

#define MAX_OPS 128

/* Filled once: the lists of other files are no constant expressions in C. */
static const hone_component *components[MAX_OPS + 1];

const hone_plugin *hone_plugin_entry(void)
{
    static const hone_plugin self = { HONE_ABI,        sizeof(hone_plugin),
                                      "ops",           "1.0",
                                      HONE_BUILT_WITH, components };
    size_t i, n = 0;

    for (i = 0; i < sizeof files / sizeof *files; i++) {
        const hone_component *const *c;
        for (c = files[i]; *c && n < MAX_OPS; c++)
            components[n++] = *c;
    }
    return &self;
}

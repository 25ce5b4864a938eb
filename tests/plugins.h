/* SPDX-License-Identifier: MIT
 *
 * plugins.h -- a component straight from its shared object in the build, for
 * tests that want one part and not the engine's search for it.
 */
#ifndef HONE_TESTS_PLUGINS_H
#define HONE_TESTS_PLUGINS_H

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "hone/plugin.h"

static inline const hone_component *test_component(hone_kind kind,
                                                   const char *name)
{
    char path[4096];
    const hone_plugin *(*entry)(void);
    void *so;

    snprintf(path, sizeof path, "%s/lib/hone/plugins/%s.so", HONE_BUILD, name);
    so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!so) {
        fprintf(stderr, "%s\n", dlerror());
        return NULL;
    }
    *(void **)&entry = dlsym(so, "hone_plugin_entry");
    for (const hone_component *const *c = entry()->components; *c; c++)
        if ((*c)->kind == kind && !strcmp((*c)->name, name))
            return *c;
    return NULL;
}

#endif

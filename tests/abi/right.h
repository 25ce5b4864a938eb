/* SPDX-License-Identifier: MIT
 *
 * right.h -- a plugin with nothing wrong: a schedule named "right". The files
 * beside it change one word of it each; test_registry.c knows what is said.
 */
#include "hone/plugin.h"

#ifndef ABI
#define ABI HONE_ABI
#endif
#ifndef PLUGIN_SIZE
#define PLUGIN_SIZE sizeof(hone_plugin)
#endif
#ifndef VERSION
#define VERSION "1.0"
#endif
#ifndef PLUGIN_NAME
#define PLUGIN_NAME "right"
#endif
#ifndef COMPONENTS
#define COMPONENTS list
#endif
#ifndef COMPONENT_SIZE
#define COMPONENT_SIZE sizeof(hone_component)
#endif
#ifndef KIND
#define KIND HONE_KIND_SCHEDULE
#endif
#ifndef NAME
#define NAME "right"
#endif
#ifndef OPS
#define OPS &schedule
#endif
#ifndef OPS_SIZE
#define OPS_SIZE sizeof(hone_schedule)
#endif
#ifndef FACTOR
#define FACTOR factor
#endif
#ifndef TYPE
#define TYPE HONE_REAL
#endif
#ifndef HELP
#define HELP "how fast"
#endif
#ifndef CHOICES
#define CHOICES NULL
#endif
#ifndef WORD
#define WORD NULL
#endif
#ifndef MORE_OPTIONS
#define MORE_OPTIONS
#endif
#ifndef OFFSET
#define OFFSET offsetof(struct config, pace)
#endif
#ifndef DEFAULT
#define DEFAULT 1
#endif
#ifndef PERSIST
#define PERSIST 0
#endif
#ifndef PLUGIN
#define PLUGIN &plugin
#endif

struct config {
    double pace;
    double spare; /* so that a crooked offset stays inside */
};

static const hone_option options[] = {
    { "pace", HELP, TYPE, 0, OFFSET, DEFAULT, 0, 1, WORD, CHOICES },
    MORE_OPTIONS
    HONE_OPT_END
};

double factor(const void *, const void *, int64_t, int64_t);

double factor(const void *config, const void *state, int64_t step,
              int64_t total)
{
    (void)state;
    (void)step;
    (void)total;
    return ((const struct config *)config)->pace;
}

extern const hone_schedule schedule;
const hone_schedule schedule = { OPS_SIZE, FACTOR, NULL };

static const hone_component component = {
    COMPONENT_SIZE, KIND, NAME, "a schedule for tests", options,
    sizeof(struct config), 0, PERSIST, NULL, NULL, OPS
};

extern const hone_component *const list[], *const twice[];
const hone_component *const list[] = { &component, NULL };
const hone_component *const twice[] = { &component, &component, NULL };

extern const hone_plugin plugin;
const hone_plugin plugin = { ABI, PLUGIN_SIZE, PLUGIN_NAME, VERSION,
                             HONE_BUILT_WITH, COMPONENTS };

const hone_plugin *hone_plugin_entry(void)
{
    return PLUGIN;
}

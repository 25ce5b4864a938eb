/* SPDX-License-Identifier: MIT
 *
 * registry.h -- finds plugins, checks them, hands out their components.
 * Loaded once at start, never unloaded; one per process.
 */
#ifndef HONE_REGISTRY_H
#define HONE_REGISTRY_H

#include "arena.h"
#include "hone/plugin.h"

typedef struct hone_loaded {
    const char *path;
    const hone_plugin *plugin; /* NULL: refused */
    const char *refusal;       /* why, with the cure */
} hone_loaded;

/* Loads every *.so of the folders: --plugin-dir ones (DIRS, ends with NULL),
 * $HONE_PLUGIN_PATH, <exe>/../lib/hone/plugins. A refused one is a warning. */
hone_status hone_registry_open(const char *const *dirs, hone_err *);

/* The component, or NULL. */
const hone_component *hone_find(hone_kind, const char *name);
/* Like it, but an error that lists near names, every path tried and the
 * refused plugins that might have brought it. */
hone_status hone_need_component(hone_kind, const char *name,
                                const hone_component **, hone_err *);
/* All components, in the order of their names: i = 0, 1, ... until NULL. */
const hone_component *hone_component_at(int i);
const hone_loaded *hone_loaded_at(int i);
/* "schedule", "kernel pack"... */
const char *hone_kind_name(hone_kind);
/* Collators, schedules and optimizers share one space of names: a recipe
 * calls them as hone.NAME. */
int hone_kind_is_called(hone_kind);

/* The folder with recipes/models etc.: <exe>/../share/hone/recipes. */
const char *hone_share_dir(void);

/* A component with its config, opened: what a recipe's value becomes. */
typedef struct hone_instance {
    const hone_component *component;
    void *config, *state;
    int line; /* of the constructor; 0: a default */
    int open;
} hone_instance;

/* Memory for config and state; CONFIG may be NULL: defaults. */
void hone_instance_make(hone_instance *, const hone_component *, void *config,
                        hone_arena *);
/* Calls open() of a made one. */
hone_status hone_instance_start(hone_instance *, hone_err *);
/* Both. */
hone_status hone_instance_open(hone_instance *, const hone_component *,
                               void *config, hone_arena *, hone_err *);
void hone_instance_close(hone_instance *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * hub.h -- models and datasets in the local cache of the Hugging Face Hub, as
 * its own library lays it out. Nothing is fetched: plugins/verbs/fetch.c does,
 * when it is asked to.
 */
#ifndef HONE_HUB_H
#define HONE_HUB_H

#include "arena.h"
#include "hone/plugin.h"

/* Whether TEXT could be "org/name", with more behind another slash if BEHIND
 * is not NULL: then *BEHIND is that, or "". */
int hone_hub_is_name(const char *text, const char **behind);

/* The folder of "org/name..." at REVISION (NULL: "main"); KIND: "models" or
 * "datasets". HONE_ENOSUP: the cache has nothing of that name. */
hone_status hone_hub_find(hone_arena *, const char *kind, const char *name,
                          const char *revision, const char **folder,
                          hone_err *);

/* TYPED on a command line (or NULL), or the folder of the model in the cache
 * where no folder has that name; kept as long as the process. */
const char *hone_hub_model(const char *typed);

#endif

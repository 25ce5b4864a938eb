/* SPDX-License-Identifier: MIT
 *
 * registry_check.h -- is a plugin's data what the header promises? Used by
 * registry.c alone, before anything of the plugin is called or handed out.
 */
#ifndef HONE_REGISTRY_CHECK_H
#define HONE_REGISTRY_CHECK_H

#include "hone/plugin.h"

/* The message says what is wrong with both numbers where there are two, and
 * the cure; the plugin's path is left to the caller. Names that clash with
 * other plugins are the registry's business. */
hone_status hone_check_plugin(const hone_plugin *, hone_err *);

#endif

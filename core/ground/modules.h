/* SPDX-License-Identifier: MIT
 *
 * modules.h -- which modules of a model a name or a pattern means, by PEFT's
 * rules. A path is a weight's name without ".weight". Patterns are regular
 * expressions (PCRE2's, which for this are Python's).
 */
#ifndef HONE_MODULES_H
#define HONE_MODULES_H

#include "hone/plugin.h"

/* The first of the targets that commas (outside of brackets) separate, and the
 * rest of the list; NULL at its end. LENGTH: of the target. */
const char *hone_target_next(const char **list, size_t *length);
/* Whether it is a name, of the whole path or its last parts; or else a pattern
 * of the whole path. "all-linear" is for the caller. */
int hone_target_is_name(const char *target, size_t length);
int hone_target_matches(const char *target, size_t length, const char *path);

/* Whether the weight, by its full name, is in a module of the list that commas
 * separate: PEFT's modules_to_save, each the end of a module's path. LIST may
 * be NULL. */
int hone_module_is_saved(const char *list, const char *weight);

/* Numbers by pattern, a line each: "PATTERN=NUMBER\n". The number of the first
 * that matches the path or its last parts; DEF if none does, or PATTERNS is
 * NULL. */
double hone_pattern_number(const char *patterns, const char *path, double def);
/* Refuses a pattern that is no regular expression. */
hone_status hone_pattern_check(const char *pattern, size_t length,
                               hone_err *);

#endif

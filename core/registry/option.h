/* SPDX-License-Identifier: MIT
 *
 * option.h -- option tables: defaults, setting by name, ranges, suggestions.
 * Everything that knows an option by name goes through here: constructors in
 * a recipe, --set, op attributes, `hone describe`, the reference pages.
 */
#ifndef HONE_OPTION_H
#define HONE_OPTION_H

#include "arena.h"
#include "hone/plugin.h"

/* Fills CONFIG with the defaults of TABLE (which may be NULL). */
void hone_option_defaults(const hone_option *table, void *config);

const hone_option *hone_option_find(const hone_option *table,
                                    const char *name);

/* Setters check type and range; the message begins with the option's name and
 * leaves file, line and constructor to the caller. Strings are copied to A. */
hone_status hone_option_set_num(const hone_option *, void *config, double,
                                int is_integer, hone_err *);
hone_status hone_option_set_str(const hone_option *, void *config,
                                const char *, hone_arena *a, hone_err *);
hone_status hone_option_set_bool(const hone_option *, void *config, int,
                                 hone_err *);
/* From text, as --set gives it. */
hone_status hone_option_parse(const hone_option *, void *config,
                              const char *text, hone_arena *a, hone_err *);
/* The value as text, the way a recipe would write it. */
void hone_option_text(const hone_option *, const void *config, char *to,
                      size_t bytes);

/* Whether the options that both tables have say the same. */
int hone_options_agree(const hone_option *table, const void *config,
                       const hone_option *other, const void *other_config);

/* The value of the real option NAME; 0 if the table has none. */
double hone_option_real(const hone_option *table, const void *config,
                        const char *name);

/* "16GiB", "500 MB": bytes; 0 if it is not that. */
int64_t hone_bytes_parse(const char *text);

/* For qsort of texts. */
int hone_by_text(const void *a, const void *b);

/* The nearest of NAMES (ends with NULL) within edit distance 2; or NULL. */
const char *hone_nearest(const char *name, const char *const *names);

/* ", did you mean 'x'?" or "; options: a, b, c" for an unknown option. */
void hone_option_suggest(const hone_option *table, const char *name, char *to,
                         size_t bytes);

#endif

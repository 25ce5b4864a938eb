/* SPDX-License-Identifier: MIT
 *
 * dataset_map.h -- the recipe's own functions on a row of data: map, before
 * the shape sees it, and template, in the place of the shape's own.
 */
#ifndef HONE_DATASET_MAP_H
#define HONE_DATASET_MAP_H

#include <jansson.h>

#include "recipe.h"

/* Replaces *ROW by what map() makes of it; NULL: nil, the row is left out. */
hone_status hone_map_row(const hone_data_functions *, json_t **row, hone_err *);

/* What template() makes of ROW: prompt and completion, valid until the next
 * call here; text[0] NULL: nil, the row is left out. */
typedef struct hone_texts {
    const char *text[2];
    size_t bytes[2];
} hone_texts;

hone_status hone_map_template(const hone_data_functions *, const json_t *row,
                              hone_texts *, hone_err *);

/* Closes the recipe's Lua state, once all data is prepared. NULL is fine. */
void hone_data_functions_close(hone_data_functions *);

#endif

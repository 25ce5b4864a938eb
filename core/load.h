/* SPDX-License-Identifier: MIT
 *
 * load.h -- fills the store: weights from the mapping of their file, adapters
 * from a PEFT folder, or first values; everything else with zeros.
 */
#ifndef HONE_LOAD_H
#define HONE_LOAD_H

#include "peft.h"
#include "program.h"
#include "safetensors.h"

typedef struct hone_source {
    const hone_weights *weights; /* NULL: first values */
    const hone_peft *peft;       /* NULL: a fresh adapter */
    const char *peft_folder;     /* for messages */
    int64_t seed;
    double range;                /* of the first values */
} hone_source;

hone_status hone_store_load(const hone_store *, hone_machine *,
                            const hone_source *, hone_err *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * card_measure.h -- measures an open device into a card, within some seconds.
 */
#ifndef HONE_CARD_MEASURE_H
#define HONE_CARD_MEASURE_H

#include "card.h"
#include "kernels_limits.h"

/* FOLDER: where models lie, for the rate of the disk. What cannot be measured
 * stays as the card has it. DEVICE: its name. */
hone_status hone_card_measure(hone_card *, const hone_bench *,
                              const char *device, const char *folder,
                              hone_err *);

#endif

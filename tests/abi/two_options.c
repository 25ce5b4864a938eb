/* SPDX-License-Identifier: MIT */
#define MORE_OPTIONS HONE_OPT_REAL(struct config, pace, 1, 0, 1, "again"),
#include "right.h"

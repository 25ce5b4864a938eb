/* SPDX-License-Identifier: MIT */
#define OFFSET 4 /* inside, but not where a double may lie */
#include "right.h"

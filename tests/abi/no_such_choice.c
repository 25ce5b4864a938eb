/* SPDX-License-Identifier: MIT */
#define TYPE HONE_ENUM
#define CHOICES (const char *const[]){ "slow", "fast", NULL }
#define WORD "medium"
#include "right.h"

/* SPDX-License-Identifier: MIT */
#define TYPE HONE_ENUM
#include "right.h"

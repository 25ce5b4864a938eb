/* SPDX-License-Identifier: MIT */
#define TYPE HONE_VALUE
#include "right.h"

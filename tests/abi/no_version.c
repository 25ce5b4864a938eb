/* SPDX-License-Identifier: MIT */
#define VERSION NULL
#include "right.h"

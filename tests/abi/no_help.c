/* SPDX-License-Identifier: MIT */
#define HELP NULL
#include "right.h"

/* SPDX-License-Identifier: MIT */
#define NAME "Warm-Up"
#include "right.h"

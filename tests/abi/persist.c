/* SPDX-License-Identifier: MIT */
#define PERSIST 8
#include "right.h"

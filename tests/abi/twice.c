/* SPDX-License-Identifier: MIT */
#define NAME "twice"
#define COMPONENTS twice
#include "right.h"

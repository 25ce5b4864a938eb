/* SPDX-License-Identifier: MIT */
#define FACTOR NULL
#include "right.h"

/* SPDX-License-Identifier: MIT */
#define OFFSET 16
#include "right.h"

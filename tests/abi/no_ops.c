/* SPDX-License-Identifier: MIT */
#define OPS NULL
#include "right.h"

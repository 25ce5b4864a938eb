/* SPDX-License-Identifier: MIT */
#define OPS_SIZE 8
#include "right.h"

/* SPDX-License-Identifier: MIT */
#define KIND 99
#include "right.h"

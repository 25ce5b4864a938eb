/* SPDX-License-Identifier: MIT */
#define NAME NULL
#include "right.h"

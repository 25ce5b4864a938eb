/* SPDX-License-Identifier: MIT */
#define DEFAULT 2
#include "right.h"

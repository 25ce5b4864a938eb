/* SPDX-License-Identifier: MIT */
#define PLUGIN NULL
#include "right.h"

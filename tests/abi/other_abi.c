/* SPDX-License-Identifier: MIT */
#define ABI 7
#include "right.h"

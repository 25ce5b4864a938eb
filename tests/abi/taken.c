/* SPDX-License-Identifier: MIT */
#define NAME "cosine"
#include "right.h"

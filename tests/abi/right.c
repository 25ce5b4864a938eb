/* SPDX-License-Identifier: MIT */
#include "right.h"

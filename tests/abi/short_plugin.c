/* SPDX-License-Identifier: MIT */
#define PLUGIN_SIZE 16
#include "right.h"

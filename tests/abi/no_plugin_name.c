/* SPDX-License-Identifier: MIT */
#define PLUGIN_NAME NULL
#include "right.h"

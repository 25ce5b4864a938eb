/* SPDX-License-Identifier: MIT */
#define COMPONENT_SIZE 24
#include "right.h"

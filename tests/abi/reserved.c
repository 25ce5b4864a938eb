/* SPDX-License-Identifier: MIT */
#define NAME "lora"
#include "right.h"

/* SPDX-License-Identifier: MIT */
#define COMPONENTS NULL
#include "right.h"

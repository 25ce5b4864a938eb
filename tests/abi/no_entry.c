/* SPDX-License-Identifier: MIT */
#include "hone/plugin.h"

HONE_EXPORT int not_a_plugin(void);

int not_a_plugin(void)
{
    return 0;
}

/* SPDX-License-Identifier: MIT */
#define KIND HONE_KIND_OPTIMIZER
#define OPS &optimizer
#include "hone/plugin.h"
extern const hone_optimizer optimizer;
#include "right.h"

static hone_status states(const void *config, const char *name,
                          const hone_type *param, hone_state_spec *out,
                          uint32_t *count, hone_err *err)
{
    (void)config;
    (void)name;
    (void)param;
    (void)out;
    (void)err;
    *count = 0;
    return HONE_OK;
}

static hone_status update(const void *config, hone_builder *b,
                          const hone_group *group, hone_err *err)
{
    (void)config;
    (void)b;
    (void)group;
    (void)err;
    return HONE_OK;
}

const hone_optimizer optimizer = { sizeof optimizer, states, update };

/* SPDX-License-Identifier: MIT
 *
 * merged.c -- the exporter `merged`: a Hugging Face folder with the adapter
 * merged in, its shards and dtypes those of the source.
 */
#include "common/folder.h"

static hone_status write_model(const void *config, const hone_export *e,
                               hone_err *err)
{
    static const folder_way way = { folder_plain, folder_write_plain,
                                    folder_no_group, NULL };

    (void)config;
    return folder_write(e, &way, err);
}

static const hone_exporter exporter = { sizeof exporter, write_model };

static const hone_component merged = {
    .size = sizeof merged,
    .kind = HONE_KIND_EXPORTER,
    .name = "merged",
    .help = "a Hugging Face folder with the adapter merged in",
    .ops = &exporter,
};

HONE_PLUGIN("merged", HONE_VERSION, &merged)

/* SPDX-License-Identifier: MIT
 *
 * peft.c -- the exporter `peft`: a copy of the adapter for PEFT, vLLM and
 * llama.cpp. The engine has read and checked it against the model.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "hone/plugin.h"

static hone_status copy(FILE *in, FILE *out, const char *to, hone_err *err)
{
    char block[65536];
    size_t n;

    while ((n = fread(block, 1, sizeof block, in)) > 0)
        if (fwrite(block, 1, n, out) != n)
            break;
    if (ferror(in) || ferror(out) || fflush(out) || fsync(fileno(out)))
        return hone_fail(err, HONE_EIO, "%s: cannot write it whole: %s", to,
                         strerror(errno));
    return HONE_OK;
}

static hone_status copy_file(const char *from_folder, const char *to_folder,
                             const char *name, hone_err *err)
{
    char from[4096], to[4096];
    FILE *in, *out;
    hone_status s;

    snprintf(from, sizeof from, "%s/%s", from_folder, name);
    snprintf(to, sizeof to, "%s/%s", to_folder, name);
    in = fopen(from, "rb");
    if (!in)
        return hone_fail(err, HONE_EINVAL, "%s: cannot open: %s", from,
                         strerror(errno));
    out = fopen(to, "wb");
    if (out)
        s = copy(in, out, to, err);
    else
        s = hone_fail(err, HONE_EIO, "%s: cannot create: %s", to,
                      strerror(errno));
    fclose(in);
    if (out && fclose(out) && s == HONE_OK)
        s = hone_fail(err, HONE_EIO, "%s: %s", to, strerror(errno));
    return s;
}

static hone_status write_adapter(const void *config, const hone_export *e,
                                 hone_err *err)
{
    (void)config;
    if (!e->adapter)
        return hone_fail(err, HONE_EINVAL,
                         "there is no adapter to export: the whole model was "
                         "trained; use --to merged");
    hone_try(copy_file(e->adapter, e->out, "adapter_model.safetensors", err));
    return copy_file(e->adapter, e->out, "adapter_config.json", err);
}

static const hone_exporter exporter = { sizeof exporter, write_adapter };

static const hone_component peft = {
    .size = sizeof peft,
    .kind = HONE_KIND_EXPORTER,
    .name = "peft",
    .help = "the adapter as PEFT keeps it",
    .ops = &exporter,
};

HONE_PLUGIN("peft", HONE_VERSION, &peft)

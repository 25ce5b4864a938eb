/* SPDX-License-Identifier: MIT
 *
 * nf4.c -- the exporter `nf4`: a folder as Transformers writes it for a model
 * that bitsandbytes quantised (load_in_4bit, nf4, double quantisation), with
 * the adapter merged in before. A linear of a layer becomes six tensors of the
 * file; all others stay what they are.
 */
#include <stdlib.h>
#include <string.h>

#include "common/folder.h"
#include "hone/nf4.h"

enum { STATE_BYTES = 512, MAP = 256 }; /* JSON, filled up with spaces */

#define STATE "quant_state.bitsandbytes__nf4"

static int is_linear(const hone_export *e, uint32_t i)
{
    const char *name = e->name(e->self, i);
    hone_type t = e->type(e->self, i);
    size_t n = strlen(name);

    return t.rank == 2 && strstr(name, "layers.") && n > 7 &&
           !strcmp(name + n - 7, ".weight") &&
           (t.storage == HONE_F32 || t.storage == HONE_BF16 ||
            t.storage == HONE_F16);
}

/* ------------------------------------------------------------ the entries */

static void add(folder_entry *to, const char *name, const char *kind,
                const char *dtype, int64_t count, int64_t bytes)
{
    *to = (folder_entry){ .dtype = dtype, .rank = 1, .bytes = bytes,
                          .dim = { count, 1, 1, 1 } };
    snprintf(to->name, sizeof to->name, "%s%s%s", name, *kind ? "." : "", kind);
}

/* Wide elements first; nothing but the state has a length of its own, and that
 * makes the group a multiple of 8. */
static uint32_t entries(const hone_export *e, uint32_t i, folder_entry *to)
{
    const char *name = e->name(e->self, i);
    hone_type t = e->type(e->self, i);
    int64_t n = hone_count(&t), bytes[3], all = 4 * (MAP + 16);

    if (!is_linear(e, i))
        return folder_plain(e, i, to);
    for (int p = 0; p < 3; p++)
        all += bytes[p] = hone_part_bytes(HONE_NF4, p, n);
    add(&to[0], name, "nested_absmax", "F32", bytes[2] / 4, bytes[2]);
    add(&to[1], name, "nested_quant_map", "F32", MAP, 4 * MAP);
    add(&to[2], name, "quant_map", "F32", 16, 4 * 16);
    add(&to[3], name, "", "U8", bytes[0], bytes[0]);
    to[3].rank = 2; /* [n, 1] */
    add(&to[4], name, "absmax", "U8", bytes[1], bytes[1]);
    all = STATE_BYTES + (8 - all % 8) % 8;
    add(&to[5], name, STATE, "U8", all, all);
    return 6;
}

/* ------------------------------------------------------------- the numbers */

static const char *dtype_name(hone_storage s)
{
    return s == HONE_BF16 ? "bfloat16" : s == HONE_F16 ? "float16" : "float32";
}

static void say_state(char *to, int64_t bytes, const hone_type *t,
                      const float *mean)
{
    int n = snprintf(to, (size_t)bytes,
                     "{\"quant_type\": \"nf4\", \"blocksize\": %d, "
                     "\"dtype\": \"%s\", \"shape\": [%lld, %lld], "
                     "\"nested_blocksize\": %d, \"nested_dtype\": "
                     "\"float32\", \"nested_offset\": %.17g}",
                     HONE_NF4_BLOCK, dtype_name(t->storage),
                     (long long)t->dim[0], (long long)t->dim[1], HONE_NF4_NEST,
                     (double)mean[0]);

    memset(to + n, ' ', (size_t)(bytes - n));
}

static void write_parts(const hone_ptr *p, const folder_entry *x,
                        const hone_type *t, FILE *f)
{
    static const float value[16] = { HONE_NF4_VALUES };
    const float *mean = p->part[3];
    char state[STATE_BYTES + 8];
    float map[MAP];

    for (int q = 0; q < MAP; q++)
        map[q] = hone_nf4_map(q, mean[1]);
    say_state(state, x[5].bytes, t, mean);
    (void)fwrite(p->part[2], 1, (size_t)x[0].bytes, f); /* the caller looks */
    (void)fwrite(map, 1, sizeof map, f);
    (void)fwrite(value, 1, sizeof value, f);
    (void)fwrite(p->part[0], 1, (size_t)x[3].bytes, f);
    (void)fwrite(p->part[1], 1, (size_t)x[4].bytes, f);
    (void)fwrite(state, 1, (size_t)x[5].bytes, f);
}

static hone_status write(const hone_export *e, uint32_t i, FILE *f,
                         hone_err *err)
{
    hone_type t = e->type(e->self, i);
    folder_entry x[FOLDER_ENTRIES];
    float mean[2];
    hone_ptr p = { { NULL, NULL, NULL, mean } };
    hone_status s = HONE_OK;

    if (!is_linear(e, i))
        return folder_write_plain(e, i, f, err);
    if (e->size < sizeof *e)
        return hone_fail(err, HONE_ENOSUP, "nf4: this engine is older than the "
                         "plugin and quantises nothing");
    entries(e, i, x);
    for (int k = 0; k < 3 && s == HONE_OK; k++) {
        p.part[k] = malloc((size_t)hone_part_bytes(HONE_NF4, k,
                                                   hone_count(&t)));
        if (!p.part[k])
            s = hone_fail(err, HONE_ENOMEM, "no memory for the codes of '%s'",
                          x[3].name);
    }
    if (s == HONE_OK)
        s = e->codes(e->self, i, HONE_NF4, &p, err);
    if (s == HONE_OK)
        write_parts(&p, x, &t, f);
    for (int k = 0; k < 3; k++)
        free(p.part[k]);
    return s;
}

/* As BitsAndBytesConfig of Transformers says it. */
static json_t *quantization(void)
{
    return json_pack("{s:s, s:b, s:b, s:b, s:b, s:s, s:b, s:s, s:s, s:b, s:b, "
                     "s:n, s:f}", "quant_method", "bitsandbytes",
                     "load_in_4bit", 1, "load_in_8bit", 0, "_load_in_4bit", 1,
                     "_load_in_8bit", 0, "bnb_4bit_quant_type", "nf4",
                     "bnb_4bit_use_double_quant", 1, "bnb_4bit_compute_dtype",
                     "bfloat16", "bnb_4bit_quant_storage", "uint8",
                     "llm_int8_enable_fp32_cpu_offload", 0,
                     "llm_int8_has_fp16_weight", 0, "llm_int8_skip_modules",
                     "llm_int8_threshold", 6.0);
}

static hone_status write_model(const void *config, const hone_export *e,
                               hone_err *err)
{
    static const folder_way way = { entries, write, is_linear, quantization };

    (void)config;
    return folder_write(e, &way, err);
}

static const hone_exporter exporter = { sizeof exporter, write_model };

static const hone_component nf4 = {
    .size = sizeof nf4,
    .kind = HONE_KIND_EXPORTER,
    .name = "nf4",
    .help = "a Hugging Face folder quantised as bitsandbytes does, nf4",
    .ops = &exporter,
};

HONE_PLUGIN("nf4", HONE_VERSION, &nf4)

/* SPDX-License-Identifier: MIT
 *
 * safetensors_nf4.c -- weights that bitsandbytes quantised, see safetensors.h.
 * In the file they are several tensors: NAME has the codes, and beside it lie
 *     NAME.absmax                          u8 or f32, one a block
 *     NAME.nested_absmax                   f32, one for 256 blocks
 *     NAME.quant_map, NAME.nested_quant_map   the numbers of codes
 *     NAME.quant_state.bitsandbytes__nf4   JSON: shape, dtype, offset, blocks
 * Here one weight stands for them. Nothing in them is believed.
 */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "hone/nf4.h"
#include "safetensors.h"

#define STATE ".quant_state.bitsandbytes__"

enum { STATE_MAX_BYTES = 1 << 16 };

typedef struct {
    hone_weights *weights;
    const char *name; /* of the weight */
    const char *folder;
    json_t *state;
    hone_weight_codes *codes;
    hone_type type;
    hone_err *err;
} reader;

static hone_status refuse(const reader *r, const char *what)
{
    return hone_fail(r->err, HONE_EINVAL, "%s: tensor '%s', as bitsandbytes "
                     "quantised it: %s", r->folder, r->name, what);
}

/* NAME.KIND, which must have this many bytes. */
static hone_status find(const reader *r, const char *kind, int64_t bytes,
                        const hone_weight **out)
{
    const char *name = hone_format_text(&r->weights->arena, "%s%s%s", r->name,
                                        *kind ? "." : "", kind);

    *out = hone_weights_find(r->weights, name);
    if (*out && (*out)->bytes == bytes)
        return HONE_OK;
    return hone_fail(r->err, HONE_EINVAL, "%s: tensor '%s', which bitsandbytes "
                     "quantised, needs '%s' of %lld bytes; %s", r->folder,
                     r->name, name, (long long)bytes,
                     *out ? "it has another size" : "it is not there");
}

static int64_t whole(const reader *r, const char *key)
{
    return json_integer_value(json_object_get(r->state, key));
}

static int says(const reader *r, const char *key, const char *text)
{
    const char *is = json_string_value(json_object_get(r->state, key));

    return is && !strcmp(is, text);
}

/* Element I of a map is X, but for what arithmetic makes of it. */
static int is_near(const hone_weight *map, int i, float x)
{
    float is;

    memcpy(&is, (const char *)map->data + 4 * (size_t)i, sizeof is);
    return fabsf(is - x) <= 1e-6f;
}

static hone_status read_shape(reader *r)
{
    const json_t *shape = json_object_get(r->state, "shape");
    int64_t n = 1;

    if (json_array_size(shape) != 2)
        return refuse(r, "it is no matrix");
    r->type = hone_type_of(HONE_NF4_PLAIN, 2, 1, 1);
    for (int i = 0; i < 2; i++) {
        r->type.dim[i] = json_integer_value(json_array_get(shape, (size_t)i));
        if (r->type.dim[i] < 1 || r->type.dim[i] > (int64_t)1 << 31)
            return refuse(r, "its shape makes no sense");
        n *= r->type.dim[i];
    }
    return whole(r, "blocksize") == HONE_NF4_BLOCK
               ? HONE_OK : refuse(r, "its blocks are not of 64");
}

static hone_status read_dtype(reader *r)
{
    static const struct {
        const char *name;
        hone_storage storage;
    } dtypes[] = { { "bfloat16", HONE_BF16 }, { "float16", HONE_F16 },
                   { "float32", HONE_F32 } };

    for (int i = 0; i < 3; i++)
        if (says(r, "dtype", dtypes[i].name)) {
            r->codes->plain = dtypes[i].storage;
            return HONE_OK;
        }
    return refuse(r, "its dtype is none of bfloat16, float16, float32");
}

static hone_status read_nested(reader *r)
{
    const json_t *offset = json_object_get(r->state, "nested_offset");
    const hone_weight *map, *nested;
    float lowest;

    r->type.storage = HONE_NF4;
    if (whole(r, "nested_blocksize") != HONE_NF4_NEST || !json_is_number(offset))
        return refuse(r, "its scales are not quantised in blocks of 256 with "
                      "an offset");
    hone_try(find(r, "nested_absmax",
                  hone_part_bytes(HONE_NF4, 2, hone_count(&r->type)),
                  &nested));
    hone_try(find(r, "nested_quant_map", 256 * 4, &map));
    memcpy(&lowest, map->data, sizeof lowest);
    for (int i = 1; i < 256; i++)
        if (!is_near(map, i, hone_nf4_map(i, lowest)))
            return refuse(r, "its nested_quant_map is not the dynamic one");
    r->codes->part[2] = *nested;
    r->codes->mean[0] = (float)json_number_value(offset);
    r->codes->mean[1] = lowest;
    return HONE_OK;
}

static hone_status read_maps(reader *r)
{
    static const float value[16] = { HONE_NF4_VALUES };
    const hone_weight *map, *absmax;

    hone_try(find(r, "quant_map", 16 * 4, &map));
    for (int i = 0; i < 16; i++)
        if (!is_near(map, i, value[i]))
            return refuse(r, "its quant_map is not that of nf4");
    if (json_object_get(r->state, "nested_offset"))
        hone_try(read_nested(r));
    hone_try(find(r, "absmax", hone_part_bytes(r->type.storage, 1,
                                               hone_count(&r->type)), &absmax));
    r->codes->part[1] = *absmax;
    return HONE_OK;
}

/* Makes one weight of those of r->name, whose STATE this is. */
static hone_status fold(reader *r, const hone_weight *state)
{
    const hone_weight *codes;
    hone_status s;

    r->codes = hone_alloc(&r->weights->arena, sizeof *r->codes);
    r->state = NULL;
    if (state->bytes <= STATE_MAX_BYTES)
        r->state = json_loadb(state->data, (size_t)state->bytes, 0, NULL);
    s = r->state && says(r, "quant_type", "nf4")
            ? read_shape(r) : refuse(r, "its quant_state is not that of nf4");
    if (s == HONE_OK)
        s = read_dtype(r);
    if (s == HONE_OK)
        s = read_maps(r);
    if (s == HONE_OK)
        s = find(r, "", hone_part_bytes(HONE_NF4, 0, hone_count(&r->type)),
                 &codes);
    json_decref(r->state);
    hone_try(s);
    r->codes->part[0] = *codes;
    ((hone_weight *)codes)->type = r->type;
    ((hone_weight *)codes)->codes = r->codes;
    return HONE_OK;
}

/* Whether NAME is beside a weight that stands for it. */
static int is_beside(const hone_weights *w, const char *name)
{
    static const char *const kinds[] = { ".absmax", ".nested_absmax",
                                         ".quant_map", ".nested_quant_map",
                                         STATE "nf4" };
    size_t n = strlen(name);

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t k = strlen(kinds[i]);
        char of[1024];
        const hone_weight *t;

        if (n < k || n - k >= sizeof of || strcmp(name + n - k, kinds[i]))
            continue;
        memcpy(of, name, n - k);
        of[n - k] = '\0';
        t = hone_weights_find(w, of);
        if (t && t->codes)
            return 1;
    }
    return 0;
}

hone_status hone_weights_fold(hone_weights *w, const char *folder,
                              hone_err *err)
{
    reader r = { .weights = w, .folder = folder, .err = err };
    uint8_t *beside;
    int count = 0;

    for (int i = 0; i < w->count; i++) {
        const char *name = w->list[i].name, *at = strstr(name, STATE);

        if (!at)
            continue;
        r.name = hone_format_text(&w->arena, "%.*s", (int)(at - name), name);
        if (strcmp(at, STATE "nf4"))
            return refuse(&r, "only nf4 is read");
        hone_try(fold(&r, &w->list[i]));
        count++;
    }
    if (!count)
        return HONE_OK;
    beside = hone_alloc(&w->arena, (size_t)w->count);
    for (int i = 0; i < w->count; i++)
        beside[i] = (uint8_t)is_beside(w, w->list[i].name);
    count = w->count;
    w->count = 0;
    for (int i = 0; i < count; i++)
        if (!beside[i])
            w->list[w->count++] = w->list[i];
    return HONE_OK;
}

/* --------------------------------------------------------------- numbers */

/* Elements within one group of blocks that has one nested scale. */
static hone_status decode(const hone_weights *w, const hone_weight *t,
                          int64_t from, int64_t count, float *to, hone_err *err)
{
    static const float value[16] = { HONE_NF4_VALUES };
    const hone_weight_codes *c = t->codes;
    int64_t block = from / HONE_NF4_BLOCK, byte = from / 2;
    int64_t blocks = (from + count - 1) / HONE_NF4_BLOCK - block + 1;
    int is_plain = t->type.storage == HONE_NF4_PLAIN, wide = is_plain ? 4 : 1;
    uint8_t codes[HONE_NF4_BLOCK * HONE_NF4_NEST / 2];
    float absmax[HONE_NF4_NEST], nested = 0;
    hone_ptr scales = { { NULL, absmax, &nested, (void *)c->mean } };

    hone_try(hone_weights_read(w, &c->part[0], byte,
                               (from + count + 1) / 2 - byte, codes, err));
    hone_try(hone_weights_read(w, &c->part[1], block * wide, blocks * wide,
                               absmax, err));
    if (!is_plain)
        hone_try(hone_weights_read(w, &c->part[2], block / HONE_NF4_NEST * 4, 4,
                                   &nested, err));
    for (int64_t i = 0; i < count; i++) {
        int pair = codes[(from + i) / 2 - byte];
        float scale = hone_nf4_scale(t->type.storage, &scales,
                                     (from + i) / HONE_NF4_BLOCK - block);
        to[i] = value[(from + i) % 2 ? pair & 15 : pair >> 4] * scale;
    }
    return HONE_OK;
}

static hone_status convert(const hone_weights *w, const hone_weight *t,
                           int64_t from, int64_t count, float *to, hone_err *err)
{
    int64_t size = hone_part_bytes(t->type.storage, 0, 1);
    double raw[4096];

    hone_try(hone_weights_read(w, t, from * size, count * size, raw, err));
    if (hone_convert(to, HONE_F32, raw, t->type.storage, count) != HONE_OK)
        return hone_fail(err, HONE_ENOSUP, "%s: its storage cannot be "
                         "converted", t->name);
    return HONE_OK;
}

hone_status hone_weights_numbers(const hone_weights *w, const hone_weight *t,
                                 int64_t from, int64_t count, float *to,
                                 hone_err *err)
{
    const int64_t group = HONE_NF4_BLOCK * HONE_NF4_NEST;

    while (count > 0) {
        int64_t n = t->codes ? group - from % group : 4096;

        n = n < count ? n : count;
        hone_try(t->codes ? decode(w, t, from, n, to, err)
                          : convert(w, t, from, n, to, err));
        from += n;
        to += n;
        count -= n;
    }
    return HONE_OK;
}

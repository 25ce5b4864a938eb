/* SPDX-License-Identifier: MIT
 *
 * attrs.h -- the attributes of the ops, one struct for each family. Filled by
 * name through the op's option table; read by the ops and by the packs. A
 * member that an op of the family does not list stays 0.
 */
#ifndef HONE_ATTRS_H
#define HONE_ATTRS_H

#include <stdint.h>

typedef struct hone_embed_attrs { /* embed_grad */
    int64_t vocab;
} hone_embed_attrs;

typedef struct hone_linear_attrs { /* linear, linear_dx, linear_dw, dora_norm */
    double scale;
} hone_linear_attrs;

typedef struct hone_dora_attrs { /* dora_grad */
    int input;
} hone_dora_attrs;

typedef struct hone_swiglu_factors_attrs { /* swiglu_factors, _grad */
    double gate_scale, up_scale;
} hone_swiglu_factors_attrs;

typedef struct hone_norm_attrs { /* rmsnorm, _dx, _dw, add_rmsnorm */
    double eps, offset;
    int64_t d; /* rmsnorm_dw: the size of a group; elsewhere that of w */
} hone_norm_attrs;

typedef struct hone_scale_attrs { /* scale */
    double by;
} hone_scale_attrs;

typedef struct hone_softcap_attrs { /* softcap, softcap_grad */
    double cap;
} hone_softcap_attrs;

typedef struct hone_split_attrs { /* split */
    int64_t at;
} hone_split_attrs;

typedef struct hone_rope_attrs { /* rope */
    int64_t head_dim; /* 0: twice the length of inv_freq */
    double factor;
    int inverse;
} hone_rope_attrs;

typedef struct hone_norm_rope_attrs { /* norm_rope, _dx */
    double eps, offset;
    int64_t head_dim; /* 0: that of the weight */
    double factor;
} hone_norm_rope_attrs;

#define HONE_HEAD_DIM_MAX 512

typedef struct hone_attention_attrs { /* attention, attention_grad */
    int64_t heads, kv_heads;
    double scale;
    int64_t window; /* 0: every earlier key */
    double softcap; /* 0: none; else s = softcap * tanh(s / softcap) */
} hone_attention_attrs;

typedef struct hone_dropout_attrs { /* dropout */
    double p;
    int64_t key; /* from the name of the node in the graph before fusing */
} hone_dropout_attrs;

typedef struct hone_scatter_attrs { /* scatter */
    int64_t rows;
} hone_scatter_attrs;

typedef struct hone_convert_attrs { /* convert */
    int to; /* a hone_storage: the option's choices stand in its order */
} hone_convert_attrs;

typedef struct hone_fill_attrs { /* fill */
    double value;
} hone_fill_attrs;

typedef struct hone_map_attrs { /* map; see mapcode.h */
    const char *program;
    int64_t scalars, reads, writes;
    int guard, stochastic;
} hone_map_attrs;

/* Inputs behind those of the list: rng and keys. */
#define HONE_MAP_ROUNDING(a) ((a)->stochastic ? 2u : 0u)

#endif

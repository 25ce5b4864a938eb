/* SPDX-License-Identifier: MIT
 *
 * llama_config.h -- config.json of a llama of any shape with tied embeddings,
 * for tests that plan and need no weights.
 */
#ifndef HONE_TESTS_LLAMA_CONFIG_H
#define HONE_TESTS_LLAMA_CONFIG_H

#include <stdio.h>

typedef struct {
    int hidden, inner, layers, heads, keys, longest, vocab;
} llama_shape;

static void write_llama(const char *folder, llama_shape of)
{
    char path[64];
    FILE *f;

    snprintf(path, sizeof path, "%s/config.json", folder);
    f = fopen(path, "w");
    fprintf(f, "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": "
            "\"llama\", \"hidden_size\": %d, \"intermediate_size\": %d, "
            "\"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
            "\"num_key_value_heads\": %d, \"max_position_embeddings\": %d, "
            "\"rms_norm_eps\": 1e-5, \"hidden_act\": \"silu\", "
            "\"tie_word_embeddings\": true, \"vocab_size\": %d}",
            of.hidden, of.inner, of.layers, of.heads, of.keys, of.longest,
            of.vocab);
    fclose(f);
}

#endif

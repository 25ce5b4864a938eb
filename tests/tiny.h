/* SPDX-License-Identifier: MIT
 *
 * tiny.h -- a model, a tokenizer and rows of our own in a temporary folder, so
 * that whole trainings run in a moment and need nothing from outside: llama
 * with grouped queries, three layers, one token a character.
 */
#ifndef HONE_TESTS_TINY_H
#define HONE_TESTS_TINY_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TINY_ROWS = 26, TINY_VAL = 5, TINY_VOCAB = 98 };

static char tiny_folder[] = "/tmp/hone-train-XXXXXX";

static FILE *tiny_file(const char *name)
{
    char path[1024];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", tiny_folder, name);
    f = fopen(path, "w");
    if (!f) {
        perror(path);
        exit(1);
    }
    return f;
}

/* <unk>, <s>, </s> and the printable characters of ASCII. */
static void tiny_tokenizer(const char *name)
{
    FILE *f = tiny_file(name);
    static const char *const special[] = { "<unk>", "<s>", "</s>" };

    fputs("{\"version\": \"1.0\", \"added_tokens\": [", f);
    for (int i = 0; i < 3; i++)
        fprintf(f, "%s{\"id\": %d, \"content\": \"%s\", \"single_word\": false,"
                   " \"lstrip\": false, \"rstrip\": false, \"normalized\": "
                   "false, \"special\": true}", i ? ", " : "", i, special[i]);
    fputs("], \"normalizer\": null, \"pre_tokenizer\": null, "
          "\"post_processor\": null, \"decoder\": null, \"model\": {\"type\": "
          "\"BPE\", \"unk_token\": \"<unk>\", \"fuse_unk\": true, "
          "\"byte_fallback\": false, \"merges\": [], \"vocab\": {", f);
    for (int i = 0; i < 3; i++)
        fprintf(f, "\"%s\": %d, ", special[i], i);
    for (int c = ' '; c <= '~'; c++)
        fprintf(f, "\"%s%c\": %d%s", c == '"' || c == '\\' ? "\\" : "", c,
                3 + c - ' ', c == '~' ? "" : ", ");
    fputs("}}}\n", f);
    fclose(f);
}

static void tiny_model(const char *name, int tied)
{
    char path[600];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", tiny_folder, name);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/config.json", name);
    f = tiny_file(path);
    fprintf(f, "{\"model_type\": \"llama\", \"architectures\": "
               "[\"LlamaForCausalLM\"], \"hidden_size\": 32, "
               "\"intermediate_size\": 48, \"num_hidden_layers\": 3, "
               "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
               "\"vocab_size\": %d, \"rms_norm_eps\": 1e-05, \"rope_theta\": "
               "10000.0, \"max_position_embeddings\": 512, \"hidden_act\": "
               "\"silu\", \"initializer_range\": 0.15, "
               "\"tie_word_embeddings\": %s, \"bos_token_id\": 1, "
               "\"eos_token_id\": 2, \"torch_dtype\": \"float32\"}\n",
            TINY_VOCAB, tied ? "true" : "false");
    fclose(f);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", name);
    f = tiny_file(path);
    fputs("{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}\n", f);
    fclose(f);
    snprintf(path, sizeof path, "%s/tokenizer.json", name);
    tiny_tokenizer(path);
}

/* Sums in words and figures: rows of many lengths. */
static void tiny_rows(const char *name)
{
    FILE *f = tiny_file(name);

    for (int i = 0; i < TINY_ROWS; i++) {
        fprintf(f, "{\"instruction\": \"%d + %d%.*s\", \"output\": \"%d",
                i * 37 % 91, i * 53 % 77, i * 11 % 40,
                ", please, and say how you have found it", i * 37 % 91 +
                i * 53 % 77);
        for (int k = 0; k < i * 7 % 5; k++)
            fputs(" because it is so", f);
        fputs("\"}\n", f);
    }
    fclose(f);
}

/* Makes all of it, and a cache of its own: "tied", "untied", rows.jsonl. */
static int tiny_make(void)
{
    char path[512];

    if (!mkdtemp(tiny_folder))
        return -1;
    snprintf(path, sizeof path, "%s/cache", tiny_folder);
    setenv("HONE_CACHE", path, 1);
    tiny_model("tied", 1);
    tiny_model("untied", 0);
    tiny_rows("rows.jsonl");
    return 0;
}

static int tiny_remove(void)
{
    char command[600];

    snprintf(command, sizeof command, "rm -rf '%s'", tiny_folder);
    return system(command);
}

#endif

/* SPDX-License-Identifier: MIT
 *
 * bpe.c -- tokenizer.json with a BPE model: byte-level (GPT-2, Llama 3, Qwen,
 * SmolLM) or SentencePiece's (Llama 2, Mistral, Gemma).
 */
#include "common/bpe_model.h"

static int probe(const char *text, size_t bytes)
{
    return tk_probe_model(text, bytes, "BPE");
}

static hone_status load(const hone_host *host, const char *text, size_t bytes,
                        void **to, hone_err *err)
{
    return tk_load_json(host, text, bytes, tk_bpe_read, 1, to, err);
}

static const hone_tokenizer ops = { .size = sizeof ops,
                                    .probe = probe,
                                    .load = load,
                                    TK_SHARED_OPS };

static const hone_component bpe = {
    .size = sizeof bpe,
    .kind = HONE_KIND_TOKENIZER,
    .name = "bpe",
    .help = "tokenizer.json with a BPE model: byte-level or SentencePiece",
    .ops = &ops,
};

HONE_PLUGIN("bpe", "1.0", &bpe)

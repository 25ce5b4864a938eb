/* SPDX-License-Identifier: MIT
 *
 * unigram.c -- tokenizer.json with a Unigram model (T5, XLM-R, ALBERT).
 */
#include "common/models.h"

static int probe(const char *text, size_t bytes)
{
    return tk_probe_model(text, bytes, "Unigram");
}

static hone_status load(const hone_host *host, const char *text, size_t bytes,
                        void **to, hone_err *err)
{
    return tk_load_json(host, text, bytes, tk_unigram_read, 0, to, err);
}

static const hone_tokenizer ops = { .size = sizeof ops,
                                    .probe = probe,
                                    .load = load,
                                    TK_SHARED_OPS };

static const hone_component unigram = {
    .size = sizeof unigram,
    .kind = HONE_KIND_TOKENIZER,
    .name = "unigram",
    .help = "tokenizer.json with a Unigram model",
    .ops = &ops,
};

HONE_PLUGIN("unigram", "1.0", &unigram)

/* SPDX-License-Identifier: MIT
 *
 * wordlevel.c -- tokenizer.json with a WordLevel model (one token a word).
 */
#include "common/models.h"

static int probe(const char *text, size_t bytes)
{
    return tk_probe_model(text, bytes, "WordLevel");
}

static hone_status load(const hone_host *host, const char *text, size_t bytes,
                        void **to, hone_err *err)
{
    return tk_load_json(host, text, bytes, tk_wordlevel_read, 0, to, err);
}

static const hone_tokenizer ops = { .size = sizeof ops,
                                    .probe = probe,
                                    .load = load,
                                    TK_SHARED_OPS };

static const hone_component wordlevel = {
    .size = sizeof wordlevel,
    .kind = HONE_KIND_TOKENIZER,
    .name = "wordlevel",
    .help = "tokenizer.json with a WordLevel model",
    .ops = &ops,
};

HONE_PLUGIN("wordlevel", "1.0", &wordlevel)

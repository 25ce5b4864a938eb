/* SPDX-License-Identifier: MIT
 *
 * wordpiece.c -- tokenizer.json with a WordPiece model (BERT).
 */
#include "common/models.h"

static int probe(const char *text, size_t bytes)
{
    return tk_probe_model(text, bytes, "WordPiece");
}

static hone_status load(const hone_host *host, const char *text, size_t bytes,
                        void **to, hone_err *err)
{
    return tk_load_json(host, text, bytes, tk_wordpiece_read, 0, to, err);
}

static const hone_tokenizer ops = { .size = sizeof ops,
                                    .probe = probe,
                                    .load = load,
                                    TK_SHARED_OPS };

static const hone_component wordpiece = {
    .size = sizeof wordpiece,
    .kind = HONE_KIND_TOKENIZER,
    .name = "wordpiece",
    .help = "tokenizer.json with a WordPiece model",
    .ops = &ops,
};

HONE_PLUGIN("wordpiece", "1.0", &wordpiece)

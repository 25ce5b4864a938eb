/* SPDX-License-Identifier: MIT
 *
 * tiktoken.c -- tiktoken's own files of ranks, for folders that have no
 * tokenizer.json (the first Llama 3, Qwen, OpenAI's).
 */
#include "common/settings.h"
#include "common/tiktoken_read.h"

static hone_status load_files(const hone_host *host, const hone_file *file,
                              uint32_t count, void **to, hone_err *err)
{
    tk_tok *tok = tk_open(host);
    hone_status s = tok ? tk_tiktoken_read(tok, file, count, err)
                        : hone_fail(err, HONE_EIO, "out of memory");

    if (s == HONE_OK)
        *to = tok;
    else
        tk_unload(tok);
    return s;
}

static hone_status load(const hone_host *host, const char *text, size_t bytes,
                        void **to, hone_err *err)
{
    const hone_file file = { "", text, bytes };

    return load_files(host, &file, 1, to, err);
}

static const char *const names[] = { "tokenizer.model", "tiktoken.model",
                                     "*.tiktoken", NULL };
static const char *const beside[] = { "tokenizer_config.json",
                                      "special_tokens_map.json",
                                      "added_tokens.json", NULL };

static const hone_tokenizer ops = { .size = sizeof ops,
                                    .probe = tk_tiktoken_probe,
                                    .load = load,
                                    TK_SHARED_OPS,
                                    .names = names,
                                    .beside = beside,
                                    .load_files = load_files };

static const hone_component tiktoken = {
    .size = sizeof tiktoken,
    .kind = HONE_KIND_TOKENIZER,
    .name = "tiktoken",
    .help = "tiktoken files: a piece in base 64 and its rank a line",
    .ops = &ops,
};

HONE_PLUGIN("tiktoken", "1.0", &tiktoken)

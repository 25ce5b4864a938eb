/* SPDX-License-Identifier: MIT
 *
 * sentencepiece.c -- sentencepiece's own .model files, BPE and Unigram, for
 * folders that have no tokenizer.json. A file alone gives exactly what the
 * library sentencepiece gives; in a folder, tokenizer_config.json adds its
 * special tokens.
 */
#include "common/protobuf.h"
#include "common/settings.h"
#include "common/spm.h"

/* A list of pieces comes first: field 1, each a message whose first field is
 * a text. */
static int probe(const char *text, size_t bytes)
{
    tk_proto p = tk_proto_of((tk_text){ text, bytes }), piece;

    if (bytes < 4 || text[0] != '\n')
        return 0;
    for (int i = 0; i < 3; i++) {
        if (!tk_proto_next(&p) || p.number != 1 || p.wire != 2)
            return i > 0 && !p.broken;
        piece = tk_proto_of(p.bytes);
        if (!tk_proto_next(&piece) || piece.number != 1 || piece.wire != 2)
            return 0;
    }
    return 1;
}

static hone_status load_files(const hone_host *host, const hone_file *file,
                              uint32_t count, void **to, hone_err *err)
{
    tk_tok *tok = tk_open(host);
    hone_status s;

    if (!tok)
        return hone_fail(err, HONE_EIO, "out of memory");
    s = tk_spm_read(tok, (tk_text){ file[0].text, file[0].bytes }, err);
    if (s == HONE_OK)
        s = tk_settings_read(tok, file, count, NULL, NULL, "<s>", "</s>",
                             count > 1, err);
    if (s == HONE_OK)
        *to = tok;
    else
        tk_unload(tok);
    return s;
}

static hone_status load(const hone_host *host, const char *text, size_t bytes,
                        void **to, hone_err *err)
{
    const hone_file file = { "tokenizer.model", text, bytes };

    return load_files(host, &file, 1, to, err);
}

static const char *const names[] = { "tokenizer.model", "spiece.model",
                                     "sentencepiece.bpe.model",
                                     "sentencepiece.model", "*.model", NULL };
static const char *const beside[] = { "tokenizer_config.json",
                                      "special_tokens_map.json",
                                      "added_tokens.json", NULL };

static const hone_tokenizer ops = { .size = sizeof ops,
                                    .probe = probe,
                                    .load = load,
                                    TK_SHARED_OPS,
                                    .names = names,
                                    .beside = beside,
                                    .load_files = load_files };

static const hone_component sentencepiece = {
    .size = sizeof sentencepiece,
    .kind = HONE_KIND_TOKENIZER,
    .name = "sentencepiece",
    .help = "sentencepiece .model files: BPE and Unigram",
    .ops = &ops,
};

HONE_PLUGIN("sentencepiece", "1.0", &sentencepiece)

/* SPDX-License-Identifier: MIT
 *
 * models.h -- the models of tokenizer.json beside BPE; each fills the
 * vocabulary and the model of a tokenizer.
 */
#ifndef TK_MODELS_H
#define TK_MODELS_H

#include "tok.h"

hone_status tk_unigram_read(tk_tok *, const tk_json *model, hone_err *);
hone_status tk_wordpiece_read(tk_tok *, const tk_json *model, hone_err *);
hone_status tk_wordlevel_read(tk_tok *, const tk_json *model, hone_err *);
/* The id of "unk_token", which must be there: any word may be unknown. */
hone_status tk_unknown_read(tk_tok *, const tk_json *model, int32_t *to,
                            hone_err *);

#endif

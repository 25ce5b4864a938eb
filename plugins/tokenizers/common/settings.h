/* SPDX-License-Identifier: MIT
 *
 * settings.h -- what tokenizer_config.json and its like say of a tokenizer
 * that has no tokenizer.json: special tokens, and which stand around a text.
 */
#ifndef TK_SETTINGS_H
#define TK_SETTINGS_H

#include "tok.h"

/* Puts the model's own special tokens, before those that the files name. */
typedef hone_status tk_specials_fn(tk_tok *, const void *self, hone_err *);

/* Takes added tokens and the tokens around a text from the files behind the
 * first. BOS and EOS: the model's own, or NULL; they are added where the files
 * say so; if they say nothing, BOS where ADD_BOS. Closes the added tokens. */
hone_status tk_settings_read(tk_tok *, const hone_file *file, uint32_t count,
                             tk_specials_fn *specials, const void *self,
                             const char *bos, const char *eos, int add_bos,
                             hone_err *);
/* The file of that name behind the first, as JSON in the arena; NULL: none. */
hone_status tk_settings_file(tk_arena *, const hone_file *file, uint32_t count,
                             const char *name, const tk_json **to, hone_err *);

#endif

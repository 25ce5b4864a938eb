/* SPDX-License-Identifier: MIT
 *
 * tiktoken_read.h -- reads a file of tiktoken's: a piece in base 64 and its
 * rank, which is its id, on each line.
 */
#ifndef TK_TIKTOKEN_READ_H
#define TK_TIKTOKEN_READ_H

#include "tok.h"

/* Fills vocabulary, model and decoder. FILE[0] is named, others beside. */
hone_status tk_tiktoken_read(tk_tok *, const hone_file *file, uint32_t count,
                             hone_err *);
int tk_tiktoken_probe(const char *text, size_t bytes);

#endif

/* SPDX-License-Identifier: MIT
 *
 * chat.h -- a model folder's chat template and the special tokens that it is
 * given, found as Transformers finds them; chats to text, to ids and to what
 * of them is learnt. Read-only once open: any number of threads may share one.
 */
#ifndef HONE_CHAT_H
#define HONE_CHAT_H

#include "arena.h"
#include "hone/plugin.h"
#include "tokens.h"

struct json_t;

typedef struct hone_chat {
    const hone_template *api;
    void *plain, *with_tools; /* with_tools: NULL, or for chats with tools */
    struct json_t *specials;  /* bos_token... */
    struct json_t *texts;     /* the templates: what a text depends on */
    int takes_parts;          /* contents may be lists of { type, text } */
} hone_chat;

/* MODEL: a folder, or a file in it. */
hone_status hone_chat_open(hone_chat *, const char *model, hone_err *);
void hone_chat_close(hone_chat *);

/* Renders VARIABLES, an object with messages; api->release() in any case. */
hone_status hone_chat_render(const hone_chat *, const struct json_t *variables,
                             hone_learn, hone_rendered *, hone_err *);

/* Ids of a rendered chat, without what the tokenizer adds to a text, and a 1
 * in the mask for each that has a part in a span. */
typedef struct hone_chat_ids {
    int32_t *ids;
    uint8_t *mask;
    int64_t count;
} hone_chat_ids;

hone_chat_ids hone_chat_encode(hone_arena *, const hone_tokens *,
                               const hone_rendered *);

#endif

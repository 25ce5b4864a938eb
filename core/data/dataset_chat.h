/* SPDX-License-Identifier: MIT
 *
 * dataset_chat.h -- a row that is a conversation: its messages brought into the
 * form that chat templates take. What cannot be learnt from is named.
 */
#ifndef HONE_DATASET_CHAT_H
#define HONE_DATASET_CHAT_H

#include <jansson.h>

#include "chat.h"

/* How the rows of a shape say it: the columns, the keys of a message and the
 * names of the roles, several of either separated by blanks. NULL: the shape
 * has none. */
typedef struct hone_chat_names {
    const char *messages, *system, *tools, *settings; /* columns */
    const char *answer[2]; /* columns of what is said in the end, either way */
    const char *role, *content; /* keys of a message */
    const char *roles[5]; /* of system, user, assistant, tool, and of calls of
                             tools that are messages of their own */
} hone_chat_names;

/* The template's variables of a row, a new reference; the messages end with
 * answer[WHICH] if the shape has answers. CHAT: what the template can use;
 * NULL: everything is taken. */
hone_status hone_chat_row(const hone_chat_names *, const hone_chat *chat,
                          const json_t *row, int which, json_t **variables,
                          hone_err *);

/* Whether the answers of a row and what is before them are messages, or else
 * texts. */
int hone_chat_is_row(const hone_chat_names *, const json_t *row);

/* Messages of a role that hone does not know, such as 'human' where the
 * recipe has not named it: an error if WHOLE, the chat as it was rendered, has
 * nothing of one. */
hone_status hone_chat_check_roles(const hone_chat *, json_t *variables,
                                  const hone_rendered *whole, hone_err *);

/* Gives messages without a content, such as calls of tools, an empty one: some
 * templates fail otherwise. Returns how many. */
int hone_chat_add_contents(json_t *variables);

#endif

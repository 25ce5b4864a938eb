/* SPDX-License-Identifier: MIT
 *
 * verb_generate.c -- hone generate: the continuation of a text on stdout,
 * nothing else.
 */
#include <jansson.h>
#include <string.h>

#include "chat.h"
#include "generate.h"
#include "hub.h"
#include "log.h"
#include "verbs.h"

typedef struct {
    const char *model, *adapter, *prompt, *chat, *device;
    hone_sampling how;
} request;

static hone_status print_text(const hone_tokens *t, const int32_t *ids,
                              int64_t n, hone_arena *a)
{
    int64_t bytes = t->api->decode(t->self, ids, n, HONE_SKIP_SPECIALS, NULL, 0);
    char *text = hone_alloc(a, (size_t)bytes + 1);

    t->api->decode(t->self, ids, n, HONE_SKIP_SPECIALS, text, bytes);
    fwrite(text, 1, (size_t)bytes, stdout);
    putchar('\n');
    return HONE_OK;
}

/* What the user says, in the model's chat template, up to the answer. */
static hone_status chat_text(const request *r, hone_arena *a, const char **text,
                             size_t *bytes, hone_err *err)
{
    hone_rendered out = { .size = sizeof out };
    json_t *said = json_stringn_nocheck(*text, *bytes);
    json_t *variables = json_pack("{s:[{s:s,s:o}],s:b}", "messages", "role",
                                  "user", "content", said,
                                  "add_generation_prompt", 1);
    hone_chat chat;
    hone_status s = hone_chat_open(&chat, r->model, err);

    if (s == HONE_OK) {
        s = hone_chat_render(&chat, variables, HONE_LEARN_NOTHING, &out, err);
        if (s == HONE_OK) {
            *bytes = (size_t)out.bytes;
            *text = hone_copy(a, out.text, *bytes, *bytes + 1, 1);
        }
        chat.api->release(&out);
        hone_chat_close(&chat);
    }
    json_decref(variables);
    return s;
}

static hone_status generate(const request *r, hone_tokens *tokens,
                            hone_generator *g, hone_arena *a, hone_err *err)
{
    size_t bytes;
    const char *said = r->chat ? r->chat : r->prompt;
    const char *prompt = hone_utf8_repair(a, said, strlen(said), &bytes);
    uint32_t flags = r->chat ? 0 : HONE_SPECIALS;
    int64_t n, count;
    int32_t *ids;

    hone_try(hone_tokens_open(tokens, r->model, err));
    if (r->chat)
        hone_try(chat_text(r, a, &prompt, &bytes, err));
    n = tokens->api->encode(tokens->self, prompt, bytes, flags, NULL, 0);
    n -= flags ? hone_tokens_behind(tokens) : 0; /* it goes on */
    if (n < 1)
        return hone_fail(err, HONE_EINVAL, "%s: it has no tokens",
                         r->chat ? "--chat" : "--prompt");
    ids = hone_alloc(a, (size_t)(n + r->how.max_tokens) * sizeof *ids);
    tokens->api->encode(tokens->self, prompt, bytes, flags, ids, n);
    hone_try(hone_generator_open(g, r->model, r->adapter, r->device,
                                 n + r->how.max_tokens, err));
    hone_try(hone_generate(g, tokens, ids, n, &r->how, ids + n, &count, err));
    return print_text(tokens, ids + n, count, a);
}

int hone_verb_generate(int argc, char **argv)
{
    const char *model[2];
    request r = { .device = "auto", .how.max_tokens = 64 };
    hone_sampling *how = &r.how;
    const hone_arg args[] = { { "--adapter", .value = &r.adapter },
                              { "--prompt", .value = &r.prompt },
                              { "--chat", .value = &r.chat },
                              { "--max-tokens", .count = &how->max_tokens,
                                .min = 1, .max = 1e9 },
                              { "--temperature", .number = &how->temperature,
                                .max = 1e6 },
                              { "--seed", .count = &how->seed, .max = 1e15 },
                              { "--device", .value = &r.device },
                              { .name = NULL } };
    static hone_generator g;
    hone_tokens tokens = { 0 };
    hone_arena a = { 0 };
    hone_err err = { 0 };
    hone_status status = hone_args(argc, argv, args, model, 1, &err);

    if (status == HONE_OK && (!model[0] || !r.prompt == !r.chat))
        status = hone_usage("generate", &err);
    r.model = hone_hub_model(model[0]);
    if (status == HONE_OK)
        status = generate(&r, &tokens, &g, &a, &err);
    hone_generator_close(&g);
    hone_tokens_close(&tokens);
    hone_arena_free(&a);
    return status == HONE_OK ? 0 : hone_report_error(&err);
}

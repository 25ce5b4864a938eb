/* SPDX-License-Identifier: MIT
 *
 * verb_host.c -- verbs that plugins bring: their options, and what the engine
 * lends them.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "chat.h"
#include "hub.h"
#include "kernels_limits.h"
#include "log.h"
#include "option.h"
#include "registry.h"
#include "verbs.h"

static hone_status find(const hone_host *host, hone_kind kind, const char *name,
                        const hone_component **c, hone_err *err)
{
    (void)host;
    return hone_need_component(kind, name, c, err);
}

static hone_status limits(const hone_host *host, const hone_component *device,
                          void *dev, hone_storage compute, double *bytes_per_s,
                          double *flops_per_s, hone_err *err)
{
    hone_device_info info = { .size = sizeof info };
    hone_bench b = { .device = device->ops, .info = &info, .dev = dev,
                     .compute = compute };

    (void)host;
    hone_try(b.device->info(dev, &info, err));
    b.threads = info.threads > 0 ? info.threads : 1;
    b.can_capture = info.can_capture;
    hone_try(hone_limits_copy(&b, bytes_per_s, err));
    return hone_limits_flops(&b, device->name, flops_per_s, err);
}

static hone_status tokenizer(const hone_host *host, const char *model,
                             const hone_tokenizer **api, void **tok,
                             hone_err *err)
{
    hone_tokens t;

    (void)host;
    hone_try(hone_tokens_open(&t, hone_hub_model(model), err));
    *api = t.api;
    *tok = t.self;
    t.self = NULL; /* theirs from here on */
    hone_tokens_close(&t);
    return HONE_OK;
}

/* A model's chat template as a component's. */
typedef struct {
    hone_template api;
    hone_chat chat;
} lent_chat;

static hone_status render(const void *self, const char *variables, size_t bytes,
                          hone_learn learn, hone_rendered *out, hone_err *err)
{
    const lent_chat *c = self;
    json_error_t why;
    json_t *v = json_loadb(variables, bytes, JSON_ALLOW_NUL, &why);
    hone_status s = v ? hone_chat_render(&c->chat, v, learn, out, err)
                      : hone_fail(err, HONE_EINVAL, "not valid JSON: %s",
                                  why.text);

    json_decref(v);
    return s;
}

static void unload(void *self)
{
    lent_chat *c = self;

    hone_chat_close(&c->chat);
    free(c);
}

static hone_status chat(const hone_host *host, const char *model,
                        const hone_template **api, void **self, hone_err *err)
{
    lent_chat *c = calloc(1, sizeof *c);
    hone_status s;

    (void)host;
    if (!c)
        return hone_fail(err, HONE_EIO, "out of memory");
    s = hone_chat_open(&c->chat, hone_hub_model(model), err);
    if (s != HONE_OK) {
        free(c);
        return s;
    }
    c->api = (hone_template){ .size = sizeof c->api, .unload = unload,
                              .render = render,
                              .release = c->chat.api->release };
    *api = &c->api;
    *self = c;
    return HONE_OK;
}

/* Takes what the options of C stand for out of the arguments. */
static hone_status read_options(const hone_component *c, char *config,
                                int *argc, char **argv, hone_arena *a,
                                hone_err *err)
{
    enum { MOST_OPTIONS = 31, MOST_WORDS = 63 };
    hone_arg args[MOST_OPTIONS + 1] = { { .name = NULL } };
    const char *text[MOST_OPTIONS] = { NULL }, *words[MOST_WORDS + 1];
    const hone_option *o = c->options;

    hone_option_defaults(o, config);
    for (int i = 0; i < MOST_OPTIONS && o[i].name; i++) {
        args[i] = (hone_arg){ hone_format_text(a, "--%s", o[i].name),
                              .flag = o[i].type == HONE_BOOL,
                              .min = o[i].min, .max = o[i].max };
        if (o[i].type == HONE_INT)
            args[i].count = (int64_t *)(config + o[i].offset);
        else if (o[i].type == HONE_REAL)
            args[i].number = (double *)(config + o[i].offset);
        else
            args[i].value = &text[i];
    }
    hone_try(hone_args(*argc, argv, args, words, MOST_WORDS, err));
    for (int i = 0; args[i].name; i++)
        if (text[i])
            hone_try(hone_option_parse(&o[i], config,
                                       args[i].flag ? "true" : text[i], a,
                                       err));
    for (*argc = 0; words[*argc]; ++*argc)
        argv[*argc] = (char *)words[*argc];
    return HONE_OK;
}

int hone_verb_of_plugin(const hone_component *c, int argc, char **argv)
{
    hone_host host = hone_the_host;
    hone_arena a = { 0 };
    void *config = hone_alloc(&a, c->config_size);
    hone_err err;
    hone_status s = c->options ? read_options(c, config, &argc, argv, &a, &err)
                               : HONE_OK;
    int status;

    host.config = config;
    host.find = find;
    host.limits = limits;
    host.tokenizer = tokenizer;
    host.chat = chat;
    status = s == HONE_OK
                 ? ((const hone_verb *)c->ops)->run(&host, argc, argv)
                 : hone_report_error(&err);
    hone_arena_free(&a);
    return status;
}

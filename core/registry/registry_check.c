/* SPDX-License-Identifier: MIT
 *
 * registry_check.c -- see registry_check.h. What a kind must bring is a table:
 * the size of its struct in ABI 1 and the members that may not be NULL.
 * Members appended later raise neither, so that older plugins stay welcome.
 */
#include "registry_check.h"

#include <string.h>

#include "option.h"
#include "registry.h"

#define REBUILD "rebuild it against hone/plugin.h of this engine"

enum { MOST_SLOTS = 20 };

typedef struct {
    const char *name;
    size_t offset;
} slot;

typedef struct {
    size_t size;
    slot required[MOST_SLOTS]; /* ends with name NULL */
} shape;

#define SIZE_UP_TO(S, last) (offsetof(S, last) + sizeof(((S *)0)->last))
#define SLOT(S, member) { #member, offsetof(S, member) }

static const shape shapes[HONE_KINDS] = {
    [HONE_KIND_FORMAT] = { SIZE_UP_TO(hone_format, close),
                           { SLOT(hone_format, endings),
                             SLOT(hone_format, open),
                             SLOT(hone_format, next),
                             SLOT(hone_format, close) } },
    [HONE_KIND_TOKENIZER] = { SIZE_UP_TO(hone_tokenizer, is_special),
                              { SLOT(hone_tokenizer, probe),
                                SLOT(hone_tokenizer, load),
                                SLOT(hone_tokenizer, unload),
                                SLOT(hone_tokenizer, encode),
                                SLOT(hone_tokenizer, decode),
                                SLOT(hone_tokenizer, vocab),
                                SLOT(hone_tokenizer, find),
                                SLOT(hone_tokenizer, is_special) } },
    [HONE_KIND_COLLATOR] = { SIZE_UP_TO(hone_collator, layout),
                             { SLOT(hone_collator, buckets),
                               SLOT(hone_collator, layout) } },
    [HONE_KIND_SCHEDULE] = { SIZE_UP_TO(hone_schedule, observe),
                             { SLOT(hone_schedule, factor) } },
    [HONE_KIND_OPTIMIZER] = { SIZE_UP_TO(hone_optimizer, update),
                              { SLOT(hone_optimizer, states),
                                SLOT(hone_optimizer, update) } },
    [HONE_KIND_DEVICE] = { SIZE_UP_TO(hone_device, graph_close),
                           { SLOT(hone_device, info),
                             SLOT(hone_device, reserve),
                             SLOT(hone_device, release),
                             SLOT(hone_device, freeze),
                             SLOT(hone_device, stream_open),
                             SLOT(hone_device, stream_close),
                             SLOT(hone_device, event_open),
                             SLOT(hone_device, event_close),
                             SLOT(hone_device, record),
                             SLOT(hone_device, wait),
                             SLOT(hone_device, sync),
                             SLOT(hone_device, copy),
                             SLOT(hone_device, fill) } },
    [HONE_KIND_OP] = { SIZE_UP_TO(hone_op, sample),
                       { SLOT(hone_op, in), SLOT(hone_op, out),
                         SLOT(hone_op, shape), SLOT(hone_op, ref_f32),
                         SLOT(hone_op, ref_f64) } },
    [HONE_KIND_PACK] = { SIZE_UP_TO(hone_pack, kernels),
                         { SLOT(hone_pack, device),
                           SLOT(hone_pack, kernels) } },
    [HONE_KIND_COLLECTIVE] = { SIZE_UP_TO(hone_collective, kernels),
                               { SLOT(hone_collective, device),
                                 SLOT(hone_collective, kernels) } },
    [HONE_KIND_LOGGER] = { SIZE_UP_TO(hone_logger, write),
                           { SLOT(hone_logger, write) } },
    [HONE_KIND_EXPORTER] = { SIZE_UP_TO(hone_exporter, write),
                             { SLOT(hone_exporter, write) } },
    [HONE_KIND_VERB] = { SIZE_UP_TO(hone_verb, run),
                         { SLOT(hone_verb, usage), SLOT(hone_verb, run) } },
    [HONE_KIND_TEMPLATE] = { SIZE_UP_TO(hone_template, uses),
                             { SLOT(hone_template, load),
                               SLOT(hone_template, unload),
                               SLOT(hone_template, render),
                               SLOT(hone_template, release),
                               SLOT(hone_template, uses) } },
};

int hone_kind_is_called(hone_kind kind)
{
    return kind == HONE_KIND_COLLATOR || kind == HONE_KIND_SCHEDULE ||
           kind == HONE_KIND_OPTIMIZER;
}

/* Bytes that an option takes in the config struct; 0: no such type. */
static size_t option_bytes(hone_opt_type type)
{
    switch (type) {
    case HONE_BOOL:
    case HONE_ENUM:
        return sizeof(int);
    case HONE_INT:
        return sizeof(int64_t);
    case HONE_REAL:
        return sizeof(double);
    case HONE_STR:
        return sizeof(const char *);
    default:
        return 0;
    }
}

static hone_status check_enum(const hone_component *c, const hone_option *o,
                              hone_err *err)
{
    if (!o->choices || !o->choices[0])
        return hone_fail(err, HONE_EINVAL, "'%s', option '%s': no choices",
                         c->name, o->name);
    for (int i = 0; o->sdef && o->choices[i]; i++)
        if (!strcmp(o->choices[i], o->sdef))
            return HONE_OK;
    return hone_fail(err, HONE_EINVAL,
                     "'%s', option '%s': its default \"%s\" is none of its "
                     "choices", c->name, o->name, o->sdef ? o->sdef : "");
}

static hone_status check_option(const hone_component *c, const hone_option *o,
                                hone_err *err)
{
    size_t bytes = option_bytes(o->type);

    if (!bytes)
        return hone_fail(err, HONE_EINVAL,
                         "'%s', option '%s': type %d is not one of a plugin's "
                         "(%d to %d)", c->name, o->name, (int)o->type,
                         HONE_BOOL, HONE_ENUM);
    if (o->offset > c->config_size || c->config_size - o->offset < bytes)
        return hone_fail(err, HONE_EINVAL,
                         "'%s', option '%s' takes bytes %zu to %zu of a config "
                         "of %zu; correct its offset or config_size", c->name,
                         o->name, o->offset, o->offset + bytes,
                         c->config_size);
    if (o->offset % bytes)
        return hone_fail(err, HONE_EINVAL,
                         "'%s', option '%s' is at offset %zu, not a multiple "
                         "of %zu; use offsetof", c->name, o->name, o->offset,
                         bytes);
    if (!o->help)
        return hone_fail(err, HONE_EINVAL, "'%s', option '%s' has no help text",
                         c->name, o->name);
    if (hone_option_find(c->options, o->name) != o)
        return hone_fail(err, HONE_EINVAL, "'%s' has two options '%s'", c->name,
                         o->name);
    if (o->type == HONE_ENUM)
        return check_enum(c, o, err);
    if ((o->type == HONE_INT || o->type == HONE_REAL) && o->min < o->max &&
        !(o->flags & HONE_REQUIRED) && (o->def < o->min || o->def > o->max))
        return hone_fail(err, HONE_EINVAL,
                         "'%s', option '%s': its default %g is outside "
                         "[%g, %g]", c->name, o->name, o->def, o->min, o->max);
    return HONE_OK;
}

/* The struct of its kind: there, large enough, nothing missing. */
static hone_status check_ops(const hone_component *c, hone_err *err)
{
    const shape *s = &shapes[c->kind];
    const char *kind = hone_kind_name(c->kind);
    uint32_t size;

    if (!c->ops)
        return hone_fail(err, HONE_EINVAL,
                         "'%s' has no ops; point them at its hone_%s", c->name,
                         kind);
    memcpy(&size, c->ops, sizeof size);
    if (size < s->size)
        return hone_fail(err, HONE_EINVAL,
                         "'%s': its %s struct has %u bytes, this engine needs "
                         "%zu; " REBUILD, c->name, kind, size, s->size);
    for (const slot *p = s->required; p->name; p++) {
        const void *member; /* all-zero bits are NULL on every target */
        memcpy(&member, (const char *)c->ops + p->offset, sizeof member);
        if (!member)
            return hone_fail(err, HONE_EINVAL,
                             "'%s': %s needs '%s', which is NULL", c->name,
                             kind, p->name);
    }
    return HONE_OK;
}

static hone_status check_kernels(const hone_component *c,
                                 const hone_kernel *k, hone_err *err)
{
    for (; k->op; k++)
        if (!k->prepare || !k->init || !k->run)
            return hone_fail(err, HONE_EINVAL,
                             "'%s': its kernel for %s needs '%s', which is "
                             "NULL", c->name, k->op,
                             !k->prepare ? "prepare" : !k->init ? "init"
                                                                : "run");
    return HONE_OK;
}

/* What is true of one kind only. */
static hone_status check_kind(const hone_component *c, hone_err *err)
{
    const hone_option *lr;

    switch (c->kind) {
    case HONE_KIND_OPTIMIZER:
        lr = hone_option_find(c->options, "lr");
        if (!lr || lr->type != HONE_REAL)
            return hone_fail(err, HONE_EINVAL,
                             "'%s': an optimizer needs a real option 'lr'",
                             c->name);
        return HONE_OK;
    case HONE_KIND_OP:
        if (!((const hone_op *)c->ops)->out->name)
            return hone_fail(err, HONE_EINVAL,
                             "'%s': an op needs at least one output", c->name);
        return HONE_OK;
    case HONE_KIND_PACK:
        return check_kernels(c, ((const hone_pack *)c->ops)->kernels, err);
    case HONE_KIND_COLLECTIVE:
        return check_kernels(c, ((const hone_collective *)c->ops)->kernels,
                             err);
    default:
        return HONE_OK;
    }
}

/* Words that recipes use as hone.WORD themselves. */
static int is_reserved(const char *name)
{
    static const char *const words[] = { "train", "model", "lora", "data",
                                         "extend", "mix", NULL };

    for (int i = 0; words[i]; i++)
        if (!strcmp(words[i], name))
            return 1;
    return 0;
}

static hone_status check_name(const hone_component *c, int number,
                              hone_err *err)
{
    if (!c->name || !c->name[0])
        return hone_fail(err, HONE_EINVAL,
                         "component %d has no name; a recipe could not call it",
                         number);
    if (hone_kind_is_called(c->kind) &&
        c->name[strspn(c->name, "abcdefghijklmnopqrstuvwxyz0123456789_")])
        return hone_fail(err, HONE_EINVAL,
                         "'%s' cannot be called from a recipe; use a-z, 0-9 "
                         "and _", c->name);
    if (hone_kind_is_called(c->kind) && is_reserved(c->name))
        return hone_fail(err, HONE_EINVAL,
                         "'%s' is a word of recipes; give it another name",
                         c->name);
    return HONE_OK;
}

static hone_status check_component(const hone_component *c, int number,
                                   hone_err *err)
{
    if (c->size < sizeof *c)
        return hone_fail(err, HONE_EINVAL,
                         "component %d: its struct has %u bytes, this engine "
                         "needs %zu; " REBUILD, number, c->size, sizeof *c);
    if (c->kind < 1 || c->kind >= HONE_KINDS)
        return hone_fail(err, HONE_EINVAL,
                         "component %d is of kind %d, this engine knows 1 to "
                         "%d; it is for a newer hone", number, (int)c->kind,
                         HONE_KINDS - 1);
    hone_try(check_name(c, number, err));
    hone_try(check_ops(c, err));
    for (const hone_option *o = c->options; o && o->name; o++)
        hone_try(check_option(c, o, err));
    if (c->persist_size > c->state_size)
        return hone_fail(err, HONE_EINVAL,
                         "'%s': persist_size %zu is larger than state_size %zu",
                         c->name, c->persist_size, c->state_size);
    return check_kind(c, err);
}

hone_status hone_check_plugin(const hone_plugin *p, hone_err *err)
{
    if (!p)
        return hone_fail(err, HONE_EINVAL,
                         "hone_plugin_entry returns NULL; it must return the "
                         "plugin's data");
    if (p->abi != HONE_ABI) /* nothing behind abi may be read */
        return hone_fail(err, HONE_EINVAL,
                         "speaks plugin ABI %u, this engine speaks %u; "
                         REBUILD, p->abi, HONE_ABI);
    if (p->size < sizeof *p)
        return hone_fail(err, HONE_EINVAL,
                         "its plugin struct has %u bytes, this engine needs "
                         "%zu; " REBUILD, p->size, sizeof *p);
    if (!p->name || !p->name[0])
        return hone_fail(err, HONE_EINVAL,
                         "the plugin has no name; set it in HONE_PLUGIN");
    if (!p->version || !p->built_with)
        return hone_fail(err, HONE_EINVAL,
                         "the plugin has no %s; set it in HONE_PLUGIN",
                         p->version ? "built_with" : "version");
    if (!p->components || !p->components[0])
        return hone_fail(err, HONE_EINVAL,
                         "the plugin lists no components; name them in "
                         "HONE_PLUGIN");
    for (int i = 0; p->components[i]; i++)
        hone_try(check_component(p->components[i], i + 1, err));
    return HONE_OK;
}

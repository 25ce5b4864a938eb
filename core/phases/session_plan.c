/* SPDX-License-Identifier: MIT
 *
 * session_plan.c -- see session.h: the sizes of micro-batches, all programs,
 * what a run leaves, and the plan of it all. Called once, or again by fit.c
 * with other means.
 */
#include <string.h>

#include "fit.h"
#include "load.h"
#include "option.h"
#include "pace.h"
#include "session.h"

/* What is held twice: memory for time. */
static int images_of(const hone_session *s)
{
    if (!s->with_training)
        return 0;
    return (s->machine.info.is_host ? 0 : HONE_IMAGES_TRAINED) |
           (s->recipe->model.copies ? HONE_IMAGES_FROZEN : 0);
}

hone_compiler hone_session_compiler(hone_session *s)
{
    const hone_recipe *r = s->recipe;
    const hone_lengths lengths = hone_dataset_lengths(&s->data, 0);

    return (hone_compiler){
        .scratch = &s->scratch, .keep = &s->made,
        .family = s->family, .machine = &s->machine,
        .lora = r->has_adapter ? &s->lora : NULL,
        .compute = s->compute,
        .logits_chunk = r->logits_chunk ? r->logits_chunk
                                        : s->means.logits_chunk,
        .mlp_chunk = r->mlp_chunk ? r->mlp_chunk : s->means.mlp_chunk,
        .keep_mode = (hone_keep)r->keep, .keep_layers = r->keep_layers,
        .ranks = s->rank.ranks, .single = s->single,
        .early = s->with_training && r->update == HONE_UPDATE_BACKWARD,
        .states = r->states_on_host && !s->machine.info.is_host
                      ? HONE_PINNED_SPACE : HONE_DEVICE_SPACE,
        .optimizer = &s->optimizer,
        .images = images_of(s),
        .span = lengths.squares / (double)lengths.total };
}

static hone_status compile_all(hone_session *s, hone_err *err)
{
    const hone_recipe *r = s->recipe;
    hone_compiler c = hone_session_compiler(s);

    if (c.early && (!s->single || s->compute == HONE_F16))
        return hone_fail(err, HONE_EINVAL, "%s:%d: hone.train: 'update' is "
                         "\"backward\", and %s", r->file, r->line,
                         s->single ? "precision is fp16, whose gradients may "
                                     "overflow; take \"after\""
                                   : "some steps take several micro-batches, "
                                     "or several ranks; make the batch larger "
                                     "or global_batch smaller");
    hone_family_stream(s->family, s->means.streamed);
    hone_family_longest(s->family, hone_dataset_lengths(&s->data, 0).max);
    hone_store_init(&s->store, &s->made);
    for (uint32_t i = 0; i < s->buckets; i++) {
        c.keep_layer = s->means.keep[i];
        if (s->with_training) {
            s->ways.compiled++;
            hone_try(hone_compile_micro(&c, &s->train[i], "train", s->bucket[i],
                                        1, err));
            hone_store_take(&s->store, &s->train[i].graph);
        }
        if (s->data.val.rows == 0)
            continue;
        hone_try(hone_compile_micro(&c, &s->eval[i], "eval", s->bucket[i], 0,
                                    err));
        hone_store_take(&s->store, &s->eval[i].graph);
    }
    hone_try(hone_compile_zero(&c, &s->zero_loss, &s->store, 0, err));
    hone_store_take(&s->store, &s->zero_loss.graph);
    if (s->rank.ranks > 1)
        hone_try(hone_compile_reduce(&c, &s->reduce, err));
    if (s->with_training) {
        hone_try(hone_compile_zero(&c, &s->zero, &s->store, 1, err));
        hone_try(hone_compile_update(&c, &s->update, &s->store, &s->optimizer,
                                     r->clip, err));
        hone_store_take(&s->store, &s->update.graph);
    }
    if (c.images || (c.lora && c.lora->dora))
        hone_try(hone_compile_images(&c, &s->images, &s->store, err));
    return HONE_OK;
}

static hone_status add_logger(hone_session *s, const char *name,
                              const char *out, hone_err *err)
{
    const hone_component *c;
    void *config;

    if (s->loggers == HONE_MAX_LOGGERS)
        return hone_fail(err, HONE_EINVAL, "%s:%d: hone.train: 'loggers': at "
                         "most %d", s->recipe->file, s->recipe->line,
                         HONE_MAX_LOGGERS - 1);
    hone_try(hone_need_component(HONE_KIND_LOGGER, name, &c, err));
    config = hone_alloc(&s->made, c->config_size);
    hone_option_defaults(c->options, config);
    *(const char **)config = out;
    hone_instance_make(&s->logger[s->loggers++], c, config, &s->made);
    return HONE_OK;
}

static hone_status add_loggers(hone_session *s, const char *out, hone_err *err)
{
    const char *names = s->recipe->loggers;

    hone_try(add_logger(s, "metrics", out, err));
    if (!names || !strcmp(names, "none"))
        return HONE_OK;
    for (const char *at = names; *at;) {
        size_t n = strcspn(at, ",");
        const char *name = hone_format_text(&s->made, "%.*s", (int)n, at);

        if (strcmp(name, "metrics"))
            hone_try(add_logger(s, name, out, err));
        at += n + (at[n] == ',');
    }
    return HONE_OK;
}

static hone_status open_resume(hone_session *s, const char *out, hone_err *err)
{
    hone_instance *kept[HONE_MAX_LOGGERS + 4] = { &s->collator, &s->optimizer,
                                                  &s->schedule };

    for (int i = 0; i < s->loggers; i++)
        kept[3 + i] = &s->logger[i];
    return hone_resume_prepare(&s->resume, &s->made, out, &s->store,
                               &s->progress, kept, s->recipe->save_keep,
                               s->results.staging[0], HONE_STAGING_BYTES, err);
}

/* Where a run puts what comes out of it. */
static hone_status open_results(hone_session *s, const char *out, hone_err *err)
{
    const hone_recipe *r = s->recipe;

    hone_try(hone_results_prepare(&s->results, &s->made, out, r->model.path,
                                  s->has_weights ? &s->weights : NULL,
                                  r->has_adapter ? &s->adapter : NULL,
                                  &s->store, err));
    hone_try(add_loggers(s, out, err));
    return open_resume(s, out, err);
}

int64_t hone_session_bytes(const hone_session *s)
{
    return (int64_t)(s->keep.bytes + s->made.bytes + s->data.arena.bytes +
                     s->recipe->arena.bytes);
}

int64_t hone_session_loading_bytes(const hone_session *s)
{
    return (int64_t)(s->scratch.bytes + s->weights.arena.bytes +
                     s->peft.arena.bytes + s->peft.weights.arena.bytes);
}

static void make_plan(hone_session *s)
{
    hone_plan_parts parts = {
        .machine = &s->machine, .store = &s->store, .train = s->train,
        .eval = s->eval, .zero = &s->zero, .zero_loss = &s->zero_loss,
        .reduce = &s->reduce, .update = &s->update, .images = &s->images,
        .bucket = s->bucket, .buckets = s->buckets,
        .batch = s->batch, .steps = s->steps, .engine = hone_session_bytes(s),
        .loading = hone_session_loading_bytes(s),
        .load = hone_load_bytes(&s->store, &s->machine),
        .feed = hone_feed_bytes(s->batch),
        .staging = hone_feed_pinned(&s->store, &s->machine) +
                   hone_scalars_pinned(&s->store, &s->machine),
        .results = hone_results_bytes(&s->results),
        .checkpoint = hone_checkpoint_bytes(&s->resume.files),
        .checkpoints = s->recipe->save_keep < s->steps ? s->recipe->save_keep
                                                       : s->steps };

    if (s->train[0].name)
        parts.loader[0] = hone_loader_bytes(&s->train_rows);
    if (s->data.val.rows)
        parts.loader[1] = hone_loader_bytes(&s->val_rows);
    if (!s->machine.info.is_host)
        parts.context = s->machine.info.context_bytes;
    hone_pace(s, &parts);
    hone_plan_make(&s->plan, &parts);
}

/* What the collator makes of the recipe and the rows, at most TOKENS of the
 * means together. */
hone_status hone_session_buckets(hone_session *s, hone_err *err)
{
    const hone_collator *collator = s->collator.component->ops;
    int64_t ranks = s->rank.ranks;
    hone_lengths lengths = hone_dataset_lengths(
        &s->data, (s->batch + ranks - 1 - s->rank.rank) / ranks);

    int64_t most = s->recipe->data.max_tokens;

    if (most && lengths.max > most) { /* a recipe that is tried: fit.h */
        lengths.max = most;
        lengths.min = lengths.min < most ? lengths.min : most;
        if (s->recipe->global_tokens) /* more rows, as they are shorter */
            lengths.batch = s->recipe->global_tokens / lengths.min;
    }
    lengths.tokens = s->means.tokens;
    s->buckets = HONE_MAX_BUCKETS;
    hone_try(collator->buckets(s->collator.config, &lengths, s->bucket,
                               &s->buckets, err));
    s->single = ranks == 1 &&
                hone_feed_is_single(&s->collator, s->bucket, s->buckets,
                                    &s->train_rows);
    s->sizes.count = (int)s->buckets;
    memcpy(s->sizes.bucket, s->bucket, sizeof s->bucket);
    if (s->only_top && s->buckets > 1) {
        s->bucket[0] = s->bucket[s->buckets - 1];
        s->buckets = 1;
    }
    return HONE_OK;
}

static void forget(hone_session *s)
{
    hone_arena_free(&s->made);
    hone_arena_free(&s->scratch);
    memset(s->train, 0, sizeof s->train);
    memset(s->eval, 0, sizeof s->eval);
    memset(&s->zero, 0, sizeof s->zero);
    memset(&s->zero_loss, 0, sizeof s->zero_loss);
    memset(&s->reduce, 0, sizeof s->reduce);
    memset(&s->update, 0, sizeof s->update);
    memset(&s->images, 0, sizeof s->images);
    memset(&s->results, 0, sizeof s->results);
    memset(&s->resume, 0, sizeof s->resume);
    s->loggers = 0;
}

hone_status hone_session_lay_out(hone_session *s, hone_err *err)
{
    forget(s);
    hone_try(hone_session_buckets(s, err));
    hone_try(compile_all(s, err));
    if (s->out && s->with_training)
        hone_try(open_results(s, s->out, err));
    make_plan(s);
    return HONE_OK;
}

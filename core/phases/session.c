/* SPDX-License-Identifier: MIT
 *
 * session.c -- see session.h.
 */
#include "session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "choices.h"
#include "dataset_map.h"
#include "fit.h"
#include "hone/nf4.h"
#include "load.h"
#include "log.h"
#include "machine.h"
#include "registry.h"
#include "option.h"

/* ----------------------------------------------------------------- opening */

/* What is wrong with what the recipe names, with its constructor in front, as
 * hone check says it. */
static hone_status placed(const hone_session *s, int line, const char *label,
                          hone_status status, hone_err *err)
{
    const char *file = s->recipe->file;
    hone_err bare = *err;

    if ((status == HONE_EINVAL || status == HONE_ENOSUP) &&
        strncmp(bare.msg, file, strlen(file)) != 0)
        hone_fail(err, status, "%s:%d: hone.%s: %.900s", file, line, label,
                  bare.msg);
    return status;
}

static int computes_in(const hone_session *s, hone_storage weight,
                       hone_storage compute);

/* What holds weights as codes has kernels that read them so. */
static hone_status check_storage(hone_session *s, hone_storage storage,
                                 hone_err *err)
{
    static const char *const why[HONE_STORAGES] = {
        [HONE_FP8] = "fp8 needs precision bf16 and a pack with kernels for "
                     "it: cuda, on cards from 8.9 on" };

    if (!why[storage])
        return HONE_OK;
    if (!computes_in(s, storage, s->compute))
        return hone_fail(err, HONE_ENOSUP, "'storage': %s; this is device %s "
                         "and %s: take storage = \"bf16\"", why[storage],
                         s->machine.component->name,
                         hone_parts(s->compute)[0].name);
    return HONE_OK;
}

static hone_status open_model(hone_session *s, hone_err *err)
{
    const hone_model_config *m = &s->recipe->model;
    const hone_storage storages[] = { HONE_NOTHING, HONE_BF16, HONE_F32,
                                      m->nested ? HONE_NF4 : HONE_NF4_PLAIN,
                                      HONE_FP8 };
    hone_family_spec spec = { .model = m->path,
                              .storage = storages[m->storage],
                              .trainable = !s->recipe->has_adapter,
                              .trained = s->recipe->master ? HONE_F32
                                                           : HONE_BF16,
                              .words_on_host = !s->machine.info.is_host };

    spec.words_on_host &= m->embeddings ? m->embeddings == 2
                                        : hone_is_nf4(spec.storage);
    hone_try(check_storage(s, spec.storage, err));
    if (!m->init && !s->has_weights) {
        hone_try(hone_weights_open(&s->weights, m->path, "model", err));
        s->has_weights = 1;
    }
    spec.weights = s->has_weights ? &s->weights : NULL;
    hone_try(hone_family_open(&s->family, &spec, &s->keep, err));
    s->init_range = hone_family_number(s->family, "initializer_range", 0.02);
    return HONE_OK;
}

static hone_status open_adapter(hone_session *s, hone_err *err)
{
    const hone_lora_config *l = &s->recipe->adapter;

    if (!s->recipe->has_adapter)
        return HONE_OK;
    s->adapter = (hone_peft_spec){ .r = l->r, .alpha = l->alpha,
                                   .dropout = l->dropout,
                                   .rslora = l->rslora,
                                   .dora = l->dora,
                                   .saved = l->saved,
                                   .rank_pattern = l->rank_pattern,
                                   .alpha_pattern = l->alpha_pattern,
                                   .exact = hone_peft_is_exact(l->targets) };
    s->lora.targets = l->targets;
    s->lora.lr_ratio = l->lr_ratio;
    if (l->init) {
        if (!s->has_peft)
            hone_try(hone_peft_open(&s->peft, l->init, err));
        s->has_peft = 1;
        s->adapter = s->peft.spec;
        s->adapter.dropout = l->dropout;
        s->lora.targets = hone_peft_targets(&s->peft, &s->keep);
        s->lora.folder = l->init;
    }
    s->adapter.base = s->recipe->model.path;
    hone_lora_shape(&s->lora, &s->adapter);
    hone_family_train(s->family, s->adapter.saved);
    s->lora.dropout = s->adapter.dropout;
    return HONE_OK;
}

hone_status hone_session_model(hone_session *s, hone_err *err)
{
    const hone_recipe *r = s->recipe;

    hone_family_close(s->family);
    s->family = NULL;
    hone_try(placed(s, r->model_line, "model", open_model(s, err), err));
    return placed(s, r->adapter_line, "lora", open_adapter(s, err), err);
}

static hone_status open_components(hone_session *s, hone_err *err)
{
    const hone_recipe *r = s->recipe;
    char where[300], *text;

    hone_try(hone_instance_open(&s->collator, r->batch.component,
                                r->batch.config, &s->keep, err));
    hone_try(hone_instance_open(&s->optimizer, r->optimizer.component,
                                r->optimizer.config, &s->keep, err));
    hone_try(hone_instance_open(&s->schedule, r->schedule.component,
                                r->schedule.config, &s->keep, err));
    if (hone_session_buckets(s, err) == HONE_OK)
        return HONE_OK;
    hone_dataset_longest(&s->data, where, sizeof where);
    text = hone_format_text(&s->keep, "%.600s (%s)", err->msg, where);
    return placed(s, r->batch.line, r->batch.component->name,
                  hone_fail(err, HONE_EINVAL, "%s", text), err);
}

static hone_status open_data(hone_session *s, int with_training,
                             hone_tokens_job *tokens, hone_err *err)
{
    const hone_recipe *r = s->recipe;
    double warmup;

    hone_try(placed(s, r->model_line, "model",
                    hone_tokens_end(tokens, err), err));
    hone_log_time("tokenizer");
    hone_try(placed(s, r->data_line,
                    hone_format_text(&s->keep, "data.%s", r->data.shape),
                    hone_dataset_open(&s->data, r, &s->tokens, err), err));
    hone_tokens_close(&s->tokens); /* prepared: no text is read any more */
    hone_recipe_close_functions(r);
    s->has_data = 1;
    if (with_training && s->data.untrained)
        return hone_fail(err, HONE_EINVAL, "%s:%d: hone.data.%s: such rows can "
                         "be prepared and counted (hone prep); there is no "
                         "loss yet that learns from them", r->file,
                         r->data_line, s->data.untrained);
    if (with_training && s->data.train.rows == 0)
        return hone_fail(err, HONE_EINVAL, "%s: no row is left to train on",
                         r->file);
    if (r->global_batch && r->global_batch < s->rank.ranks)
        return hone_fail(err, HONE_EINVAL, "%s:%d: hone.train: global_batch "
                         "(%lld) must be at least the number of ranks (%d)",
                         r->file, r->line, (long long)r->global_batch,
                         s->rank.ranks);
    hone_try(placed(s, r->line, "train",
                    hone_loader_specs(r, &s->data, &s->train_rows,
                                      &s->val_rows, err), err));
    s->train_rows.rank = s->val_rows.rank = s->rank.rank;
    s->train_rows.ranks = s->val_rows.ranks = s->rank.ranks;
    s->batch = s->train_rows.batch > s->val_rows.batch ? s->train_rows.batch
                                                       : s->val_rows.batch;
    s->steps = s->train_rows.steps;
    warmup = hone_option_real(r->schedule.component->options,
                              r->schedule.config, "warmup");
    if (with_training && warmup > (double)s->steps)
        hone_log(HONE_LOG_WARN, "%s:%d: hone.%s: 'warmup' is %g steps, and the "
                 "run has %lld: the full rate is never reached", r->file,
                 r->schedule.line, r->schedule.component->name, warmup,
                 (long long)s->steps);
    return HONE_OK;
}

/* Whether a pack of the machine multiplies numbers held as COMPUTE with a
 * weight held as WEIGHT, as they are. */
static int computes_in(const hone_session *s, hone_storage weight,
                       hone_storage compute)
{
    const hone_component *linear = hone_find(HONE_KIND_OP, "linear");
    const hone_type type[3] = { hone_type_of(compute, 2, 64, 64),
                                hone_type_of(weight, 2, 64, 64),
                                hone_type_of(compute, 2, 64, 64) };
    const uint8_t mode[3] = { HONE_READ, HONE_READ, HONE_WRITE };
    hone_call call = { .size = sizeof call, .op = "linear", .nin = 2,
                       .nout = 1, .type = type, .mode = mode,
                       .compute = compute, .device = &s->machine.info };
    hone_arena scratch = { 0 };
    int found = 0;
    void *attrs;

    if (!linear || hone_graph_attrs(&scratch, linear, NULL, 0, &attrs, NULL))
        return 0;
    call.attrs = attrs;
    for (int p = 0; s->machine.packs[p] && !found; p++) {
        const hone_pack *pack = s->machine.packs[p]->ops;

        for (const hone_kernel *k = pack->kernels; k->op && !found; k++) {
            hone_storage want[3] = { compute, weight, compute };
            hone_need need = { .size = sizeof need, .want = want };

            found = !strcmp(k->op, "linear") &&
                    k->prepare(&call, 1, &need, NULL) == HONE_OK &&
                    want[1] == weight && want[2] == compute;
        }
    }
    hone_arena_free(&scratch);
    return found;
}

/* In which activations are held: what the recipe says; else, where the device
 * is not the host, bf16 if its packs know it, or fp16. */
static hone_status choose_compute(hone_session *s, hone_err *err)
{
    const hone_recipe *r = s->recipe;
    int bf16 = computes_in(s, HONE_BF16, HONE_BF16);
    int f16 = computes_in(s, HONE_F16, HONE_F16);

    s->compute = HONE_F32;
    if (r->precision == HONE_PRECISION_FP32)
        return HONE_OK;
    if (r->precision == HONE_PRECISION_AUTO) {
        if ((bf16 || f16) && !s->machine.info.is_host)
            s->compute = bf16 ? HONE_BF16 : HONE_F16;
        return HONE_OK;
    }
    if (r->precision == HONE_PRECISION_BF16 ? bf16 : f16) {
        s->compute = r->precision == HONE_PRECISION_BF16 ? HONE_BF16 : HONE_F16;
        return HONE_OK;
    }
    return hone_fail(err, HONE_ENOSUP, "%s:%d: hone.train: 'precision': device "
                     "%s computes in fp32%s%s", r->file, r->line,
                     s->machine.component->name, bf16 ? ", bf16" : "",
                     f16 ? ", fp16" : bf16 ? "" : " only");
}

hone_status hone_session_start_loggers(hone_session *s, hone_err *err)
{
    for (int i = 0; i < s->loggers; i++)
        hone_try(hone_instance_start(&s->logger[i], err));
    return HONE_OK;
}

hone_status hone_session_record(hone_session *s, const hone_field *f,
                                uint32_t count, hone_err *err)
{
    for (int i = 0; i < s->loggers; i++) {
        const hone_logger *api = s->logger[i].component->ops;
        hone_try(api->write(s->logger[i].state, f, count, err));
    }
    return HONE_OK;
}

/* The plan is made: nothing is added to the arenas. */
static hone_status check_ids(hone_session *s, hone_err *err)
{
    const hone_recipe *r = s->recipe;
    const hone_program *p = s->with_training ? s->train : s->eval;
    char label[128];

    snprintf(label, sizeof label, "data.%s", r->data.shape);
    return !p->name ? HONE_OK
                    : placed(s, r->data_line, label,
                             hone_dataset_check_ids(&s->data, p->vocab, err),
                             err);
}

static hone_status open_all(hone_session *s, hone_tokens_job *tokens,
                            hone_err *err)
{
    const hone_recipe *r = s->recipe;

    hone_try(hone_machine_find(&s->machine, r->card, r->device, r->packs,
                               &s->card, &s->keep, err));
    hone_log_time("device");
    if (s->rank.ranks > 1 && !s->rank.collective)
        return hone_fail(err, HONE_EINVAL, "%d ranks need a collective; hone "
                         "plugins lists those there are", s->rank.ranks);
    if (s->rank.collective)
        hone_machine_join(&s->machine, s->rank.collective, s->rank.group,
                          &s->keep);
    hone_try(choose_compute(s, err));
    hone_try(hone_session_model(s, err));
    hone_log_time("model's files");
    hone_try(open_data(s, s->with_training, tokens, err));
    hone_log_time("data");
    hone_try(open_components(s, err));
    hone_try(hone_fit(s, err));
    hone_try(check_ids(s, err));
    hone_family_close(s->family);
    s->family = NULL;
    hone_log_time("compiling");
    return HONE_OK;
}

hone_status hone_session_open(hone_session *s, const hone_recipe *recipe,
                              const hone_rank *rank, int with_training,
                              const char *out, hone_err *err)
{
    hone_tokens_job tokens;
    hone_status status;
    hone_err late;
    int fresh = s->fresh, explore = s->explore;

    memset(s, 0, sizeof *s);
    s->fresh = fresh;
    s->explore = explore;
    s->recipe = recipe;
    s->with_training = with_training;
    s->out = out;
    s->rank = rank ? *rank : (hone_rank){ .ranks = 1 };
    s->resume_from = -1;
    s->progress = (hone_progress){
        .evaluated = -1,
        .report = { .size = sizeof(hone_report), .eval_loss = NAN } };
    hone_log_time("recipe");
    hone_tokens_begin(&tokens, &s->tokens, recipe->model.path);
    status = open_all(s, &tokens, err);
    (void)hone_tokens_end(&tokens, &late); /* it may have failed before that */
    return status;
}

/* --------------------------------------------------------------- reserving */

/* Programs of the session, one after the other; NULL at the end. */
static hone_program *program_at(hone_session *s, int i)
{
    hone_program *single[] = { &s->zero, &s->zero_loss, &s->reduce,
                               &s->update, &s->images };

    for (uint32_t b = 0; b < s->buckets; b++) {
        if (s->train[b].name && i-- == 0)
            return &s->train[b];
        if (s->eval[b].name && i-- == 0)
            return &s->eval[b];
    }
    for (int k = 0; k < 5; k++)
        if (single[k]->name && i-- == 0)
            return single[k];
    return NULL;
}

static hone_status bind_all(hone_session *s, char *memory, hone_err *err)
{
    hone_program *p;

    for (int i = 0; (p = program_at(s, i)); i++) {
        hone_try(hone_program_bind(p, &s->store, &s->regions, &s->machine,
                                   memory, err));
        memory += (hone_program_bytes(p) + 63) / 64 * 64;
    }
    hone_arena_free(&s->scratch);
    return HONE_OK;
}

/* All that the plan says, in three pieces. */
static hone_status take_memory(hone_session *s, hone_err *err)
{
    const hone_plan *p = &s->plan;
    const hone_device *api = s->machine.api;
    int is_host = s->machine.info.is_host;
    int64_t device = hone_plan_arena(p);
    int64_t host = p->programs + p->feed + p->loader[0] + p->loader[1];
    int64_t pinned = p->pinned + p->staging + p->kept_pinned;

    hone_try(api->reserve(s->machine.self, HONE_DEVICE_SPACE, device,
                          &s->device_memory, err));
    if (pinned)
        hone_try(api->reserve(s->machine.self, HONE_PINNED_SPACE, pinned,
                              &s->pinned_memory, err));
    if (posix_memalign(&s->host_memory, 64, (size_t)host))
        return hone_fail(err, HONE_ENOMEM, "no host memory for %lld bytes",
                         (long long)host);
    memset(s->host_memory, 0, (size_t)host);
    s->taken[is_host ? HONE_PLAN_HOST : HONE_PLAN_DEVICE] += device;
    s->taken[is_host ? HONE_PLAN_HOST : HONE_PLAN_PINNED] += pinned;
    s->taken[HONE_PLAN_HOST] += host;
    return HONE_OK;
}

/* Kernels are bound while the memory holds nothing yet, so that a pack can
 * measure in it. */
static hone_status bind_choosing(hone_session *s, hone_err *err)
{
    hone_choice_book book;

    hone_choices_begin(&book, s->machine.api, s->machine.self, s->folder,
                       s->device_memory, hone_plan_arena(&s->plan));
    return hone_choices_end(&book, bind_all(s, s->host_memory, err), err);
}

hone_status hone_session_reserve(hone_session *s, hone_err *err)
{
    const hone_plan *p = &s->plan;
    char *at, *pinned;

    hone_try(take_memory(s, err));
    hone_log_time("taking memory");
    s->store.base = s->device_memory;
    s->store.pinned = (char *)s->pinned_memory + p->pinned + p->staging;
    at = (char *)s->device_memory + p->store;
    s->regions.temps = at;
    s->regions.workspace[0] = at + p->temps;
    s->regions.workspace[1] = at + p->temps + p->workspace[0];
    s->regions.pinned = s->pinned_memory;
    hone_try(bind_choosing(s, err));
    at = (char *)s->host_memory + p->programs;
    s->feed = (hone_feed){ .collator = &s->collator, .bucket = s->bucket,
                           .buckets = s->buckets, .machine = &s->machine,
                           .store = &s->store };
    pinned = (char *)s->pinned_memory + p->pinned;
    hone_try(hone_feed_open(&s->feed, s->batch, at, pinned, err));
    hone_try(hone_scalars_open(
        &s->scalars, &s->machine, &s->store,
        pinned + hone_feed_pinned(&s->store, &s->machine), err));
    at += p->feed;
    if (p->loader[0])
        hone_try(hone_loader_open(&s->train_loader, &s->train_rows, at, err));
    if (p->loader[1])
        hone_try(hone_loader_open(&s->val_loader, &s->val_rows,
                                  at + p->loader[0], err));
    hone_log_time("binding");
    return HONE_OK;
}

/* ----------------------------------------------------------------- loading */

/* The promise of the plan: what it says for the phases from step 0 on is what
 * the arenas hold. */
static hone_status check_plan(const hone_session *s, hone_err *err)
{
    for (hone_plan_place place = 0; place < HONE_PLAN_DISK; place++) {
        int64_t taken = s->taken[place];
        int64_t planned = hone_plan_phase_total(&s->plan, place,
                                                HONE_PLAN_TRAIN);
        int64_t eval = hone_plan_phase_total(&s->plan, place, HONE_PLAN_EVAL);

        planned = planned > eval ? planned : eval;
        if (place == HONE_PLAN_DEVICE)
            taken += s->plan.bytes[place][HONE_PLAN_TRAIN][HONE_USE_CONTEXT] +
                     s->plan.graphs;
        if (place == HONE_PLAN_HOST)
            taken += hone_session_bytes(s) + hone_session_loading_bytes(s);
        if (taken != planned)
            return hone_fail(err, HONE_EIO, "%lld bytes are planned and %lld "
                             "taken: a fault in hone, please report it",
                             (long long)planned, (long long)taken);
    }
    return HONE_OK;
}

/* From a checkpoint: where the run stands, and all that it has learned. */
static hone_status go_on(hone_session *s, hone_err *err)
{
    if (s->resume_from < 0)
        return HONE_OK;
    hone_try(hone_resume_load(&s->resume, &s->store, &s->machine,
                              s->resume_from, err));
    hone_loader_seek(s->train_loader, s->progress.step);
    return HONE_OK;
}

/* The magnitudes of a fresh DoRA are the norms of what it starts from. */
static void start_magnitudes(hone_session *s)
{
    for (int i = 0; i < s->store.count; i++) {
        const hone_kept *n = &s->store.list[i], *m;
        char name[1024];

        if (!hone_is_norm(n->name))
            continue;
        snprintf(name, sizeof name, "%s.lora_magnitude_vector", n->alias);
        m = hone_store_find(&s->store, name);
        s->machine.api->copy(s->machine.self, hone_store_address(&s->store, m),
                             hone_store_address(&s->store, n), n->bytes,
                             HONE_ON_DEVICE, s->machine.stream[0]);
    }
}

hone_status hone_session_load(hone_session *s, hone_err *err)
{
    hone_source source = { .weights = s->has_weights ? &s->weights : NULL,
                           .peft = s->has_peft ? &s->peft : NULL,
                           .peft_folder = s->recipe->adapter.init,
                           .seed = s->recipe->seed,
                           .range = s->init_range };
    int fresh = !s->has_peft && s->resume_from < 0;
    hone_program *p;

    for (int i = 0; (p = program_at(s, i)); i++)
        hone_try(hone_program_rehearse(p, &s->store, &s->regions,
                                       &s->machine, err));
    hone_log_time("loading kernels");
    hone_try(hone_store_load(&s->store, &s->machine, &source, err));
    hone_log_time("loading weights");
    if (s->has_weights)
        hone_weights_close(&s->weights);
    s->has_weights = 0;
    if (s->has_peft)
        hone_peft_close(&s->peft);
    s->has_peft = 0;
    hone_try(go_on(s, err));
    for (int i = 0; (p = program_at(s, i)); i++)
        hone_try(hone_program_capture(p, &s->machine, err));
    if (s->images.name)
        hone_program_run(&s->images, &s->machine, 0);
    if (fresh)
        start_magnitudes(s);
    s->machine.api->freeze(s->machine.self);
    hone_log_time("capturing");
    return check_plan(s, err);
}

void hone_session_close(hone_session *s)
{
    hone_program *p;
    hone_err late;

    if (s->device_memory) /* what is under way may look at all that goes */
        (void)hone_machine_sync(&s->machine, &late);
    hone_feed_close(&s->feed);
    hone_scalars_close(&s->scalars);
    for (int i = 0; s->machine.api && (p = program_at(s, i)); i++)
        hone_program_close(p, &s->machine);
    if (s->train_loader)
        hone_loader_close(s->train_loader);
    if (s->val_loader)
        hone_loader_close(s->val_loader);
    hone_family_close(s->family);
    hone_instance_close(&s->collator);
    hone_instance_close(&s->optimizer);
    hone_instance_close(&s->schedule);
    for (int i = 0; i < s->loggers; i++)
        hone_instance_close(&s->logger[i]);
    if (s->device_memory)
        s->machine.api->release(s->machine.self, HONE_DEVICE_SPACE,
                                s->device_memory);
    if (s->pinned_memory)
        s->machine.api->release(s->machine.self, HONE_PINNED_SPACE,
                                s->pinned_memory);
    free(s->host_memory);
    hone_machine_close(&s->machine);
    if (s->has_weights)
        hone_weights_close(&s->weights);
    if (s->has_peft)
        hone_peft_close(&s->peft);
    if (s->has_data)
        hone_dataset_close(&s->data);
    hone_tokens_close(&s->tokens);
    hone_arena_free(&s->scratch);
    hone_arena_free(&s->made);
    hone_arena_free(&s->chosen);
    hone_arena_free(&s->keep);
    memset(s, 0, sizeof *s);
}

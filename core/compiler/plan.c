/* SPDX-License-Identifier: MIT
 *
 * plan.c -- see plan.h.
 */
#include "plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static const hone_use store_use[HONE_T_KINDS] = {
    [HONE_T_INPUT] = HONE_USE_INPUTS,
    [HONE_T_CONST] = HONE_USE_INPUTS,
    [HONE_T_PARAM] = HONE_USE_WEIGHTS,
    [HONE_T_GRAD] = HONE_USE_GRADIENTS,
    [HONE_T_STATE] = HONE_USE_OPTIMIZER,
    [HONE_T_IMAGE] = HONE_USE_WEIGHTS,
};

/* One program: its temporaries in the phase, its workspace and calls. */
static void add_program(hone_plan *p, const hone_program *program,
                        hone_plan_phase phase, int64_t *temps)
{
    if (!program->name)
        return;
    temps[phase] = max64(temps[phase],
                         program->place.bytes[HONE_DEVICE_SPACE]);
    p->pinned = max64(p->pinned, program->place.bytes[HONE_PINNED_SPACE]);
    for (int i = 0; i < 2; i++)
        p->workspace[i] = max64(p->workspace[i],
                                program->place.workspace_bytes[i]);
    p->programs += (hone_program_bytes(program) + 63) / 64 * 64;
    p->graphs += hone_program_graph_bytes(program, p->of.machine, NULL);
}

static void add(hone_plan *p, hone_plan_place place, hone_use use,
                int64_t bytes)
{
    for (int phase = 0; phase < HONE_PLAN_PHASES; phase++)
        p->bytes[place][phase][use] += bytes;
}

/* The temporaries of all programs, by phase. */
static void add_programs(hone_plan *p, int64_t *temps)
{
    const hone_plan_parts *of = &p->of;

    for (uint32_t i = 0; i < of->buckets; i++)
        add_program(p, &of->train[i], HONE_PLAN_TRAIN, temps);
    p->train_graphs = p->graphs;
    for (uint32_t i = 0; i < of->buckets; i++)
        add_program(p, &of->eval[i], HONE_PLAN_EVAL, temps);
    add_program(p, of->zero, HONE_PLAN_TRAIN, temps);
    add_program(p, of->zero_loss, HONE_PLAN_EVAL, temps);
    add_program(p, of->reduce, HONE_PLAN_EVAL, temps);
    add_program(p, of->update, HONE_PLAN_TRAIN, temps);
    add_program(p, of->images, HONE_PLAN_TRAIN, temps);
}

static void add_maps(hone_plan *p)
{
    for (int phase = 0; phase < HONE_PLAN_PHASES; phase++)
        p->bytes[HONE_PLAN_DEVICE][phase][HONE_USE_CONTEXT] += hone_map_bytes(
            p->of.machine, hone_plan_phase_total(p, HONE_PLAN_PINNED,
                                                 (hone_plan_phase)phase));
}

void hone_plan_make(hone_plan *p, const hone_plan_parts *parts)
{
    int64_t temps[HONE_PLAN_PHASES] = { 0 };
    int host = parts->machine->info.is_host;
    hone_plan_place device = host ? HONE_PLAN_HOST : HONE_PLAN_DEVICE;
    hone_plan_place pinned = host ? HONE_PLAN_HOST : HONE_PLAN_PINNED;

    memset(p, 0, sizeof *p);
    p->of = *parts;
    add_programs(p, temps);
    for (int i = 0; i < parts->store->count; i++) {
        const hone_kept *k = &parts->store->list[i];
        add(p, k->space == HONE_PINNED_SPACE ? pinned : device,
            k->adapter ? HONE_USE_ADAPTER : store_use[k->kind], k->bytes);
    }
    for (int phase = 0; phase < HONE_PLAN_PHASES; phase++) {
        p->temps = max64(p->temps, temps[phase]);
        p->bytes[device][phase][HONE_USE_ACTIVATIONS] = temps[phase];
    }
    p->store = parts->store->bytes;
    p->kept_pinned = parts->store->pinned_bytes;
    p->feed = parts->feed;
    p->staging = parts->staging;
    for (int i = 0; i < 2; i++)
        p->loader[i] = (parts->loader[i] + 63) / 64 * 64;
    add(p, device, HONE_USE_WORKSPACE, p->workspace[0] + p->workspace[1]);
    add(p, HONE_PLAN_DEVICE, HONE_USE_CONTEXT, parts->context);
    for (int phase = HONE_PLAN_TRAIN; phase < HONE_PLAN_RESUME; phase++)
        p->bytes[HONE_PLAN_DEVICE][phase][HONE_USE_GRAPHS] = p->graphs;
    add(p, pinned, HONE_USE_ACTIVATIONS, p->pinned);
    add(p, pinned, HONE_USE_INPUTS, p->staging);
    add(p, HONE_PLAN_HOST, HONE_USE_PROGRAMS, p->programs);
    add(p, HONE_PLAN_HOST, HONE_USE_DATA, p->feed + p->loader[0] +
                                              p->loader[1]);
    add(p, HONE_PLAN_HOST, HONE_USE_ENGINE, parts->engine);
    p->bytes[HONE_PLAN_HOST][HONE_PLAN_LOAD][HONE_USE_ENGINE] +=
        parts->loading;
    p->bytes[pinned][HONE_PLAN_LOAD][HONE_USE_ENGINE] += parts->load;
    add_maps(p);
    p->bytes[HONE_PLAN_DISK][HONE_PLAN_SAVE][HONE_USE_RESULTS] =
        parts->results;
    p->bytes[HONE_PLAN_DISK][HONE_PLAN_SAVE][HONE_USE_CHECKPOINTS] =
        parts->checkpoint * (parts->checkpoints + 1);
}

int64_t hone_plan_phase_total(const hone_plan *p, hone_plan_place place,
                              hone_plan_phase phase)
{
    int64_t total = 0;

    for (int use = 0; use < HONE_USES; use++)
        total += p->bytes[place][phase][use];
    return total;
}

int64_t hone_plan_total(const hone_plan *p, hone_plan_place place)
{
    int64_t total = 0;

    for (int phase = 0; phase < HONE_PLAN_PHASES; phase++)
        total = max64(total, hone_plan_phase_total(p, place, phase));
    return total;
}

/* ---------------------------------------------------------------- printing */

static const char *const places[] = { "device_bytes", "pinned_bytes",
                                      "host_bytes", "disk_bytes" };
static const char *const phases[] = { "load", "train", "eval", "save",
                                      "resume" };
static const char *const uses[] = { "weights", "adapter", "gradients",
                                    "optimizer", "inputs", "activations",
                                    "workspace", "context", "graphs",
                                    "programs", "data", "engine", "results",
                                    "checkpoints" };

const char *hone_use_name(hone_use use)
{
    return uses[use];
}

static double all_seconds(const hone_plan *p)
{
    double sum = 0;

    for (int phase = 0; phase < HONE_PLAN_PHASES; phase++)
        sum += p->of.seconds[phase];
    return sum;
}

/* Numbers that a card is there for; null where there is none. */
static void put_times(const hone_plan *p, double price, char *to, size_t size,
                      size_t *at)
{
    const hone_plan_parts *of = &p->of;

    if (!of->card || !(of->step.seconds > 0)) {
        hone_put(to, size, at, "\"seconds_per_step\": null");
        return;
    }
    hone_put(to, size, at, "\"card\": {\"name\": \"%s\", \"hash\": \"%s\"}, "
             "\"seconds_per_step\": %.4g, \"seconds\": {", of->card->name,
             of->card->hash, of->step.seconds);
    for (int phase = 0; phase < HONE_PLAN_RESUME; phase++)
        hone_put(to, size, at, "\"%s\": %.4g, ", phases[phase],
                 of->seconds[phase]);
    hone_put(to, size, at, "\"total\": %.4g}", all_seconds(p));
    if (price > 0)
        hone_put(to, size, at, ", \"cost\": %.4g",
                 price * all_seconds(p) / 3600);
}

int hone_plan_json(const hone_plan *p, double price, char *to, int bytes)
{
    const hone_plan_parts *of = &p->of;
    size_t at = 0, size = (size_t)bytes;

    hone_put(to, size, &at, "{");
    for (int place = 0; place < HONE_PLAN_PLACES; place++) {
        hone_put(to, size, &at, "\"%s\": {\"total\": %lld, \"phases\": {",
                 places[place],
                 (long long)hone_plan_total(p, (hone_plan_place)place));
        for (int phase = 0; phase < HONE_PLAN_PHASES; phase++) {
            hone_put(to, size, &at, "%s\"%s\": {\"total\": %lld",
                     phase ? ", " : "", phases[phase],
                     (long long)hone_plan_phase_total(p, (hone_plan_place)place,
                                                      (hone_plan_phase)phase));
            for (int use = 0; use < HONE_USES; use++)
                if (p->bytes[place][phase][use])
                    hone_put(to, size, &at, ", \"%s\": %lld", uses[use],
                             (long long)p->bytes[place][phase][use]);
            hone_put(to, size, &at, "}");
        }
        hone_put(to, size, &at, "}}, ");
    }
    hone_put(to, size, &at,
             "\"device\": \"%s\", \"steps\": %lld, \"buckets\": [",
             of->machine->component->name, (long long)of->steps);
    for (uint32_t i = 0; i < of->buckets; i++)
        hone_put(to, size, &at, "%s%lld", i ? ", " : "",
                 (long long)of->bucket[i].tokens);
    hone_put(to, size, &at, "], ");
    if (of->means)
        hone_put(to, size, &at, "%s, ", of->means);
    put_times(p, price, to, size, &at);
    hone_put(to, size, &at, "}\n");
    return at < size ? (int)at : bytes - 1;
}

const char *hone_bytes_text(int64_t bytes, char to[32])
{
    static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double n = (double)bytes;
    int u = 0;

    for (; n >= 1024 && u < 4; u++)
        n /= 1024;
    snprintf(to, 32, u ? "%.2f %s" : "%.0f %s", n, unit[u]);
    return to;
}

static void print_place(const hone_plan *p, int place)
{
    char text[32];

    printf("%-14s", places[place]);
    for (int phase = 0; phase < HONE_PLAN_PHASES; phase++)
        printf("%12s", phases[phase]);
    printf("\n");
    for (int use = 0; use < HONE_USES; use++) {
        int64_t any = 0;
        for (int phase = 0; phase < HONE_PLAN_PHASES; phase++)
            any |= p->bytes[place][phase][use];
        if (!any)
            continue;
        printf("  %-12s", uses[use]);
        for (int phase = 0; phase < HONE_PLAN_PHASES; phase++)
            printf("%12s", hone_bytes_text(p->bytes[place][phase][use], text));
        printf("\n");
    }
    printf("  %-12s", "total");
    for (int phase = 0; phase < HONE_PLAN_PHASES; phase++)
        printf("%12s", hone_bytes_text(
                           hone_plan_phase_total(p, (hone_plan_place)place,
                                                 (hone_plan_phase)phase),
                           text));
    printf("\n\n");
}

/* "1 h 05 min", "3 min 20 s", "4.21 s" */
static const char *time_text(double s, char to[32])
{
    if (s >= 3600)
        snprintf(to, 32, "%.0f h %02.0f min", floor(s / 3600),
                 floor(fmod(s, 3600) / 60));
    else if (s >= 60)
        snprintf(to, 32, "%.0f min %02.0f s", floor(s / 60),
                 floor(fmod(s, 60)));
    else
        snprintf(to, 32, "%.3g s", s);
    return to;
}

/* The phase that takes most of a place. */
static void print_peak(const hone_plan *p, hone_plan_place place,
                       const char *of, double has)
{
    char text[32];
    int most = HONE_PLAN_TRAIN;

    for (int phase = 0; phase < HONE_PLAN_PHASES; phase++)
        if (hone_plan_phase_total(p, place, (hone_plan_phase)phase) >
            hone_plan_phase_total(p, place, (hone_plan_phase)most))
            most = phase;
    printf("peak    %s of %s memory (%s)",
           hone_bytes_text(hone_plan_total(p, place), text), of, phases[most]);
    if (has > 0)
        printf(", %.0f %% of it",
               100 * (double)hone_plan_total(p, place) / has);
    printf("\n");
}

static void print_times(const hone_plan *p, double price)
{
    const hone_cost *c = &p->of.step;
    char text[32];

    if (!p->of.card || !(c->seconds > 0))
        return;
    printf("card    %s, %s (%s)\n", p->of.card->name, p->of.card->hash,
           p->of.card->rate[HONE_CARD_COPY].measured ? "measured"
                                                     : "not measured");
    printf("step    %s: products %.0f %%, attention %.0f %%, memory %.0f %%, "
           "launches %.0f %%, copies waited for %.0f %%\n",
           time_text(c->seconds, text), 100 * c->products / c->seconds,
           100 * c->attention / c->seconds, 100 * c->memory / c->seconds,
           100 * c->launch / c->seconds, 100 * c->wait / c->seconds);
    printf("run     %s", time_text(all_seconds(p), text));
    for (int phase = 0; phase < HONE_PLAN_RESUME; phase++)
        if (p->of.seconds[phase] > 0)
            printf("%s%s %s", phase ? ", " : ": ", phases[phase],
                   time_text(p->of.seconds[phase], text));
    printf("\n");
    if (price > 0)
        printf("cost    %.2f at %g an hour\n",
               price * all_seconds(p) / 3600, price);
}

void hone_plan_print(const hone_plan *p, double price)
{
    const hone_plan_parts *of = &p->of;

    for (int place = 0; place < HONE_PLAN_PLACES; place++)
        if (hone_plan_total(p, (hone_plan_place)place))
            print_place(p, place);
    printf("device  %s\nsteps   %lld of %lld rows\nsizes   ",
           of->machine->info.name, (long long)of->steps, (long long)of->batch);
    for (uint32_t i = 0; i < of->buckets; i++)
        printf("%s%lld", i ? ", " : "", (long long)of->bucket[i].tokens);
    printf(" tokens a micro-batch\n");
    if (!of->machine->info.is_host)
        print_peak(p, HONE_PLAN_DEVICE, "device",
                   (double)of->machine->info.total_bytes);
    print_peak(p, HONE_PLAN_HOST, "host",
               of->card ? of->card->figure[HONE_CARD_HOST].value : 0);
    print_times(p, price);
}

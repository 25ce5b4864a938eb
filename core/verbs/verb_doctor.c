/* SPDX-License-Identifier: MIT
 *
 * verb_doctor.c -- `hone doctor [--card FILE]`: what this machine has, and its
 * device measured into a card.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "card_measure.h"
#include "dataset.h"
#include "log.h"
#include "machine.h"
#include "plan.h"
#include "registry.h"
#include "safetensors.h"
#include "verbs.h"

/* The rest of the first line of FILE that begins with KEY, behind its colon. */
static const char *line_of(const char *file, const char *key, char to[256])
{
    FILE *f = fopen(file, "re");
    char line[256];
    size_t n = strlen(key);

    snprintf(to, 256, "?");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, n))
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(to, 256, "%s", line + n + strspn(line + n, " \t:"));
        break;
    }
    if (f)
        fclose(f);
    return to;
}

static void print_host(hone_arena *a)
{
    const char *cache = hone_cache_dir(a);
    char text[256], size[32];
    struct statvfs v;

    printf("hone     %s\ncpu      %s, %ld threads\n", HONE_VERSION,
           line_of("/proc/cpuinfo", "model name", text),
           sysconf(_SC_NPROCESSORS_ONLN));
    printf("memory   %s", hone_bytes_text(sysconf(_SC_PHYS_PAGES) *
                                          sysconf(_SC_PAGE_SIZE), size));
    printf(", available %s\n", line_of("/proc/meminfo", "MemAvailable", text));
    printf("cache    %s", cache);
    if (statvfs(cache, &v) == 0)
        printf(", %s free", hone_bytes_text((int64_t)(v.f_bavail * v.f_frsize),
                                            size));
    printf("\ndriver   %s\n", line_of("/proc/driver/nvidia/version",
                                      "NVRM version", text));
}

/* Shared objects that vendors bring and that opening devices has loaded. */
static void print_libraries(void)
{
    FILE *f = fopen("/proc/self/maps", "re");
    char line[4096], last[4096] = "";

    while (f && fgets(line, sizeof line, f)) {
        char *path = strchr(line, '/');

        if (!path || (!strstr(path, "/libcublasLt") &&
                      !strstr(path, "/libcudnn") && !strstr(path, "/libcuda")))
            continue;
        if (strcmp(path, last))
            printf("library  %s", path);
        snprintf(last, sizeof last, "%s", path);
    }
    if (f)
        fclose(f);
}

static void print_packs(void)
{
    const hone_component *c;

    for (int i = 0; (c = hone_component_at(i)); i++)
        if (c->kind == HONE_KIND_PACK)
            printf("pack     %s for %s: %s\n", c->name,
                   ((const hone_pack *)c->ops)->device, c->help);
    for (int i = 0; hone_loaded_at(i); i++)
        if (!hone_loaded_at(i)->plugin)
            printf("refused  %s: %s\n", hone_loaded_at(i)->path,
                   hone_loaded_at(i)->refusal);
}

/* Every device of each kind, until there are no more, and why there is none. */
static void print_devices(hone_arena *a)
{
    const hone_component *c;
    char name[64], size[32], free[32];
    hone_machine m;
    hone_err err;

    for (int i = 0; (c = hone_component_at(i)); i++)
        for (int index = 0; c->kind == HONE_KIND_DEVICE && index < 64;
             index++) {
            snprintf(name, sizeof name, "%s:%d", c->name, index);
            if (hone_machine_open(&m, name, NULL, a, &err) != HONE_OK) {
                if (index == 0)
                    printf("device   %s: %s\n", c->name, err.msg);
                break;
            }
            printf("device   %s: %s, %s, %s free\n", name, m.info.name,
                   hone_bytes_text(m.info.total_bytes, size),
                   hone_bytes_text(m.info.free_bytes, free));
            hone_machine_close(&m);
            if (m.info.is_host)
                break;
        }
}

static void print_card(const hone_card *c)
{
    const char *help, *name;

    for (int i = 0; i < HONE_CARD_FIGURES; i++) {
        name = hone_card_figure_name((hone_card_figure)i, &help);
        if (c->figure[i].value > 0)
            printf("%-15s %12.4g %s  %s\n", name, c->figure[i].value,
                   c->figure[i].measured ? " " : "?", help);
    }
    for (int i = 0; i < HONE_CARD_RATES; i++) {
        const hone_curve *r = &c->rate[i];

        name = hone_card_rate_name((hone_card_rate)i, &help);
        for (int p = 0; p < r->points; p++)
            printf("%-15s %12.4g %s  with %.3g; %s\n", p ? "" : name,
                   r->rate[p], r->measured ? " " : "?", r->work[p],
                   p ? "" : help);
    }
}

/* Starts from the card that is nearest, so that what cannot be measured here
 * is at least guessed. */
static hone_status measure(hone_machine *m, const char *file, hone_arena *a,
                           hone_err *err)
{
    hone_bench b = { .device = m->api, .info = &m->info, .dev = m->self,
                     .threads = m->info.threads > 0 ? m->info.threads : 1,
                     .compute = HONE_F32,
                     .can_capture = m->info.can_capture };
    size_t n = strcspn(m->info.name, ",");
    hone_card card = { .arch = 0 };
    int near;

    if (hone_card_of(&card, m->component->name, &m->info, &near, NULL))
        memset(&card, 0, sizeof card);
    if (!*file)
        file = hone_card_cache(a, &m->info);
    for (int i = 0; i < HONE_CARD_FIGURES; i++)
        card.figure[i].measured = 0;
    for (int i = 0; i < HONE_CARD_RATES; i++)
        card.rate[i].measured = 0;
    snprintf(card.name, sizeof card.name, "%.*s", n < 63 ? (int)n : 63,
             m->info.name);
    snprintf(card.models, sizeof card.models, "%.*s\n", (int)n, m->info.name);
    snprintf(card.device, sizeof card.device, "%s", m->component->name);
    card.arch = m->info.arch;
    hone_try(hone_make_folder(hone_cache_dir(a), err));
    hone_try(hone_card_measure(&card, &b, m->component->name,
                               hone_cache_dir(a), err));
    if (strrchr(file, '/'))
        hone_try(hone_make_folder(hone_format_text(
            a, "%.*s", (int)(strrchr(file, '/') - file), file), err));
    hone_try(hone_card_write(&card, file, err));
    print_card(&card);
    hone_log(HONE_LOG_NOTE, "written: %s", file);
    return HONE_OK;
}

int hone_verb_doctor(int argc, char **argv)
{
    const char *card = NULL, *device = "auto", *rest[1];
    const hone_arg args[] = { { "--card", .value = &card },
                              { "--device", .value = &device },
                              { .name = NULL } };
    hone_arena a = { 0 };
    hone_machine m = { .api = NULL };
    hone_err err = { 0 };
    hone_status s = hone_args(argc, argv, args, rest, 0, &err);

    if (s == HONE_OK && !card) {
        print_host(&a);
        print_devices(&a);
        print_libraries();
        print_packs();
    } else if (s == HONE_OK) {
        s = hone_machine_open(&m, device, NULL, &a, &err);
        if (s == HONE_OK)
            s = measure(&m, card, &a, &err);
        hone_machine_close(&m);
    }
    hone_arena_free(&a);
    return s == HONE_OK ? 0 : hone_report_error(&err);
}

/* SPDX-License-Identifier: MIT
 *
 * verbs.c -- the table of verbs, their arguments and exit statuses.
 */
#include "verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "option.h"
#include "registry.h"

typedef struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage, *help;
} verb;

static const verb verbs[] = {
    { "check", hone_verb_check, "RECIPE", "read a recipe and all it names" },
    { "explain", hone_verb_explain, "RECIPE [KEY]",
      "which line set an option" },
    { "prep", hone_verb_prep, "RECIPE [--show N] [--json] [--workers N]",
      "prepare the data: rows to token shards" },
    { "plan", hone_verb_plan,
      "RECIPE [--json] [--card NAME|FILE|list] [--price N]",
      "every byte of the run, before it starts" },
    { "run", hone_verb_run, "RECIPE [--out DIR] [--fresh]", "train" },
    { "eval", hone_verb_eval,
      "RECIPE [--adapter DIR | --run DIR] [--json]",
      "loss on the held-out rows" },
    { "generate", hone_verb_generate,
      "MODEL [--adapter DIR] --prompt TEXT | --chat TEXT "
      "[--max-tokens N] [--temperature T] [--seed S] [--device NAME]",
      "continue a text, or answer in the model's chat template" },
    { "export", hone_verb_export,
      "RUN|MODEL --to merged|peft|nf4 --out DIR [--adapter DIR]",
      "write a model that other tools load" },
    { "plugins", hone_verb_plugins, "", "what is loaded, and what is refused" },
    { "describe", hone_verb_describe, "NAME", "options of a component" },
    { "doctor", hone_verb_doctor, "[--card FILE] [--device NAME]",
      "what this machine has; or measure its device" },
};

enum { VERBS = sizeof verbs / sizeof *verbs };

int hone_exit_status(hone_status s)
{
    switch (s) {
    case HONE_OK:
    case HONE_END:
        return 0;
    case HONE_EINVAL:
    case HONE_ENOSUP:
        return 2;
    case HONE_ENOMEM:
        return 3;
    case HONE_EINTR:
        return 130;
    default:
        return 1;
    }
}

int hone_report_error(const hone_err *err)
{
    hone_log(HONE_LOG_ERROR, "%s", err->msg);
    return hone_exit_status(err->code);
}

static const hone_arg *find_arg(const hone_arg *table, const char *name)
{
    for (; table->name; table++)
        if (!strcmp(table->name, name))
            return table;
    return NULL;
}

static hone_status unknown_arg(const hone_arg *table, const char *name,
                               hone_err *err)
{
    const char *names[32];
    const char *near;
    int n = 0;

    for (; table->name && n < 31; table++)
        names[n++] = table->name;
    names[n] = NULL;
    near = hone_nearest(name, names);
    return hone_fail(err, HONE_EINVAL, "unknown option '%s'%s%s%s", name,
                     near ? ", did you mean '" : "", near ? near : "",
                     near ? "'?" : "");
}

static hone_status read_number(const hone_arg *a, const char *text,
                               hone_err *err)
{
    char *end;
    double v = strtod(text, &end);

    if (*end || end == text || !(v >= a->min && v <= a->max) ||
        (a->count && v != floor(v)))
        return hone_fail(err, HONE_EINVAL, "%s: '%s' is not a %snumber from "
                         "%.16g to %.16g", a->name, text,
                         a->count ? "whole " : "", a->min, a->max);
    if (a->count)
        *a->count = (int64_t)v;
    else
        *a->number = v;
    return HONE_OK;
}

hone_status hone_args(int argc, char **argv, const hone_arg *table,
                      const char **positional, int max, hone_err *err)
{
    int n = 0;

    positional[0] = NULL;
    for (int i = 0; i < argc; i++) {
        const hone_arg *a;
        const char *value = "";

        if (argv[i][0] != '-' || argv[i][1] != '-') {
            if (n == max)
                return hone_fail(err, HONE_EINVAL,
                                 "'%s': one argument too many", argv[i]);
            positional[n++] = argv[i];
            continue;
        }
        a = find_arg(table, argv[i]);
        if (!a)
            return unknown_arg(table, argv[i], err);
        if (!a->flag) {
            if (i + 1 == argc)
                return hone_fail(err, HONE_EINVAL, "%s needs a value", a->name);
            value = argv[++i];
        }
        if (a->list) {
            int k = 0;
            while (a->list[k])
                k++;
            if (k == 63)
                return hone_fail(err, HONE_EINVAL, "%s: given too often",
                                 a->name);
            a->list[k] = value;
        } else if (a->count || a->number) {
            hone_try(read_number(a, value, err));
        } else {
            *a->value = value;
        }
    }
    positional[n] = NULL;
    return HONE_OK;
}

static const verb *find_verb(const char *name)
{
    for (int i = 0; i < VERBS; i++)
        if (!strcmp(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

static const char *sets_of(const char *usage)
{
    return strncmp(usage, "RECIPE", 6) ? "" : " [--set KEY=VALUE]...";
}

hone_status hone_usage(const char *name, hone_err *err)
{
    const verb *v = find_verb(name);

    return hone_fail(err, HONE_EINVAL, "usage: hone %s %s%s", name, v->usage,
                     sets_of(v->usage));
}

int hone_verb_recipe(const char *name, hone_recipe *r, int argc, char **argv,
                     const hone_arg *args, const char *const *sets)
{
    const char *file[2], *messages = NULL;
    hone_err err;
    hone_status s = hone_args(argc, argv, args, file, 1, &err);

    if (s == HONE_OK && !file[0])
        s = hone_usage(name, &err);
    if (s != HONE_OK)
        return hone_report_error(&err);
    s = hone_recipe_read(r, file[0], sets, &messages);
    if (s == HONE_OK)
        return 0;
    fprintf(stderr, "%s\n", messages);
    hone_recipe_free(r);
    return hone_exit_status(s);
}

enum { USAGE_WIDTH = 52 };

static void print_verb(const char *name, const char *args, const char *help)
{
    if (strlen(args) <= USAGE_WIDTH)
        printf("  hone %-9s %-*s %s\n", name, USAGE_WIDTH, args, help);
    else
        printf("  hone %-9s %s\n%*s%s\n", name, args, USAGE_WIDTH + 18, "",
               help);
}

/* `hone VERB --help`, also behind other arguments. */
static int wants_help(int argc, char **argv)
{
    return argc > 2 && !strcmp(argv[argc - 1], "--help");
}

static int print_help(const char *name, const char *args, const char *help)
{
    printf("usage: hone %s%s%s%s\n  %s\n", name, *args ? " " : "", args,
           sets_of(args), help);
    return 0;
}

/* With what plugins bring; those that cannot be read are said elsewhere. */
static void usage(const char *const *dirs)
{
    const hone_component *c;
    hone_err err;

    printf("hone " HONE_VERSION ": fine-tunes language models\n\n"
           "usage: hone VERB ... [--plugin-dir DIR]...\n\n");
    for (int i = 0; i < VERBS; i++)
        print_verb(verbs[i].name, verbs[i].usage, verbs[i].help);
    if (hone_registry_open(dirs, &err) == HONE_OK)
        for (int i = 0; (c = hone_component_at(i)); i++)
            if (c->kind == HONE_KIND_VERB)
                print_verb(c->name, ((const hone_verb *)c->ops)->usage,
                           c->help);
    printf("\nWith a RECIPE: --set KEY=VALUE, repeatable. "
           "Exit status: 0 done, 1 failed,\n2 wrong input, 3 does not fit, "
           "130 interrupted.\n");
}

/* Takes every --plugin-dir out of argv; they belong to no verb. */
static int plugin_dirs(int argc, char **argv, const char **dirs, int max)
{
    int out = 0, n = 0;

    for (int i = 0; i < argc; i++) {
        if (!strcmp(argv[i], "--plugin-dir") && i + 1 < argc && n + 1 < max)
            dirs[n++] = argv[++i];
        else
            argv[out++] = argv[i];
    }
    dirs[n] = NULL;
    return out;
}

/* Before any plugin is loaded. Scratch memory must go back to the system when
 * it is freed, so that a run takes what its plan says and no more: glibc
 * otherwise moves its threshold up and keeps such blocks. Threads of OpenMP
 * that spin long at barriers take the cores from whoever else works on them; a
 * few microseconds are enough between two kernels. libgomp looks at this when
 * it is loaded, with the plugin that needs it. */
static void prepare_process(void)
{
    const char *log = getenv("HONE_LOG");

    if (log && !strcmp(log, "detail"))
        hone_log_level(HONE_LOG_DETAIL);
    hone_log_time("starting the clock");
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    mallopt(M_TRIM_THRESHOLD, 128 << 10);
    if (!getenv("OMP_WAIT_POLICY"))
        setenv("GOMP_SPINCOUNT", "1000", 0);
}

/* A file that is opened must not be taken for one of the three. */
static void open_standard_files(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", fd ? O_RDONLY : O_WRONLY);
}

/* Results that could not be written are no results. */
static int close_results(int status)
{
    errno = 0;
    if ((!fflush(stdout) && !ferror(stdout)) || status)
        return status;
    hone_log(HONE_LOG_ERROR, "standard output cannot be written%s%s",
             errno ? ": " : "", errno ? strerror(errno) : "");
    return 1;
}

static int no_verb(const char *name)
{
    const char *names[64], *near;
    const hone_component *c;
    int n = 0;

    for (; n < VERBS; n++)
        names[n] = verbs[n].name;
    for (int i = 0; n < 63 && (c = hone_component_at(i)); i++)
        if (c->kind == HONE_KIND_VERB)
            names[n++] = c->name;
    names[n] = NULL;
    near = hone_nearest(name, names);
    hone_log(HONE_LOG_ERROR, "no verb '%s'%s%s%s; hone --help lists them",
             name, near ? ", did you mean '" : "", near ? near : "",
             near ? "'?" : "");
    return 2;
}

static int run_verb(int argc, char **argv)
{
    const char *dirs[64];
    const hone_component *c;
    const verb *v;
    hone_err err = { 0 };

    argc = plugin_dirs(argc, argv, dirs, 64);
    if (argc > 1 && !strcmp(argv[argc - 1], "--plugin-dir")) {
        hone_log(HONE_LOG_ERROR, "--plugin-dir needs a folder");
        return 2;
    }
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
        usage(dirs);
        return argc < 2 ? 2 : 0;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("hone " HONE_VERSION "\n");
        return 0;
    }
    v = find_verb(argv[1]);
    if (v && wants_help(argc, argv))
        return print_help(v->name, v->usage, v->help);
    prepare_process();
    if (hone_registry_open(dirs, &err) != HONE_OK)
        return hone_report_error(&err);
    hone_log_time("plugins");
    if (v)
        return v->run(argc - 2, argv + 2);
    c = hone_find(HONE_KIND_VERB, argv[1]);
    if (!c)
        return no_verb(argv[1]);
    if (wants_help(argc, argv))
        return print_help(c->name, ((const hone_verb *)c->ops)->usage,
                          c->help);
    return hone_verb_of_plugin(c, argc - 2, argv + 2);
}

int hone_main(int argc, char **argv)
{
    open_standard_files();
    return close_results(run_verb(argc, argv));
}

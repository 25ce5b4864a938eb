/* SPDX-License-Identifier: MIT
 *
 * registry.c -- see registry.h. One registry a process, filled before the verb
 * runs and constant from then on; libraries are never closed, because function
 * pointers, streams and threads of a plugin outlive every point at which
 * closing would be safe.
 */
#include "registry.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "option.h"
#include "registry_check.h"
#include "registry_elf.h"

typedef struct {
    hone_loaded seen;
    dev_t device; /* with the inode: the same file under two names */
    ino_t inode;
} entry;

static struct {
    hone_arena arena;
    entry *entries;
    int count, cap;
    const char **folders; /* looked into, for messages */
    int folder_count, folder_cap;
    const hone_component **components; /* by name, then kind */
    int component_count, component_cap;
} reg;

const char *hone_kind_name(hone_kind kind)
{
    static const char *const names[HONE_KINDS] = {
        [HONE_KIND_FORMAT] = "format",
        [HONE_KIND_TOKENIZER] = "tokenizer",
        [HONE_KIND_COLLATOR] = "collator",
        [HONE_KIND_SCHEDULE] = "schedule",
        [HONE_KIND_OPTIMIZER] = "optimizer",
        [HONE_KIND_DEVICE] = "device",
        [HONE_KIND_OP] = "op",
        [HONE_KIND_PACK] = "pack",
        [HONE_KIND_COLLECTIVE] = "collective",
        [HONE_KIND_LOGGER] = "logger",
        [HONE_KIND_EXPORTER] = "exporter",
        [HONE_KIND_VERB] = "verb",
        [HONE_KIND_TEMPLATE] = "template",
    };

    return kind > 0 && kind < HONE_KINDS ? names[kind] : "unknown";
}

/* ----------------------------------------------------------------- names */

static int clashes(const hone_component *a, const hone_component *b)
{
    if (strcmp(a->name, b->name))
        return 0;
    return a->kind == b->kind ||
           (hone_kind_is_called(a->kind) && hone_kind_is_called(b->kind));
}

static const char *path_of(const hone_component *c)
{
    for (int i = 0; i < reg.count; i++) {
        const hone_plugin *p = reg.entries[i].seen.plugin;
        for (int k = 0; p && p->components[k]; k++)
            if (p->components[k] == c)
                return reg.entries[i].seen.path;
    }
    return "this plugin";
}

static hone_status check_names(const hone_plugin *p, hone_err *err)
{
    for (int i = 0; p->components[i]; i++) {
        const hone_component *c = p->components[i];
        const hone_component *other = NULL;

        for (int k = 0; k < i; k++)
            if (clashes(c, p->components[k]))
                other = p->components[k];
        for (int k = 0; !other && k < reg.component_count; k++)
            if (clashes(c, reg.components[k]))
                other = reg.components[k];
        if (other)
            return hone_fail(err, HONE_EINVAL,
                             "%s '%s': there is a %s '%s' already, from %s; "
                             "rename it or remove one of them",
                             hone_kind_name(c->kind), c->name,
                             hone_kind_name(other->kind), other->name,
                             path_of(other));
    }
    return HONE_OK;
}

static void insert(const hone_component *c)
{
    int i;

    hone_push(&reg.arena, reg.components, reg.component_count,
              reg.component_cap);
    for (i = reg.component_count++; i > 0; i--) {
        const hone_component *before = reg.components[i - 1];
        int order = strcmp(before->name, c->name);
        if (order < 0 || (order == 0 && before->kind <= c->kind))
            break;
        reg.components[i] = before;
    }
    reg.components[i] = c;
}

/* --------------------------------------------------------------- loading */

static hone_status load(const char *path, const struct stat *st,
                        const hone_plugin **out, hone_err *err)
{
    const hone_plugin *(*entry_of)(void);
    const hone_plugin *plugin;
    const char *why;
    void *library, *symbol;

    if (!S_ISREG(st->st_mode))
        return hone_fail(err, HONE_EINVAL, "is no file");
    if (st->st_mode & S_IWOTH)
        return hone_fail(err, HONE_EINVAL,
                         "everybody may write to this file; chmod o-w it");
    hone_try(hone_check_library(path, (int64_t)st->st_size, err));
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        why = dlerror();
        if (!strncmp(why, path, strlen(path))) /* the caller says the path */
            why += strlen(path) + strspn(why + strlen(path), ": ");
        return hone_fail(err, HONE_EINVAL, "cannot be loaded: %s", why);
    }
    symbol = dlsym(library, "hone_plugin_entry");
    if (!symbol)
        return hone_fail(err, HONE_EINVAL,
                         "no symbol hone_plugin_entry (is it a hone plugin?)");
    memcpy(&entry_of, &symbol, sizeof entry_of); /* ISO C has no such cast */
    plugin = entry_of();
    hone_try(hone_check_plugin(plugin, err));
    hone_try(check_names(plugin, err));
    *out = plugin;
    return HONE_OK;
}

static entry *record(const char *path)
{
    entry *e;

    hone_push(&reg.arena, reg.entries, reg.count, reg.cap);
    e = &reg.entries[reg.count++];
    *e = (entry){ .seen.path = hone_text(&reg.arena, path) };
    return e;
}

static void refuse(entry *e, const char *why)
{
    e->seen.refusal = hone_text(&reg.arena, why);
    hone_log(HONE_LOG_WARN, "%s: %s", e->seen.path, why);
}

static void load_file(const char *path)
{
    const hone_plugin *plugin = NULL;
    hone_err err = { 0 };
    struct stat st;
    entry *e;

    if (stat(path, &st) != 0) {
        refuse(record(path), strerror(errno));
        return;
    }
    for (int i = 0; i < reg.count; i++)
        if (reg.entries[i].device == st.st_dev &&
            reg.entries[i].inode == st.st_ino)
            return;
    e = record(path);
    e->device = st.st_dev;
    e->inode = st.st_ino;
    if (load(path, &st, &plugin, &err) != HONE_OK) {
        refuse(e, err.msg);
        return;
    }
    e->seen.plugin = plugin;
    for (int i = 0; plugin->components[i]; i++)
        insert(plugin->components[i]);
}

static int is_library(const struct dirent *d)
{
    size_t n = strlen(d->d_name);

    return n > 3 && d->d_name[0] != '.' && !strcmp(d->d_name + n - 3, ".so");
}

/* Whoever may write into a folder of plugins may run code as its user. */
static hone_status load_folder(const char *folder, int must_exist,
                               hone_err *err)
{
    struct dirent **files;
    char real[PATH_MAX];
    struct stat st;
    int n;

    if (!realpath(folder, real) || stat(real, &st) != 0) {
        if (must_exist)
            return hone_fail(err, HONE_EINVAL, "plugin folder %s: %s", folder,
                             strerror(errno));
        return HONE_OK;
    }
    for (int i = 0; i < reg.folder_count; i++)
        if (!strcmp(reg.folders[i], real))
            return HONE_OK;
    hone_push(&reg.arena, reg.folders, reg.folder_count, reg.folder_cap);
    reg.folders[reg.folder_count++] = hone_text(&reg.arena, real);
    if (st.st_mode & S_IWOTH) {
        refuse(record(real), "everybody may write to this folder; chmod o-w "
                             "it to have its plugins loaded");
        return HONE_OK;
    }
    n = scandir(real, &files, is_library, alphasort);
    if (n < 0)
        return hone_fail(err, HONE_EINVAL, "plugin folder %s: %s", folder,
                         strerror(errno));
    for (int i = 0; i < n; i++) {
        load_file(hone_format_text(&reg.arena, "%s/%s", real,
                                   files[i]->d_name));
        free(files[i]);
    }
    free(files);
    return HONE_OK;
}

/* $HONE_PLUGIN_PATH: a relative entry would mean the current folder, where
 * somebody else's recipe may lie. */
static hone_status load_path(const char *list, hone_err *err)
{
    hone_arena scratch = { 0 };
    char *copy = hone_text(&scratch, list), *rest = NULL;

    for (char *p = strtok_r(copy, ":", &rest); p;
         p = strtok_r(NULL, ":", &rest)) {
        hone_status s;
        if (p[0] != '/') {
            hone_log(HONE_LOG_WARN,
                     "HONE_PLUGIN_PATH: '%s' is not absolute and is left out",
                     p);
            continue;
        }
        s = load_folder(p, 0, err);
        if (s != HONE_OK) {
            hone_arena_free(&scratch);
            return s;
        }
    }
    hone_arena_free(&scratch);
    return HONE_OK;
}

/* "<folder of the executable>/TAIL", in the registry's arena. */
static const char *beside_program(const char *tail)
{
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    char *slash;

    if (n <= 0)
        return hone_text(&reg.arena, "");
    exe[n] = '\0';
    slash = strrchr(exe, '/');
    *slash = '\0';
    return hone_format_text(&reg.arena, "%s/%s", exe, tail);
}

hone_status hone_registry_open(const char *const *dirs, hone_err *err)
{
    const char *path = getenv("HONE_PLUGIN_PATH");

    for (; dirs && *dirs; dirs++)
        hone_try(load_folder(*dirs, 1, err));
    if (path)
        hone_try(load_path(path, err));
    return load_folder(beside_program("../lib/hone/plugins"), 0, err);
}

const char *hone_share_dir(void)
{
    static const char *folder;
    const char *share = getenv("HONE_SHARE");

    if (!folder)
        folder = share && share[0]
                     ? hone_text(&reg.arena, share)
                     : beside_program("../share/hone/recipes");
    return folder;
}

/* --------------------------------------------------------------- look-up */

const hone_component *hone_find(hone_kind kind, const char *name)
{
    for (int i = 0; i < reg.component_count; i++)
        if (reg.components[i]->kind == kind &&
            !strcmp(reg.components[i]->name, name))
            return reg.components[i];
    return NULL;
}

const hone_component *hone_component_at(int i)
{
    return i >= 0 && i < reg.component_count ? reg.components[i] : NULL;
}

const hone_loaded *hone_loaded_at(int i)
{
    return i >= 0 && i < reg.count ? &reg.entries[i].seen : NULL;
}

/* Appends, cutting what does not fit. */
HONE_PRINTF(4, 5)
static void append(char *to, size_t bytes, size_t *at, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(to + *at, bytes - *at, fmt, ap);
    va_end(ap);
    if (n > 0)
        *at = *at + (size_t)n < bytes ? *at + (size_t)n : bytes - 1;
}

static const char *nearest_name(hone_kind kind, const char *name)
{
    hone_arena scratch = { 0 };
    const char **names =
        hone_alloc(&scratch, sizeof *names * (size_t)(reg.component_count + 1));
    const char *near;
    int n = 0;

    for (int i = 0; i < reg.component_count; i++)
        if (reg.components[i]->kind == kind)
            names[n++] = reg.components[i]->name;
    near = hone_nearest(name, names);
    hone_arena_free(&scratch);
    return near;
}

hone_status hone_need_component(hone_kind kind, const char *name,
                                const hone_component **out, hone_err *err)
{
    char text[900];
    size_t at = 0;
    const char *near;

    *out = hone_find(kind, name);
    if (*out)
        return HONE_OK;
    near = nearest_name(kind, name);
    append(text, sizeof text, &at, "no %s '%s'", hone_kind_name(kind), name);
    if (near)
        append(text, sizeof text, &at, ", did you mean '%s'?", near);
    append(text, sizeof text, &at, "; tried:");
    for (int i = 0; i < reg.folder_count; i++)
        append(text, sizeof text, &at, "%s %s/%s.so", i ? "," : "",
               reg.folders[i], name);
    if (!reg.folder_count)
        append(text, sizeof text, &at, " no folder (see --plugin-dir)");
    for (int i = 0; i < reg.count; i++)
        if (reg.entries[i].seen.refusal)
            append(text, sizeof text, &at, "; refused: %s (%s)",
                   reg.entries[i].seen.path, reg.entries[i].seen.refusal);
    return hone_fail(err, HONE_EINVAL, "%s", text);
}

/* ------------------------------------------------------------- instances */

void hone_instance_make(hone_instance *inst, const hone_component *c,
                        void *config, hone_arena *a)
{
    if (!config) {
        config = hone_alloc(a, c->config_size);
        hone_option_defaults(c->options, config);
    }
    inst->component = c;
    inst->config = config;
    inst->state = hone_alloc(a, c->state_size);
    inst->open = 0;
}

hone_status hone_instance_start(hone_instance *inst, hone_err *err)
{
    const hone_component *c = inst->component;

    if (c->open)
        hone_try(c->open(&hone_the_host, inst->config, inst->state, err));
    inst->open = 1;
    return HONE_OK;
}

hone_status hone_instance_open(hone_instance *inst, const hone_component *c,
                               void *config, hone_arena *a, hone_err *err)
{
    hone_instance_make(inst, c, config, a);
    return hone_instance_start(inst, err);
}

void hone_instance_close(hone_instance *inst)
{
    if (inst->open && inst->component->close)
        inst->component->close(inst->state);
    inst->state = NULL;
    inst->open = 0;
}

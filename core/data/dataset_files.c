/* SPDX-License-Identifier: MIT
 *
 * dataset_files.c -- see dataset_files.h.
 */
#include "dataset_files.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "option.h"
#include "registry.h"

enum { MOST_FILES = 1 << 20, DEEPEST = 16 };

/* ---------------------------------------------------------------- formats */

/* "x.jsonl.gz" ends in "jsonl.gz", behind a dot. */
static int ends_in(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);

    return n > m && name[n - m - 1] == '.' && !strcmp(name + n - m, ending);
}

static const hone_component *format_of(const char *path)
{
    const hone_component *c, *found = NULL;
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    size_t longest = 0;

    for (int i = 0; (c = hone_component_at(i)); i++) {
        const hone_format *f = c->ops;
        if (c->kind != HONE_KIND_FORMAT)
            continue;
        for (const char *const *e = f->endings; *e; e++)
            if (ends_in(name, *e) && strlen(*e) > longest) {
                longest = strlen(*e);
                found = c;
            }
    }
    return found;
}

/* Those that are not of packed files: ".json, .jsonl". */
static void list_endings(char *to, size_t bytes)
{
    const hone_component *c;
    size_t at = 0;

    to[0] = 0;
    for (int i = 0; (c = hone_component_at(i)); i++) {
        const hone_format *f = c->ops;
        if (c->kind != HONE_KIND_FORMAT)
            continue;
        for (const char *const *e = f->endings; *e && at < bytes; e++)
            if (!strchr(*e, '.'))
                at += (size_t)snprintf(to + at, bytes - at, "%s.%s",
                                       at ? ", " : "", *e);
    }
}

hone_status hone_format_find(const char *path, const hone_component **out,
                             hone_err *err)
{
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *ending = strrchr(name, '.');
    char known[512];

    *out = format_of(path);
    if (*out)
        return HONE_OK;
    if (access(path, F_OK))
        return hone_fail(err, HONE_EINVAL, "%s: %s; a dataset of the Hub comes "
                         "with: hone fetch datasets/ORG/NAME", path,
                         strerror(errno));
    list_endings(known, sizeof known);
    return hone_fail(err, HONE_EINVAL,
                     "%s: no format reads files that end in '%s'; there are: "
                     "%s", path, ending ? ending : "", known);
}

const void *hone_format_config_of(const hone_data_config *d,
                                  const hone_component *c)
{
    const hone_format_config *f = d->formats;

    while (f && f->component && f->component != c)
        f++;
    return f && f->component ? f->config : NULL;
}

hone_status hone_format_open(const hone_data_config *d, const hone_component *c,
                             const char *path, void **reader, hone_err *err)
{
    const hone_format *f = c->ops;
    const void *config = hone_format_config_of(d, c);

    if (f->size > offsetof(hone_format, open_with) && f->open_with)
        return f->open_with(&hone_the_host, path, config, reader, err);
    return f->open(&hone_the_host, path, reader, err);
}

/* ------------------------------------------------------------------ files */

typedef struct {
    hone_arena *arena;
    const char **file;
    int count, cap;
    const char *note;
} list;

static hone_status add_file(list *l, const char *path, hone_err *err)
{
    struct stat st;

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return hone_fail(err, HONE_EINVAL, "%s: a pipe or a device, and data "
                         "is read more than once; write it to a file", path);
    if (l->count == MOST_FILES)
        return hone_fail(err, HONE_EINVAL, "%s: more than %d files", path,
                         MOST_FILES);
    hone_push(l->arena, l->file, l->count, l->cap);
    l->file[l->count++] = hone_text(l->arena, path);
    return HONE_OK;
}

static int is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* What is in a folder, hidden names left out. */
static hone_status add_folder(list *l, const char *path, int depth,
                              hone_err *err)
{
    DIR *d = depth < DEEPEST ? opendir(path) : NULL;
    hone_status s = HONE_OK;
    struct dirent *e;

    if (!d)
        return hone_fail(err, HONE_EINVAL, "%s: %s", path,
                         depth < DEEPEST ? strerror(errno)
                                         : "folders nested too deep");
    while (s == HONE_OK && (e = readdir(d))) {
        const char *inner;

        if (e->d_name[0] == '.')
            continue;
        inner = hone_format_text(l->arena, "%s/%s", path, e->d_name);
        if (is_folder(inner))
            s = add_folder(l, inner, depth + 1, err);
        else if (format_of(inner))
            s = add_file(l, inner, err);
    }
    closedir(d);
    return s;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A part of the path below its folder is called train, or begins so. */
static int is_train(const char *below)
{
    for (const char *at = strstr(below, "/train"); at;
         at = strstr(at + 1, "/train"))
        if (strchr("/-_.0123456789", at[6]))
            return 1;
    return 0;
}

/* A dataset's folder has its held-out rows beside those to train on. */
static void keep_train(list *l, int from, const char *folder)
{
    int found = 0, n = from;

    for (int i = from; i < l->count; i++)
        found += is_train(l->file[i] + strlen(folder));
    if (!found || found == l->count - from)
        return;
    l->note = hone_format_text(l->arena, "%s: %d files; %d of them, called "
                               "train, are taken", folder, l->count - from,
                               found);
    for (int i = from; i < l->count; i++)
        if (is_train(l->file[i] + strlen(folder)))
            l->file[n++] = l->file[i];
    l->count = n;
}

static hone_status add_name(list *l, const char *name, hone_err *err)
{
    int from = l->count;
    char known[512];

    if (!is_folder(name))
        return add_file(l, name, err);
    hone_try(add_folder(l, name, 0, err));
    qsort(l->file + from, (size_t)(l->count - from), sizeof *l->file, by_path);
    keep_train(l, from, name);
    if (l->count > from)
        return HONE_OK;
    list_endings(known, sizeof known);
    return hone_fail(err, HONE_EINVAL, "%s: the folder has no data files; "
                     "formats read %s", name, known);
}

static hone_status add_pattern(list *l, const char *pattern, hone_err *err)
{
    glob_t g = { 0 };
    int code = glob(pattern, GLOB_NOSORT, NULL, &g);
    hone_status s = HONE_OK;

    if (code == GLOB_NOMATCH)
        return hone_fail(err, HONE_EINVAL, "%s: no file is called so", pattern);
    if (code)
        return hone_fail(err, HONE_EIO, "%s: the folders cannot be read",
                         pattern);
    qsort(g.gl_pathv, g.gl_pathc, sizeof *g.gl_pathv, by_path);
    for (size_t i = 0; i < g.gl_pathc && s == HONE_OK; i++)
        s = add_name(l, g.gl_pathv[i], err);
    globfree(&g);
    return s;
}

hone_status hone_files_expand(hone_arena *a, const char *const *names,
                              const char *const **files, const char **note,
                              hone_err *err)
{
    list l = { .arena = a };
    struct stat st;

    for (; *names; names++)
        if (strpbrk(*names, "*?[") && stat(*names, &st) != 0)
            hone_try(add_pattern(&l, *names, err));
        else
            hone_try(add_name(&l, *names, err));
    hone_push(a, l.file, l.count, l.cap);
    l.file[l.count] = NULL;
    *files = l.file;
    *note = l.note;
    return HONE_OK;
}

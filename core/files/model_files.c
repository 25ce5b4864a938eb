/* SPDX-License-Identifier: MIT
 *
 * model_files.c -- see model_files.h. The texts are held in memory from before
 * step 0 on: what is saved is what the run started from, whatever happens to
 * the source folder, and saving allocates nothing.
 */
#include "model_files.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "safetensors.h"

enum { TEXT_MAX_BYTES = 256 << 20 };

/* Not the weights and not README: what tools need to load the model. */
static const char *const carried[] = {
    "config.json",        "generation_config.json",  "tokenizer.json",
    "tokenizer.model",    "tokenizer_config.json",   "special_tokens_map.json",
    "added_tokens.json",  "vocab.json",              "merges.txt",
    "chat_template.json", "chat_template.jinja",
};

enum { CARRIED = sizeof carried / sizeof *carried, MOST_TEMPLATES = 64 };

#define TEMPLATES "chat_templates" /* a folder of more of them */

hone_status hone_json_read(const char *folder, const char *name,
                           struct json_t **root, hone_err *err)
{
    hone_arena a = { 0 };
    const char *path = hone_format_text(&a, "%s/%s", folder, name);
    json_error_t why;
    hone_status s = HONE_OK;
    struct stat st;

    if (stat(path, &st))
        s = hone_fail(err, HONE_EINVAL, "%s: cannot open: %s", path,
                      strerror(errno));
    else if (!S_ISREG(st.st_mode) || st.st_size > TEXT_MAX_BYTES)
        s = hone_fail(err, HONE_EINVAL, "%s: not a file of at most %d bytes",
                      path, TEXT_MAX_BYTES);
    else if (!(*root = json_load_file(path, JSON_REJECT_DUPLICATES, &why)))
        s = hone_fail(err, HONE_EINVAL, "%s:%d: not valid JSON: %s", path,
                      why.line, why.text);
    else if (!json_is_object(*root)) {
        json_decref(*root);
        s = hone_fail(err, HONE_EINVAL, "%s: not a JSON object", path);
    }
    if (s != HONE_OK)
        *root = NULL;
    hone_arena_free(&a);
    return s;
}

/* Adds FROM/NAME, if it is there. */
static hone_status add_text(hone_model_files *files, hone_arena *a,
                            const char *from, const char *to, const char *name,
                            hone_err *err)
{
    struct hone_model_file *file = &files->list[files->count];
    const char *path = hone_format_text(a, "%s/%s", from, name);
    hone_file text = { .name = path };

    if (access(path, F_OK) && errno == ENOENT)
        return HONE_OK;
    hone_try(hone_file_read(a, path, TEXT_MAX_BYTES, &text, err));
    file->text = text.text;
    file->bytes = text.bytes;
    file->path = hone_format_text(a, "%s/%s", to, name);
    files->bytes += (int64_t)file->bytes;
    files->count++;
    return HONE_OK;
}

/* The folder of templates, made when it is written, and what is in it. */
static hone_status add_templates(hone_model_files *files, hone_arena *a,
                                 const char *from, const char *to,
                                 hone_err *err)
{
    DIR *d = opendir(hone_format_text(a, "%s/" TEMPLATES, from));
    hone_status s = HONE_OK;
    struct dirent *e;

    if (!d)
        return HONE_OK;
    files->list[files->count++] = (struct hone_model_file){
        .path = hone_format_text(a, "%s/" TEMPLATES, to) };
    while (s == HONE_OK && (e = readdir(d))) {
        size_t n = strlen(e->d_name);

        if (n < 7 || strcmp(e->d_name + n - 6, ".jinja"))
            continue;
        if (files->count == CARRIED + 1 + MOST_TEMPLATES)
            s = hone_fail(err, HONE_EINVAL, "%s/" TEMPLATES ": more than %d "
                          "templates", from, MOST_TEMPLATES);
        else
            s = add_text(files, a, from, to,
                         hone_format_text(a, TEMPLATES "/%s", e->d_name), err);
    }
    closedir(d);
    return s;
}

hone_status hone_model_files_prepare(hone_model_files *files, hone_arena *a,
                                     const char *from, const char *to,
                                     hone_err *err)
{
    memset(files, 0, sizeof *files);
    files->list = hone_alloc(a, (CARRIED + 1 + MOST_TEMPLATES) *
                                    sizeof *files->list);
    for (int i = 0; i < CARRIED; i++)
        hone_try(add_text(files, a, from, to, carried[i], err));
    return add_templates(files, a, from, to, err);
}

hone_status hone_model_files_write(const hone_model_files *files,
                                   hone_err *err)
{
    for (int i = 0; i < files->count; i++) {
        const struct hone_model_file *f = &files->list[i];

        if (f->text)
            hone_try(hone_write_file(f->path, f->text, f->bytes, err));
        else if (mkdir(f->path, 0777) && errno != EEXIST)
            return hone_fail(err, HONE_EIO, "%s: cannot create: %s", f->path,
                             strerror(errno));
    }
    return HONE_OK;
}

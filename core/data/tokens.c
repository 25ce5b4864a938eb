/* SPDX-License-Identifier: MIT
 *
 * tokens.c -- see tokens.h. The plugin that reads a tokenizer.json is the
 * first one whose probe() says so; the files beside it only name tokens. In a
 * folder without one, plugins say which other files they read.
 */
#include "tokens.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "log.h"
#include "registry.h"

enum { FILE_MAX_BYTES = 1 << 30 };

/* ------------------------------------------------------------- the file */

/* Of one file its SHA-256; of several that of all, end to end. */
static void hash_files(const hone_file *file, uint32_t count, char hash[65])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned n = 0;

    EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    for (uint32_t i = 0; i < count; i++)
        EVP_DigestUpdate(md, file[i].text, file[i].bytes);
    EVP_DigestFinal_ex(md, sum, &n);
    EVP_MD_CTX_free(md);
    for (unsigned i = 0; i < n && i < 32; i++)
        snprintf(hash + 2 * (size_t)i, 3, "%02x", sum[i]);
}

static const hone_tokenizer *find_reader(const char *text, size_t bytes)
{
    const hone_component *c;

    for (int i = 0; (c = hone_component_at(i)); i++) {
        const hone_tokenizer *api = c->ops;
        if (c->kind == HONE_KIND_TOKENIZER && api->probe(text, bytes))
            return api;
    }
    return NULL;
}

/* No plugin took the file: says of which kind its model is. */
static hone_status refuse(const hone_tokens *t, const char *text, size_t bytes,
                          hone_err *err)
{
    json_error_t why;
    json_t *root = json_loadb(text, bytes, JSON_ALLOW_NUL, &why);
    json_t *model = json_object_get(root, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    hone_status s;

    if (!root)
        s = hone_fail(err, HONE_EINVAL, "%s:%d: not valid JSON: %s", t->path,
                      why.line, why.text);
    else if (!json_is_object(model))
        s = hone_fail(err, HONE_EINVAL, "%s: not a tokenizer.json: no 'model'",
                      t->path);
    else
        s = hone_fail(err, HONE_EINVAL,
                      "%s: model: type '%.60s' is read by no plugin (hone "
                      "plugins lists them)", t->path, type ? type : "?");
    json_decref(root);
    return s;
}

/* Puts "PATH: " before the message. */
static hone_status name_file(const char *path, hone_status s, hone_err *err)
{
    hone_err inner = *err;

    return hone_fail(err, s, "%s: %.900s", path, inner.msg);
}

static hone_status load(hone_tokens *t, hone_err *err)
{
    hone_arena a = { 0 };
    hone_file f = { .name = t->path };
    hone_status s = hone_file_read(&a, t->path, FILE_MAX_BYTES, &f, err);

    if (s == HONE_OK) {
        hash_files(&f, 1, t->hash);
        t->api = find_reader(f.text, f.bytes);
        if (!t->api)
            s = refuse(t, f.text, f.bytes, err);
        else if ((s = t->api->load(&hone_the_host, f.text, f.bytes, &t->self,
                                   err)) != HONE_OK)
            s = name_file(t->path, s, err);
    }
    hone_arena_free(&a);
    return s;
}

/* ------------------------------------------ folders of another kind */

enum { FILES = 16 };

/* The first name of FOLDER that PATTERN means: itself, or "*.x" by its end. */
static const char *name_in(hone_arena *a, const char *folder,
                           const char *pattern)
{
    DIR *dir = pattern[0] == '*' ? opendir(folder) : NULL;
    const char *found = NULL;
    struct dirent *e;

    if (pattern[0] != '*')
        return access(hone_format_text(a, "%s/%s", folder, pattern), R_OK)
                   ? NULL
                   : pattern;
    while (dir && (e = readdir(dir))) {
        size_t n = strlen(e->d_name), k = strlen(pattern + 1);
        if (n > k && !strcmp(e->d_name + n - k, pattern + 1) &&
            (!found || strcmp(e->d_name, found) < 0))
            found = hone_format_text(a, "%s", e->d_name);
    }
    if (dir)
        closedir(dir);
    return found;
}

static hone_status read_named(hone_arena *a, const char *folder,
                              const char *name, hone_file *to, hone_err *err)
{
    to->name = name;
    return hone_file_read(a, hone_format_text(a, "%s/%s", folder, name),
                          FILE_MAX_BYTES, to, err);
}

/* Loads what API reads in FOLDER; HONE_ENOSUP: it reads nothing there. */
static hone_status load_with(hone_tokens *t, const hone_tokenizer *api,
                             hone_arena *a, const char *folder, hone_err *err)
{
    hone_file file[FILES];
    uint32_t n = 0;

    for (int i = 0; api->names[i] && n == 0; i++) {
        const char *name = name_in(a, folder, api->names[i]);

        if (!name)
            continue;
        hone_try(read_named(a, folder, name, &file[0], err));
        n = api->probe(file[0].text, file[0].bytes) != 0;
    }
    if (!n)
        return HONE_ENOSUP;
    for (int i = 0; api->beside && api->beside[i] && n < FILES; i++)
        if (name_in(a, folder, api->beside[i]))
            hone_try(read_named(a, folder, api->beside[i], &file[n++], err));
    hash_files(file, n, t->hash);
    free((char *)t->path);
    t->path = strdup(hone_format_text(a, "%s/%s", folder, file[0].name));
    t->api = api;
    return api->load_files(&hone_the_host, file, n, &t->self, err);
}

static hone_status load_folder(hone_tokens *t, const char *folder,
                               hone_err *err)
{
    hone_arena a = { 0 };
    const hone_component *c;
    hone_status s = HONE_ENOSUP;

    for (int i = 0; s == HONE_ENOSUP && (c = hone_component_at(i)); i++) {
        const hone_tokenizer *api = c->ops;

        if (c->kind == HONE_KIND_TOKENIZER && api->size >= sizeof *api &&
            api->names && api->load_files) {
            err->msg[0] = 0;
            s = load_with(t, api, &a, folder, err);
            if (s != HONE_OK && err->msg[0])
                s = name_file(t->path, HONE_EINVAL, err);
        }
    }
    hone_arena_free(&a);
    if (s == HONE_ENOSUP)
        return hone_fail(err, HONE_EINVAL,
                         "%s: no tokenizer.json, and no other file that a "
                         "tokenizer plugin reads, such as tokenizer.model",
                         folder);
    return s;
}

/* ------------------------------------------------- the files beside it */

hone_status hone_json_beside(const char *folder, const char *name,
                             json_t **root, hone_err *err)
{
    hone_arena a = { 0 };
    const char *path = hone_format_text(&a, "%s/%s", folder, name);
    hone_status s = HONE_OK;
    hone_file f = { .name = path };
    json_error_t why;

    *root = NULL;
    if (access(path, F_OK) == 0) {
        s = hone_file_read(&a, path, FILE_MAX_BYTES, &f, err);
        /* model_max_length is often 1e30, spelt out: more than an integer */
        if (s == HONE_OK && !(*root = json_loadb(f.text, f.bytes,
                                                 JSON_DECODE_INT_AS_REAL,
                                                 &why)))
            s = hone_fail(err, HONE_EINVAL, "%s:%d: not valid JSON: %s", path,
                          why.line, why.text);
    }
    hone_arena_free(&a);
    return s;
}

/* The id that a value names: "piece", { content = "piece" } or a number. */
static int32_t id_of(const hone_tokens *t, json_t *v)
{
    double id;

    if (json_is_object(v))
        v = json_object_get(v, "content");
    if (json_is_string(v))
        return t->api->find(t->self, json_string_value(v));
    id = json_is_number(v) ? json_number_value(v) : -1;
    return id >= 0 && id < t->api->vocab(t->self) ? (int32_t)id : -1;
}

static void add_end(hone_tokens *t, int32_t id)
{
    int most = (int)(sizeof t->eos_list / sizeof *t->eos_list);

    for (int i = 0; i < t->eos_count; i++)
        if (t->eos_list[i] == id)
            return;
    if (id >= 0 && t->eos_count < most)
        t->eos_list[t->eos_count++] = id;
}

/* Takes from ROOT what is not known yet. Files that give ids may list several
 * ends, and models with an image part keep theirs under text_config. */
static void take(hone_tokens *t, json_t *root, int as_ids)
{
    static const char *const keys[2][3] = {
        { "eos_token", "bos_token", "pad_token" },
        { "eos_token_id", "bos_token_id", "pad_token_id" },
    };
    int32_t *const to[] = { &t->eos, &t->bos, &t->pad };
    json_t *ends = json_object_get(root, keys[as_ids][0]);

    for (int i = 0; i < 3; i++) {
        json_t *v = json_object_get(root, keys[as_ids][i]);
        if (*to[i] < 0)
            *to[i] = id_of(t, json_is_array(v) ? json_array_get(v, 0) : v);
    }
    add_end(t, t->eos);
    for (size_t i = 0; i < json_array_size(ends); i++)
        add_end(t, id_of(t, json_array_get(ends, i)));
    if (!json_is_array(ends))
        add_end(t, id_of(t, ends));
    if (as_ids && json_is_object(json_object_get(root, "text_config")))
        take(t, json_object_get(root, "text_config"), 1);
}

static hone_status name_tokens(hone_tokens *t, const char *folder,
                               hone_err *err)
{
    static const struct {
        const char *name;
        int as_ids;
    } files[] = { { "tokenizer_config.json", 0 },
                  { "special_tokens_map.json", 0 },
                  { "generation_config.json", 1 },
                  { "config.json", 1 } };

    t->eos = t->bos = t->pad = -1;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        json_t *root;

        hone_try(hone_json_beside(folder, files[i].name, &root, err));
        take(t, root, files[i].as_ids);
        json_decref(root);
    }
    return HONE_OK;
}

/* ------------------------------------------------------------------ open */

hone_status hone_tokens_open(hone_tokens *t, const char *path, hone_err *err)
{
    hone_arena a = { 0 };
    const char *folder = path;
    int is_folder = 0;
    hone_status s;
    struct stat st;

    memset(t, 0, sizeof *t);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        is_folder = 1;
        path = hone_format_text(&a, "%s/tokenizer.json", path);
    } else {
        folder = hone_folder_of(&a, path);
    }
    t->path = strdup(path);
    s = !t->path ? hone_fail(err, HONE_EIO, "out of memory")
        : is_folder && stat(path, &st) != 0
            ? load_folder(t, folder, err)
            : load(t, err);
    if (s == HONE_OK)
        s = name_tokens(t, folder, err);
    if (s != HONE_OK)
        hone_tokens_close(t);
    hone_arena_free(&a);
    return s;
}

static void *read_tokens(void *arg)
{
    hone_tokens_job *j = arg;

    j->status = hone_tokens_open(j->to, j->path, &j->err);
    return NULL;
}

void hone_tokens_begin(hone_tokens_job *j, hone_tokens *to, const char *path)
{
    *j = (hone_tokens_job){ .to = to, .path = path };
    j->started = !pthread_create(&j->thread, NULL, read_tokens, j);
    if (!j->started)
        read_tokens(j);
}

hone_status hone_tokens_end(hone_tokens_job *j, hone_err *err)
{
    if (j->started)
        pthread_join(j->thread, NULL);
    j->started = 0;
    if (j->status != HONE_OK)
        *err = j->err;
    return j->status;
}

int hone_tokens_behind(const hone_tokens *t)
{
    enum { MOST = 64 };
    int32_t all[MOST], plain[MOST];
    int64_t n = t->api->encode(t->self, "a", 1, HONE_SPECIALS, all, MOST);
    int64_t k = t->api->encode(t->self, "a", 1, 0, plain, MOST), at = 0;

    if (n > MOST || k < 1)
        return 0;
    while (at + k < n && memcmp(all + at, plain, (size_t)k * sizeof *plain))
        at++;
    return (int)(n - k - at);
}

void hone_tokens_close(hone_tokens *t)
{
    if (t->self)
        t->api->unload(t->self);
    free((char *)t->path);
    memset(t, 0, sizeof *t);
}

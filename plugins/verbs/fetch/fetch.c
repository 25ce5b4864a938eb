/* SPDX-License-Identifier: MIT
 *
 * fetch.c -- `hone fetch ORG/NAME`: a model or dataset from the Hugging Face
 * Hub into its local cache, laid out as the Hub's own library does it: blobs
 * by hash, snapshots of links to them by commit, refs from revisions to
 * commits. Broken downloads go on where they were; every file's hash is
 * checked; what the server says is attacker input.
 */
#include "fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

hone_status fail(job *j, const char *fmt, ...)
{
    va_list ap;

    j->err->code = HONE_EINVAL;
    va_start(ap, fmt);
    vsnprintf(j->err->msg, sizeof j->err->msg, fmt, ap);
    va_end(ap);
    return HONE_EINVAL;
}

/* --------------------------------------------------------- what there is */

static int is_hex(const char *text, size_t digits)
{
    return text && strlen(text) == digits &&
           text[strspn(text, "0123456789abcdef")] == 0;
}

/* Below the snapshot's folder, and nowhere else. */
static int is_safe(const char *path)
{
    size_t part;

    if (!path || strlen(path) > MOST_PATH / 4)
        return 0;
    for (;; path += part + 1) {
        part = strcspn(path, "/");
        if (!part || !strncmp(path, ".", part) || !strncmp(path, "..", part))
            return 0;
        for (size_t i = 0; i < part; i++)
            if ((unsigned char)path[i] < ' ' || path[i] == '\\')
                return 0;
        if (!path[part])
            return 1;
    }
}

static hone_status read_answer(job *j, const char *url, const sink *s)
{
    json_error_t error;
    const char *sha;

    j->answer = json_loadb(s->text ? s->text : "", s->bytes, 0, &error);
    sha = json_string_value(json_object_get(j->answer, "sha"));
    if (!is_hex(sha, 40) ||
        !json_is_array(json_object_get(j->answer, "siblings")))
        return FAIL_IO(j, "%s: the answer is none of a Hub's", url);
    strcpy(j->commit, sha);
    return HONE_OK;
}

static hone_status list_files(job *j)
{
    char url[MOST_PATH], revision[512];
    hone_status status = HONE_OK;
    int again = 1;

    http_escape(revision, sizeof revision, j->revision, "");
    snprintf(url, sizeof url, "%s/api/%s/%s/revision/%s?blobs=true",
             j->endpoint, j->kind, j->name, revision);
    for (int attempt = 1; again; attempt++) {
        sink s = { .job = j, .fd = -1 };
        long code;
        CURLcode result = http_get(j, url, &s, &code);

        again = attempt < MOST_TRIES && !s.too_much &&
                (result != CURLE_OK || http_is_passing(code));
        if (s.too_much)
            status = fail(j, "%s: the answer is longer than 64 MiB", url);
        else if (result != CURLE_OK)
            status = FAIL_IO(j, "%s: %s", url, http_error(result));
        else if (code != 200)
            status = http_refused(j, url, code);
        else
            status = read_answer(j, url, &s);
        free(s.text);
        if (again)
            http_wait(attempt);
    }
    return status;
}

static hone_status read_item(job *j, const json_t *entry, item *f)
{
    const json_t *lfs = json_object_get(entry, "lfs");
    const json_t *size = json_object_get(json_is_object(lfs) ? lfs : entry,
                                         "size");

    f->path = json_string_value(json_object_get(entry, "rfilename"));
    f->is_lfs = json_is_object(lfs);
    f->etag = json_string_value(f->is_lfs ? json_object_get(lfs, "sha256")
                                          : json_object_get(entry, "blobId"));
    f->size = json_is_integer(size) ? json_integer_value(size) : -1;
    if (!is_safe(f->path))
        return fail(j, "%s names a file '%.200s', which would lie outside of "
                    "the cache", j->endpoint, f->path ? f->path : "");
    if (!is_hex(f->etag, f->is_lfs ? 64 : 40) || f->size < -1)
        return fail(j, "%s does not say the hash of %s", j->endpoint, f->path);
    return HONE_OK;
}

static int is_wanted(const job *j, const char *path)
{
    for (int i = 0; i < j->includes; i++)
        if (!fnmatch(j->include[i], path, 0))
            return 1;
    return !j->includes;
}

/* ------------------------------------------------------------- the cache */

static hone_status make_folders(job *j, const char *path)
{
    char part[MOST_PATH];

    snprintf(part, sizeof part, "%s", path);
    for (char *at = strchr(part + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = 0;
        if (mkdir(part, 0777) && errno != EEXIST)
            return fail(j, "%s: %s; set HF_HOME to a folder that can be "
                        "written", part, strerror(errno));
        *at = '/';
    }
    return HONE_OK;
}

/* SHA-256, or git's SHA-1 of "blob SIZE\0" and the bytes, as hex. */
static hone_status hash_file(job *j, int fd, int is_lfs, char *hex)
{
    EVP_MD_CTX *h = EVP_MD_CTX_new();
    unsigned char digest[EVP_MAX_MD_SIZE], buffer[1 << 16];
    unsigned int bytes = 0;
    struct stat st;
    char head[64];
    int64_t at = 0;
    ssize_t n;

    EVP_DigestInit_ex(h, is_lfs ? EVP_sha256() : EVP_sha1(), NULL);
    if (!is_lfs && fstat(fd, &st) == 0)
        EVP_DigestUpdate(h, head, 1 + (size_t)snprintf(
                                          head, sizeof head, "blob %lld",
                                          (long long)st.st_size));
    while ((n = pread(fd, buffer, sizeof buffer, at)) > 0) {
        EVP_DigestUpdate(h, buffer, (size_t)n);
        at += n;
    }
    EVP_DigestFinal_ex(h, digest, &bytes);
    EVP_MD_CTX_free(h);
    for (unsigned int i = 0; i < bytes; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return n < 0 ? FAIL_IO(j, "%s", strerror(errno)) : HONE_OK;
}

/* Until the file has all its bytes, or five tries in a row brought none. */
static hone_status receive_file(job *j, const char *url, const item *f, int fd)
{
    sink s = { .job = j, .file = f, .fd = fd, .said = time(NULL) };
    struct stat st;
    int tries = 0;

    s.at = fstat(fd, &st) == 0 ? st.st_size : 0;
    if (f->size >= 0 && s.at > f->size)
        s.at = 0;
    while (f->size < 0 || s.at != f->size || !s.at) {
        int64_t before = s.at;
        CURLcode result;
        long code;

        result = http_get(j, url, &s, &code);
        if (s.failed)
            return FAIL_IO(j, "%s: %s", f->path, strerror(s.failed));
        if (s.too_much)
            return FAIL_IO(j, "%s: the server sends more than the %lld bytes "
                           "that the file has, or others than it was asked for",
                           url, (long long)f->size);
        if (result == CURLE_OK && code == 416)
            s.at = before = 0; /* what is here is no beginning of it */
        else if (result == CURLE_OK && code != 200 && code != 206 &&
                 !http_is_passing(code))
            return http_refused(j, url, code);
        else if (result == CURLE_OK && !http_is_passing(code) &&
                 (f->size < 0 || s.at == f->size))
            break;
        tries = s.at > before ? 0 : tries + 1;
        if (tries == MOST_TRIES)
            return result != CURLE_OK
                       ? FAIL_IO(j, "%s: %s; what was received is kept: the "
                                 "same command goes on", url,
                                 http_error(result))
                       : http_refused(j, url, code);
        http_wait(tries ? tries : 1);
    }
    return HONE_OK;
}

/* A whole file is received again from its first byte once: what was here
 * before may have been another's. */
static hone_status receive_blob(job *j, const char *url, const item *f, int fd)
{
    char hex[2 * EVP_MAX_MD_SIZE + 1];

    for (int attempt = 0; attempt < 2; attempt++) {
        hone_try(receive_file(j, url, f, fd));
        hone_try(hash_file(j, fd, f->is_lfs, hex));
        if (!strcmp(hex, f->etag))
            return fsync(fd) ? fail(j, "%s: %s", f->path, strerror(errno))
                             : HONE_OK;
        if (ftruncate(fd, 0))
            return fail(j, "%s: %s", f->path, strerror(errno));
    }
    return FAIL_IO(j, "%s: the bytes are not those of the file: %s is %s, and "
                   "should be %s", url, f->is_lfs ? "its SHA-256"
                                                  : "git's SHA-1 of it",
                   hex, f->etag);
}

static hone_status fetch_blob(job *j, const item *f)
{
    char blob[MOST_PATH], part[MOST_PATH + 16], url[4 * MOST_PATH];
    char path[2 * MOST_PATH];
    struct stat st;
    hone_status status;
    int fd;

    snprintf(blob, sizeof blob, "%s/blobs/%s", j->root, f->etag);
    snprintf(part, sizeof part, "%s.incomplete", blob);
    if (stat(blob, &st) == 0 && (f->size < 0 || st.st_size == f->size))
        return HONE_OK;
    hone_try(make_folders(j, blob));
    fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 || flock(fd, LOCK_EX)) {
        fail(j, "%s: %s", part, strerror(errno));
        if (fd >= 0)
            close(fd);
        return HONE_EINVAL;
    }
    http_escape(path, sizeof path, f->path, "/");
    snprintf(url, sizeof url, "%s/%s%s/resolve/%s/%s", j->endpoint,
             strcmp(j->kind, "models") ? "datasets/" : "", j->name, j->commit,
             path);
    j->host->log(j->host, 2, "%s (%.1f MB)", f->path,
                 1e-6 * (double)(f->size > 0 ? f->size : 0));
    status = stat(blob, &st) == 0 ? HONE_OK /* another process was faster */
                                  : receive_blob(j, url, f, fd);
    if (status == HONE_OK && stat(blob, &st) && rename(part, blob))
        status = fail(j, "%s: %s", blob, strerror(errno));
    close(fd);
    return status;
}

/* snapshots/COMMIT/a/b -> ../../../blobs/ETAG, by another name first. */
static hone_status link_file(job *j, const item *f)
{
    char link[2 * MOST_PATH], beside[2 * MOST_PATH + 32];
    char target[MOST_PATH] = "../../";

    for (const char *at = f->path; (at = strchr(at, '/')); at++)
        strcat(target, "../");
    strcat(strcat(target, "blobs/"), f->etag);
    snprintf(link, sizeof link, "%s/snapshots/%s/%s", j->root, j->commit,
             f->path);
    snprintf(beside, sizeof beside, "%s.%ld.part", link, (long)getpid());
    hone_try(make_folders(j, link));
    if (symlink(target, beside) || rename(beside, link))
        return fail(j, "%s: %s", link, strerror(errno));
    return HONE_OK;
}

/* refs/REVISION; a commit needs none. Last: what it names is all there. */
static hone_status write_ref(job *j)
{
    char path[MOST_PATH], beside[MOST_PATH + 32];
    FILE *f;

    if (!strcmp(j->revision, j->commit))
        return HONE_OK;
    snprintf(path, sizeof path, "%s/refs/%s", j->root, j->revision);
    snprintf(beside, sizeof beside, "%s.%ld.part", path, (long)getpid());
    hone_try(make_folders(j, path));
    f = fopen(beside, "we");
    if (!f || fputs(j->commit, f) < 0 || fclose(f) || rename(beside, path))
        return fail(j, "%s: %s", path, strerror(errno));
    return HONE_OK;
}

static hone_status fetch_all(job *j)
{
    const json_t *list, *entry;
    size_t i;
    int taken = 0;
    item f;

    hone_try(list_files(j));
    list = json_object_get(j->answer, "siblings");
    json_array_foreach(list, i, entry) {
        hone_try(read_item(j, entry, &f));
        if (!is_wanted(j, f.path))
            continue;
        hone_try(fetch_blob(j, &f));
        hone_try(link_file(j, &f));
        taken++;
    }
    if (!taken)
        return fail(j, "%s: none of its %zu files is called so", j->name, i);
    hone_try(write_ref(j));
    printf("%s/snapshots/%s\n", j->root, j->commit);
    return HONE_OK;
}

/* ------------------------------------------------------------- the command */

static hone_status find_cache(job *j)
{
    static const char *const places[][2] = {
        { "HF_HUB_CACHE", "" }, { "HF_HOME", "/hub" },
        { "XDG_CACHE_HOME", "/huggingface/hub" },
        { "HOME", "/.cache/huggingface/hub" } };
    const char *slash = strchr(j->name, '/');
    int i = 0;

    while (i < 4 && !env(places[i][0]))
        i++;
    if (i == 4)
        return fail(j, "no folder for the cache: set HF_HOME");
    if ((size_t)snprintf(j->root, sizeof j->root, "%s%s/%s--%.*s--%s",
                         env(places[i][0]), places[i][1], j->kind,
                         (int)(slash - j->name), j->name, slash + 1) >=
        sizeof j->root)
        return fail(j, "the cache's path is too long");
    return HONE_OK;
}

static hone_status prepare(job *j)
{
    static const char *const offline[] = { "HF_HUB_OFFLINE",
                                           "TRANSFORMERS_OFFLINE" };
    const char *endpoint = env("HF_ENDPOINT");

    for (int i = 0; i < 2; i++)
        if (env(offline[i]) && strcmp(env(offline[i]), "0"))
            return fail(j, "%s is set: nothing is fetched", offline[i]);
    endpoint = endpoint ? endpoint : "https://huggingface.co";
    snprintf(j->endpoint, sizeof j->endpoint, "%s", endpoint);
    if (j->endpoint[strlen(j->endpoint) - 1] == '/')
        j->endpoint[strlen(j->endpoint) - 1] = 0;
    hone_try(find_cache(j));
    hone_try(http_open(j, env("HF_TOKEN")));
    return fetch_all(j);
}

static int is_name(const char *text)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t org = strspn(text, letters), name;

    if (!org || text[org] != '/' || text[0] == '.' || text[org + 1] == '.')
        return 0;
    name = strspn(text + org + 1, letters);
    return name && !text[org + 1 + name];
}

static hone_status read_words(job *j, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (!strcmp(argv[i], "--revision") && value) {
            j->revision = argv[++i];
        } else if (!strcmp(argv[i], "--include") && value &&
                   j->includes < MOST_INCLUDES) {
            j->include[j->includes++] = argv[++i];
        } else if (argv[i][0] == '-' || j->name) {
            return fail(j, "'%s' is not understood; usage: hone fetch "
                        "[datasets/]ORG/NAME [--revision R] "
                        "[--include PATTERN]...", argv[i]);
        } else {
            j->name = argv[i];
        }
    }
    if (j->name && !strncmp(j->name, "datasets/", 9)) {
        j->kind = "datasets";
        j->name += 9;
    }
    if (!j->name || !is_name(j->name))
        return fail(j, "fetch what? A name is ORG/NAME, or datasets/ORG/NAME");
    if (!is_safe(j->revision) || strlen(j->revision) > 200)
        return fail(j, "'%.200s' is no revision", j->revision);
    return HONE_OK;
}

static int fetch_run(const hone_host *host, int argc, char **argv)
{
    hone_err err = { HONE_OK, "" };
    job j = { .host = host, .kind = "models", .revision = "main",
              .err = &err };
    hone_status status = read_words(&j, argc, argv);

    if (status == HONE_OK)
        status = prepare(&j);
    if (status != HONE_OK)
        host->log(host, 0, "%s", err.msg);
    json_decref(j.answer);
    http_close(&j);
    return status == HONE_OK ? 0 : err.code == HONE_EIO ? 1 : 2;
}

static const hone_verb ops = {
    sizeof ops, "[datasets/]ORG/NAME [--revision R] [--include PATTERN]",
    fetch_run
};

static const hone_component fetch = {
    .size = sizeof fetch,
    .kind = HONE_KIND_VERB,
    .name = "fetch",
    .help = "a model or dataset from the Hub into its cache",
    .ops = &ops
};

HONE_PLUGIN("fetch", "1.0", &fetch)

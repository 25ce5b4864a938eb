/* SPDX-License-Identifier: MIT
 *
 * fetch.c -- `hone fetch ORG/NAME`: a model or dataset from the Hugging Face
 * Hub into its local cache, laid out as the Hub's own library does it: blobs
 * by hash, snapshots of links to them by commit, refs from revisions to
 * commits. Broken downloads go on where they were; every file's hash is
 * checked; what the server says is attacker input.
 */
#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "hone/plugin.h"

enum { MOST_ANSWER = 64 << 20, MOST_INCLUDES = 64, MOST_TRIES = 5,
       MOST_PATH = 4096, PROGRESS_S = 5 };

/* Every verb loads every plugin, and libcurl brings two dozen libraries: it is
 * loaded when something is fetched. */
static struct {
    __typeof__(&curl_easy_init) init;
    __typeof__(&curl_easy_cleanup) cleanup;
    CURLcode (*setopt)(CURL *, CURLoption, ...);
    CURLcode (*getinfo)(CURL *, CURLINFO, ...);
    __typeof__(&curl_easy_perform) perform;
    __typeof__(&curl_easy_strerror) strerror;
    __typeof__(&curl_slist_append) append;
    __typeof__(&curl_slist_free_all) free_all;
} curl;

typedef struct {
    const char *path;    /* in the repository */
    const char *etag;    /* names its blob */
    int64_t size;        /* -1: not known */
    int is_lfs;          /* etag is a SHA-256; else git's SHA-1 of a blob */
} item;

typedef struct {
    const hone_host *host;
    const char *kind, *name, *revision; /* "models", "org/name", "main" */
    const char *include[MOST_INCLUDES];
    int includes;
    char endpoint[MOST_PATH / 4], root[MOST_PATH / 4], commit[41];
    CURL *handle;
    struct curl_slist *headers;
    json_t *answer;
    hone_err *err;
} job;

/* What is received: into memory (TEXT) or a file, from byte AT on. */
typedef struct {
    job *job;
    const item *file;
    int fd;
    int64_t at, began, range_at;
    char *text;
    size_t bytes;
    int too_much, failed; /* errno */
    time_t said;
} sink;

HONE_PRINTF(2, 3)
static hone_status fail(job *j, const char *fmt, ...)
{
    va_list ap;

    j->err->code = HONE_EINVAL;
    va_start(ap, fmt);
    vsnprintf(j->err->msg, sizeof j->err->msg, fmt, ap);
    va_end(ap);
    return HONE_EINVAL;
}

/* The network's, the server's or the disk's fault, not that of the command. */
#define FAIL_IO(j, ...)                                                        \
    (fail((j), __VA_ARGS__), (j)->err->code = HONE_EIO)

static const char *env(const char *name)
{
    const char *value = getenv(name);

    return value && value[0] ? value : NULL;
}

/* ---------------------------------------------------------------- libcurl */

static hone_status load_curl(job *j)
{
    static const char *const names[] = { "curl_easy_init", "curl_easy_cleanup",
                                         "curl_easy_setopt",
                                         "curl_easy_getinfo",
                                         "curl_easy_perform",
                                         "curl_easy_strerror",
                                         "curl_slist_append",
                                         "curl_slist_free_all" };
    void *const to[] = { &curl.init,    &curl.cleanup,  &curl.setopt,
                         &curl.getinfo, &curl.perform,  &curl.strerror,
                         &curl.append,  &curl.free_all };
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);

    if (!library)
        return fail(j, "%s; install libcurl4", dlerror());
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *symbol = dlsym(library, names[i]);

        if (!symbol)
            return fail(j, "%s", dlerror());
        memcpy(to[i], &symbol, sizeof symbol);
    }
    j->handle = curl.init();
    return j->handle ? HONE_OK : fail(j, "libcurl does not start");
}

static void say_progress(sink *s)
{
    time_t now = time(NULL);

    if (now < s->said + PROGRESS_S)
        return;
    s->said = now;
    if (s->file->size > 0)
        s->job->host->log(s->job->host, 2, "%s: %.0f of %.0f MB",
                          s->file->path, 1e-6 * (double)s->at,
                          1e-6 * (double)s->file->size);
}

static size_t keep_text(sink *s, const char *data, size_t bytes)
{
    char *text;

    if (s->bytes + bytes > MOST_ANSWER) {
        s->too_much = 1;
        return 0;
    }
    text = realloc(s->text, s->bytes + bytes + 1);
    if (!text)
        return 0;
    s->text = text;
    memcpy(text + s->bytes, data, bytes);
    s->bytes += bytes;
    text[s->bytes] = 0;
    return bytes;
}

/* Other answers than 200 and 206 are pages for people. One without the range
 * that was asked for begins at the file's first byte. */
static size_t receive(char *data, size_t one, size_t bytes, void *self)
{
    sink *s = self;
    long code = 0;

    bytes *= one;
    curl.getinfo(s->job->handle, CURLINFO_RESPONSE_CODE, &code);
    if (s->fd < 0)
        return keep_text(s, data, bytes);
    if (code != 200 && code != 206)
        return bytes;
    if (s->began < 0) {
        s->at = code == 206 ? s->range_at : 0;
        s->began = s->at;
        if (ftruncate(s->fd, s->at))
            s->failed = errno;
    }
    if (s->file->size >= 0 && s->at + (int64_t)bytes > s->file->size) {
        s->too_much = 1;
        return 0;
    }
    for (size_t done = 0; done < bytes && !s->failed;) {
        ssize_t n = pwrite(s->fd, data + done, bytes - done, s->at);

        if (n < 0 && errno != EINTR)
            s->failed = errno;
        if (n > 0) {
            s->at += n;
            done += (size_t)n;
        }
    }
    say_progress(s);
    return s->failed ? 0 : bytes;
}

/* "Content-Range: bytes 100-199/200": a range that begins elsewhere than asked
 * for would leave a hole. */
static size_t receive_header(char *data, size_t one, size_t bytes, void *self)
{
    static const char name[] = "content-range: bytes ";
    sink *s = self;
    long long from;

    bytes *= one;
    if (bytes > sizeof name && !strncasecmp(data, name, sizeof name - 1)) {
        from = strtoll(data + sizeof name - 1, NULL, 10);
        s->range_at = from >= 0 && from <= s->at ? from : 0;
        if (s->range_at != from)
            s->too_much = 1;
    }
    return s->too_much ? 0 : bytes;
}

static void limit_protocols(CURL *h, const char *url)
{
    int plain = !strncmp(url, "http:", 5);

#if LIBCURL_VERSION_NUM >= 0x075500
    curl.setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl.setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, plain ? "http,https" : "https");
#else
    curl.setopt(h, CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS);
    curl.setopt(h, CURLOPT_REDIR_PROTOCOLS,
                CURLPROTO_HTTPS | (plain ? CURLPROTO_HTTP : 0));
#endif
}

/* One request. libcurl keeps the token from other hosts that it is sent on
 * to. */
static CURLcode get(job *j, const char *url, sink *s, long *code)
{
    const char *stall = env("HF_HUB_DOWNLOAD_TIMEOUT");
    char range[32];
    CURLcode result;

    s->began = -1;
    s->range_at = 0;
    curl.setopt(j->handle, CURLOPT_URL, url);
    curl.setopt(j->handle, CURLOPT_HTTPHEADER, j->headers);
    curl.setopt(j->handle, CURLOPT_FOLLOWLOCATION, 1L);
    curl.setopt(j->handle, CURLOPT_MAXREDIRS, 8L);
    curl.setopt(j->handle, CURLOPT_NOSIGNAL, 1L);
    curl.setopt(j->handle, CURLOPT_CONNECTTIMEOUT, 30L);
    curl.setopt(j->handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl.setopt(j->handle, CURLOPT_LOW_SPEED_TIME,
                stall && atol(stall) > 0 ? atol(stall) : 30L);
    curl.setopt(j->handle, CURLOPT_USERAGENT, "hone/" HONE_VERSION);
    curl.setopt(j->handle, CURLOPT_WRITEFUNCTION, receive);
    curl.setopt(j->handle, CURLOPT_WRITEDATA, s);
    curl.setopt(j->handle, CURLOPT_HEADERFUNCTION, receive_header);
    curl.setopt(j->handle, CURLOPT_HEADERDATA, s);
    limit_protocols(j->handle, url);
    snprintf(range, sizeof range, "%lld-", (long long)s->at);
    curl.setopt(j->handle, CURLOPT_RANGE, s->at ? range : NULL);
    result = curl.perform(j->handle);
    *code = 0;
    curl.getinfo(j->handle, CURLINFO_RESPONSE_CODE, code);
    return result;
}

/* A path as a part of a URL; slashes stay if KEEP says so. */
static void escape(char *to, size_t room, const char *text, const char *keep)
{
    size_t n = 0;

    for (; *text && n + 4 < room; text++)
        if (strchr(keep, *text) || strchr("-_.~", *text) ||
            (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') ||
            (*text >= 'A' && *text <= 'Z'))
            to[n++] = *text;
        else
            n += (size_t)snprintf(to + n, room - n, "%%%02X",
                                  (unsigned char)*text);
    to[n] = 0;
}

static hone_status refused(job *j, const char *url, long code)
{
    if (code == 401 || code == 403)
        return fail(j, "%s: the server wants to know who asks (%ld); accept "
                    "the model's terms on its page and set HF_TOKEN", url,
                    code);
    if (code == 404)
        return fail(j, "%s: not there (404); is the name right, and the "
                    "revision? A dataset is fetched as datasets/ORG/NAME", url);
    return FAIL_IO(j, "%s: the server answers %ld", url, code);
}

/* Whether another try may help: the server's own trouble. */
static int is_passing(long code)
{
    return code == 429 || code >= 500;
}

/* 0.2 s, 0.4 s, ... */
static void wait_before(int attempt)
{
    struct timespec t = { 0, 200000000 };

    for (int i = 1; i < attempt; i++) {
        t.tv_sec = 2 * t.tv_sec + 2 * t.tv_nsec / 1000000000;
        t.tv_nsec = 2 * t.tv_nsec % 1000000000;
    }
    nanosleep(&t, NULL);
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

    escape(revision, sizeof revision, j->revision, "");
    snprintf(url, sizeof url, "%s/api/%s/%s/revision/%s?blobs=true",
             j->endpoint, j->kind, j->name, revision);
    for (int attempt = 1; again; attempt++) {
        sink s = { .job = j, .fd = -1 };
        long code;
        CURLcode result = get(j, url, &s, &code);

        again = attempt < MOST_TRIES && !s.too_much &&
                (result != CURLE_OK || is_passing(code));
        if (s.too_much)
            status = fail(j, "%s: the answer is longer than 64 MiB", url);
        else if (result != CURLE_OK)
            status = FAIL_IO(j, "%s: %s", url, curl.strerror(result));
        else if (code != 200)
            status = refused(j, url, code);
        else
            status = read_answer(j, url, &s);
        free(s.text);
        if (again)
            wait_before(attempt);
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

        result = get(j, url, &s, &code);
        if (s.failed)
            return FAIL_IO(j, "%s: %s", f->path, strerror(s.failed));
        if (s.too_much)
            return FAIL_IO(j, "%s: the server sends more than the %lld bytes "
                           "that the file has, or others than it was asked for",
                           url, (long long)f->size);
        if (result == CURLE_OK && code == 416)
            s.at = before = 0; /* what is here is no beginning of it */
        else if (result == CURLE_OK && code != 200 && code != 206 &&
                 !is_passing(code))
            return refused(j, url, code);
        else if (result == CURLE_OK && !is_passing(code) &&
                 (f->size < 0 || s.at == f->size))
            break;
        tries = s.at > before ? 0 : tries + 1;
        if (tries == MOST_TRIES)
            return result != CURLE_OK
                       ? FAIL_IO(j, "%s: %s; what was received is kept: the "
                                 "same command goes on", url,
                                 curl.strerror(result))
                       : refused(j, url, code);
        wait_before(tries ? tries : 1);
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
    escape(path, sizeof path, f->path, "/");
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
    char header[4096];

    for (int i = 0; i < 2; i++)
        if (env(offline[i]) && strcmp(env(offline[i]), "0"))
            return fail(j, "%s is set: nothing is fetched", offline[i]);
    endpoint = endpoint ? endpoint : "https://huggingface.co";
    snprintf(j->endpoint, sizeof j->endpoint, "%s", endpoint);
    if (j->endpoint[strlen(j->endpoint) - 1] == '/')
        j->endpoint[strlen(j->endpoint) - 1] = 0;
    hone_try(find_cache(j));
    hone_try(load_curl(j));
    if (env("HF_TOKEN")) {
        snprintf(header, sizeof header, "Authorization: Bearer %s",
                 env("HF_TOKEN"));
        j->headers = curl.append(NULL, header);
    }
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
    if (j.headers)
        curl.free_all(j.headers);
    if (j.handle)
        curl.cleanup(j.handle);
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

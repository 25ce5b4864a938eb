/* SPDX-License-Identifier: MIT
 *
 * http.c -- see fetch.h: requests by libcurl, which is loaded when it is
 * needed. Only http and https, and from https no way back.
 */
#include "fetch.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { MOST_ANSWER = 64 << 20, PROGRESS_S = 5 };

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

hone_status http_open(job *j, const char *token)
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
    char header[4096];
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);

    if (!library)
        return fail(j, "%s; install libcurl4", dlerror());
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *symbol = dlsym(library, names[i]);

        if (!symbol)
            return fail(j, "%s", dlerror());
        memcpy(to[i], &symbol, sizeof symbol);
    }
    if (token) {
        snprintf(header, sizeof header, "Authorization: Bearer %s", token);
        j->headers = curl.append(NULL, header);
    }
    j->handle = curl.init();
    return j->handle ? HONE_OK : fail(j, "libcurl does not start");
}

void http_close(job *j)
{
    if (j->headers)
        curl.free_all(j->headers);
    if (j->handle)
        curl.cleanup(j->handle);
}

const char *http_error(CURLcode code)
{
    return curl.strerror(code);
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

/* libcurl keeps the token from other hosts that it is sent on to. */
CURLcode http_get(job *j, const char *url, sink *s, long *code)
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

void http_escape(char *to, size_t room, const char *text, const char *keep)
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

hone_status http_refused(job *j, const char *url, long code)
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

int http_is_passing(long code)
{
    return code == 429 || code >= 500;
}

void http_wait(int attempt)
{
    struct timespec t = { 0, 200000000 };

    for (int i = 1; i < attempt; i++) {
        t.tv_sec = 2 * t.tv_sec + 2 * t.tv_nsec / 1000000000;
        t.tv_nsec = 2 * t.tv_nsec % 1000000000;
    }
    nanosleep(&t, NULL);
}

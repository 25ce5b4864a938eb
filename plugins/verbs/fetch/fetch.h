/* SPDX-License-Identifier: MIT
 *
 * fetch.h -- what the files of `hone fetch` share: the job, and requests
 * (http.c) that fetch.c makes of a Hub.
 */
#ifndef HONE_FETCH_H
#define HONE_FETCH_H

#include <curl/curl.h>
#include <jansson.h>
#include <stdlib.h>
#include <time.h>

#include "hone/plugin.h"

enum { MOST_INCLUDES = 64, MOST_TRIES = 5, MOST_PATH = 4096 };

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
hone_status fail(job *, const char *fmt, ...);

/* The network's, the server's or the disk's fault, not that of the command. */
#define FAIL_IO(j, ...)                                                        \
    (fail((j), __VA_ARGS__), (j)->err->code = HONE_EIO)

static inline const char *env(const char *name)
{
    const char *value = getenv(name);

    return value && value[0] ? value : NULL;
}

/* Loads libcurl: every verb loads every plugin, and it brings two dozen
 * libraries with it. The token becomes a header of every request. */
hone_status http_open(job *, const char *token);
void http_close(job *);

/* One request, from byte S->at on; *CODE is the answer's. */
CURLcode http_get(job *, const char *url, sink *, long *code);
const char *http_error(CURLcode);
/* What an answer other than 200 and 206 means. */
hone_status http_refused(job *, const char *url, long code);
/* Whether another try may help: the server's own trouble. */
int http_is_passing(long code);
/* Before another try: 0.2 s, 0.4 s... */
void http_wait(int attempt);
/* TEXT as a part of a URL; characters of KEEP stay. */
void http_escape(char *to, size_t room, const char *text, const char *keep);

#endif

/* SPDX-License-Identifier: MIT
 *
 * verb_tokenize.c -- `hone tokenize`: a line of text to a line of ids, and
 * back with --decode. Reads and writes as it goes, so it can stand in a pipe;
 * with --threads it takes many lines at once, with --bench it only counts.
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hub.h"
#include "log.h"
#include "tokens.h"
#include "verbs.h"

/* What one thread works with; all share the options and the tokenizer. */
typedef struct {
    const hone_tokens *tokens;
    const char *no_special, *json, *decode, *bench; /* NULL: not given */
    int64_t line;
    int32_t *ids;
    int64_t ids_cap;
    char *text;
    int64_t text_cap;
    char *out; /* lines that are done */
    int64_t out_used, out_cap;
    int64_t bytes, count; /* encoded so far */
} job;

static hone_status bad_line(const job *j, const char *what, hone_err *err)
{
    return hone_fail(err, HONE_EINVAL, "standard input, line %lld: %s",
                     (long long)j->line, what);
}

static void *grown(void *old, int64_t *cap, int64_t need, size_t size)
{
    void *to;

    if (need <= *cap)
        return old;
    *cap = need > 2 * *cap ? need : 2 * *cap;
    to = realloc(old, (size_t)*cap * size);
    if (!to) {
        hone_log(HONE_LOG_ERROR, "out of memory for %lld items",
                 (long long)*cap);
        abort();
    }
    return to;
}

static void put(job *j, const char *text, int64_t n)
{
    j->out = grown(j->out, &j->out_cap, j->out_used + n, 1);
    memcpy(j->out + j->out_used, text, (size_t)n);
    j->out_used += n;
}

static void put_ids(job *j, int64_t n)
{
    char *to;

    /* Ten digits and a comma each, brackets, the line's end. */
    j->out = grown(j->out, &j->out_cap, j->out_used + 11 * n + 4, 1);
    to = j->out + j->out_used;
    *to++ = '[';
    for (int64_t i = 0; i < n; i++) {
        char digits[12];
        int at = sizeof digits;
        uint32_t v = (uint32_t)j->ids[i];

        do
            digits[--at] = (char)('0' + v % 10);
        while (v /= 10);
        if (i)
            *to++ = ',';
        while (at < (int)sizeof digits)
            *to++ = digits[at++];
    }
    *to++ = ']';
    *to++ = '\n';
    j->out_used = to - j->out;
}

static void flush_out(job *j)
{
    if (j->out_used > 0)
        fwrite(j->out, 1, (size_t)j->out_used, stdout);
    j->out_used = 0;
}

static void encode_text(job *j, const char *text, size_t bytes)
{
    const hone_tokens *t = j->tokens;
    uint32_t flags = j->no_special ? 0 : HONE_SPECIALS;
    int64_t n;

    j->ids = grown(j->ids, &j->ids_cap, (int64_t)bytes + 256, sizeof *j->ids);
    n = t->api->encode(t->self, text, bytes, flags, j->ids, j->ids_cap);
    if (n > j->ids_cap) { /* a normalizer made the text longer */
        j->ids = grown(j->ids, &j->ids_cap, n, sizeof *j->ids);
        t->api->encode(t->self, text, bytes, flags, j->ids, j->ids_cap);
    }
    j->bytes += (int64_t)bytes;
    j->count += n;
    if (!j->bench)
        put_ids(j, n);
}

static hone_status encode_line(job *j, const char *line, size_t bytes,
                               hone_err *err)
{
    hone_arena a = { 0 };
    hone_status s = HONE_OK;
    json_error_t why;
    json_t *value;

    line = hone_utf8_repair(&a, line, bytes, &bytes);
    if (!j->json) {
        encode_text(j, line, bytes);
    } else {
        value = json_loadb(line, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
        if (json_is_string(value))
            encode_text(j, json_string_value(value),
                        json_string_length(value));
        else
            s = bad_line(j, value ? "not a JSON string" : why.text, err);
        json_decref(value);
    }
    hone_arena_free(&a);
    return s;
}

static void put_text(job *j, int64_t n)
{
    json_t *value = j->json ? json_stringn(j->text, (size_t)n) : NULL;
    char *dump = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;

    if (dump)
        put(j, dump, (int64_t)strlen(dump));
    else
        put(j, j->text, n);
    put(j, "\n", 1);
    free(dump);
    json_decref(value);
}

static hone_status read_ids(job *j, json_t *list, int64_t *n, hone_err *err)
{
    *n = (int64_t)json_array_size(list);
    j->ids = grown(j->ids, &j->ids_cap, *n, sizeof *j->ids);
    if (!json_is_array(list))
        return bad_line(j, "not a JSON array of ids", err);
    for (int64_t i = 0; i < *n; i++) {
        json_t *v = json_array_get(list, (size_t)i);
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;

        if (id < 0 || id > INT32_MAX)
            return bad_line(j, "an id must be a whole number, 0 or more", err);
        j->ids[i] = (int32_t)id;
    }
    return HONE_OK;
}

static hone_status decode_line(job *j, const char *line, size_t bytes,
                               hone_err *err)
{
    const hone_tokens *t = j->tokens;
    uint32_t flags = j->no_special ? HONE_SKIP_SPECIALS : 0;
    json_error_t why;
    json_t *list = json_loadb(line, bytes, 0, &why);
    int64_t n = 0, out;
    hone_status s = list ? read_ids(j, list, &n, err)
                         : bad_line(j, why.text, err);

    json_decref(list);
    hone_try(s);
    j->text = grown(j->text, &j->text_cap, 16 * n + 256, 1);
    out = t->api->decode(t->self, j->ids, n, flags, j->text, j->text_cap);
    if (out > j->text_cap) {
        j->text = grown(j->text, &j->text_cap, out, 1);
        t->api->decode(t->self, j->ids, n, flags, j->text, j->text_cap);
    }
    put_text(j, out);
    return HONE_OK;
}

static hone_status one_line(job *j, const char *line, size_t n, hone_err *err)
{
    return j->decode ? decode_line(j, line, n, err)
                     : encode_line(j, line, n, err);
}

static hone_status end_of_input(hone_status s, hone_err *err)
{
    if (s == HONE_OK && ferror(stdin))
        s = hone_fail(err, HONE_EIO, "standard input: %s", strerror(errno));
    if (fflush(stdout) && s == HONE_OK)
        s = hone_fail(err, HONE_EIO, "standard output: %s", strerror(errno));
    return s;
}

static hone_status each_line(job *j, hone_err *err)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    hone_status s = HONE_OK;

    while (s == HONE_OK && (n = getline(&line, &cap, stdin)) >= 0) {
        j->line++;
        n -= n && line[n - 1] == '\n';
        s = one_line(j, line, (size_t)n, err);
        flush_out(j);
    }
    free(line);
    return end_of_input(s, err);
}

/* ------------------------------------------------------- many at a time */

enum { MOST_THREADS = 256, BLOCK_BYTES = 16 << 20, GROUP = 64, ROUNDS = 5 };

/* Lines of the input, their ends cut off. */
typedef struct {
    char *text;
    size_t used, cap;
    size_t *start; /* [lines + 1] */
    size_t lines, lines_cap;
} block;

/* Threads take groups of lines in turn; each group's output is kept. */
typedef struct {
    const job *options;
    const block *in;
    int64_t first_line;
    _Atomic size_t next;
    job *group; /* [groups] out, count, bytes, status */
    hone_err *err;
    hone_status *status;
    size_t groups;
} crew;

static void add_line(block *b, const char *line, size_t n)
{
    int64_t cap = (int64_t)b->cap, lines = (int64_t)b->lines_cap;

    b->text = grown(b->text, &cap, (int64_t)(b->used + n), 1);
    b->start = grown(b->start, &lines, (int64_t)b->lines + 2,
                     sizeof *b->start);
    b->cap = (size_t)cap;
    b->lines_cap = (size_t)lines;
    b->start[b->lines++] = b->used;
    memcpy(b->text + b->used, line, n);
    b->used += n;
    b->start[b->lines] = b->used;
}

/* Lines up to BYTES or the end. */
static void read_block(block *b, size_t bytes)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    b->used = b->lines = 0;
    while (b->used < bytes && (n = getline(&line, &cap, stdin)) >= 0)
        add_line(b, line, (size_t)(n - (n && line[n - 1] == '\n')));
    free(line);
}

static void *work(void *arg)
{
    crew *c = arg;
    job mine = *c->options;
    size_t g;

    while ((g = atomic_fetch_add(&c->next, 1u)) < c->groups) {
        size_t end = (g + 1) * GROUP;
        hone_status s = HONE_OK; /* c->status is next to other threads' */

        mine.out = NULL;
        mine.out_used = mine.out_cap = mine.bytes = mine.count = 0;
        for (size_t i = g * GROUP; i < end && i < c->in->lines &&
                                   s == HONE_OK; i++) {
            mine.line = c->first_line + (int64_t)i + 1;
            s = one_line(&mine, c->in->text + c->in->start[i],
                         c->in->start[i + 1] - c->in->start[i], &c->err[g]);
        }
        c->status[g] = s;
        c->group[g] = mine; /* its buffers of ids and text stay here */
    }
    free(mine.ids);
    free(mine.text);
    return NULL;
}

static void run_crew(crew *c, int threads)
{
    pthread_t thread[MOST_THREADS];
    int started = 0;

    c->next = 0;
    while (started + 1 < threads &&
           pthread_create(&thread[started], NULL, work, c) == 0)
        started++;
    work(c);
    while (started > 0)
        pthread_join(thread[--started], NULL);
}

/* Encodes or decodes the block; its output is written unless it is a bench. */
static hone_status run_block(job *total, const block *in, int threads,
                             int64_t first_line, hone_err *err)
{
    crew c = { .options = total, .in = in, .first_line = first_line };
    hone_status s = HONE_OK;

    c.groups = (in->lines + GROUP - 1) / GROUP;
    c.group = calloc(c.groups + 1, sizeof *c.group);
    c.err = calloc(c.groups + 1, sizeof *c.err);
    c.status = calloc(c.groups + 1, sizeof *c.status);
    if (!c.group || !c.err || !c.status)
        s = hone_fail(err, HONE_EIO, "out of memory");
    else
        run_crew(&c, threads);
    for (size_t g = 0; c.group && g < c.groups; g++) {
        if (s == HONE_OK) {
            flush_out(&c.group[g]);
            total->bytes += c.group[g].bytes;
            total->count += c.group[g].count;
        }
        if (s == HONE_OK && (s = c.status[g]) != HONE_OK)
            *err = c.err[g];
        free(c.group[g].out);
    }
    free(c.group);
    free(c.err);
    free(c.status);
    return s;
}

static hone_status each_block(job *j, int threads, hone_err *err)
{
    block in = { 0 };
    hone_status s = HONE_OK;

    for (int64_t line = 0; s == HONE_OK; line += (int64_t)in.lines) {
        read_block(&in, BLOCK_BYTES);
        if (!in.lines)
            break;
        s = run_block(j, &in, threads, line, err);
    }
    free(in.text);
    free(in.start);
    return end_of_input(s, err);
}

static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* All of the input a few times; the best round counts. */
static hone_status bench(job *j, int threads, hone_err *err)
{
    block in = { 0 };
    double best = 0, best_cpu = 0;
    hone_status s = HONE_OK;

    read_block(&in, SIZE_MAX);
    for (int i = 0; i < ROUNDS && s == HONE_OK; i++) {
        double start = seconds(CLOCK_MONOTONIC), took;
        double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);

        j->bytes = j->count = 0;
        s = run_block(j, &in, threads, 0, err);
        took = seconds(CLOCK_MONOTONIC) - start;
        cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        best = i == 0 || took < best ? took : best;
        best_cpu = i == 0 || cpu < best_cpu ? cpu : best_cpu;
    }
    if (s == HONE_OK)
        printf("{\"documents\": %zu, \"bytes\": %lld, \"tokens\": %lld, "
               "\"threads\": %d, \"seconds\": %.6f, \"cpu_seconds\": %.6f, "
               "\"mb_per_s\": %.2f}\n",
               in.lines, (long long)j->bytes, (long long)j->count, threads,
               best, best_cpu, best > 0 ? (double)j->bytes / best / 1e6 : 0);
    free(in.text);
    free(in.start);
    return end_of_input(s, err);
}

int hone_verb_tokenize(int argc, char **argv)
{
    hone_tokens tokens = { 0 };
    job j = { .tokens = &tokens };
    const char *chat = NULL, *text = NULL, *model[2];
    int64_t threads = 0;
    const hone_arg table[] = { { "--chat", .value = &chat, .flag = 1 },
                               { "--text", .value = &text, .flag = 1 },
                               { "--no-special", .value = &j.no_special,
                                 .flag = 1 },
                               { "--json", .value = &j.json, .flag = 1 },
                               { "--decode", .value = &j.decode, .flag = 1 },
                               { "--threads", .count = &threads, .min = 1,
                                 .max = MOST_THREADS },
                               { "--bench", .value = &j.bench, .flag = 1 },
                               { .name = NULL } };
    hone_err err = { 0 };
    hone_status s = hone_args(argc, argv, table, model, 1, &err);

    if (s == HONE_OK)
        model[0] = hone_hub_model(model[0]);
    if (s == HONE_OK && !model[0])
        s = hone_fail(&err, HONE_EINVAL,
                      "hone tokenize needs a model folder or a tokenizer.json");
    if (s == HONE_OK && j.bench && j.decode)
        s = hone_fail(&err, HONE_EINVAL, "--bench measures encoding: leave "
                      "--decode out");
    if (s == HONE_OK && (chat || text))
        return hone_tokenize_chat(model[0], text != NULL);
    if (s == HONE_OK)
        s = hone_tokens_open(&tokens, model[0], &err);
    if (s == HONE_OK)
        s = j.bench   ? bench(&j, threads ? (int)threads : 1, &err)
            : threads ? each_block(&j, (int)threads, &err)
                      : each_line(&j, &err);
    hone_tokens_close(&tokens);
    free(j.ids);
    free(j.text);
    free(j.out);
    return s == HONE_OK ? 0 : hone_report_error(&err);
}

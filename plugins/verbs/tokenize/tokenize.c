/* SPDX-License-Identifier: MIT
 *
 * tokenize.c -- `hone tokenize`: a line of text to a line of ids, and back with
 * --decode; a chat a line with --chat. Reads and writes as it goes, so it can
 * stand in a pipe; with --threads it takes many lines at once, with --bench it
 * only counts.
 */
#include "tokenize.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    return s;
}

static hone_status end_of_input(hone_status s, hone_err *err)
{
    if (s == HONE_OK && ferror(stdin))
        s = hone_fail(err, HONE_EIO, "standard input: %s", strerror(errno));
    if (fflush(stdout) && s == HONE_OK)
        s = hone_fail(err, HONE_EIO, "standard output: %s", strerror(errno));
    return s;
}

/* ------------------------------------------------------------- the command */

static const hone_option options[] = {
    HONE_OPT_BOOL(config, decode, 0, "ids to text"),
    HONE_OPT_BOOL(config, chat, 0, "chats, by the model's template"),
    HONE_OPT_BOOL(config, text, 0, "chats: the text, not its ids"),
    { "no-special", "without what the tokenizer adds; decoding, what it added",
      HONE_BOOL, 0, offsetof(config, no_special), 0, 0, 1, NULL, NULL },
    HONE_OPT_BOOL(config, json, 0, "texts are JSON strings"),
    HONE_OPT_INT(config, threads, 1, 1, MOST_THREADS,
                 "how many take lines, many at a time"),
    HONE_OPT_BOOL(config, bench, 0, "measure, and print no ids"),
    HONE_OPT_END
};

static hone_status lines(job *j, const char *model, hone_err *err)
{
    const hone_host *h = j->host;
    const config *c = h->config;
    int threads = (int)c->threads;

    hone_try(h->tokenizer(h, model, &j->api, &j->tokens, err));
    return c->bench      ? bench(j, threads, err)
           : threads > 1 ? each_block(j, threads, err)
                         : each_line(j, err);
}

static hone_status chats(job *j, const char *model, hone_err *err)
{
    const hone_host *h = j->host;

    hone_try(h->chat(h, model, &j->chat, &j->template, err));
    if (!j->options->text)
        hone_try(h->tokenizer(h, model, &j->api, &j->tokens, err));
    return each_line(j, err);
}

static hone_status run(job *j, int argc, char **argv, hone_err *err)
{
    const config *c = j->options;

    if (argc > 1)
        return hone_fail(err, HONE_EINVAL, "'%s': one argument too many",
                         argv[1]);
    if (argc < 1)
        return hone_fail(err, HONE_EINVAL, "hone tokenize needs a model folder "
                         "or a tokenizer.json");
    if (c->bench && c->decode)
        return hone_fail(err, HONE_EINVAL, "--bench measures encoding: leave "
                         "--decode out");
    return end_of_input(c->chat || c->text ? chats(j, argv[0], err)
                                           : lines(j, argv[0], err), err);
}

static int tokenize_run(const hone_host *host, int argc, char **argv)
{
    job j = { .host = host, .options = host->config };
    hone_err err = { HONE_OK, "" };
    hone_status s = run(&j, argc, argv, &err);

    if (j.chat)
        j.chat->unload(j.template);
    if (j.api)
        j.api->unload(j.tokens);
    free(j.ids);
    free(j.text.text);
    free(j.valid.text);
    free(j.out.text);
    if (s == HONE_OK)
        return j.failed ? 2 : 0;
    host->log(host, 0, "%s", err.msg);
    return s == HONE_ENOMEM ? 3 : s == HONE_EIO ? 1 : 2;
}

static const hone_verb ops = {
    sizeof ops,
    "MODEL|FILE [--decode | --chat [--text]] [--no-special] "
    "[--json] [--threads N] [--bench]",
    tokenize_run
};

static const hone_component tokenize = {
    .size = sizeof tokenize,
    .kind = HONE_KIND_VERB,
    .name = "tokenize",
    .help = "lines to ids, --decode: back",
    .options = options,
    .config_size = sizeof(config),
    .ops = &ops
};

HONE_PLUGIN("tokenize", "1.0", &tokenize)

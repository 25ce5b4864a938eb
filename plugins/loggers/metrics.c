/* SPDX-License-Identifier: MIT
 *
 * metrics.c -- metrics.jsonl in the run's folder: one JSON object a line,
 * handed to the system at every record. Its length is what a checkpoint keeps:
 * a run that goes on cuts off what came after; and the lines that could not be
 * written: it writes them then.
 */
#include "hone/plugin.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

struct metrics {
    const char *dir;
};

enum { LINE = 2048, WAITING = 8192 };

struct metrics_state {
    int64_t bytes;      /* written; what checkpoints keep begins here */
    int64_t waiting;    /* bytes of TEXT, whole lines */
    char text[WAITING];
    int fd, cut;        /* whether the file has been cut to BYTES */
};

static const hone_option options[] = {
    HONE_OPT_STR(struct metrics, dir, NULL, "the run's folder"),
    HONE_OPT_END,
};

static hone_status metrics_open(const hone_host *host, const void *config,
                                void *state, hone_err *err)
{
    const struct metrics *c = config;
    struct metrics_state *s = state;
    char path[4096];

    (void)host;
    snprintf(path, sizeof path, "%s/metrics.jsonl", c->dir);
    s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s->fd < 0)
        return hone_fail(err, HONE_EIO, "%s: %s", path, strerror(errno));
    return HONE_OK;
}

static int put_field(char *to, size_t bytes, const hone_field *f, int first)
{
    const char *comma = first ? "" : ", ";

    if (!isfinite(f->num))
        return snprintf(to, bytes, "%s\"%s\": null", comma, f->name);
    if (f->whole)
        return snprintf(to, bytes, "%s\"%s\": %lld", comma, f->name,
                        (long long)f->num);
    return snprintf(to, bytes, "%s\"%s\": %.9g", comma, f->name, f->num);
}

/* Before the first record. A file that is shorter than it was has lost its end
 * with the machine's power: what is left of its last line goes too. */
static int cut(struct metrics_state *s)
{
    int64_t size = lseek(s->fd, 0, SEEK_END);
    char last = '\n';

    if (s->bytes > size)
        for (s->bytes = size; s->bytes > 0; s->bytes--)
            if (pread(s->fd, &last, 1, s->bytes - 1) == 1 && last == '\n')
                break;
    s->cut = 1;
    return ftruncate(s->fd, s->bytes);
}

/* All that waits, or nothing: what is written of it is written over. */
static int write_waiting(struct metrics_state *s)
{
    ssize_t n;

    if (!s->cut && cut(s) != 0)
        return -1;
    for (int64_t done = 0; done < s->waiting; done += n) {
        n = pwrite(s->fd, s->text + done, (size_t)(s->waiting - done),
                   s->bytes + done);
        if (n <= 0)
            return -1;
    }
    s->bytes += s->waiting;
    s->waiting = 0;
    memset(s->text, 0, sizeof s->text);
    return 0;
}

static hone_status metrics_write(void *state, const hone_field *fields,
                                 uint32_t count, hone_err *err)
{
    struct metrics_state *s = state;
    char line[LINE];
    size_t at = 1;

    line[0] = '{';
    for (uint32_t i = 0; i < count && at < sizeof line - 128; i++)
        at += (size_t)put_field(line + at, sizeof line - at, &fields[i],
                                i == 0);
    line[at++] = '}';
    line[at++] = '\n';
    if (at <= sizeof s->text - (size_t)s->waiting) {
        memcpy(s->text + s->waiting, line, at);
        s->waiting += (int64_t)at;
    }
    if (write_waiting(s) != 0)
        return hone_fail(err, HONE_EIO, "metrics.jsonl cannot be written: %s "
                         "(is the disk full?)", strerror(errno));
    return HONE_OK;
}

static void metrics_close(void *state)
{
    struct metrics_state *s = state;

    if (s->waiting)
        (void)write_waiting(s);
    close(s->fd);
}

static const hone_logger api = { .size = sizeof api, .write = metrics_write };

static const hone_component metrics = {
    .size = sizeof metrics,
    .kind = HONE_KIND_LOGGER,
    .name = "metrics",
    .help = "metrics.jsonl: one object a step",
    .options = options,
    .config_size = sizeof(struct metrics),
    .state_size = sizeof(struct metrics_state),
    .persist_size = offsetof(struct metrics_state, fd),
    .open = metrics_open,
    .close = metrics_close,
    .ops = &api,
};

HONE_PLUGIN("metrics", "1.0", &metrics)

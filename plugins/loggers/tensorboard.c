/* SPDX-License-Identifier: MIT
 *
 * tensorboard.c -- TensorBoard events in the run's folder: one file
 * events.out.tfevents.* for each start of the run, scalars alone. Its records
 * are TFRecords (length, masked CRC-32C of it, data, masked CRC-32C of that)
 * that hold Event messages of protobuf, put together here by hand:
 *
 *   Event        wall_time = 1 (double), step = 2, file_version = 3,
 *                summary = 5, session_log = 7
 *   Summary      value = 1, repeated: tag = 1, simple_value = 2 (float)
 *   SessionLog   status = 1 (1: START)
 *
 * A resumed run opens a new file and marks its first step as a START:
 * TensorBoard drops what older files say of that step and later ones.
 */
#include "hone/plugin.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct tensorboard {
    const char *dir;
};

struct tensorboard_state {
    int fd, started;
    uint32_t crc[256]; /* of each byte */
};

static const hone_option options[] = {
    HONE_OPT_STR(struct tensorboard, dir, NULL, "the run's folder"),
    HONE_OPT_END,
};

/* Bytes of a message. A record has the few curves below: it is far smaller. */
enum { MOST = 2048 };

typedef struct {
    uint8_t at[MOST];
    size_t bytes;
} message;

/* Fields become curves under these names; others are left to metrics.jsonl. */
static const struct { const char *field, *tag; } curves[] = {
    { "loss", "train/loss" },
    { "grad_norm", "train/grad_norm" },
    { "lr", "train/lr" },
    { "tokens_per_s", "train/tokens_per_s" },
    { "eval_loss", "eval/loss" },
};

/* --------------------------------------------------------------- protobuf */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 }; /* wire types */

static void put(message *m, const void *data, size_t bytes)
{
    if (bytes > MOST - m->bytes)
        return;
    memcpy(m->at + m->bytes, data, bytes);
    m->bytes += bytes;
}

static void put_varint(message *m, uint64_t v)
{
    uint8_t byte;

    do {
        byte = (uint8_t)(v & 0x7f) | (uint8_t)(v > 0x7f ? 0x80 : 0);
        put(m, &byte, 1);
    } while (v >>= 7);
}

static void put_key(message *m, unsigned field, unsigned wire)
{
    put_varint(m, field << 3 | wire);
}

static void put_bytes(message *m, unsigned field, const void *data,
                      size_t bytes)
{
    put_key(m, field, BYTES);
    put_varint(m, bytes);
    put(m, data, bytes);
}

/* Little-endian, on any machine. */
static void put_fixed(message *m, uint64_t bits, int bytes)
{
    uint8_t to[8];

    for (int i = 0; i < bytes; i++)
        to[i] = (uint8_t)(bits >> 8 * i);
    put(m, to, (size_t)bytes);
}

static void put_value(message *summary, const char *tag, float v)
{
    message value = { .bytes = 0 };
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    put_bytes(&value, 1, tag, strlen(tag));
    put_key(&value, 2, FIXED32);
    put_fixed(&value, bits, 4);
    put_bytes(summary, 1, value.at, value.bytes);
}

static void begin_event(message *m, int64_t step)
{
    struct timespec now;
    double seconds;
    uint64_t bits;

    clock_gettime(CLOCK_REALTIME, &now);
    seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    memcpy(&bits, &seconds, sizeof bits);
    m->bytes = 0;
    put_key(m, 1, FIXED64);
    put_fixed(m, bits, 8);
    put_key(m, 2, VARINT);
    put_varint(m, (uint64_t)step);
}

/* --------------------------------------------------------------- TFRecord */

/* Castagnoli's polynomial, reflected: RFC 3720, B.4. */
static void make_crc_table(uint32_t *table)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        table[byte] = crc;
    }
}

/* Rotated and shifted, as the format has it, so that the sum of bytes that
 * hold a sum is no weak one. */
static uint32_t masked_crc(const struct tensorboard_state *s,
                           const uint8_t *data, size_t bytes)
{
    uint32_t crc = 0xffffffffu;

    for (size_t i = 0; i < bytes; i++)
        crc = crc >> 8 ^ s->crc[(crc ^ data[i]) & 0xff];
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static hone_status write_record(const struct tensorboard_state *s,
                                const message *event, hone_err *err)
{
    message head = { .bytes = 0 }, foot = { .bytes = 0 };
    uint8_t record[MOST + 16];
    size_t bytes = 12 + event->bytes + 4;

    put_fixed(&head, event->bytes, 8);
    put_fixed(&head, masked_crc(s, head.at, 8), 4);
    put_fixed(&foot, masked_crc(s, event->at, event->bytes), 4);
    memcpy(record, head.at, 12);
    memcpy(record + 12, event->at, event->bytes);
    memcpy(record + 12 + event->bytes, foot.at, 4);
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(s->fd, record + done, bytes - done);
        if (n <= 0)
            return hone_fail(err, HONE_EIO, "TensorBoard's events cannot be "
                             "written: %s (is the disk full?)",
                             strerror(errno));
        done += (size_t)n;
    }
    return HONE_OK;
}

/* -------------------------------------------------------------- component */

static hone_status write_start(struct tensorboard_state *s, int64_t step,
                               hone_err *err)
{
    static const uint8_t start[] = { 1 << 3 | VARINT, 1 };
    message event;

    begin_event(&event, step);
    put_bytes(&event, 7, start, sizeof start);
    s->started = 1;
    return write_record(s, &event, err);
}

/* A name that no other start of any run in this folder has. */
static int create(const char *dir, char *path, size_t bytes)
{
    char machine[256] = "localhost";
    int fd = -1;

    gethostname(machine, sizeof machine - 1);
    for (int i = 0; i < 1000; i++) {
        snprintf(path, bytes, "%s/events.out.tfevents.%010lld.%s.%ld.%d", dir,
                 (long long)time(NULL), machine, (long)getpid(), i);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            break;
    }
    return fd;
}

static hone_status tensorboard_open(const hone_host *host, const void *config,
                                    void *state, hone_err *err)
{
    static const char version[] = "brain.Event:2";
    const struct tensorboard *c = config;
    struct tensorboard_state *s = state;
    message event;
    char path[4096];

    (void)host;
    make_crc_table(s->crc);
    s->started = 0;
    s->fd = create(c->dir, path, sizeof path);
    if (s->fd < 0)
        return hone_fail(err, HONE_EIO, "%s: %s", path, strerror(errno));
    begin_event(&event, 0);
    put_bytes(&event, 3, version, sizeof version - 1);
    return write_record(s, &event, err);
}

static void tensorboard_close(void *state)
{
    close(((struct tensorboard_state *)state)->fd);
}

static hone_status tensorboard_write(void *state, const hone_field *fields,
                                     uint32_t count, hone_err *err)
{
    struct tensorboard_state *s = state;
    message summary = { .bytes = 0 }, event;
    int64_t step = 0;
    int evaluation = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (!strcmp(fields[i].name, "step"))
            step = (int64_t)fields[i].num;
        evaluation |= !strcmp(fields[i].name, "eval_loss");
        for (size_t k = 0; k < sizeof curves / sizeof *curves; k++)
            if (!strcmp(fields[i].name, curves[k].field))
                put_value(&summary, curves[k].tag, (float)fields[i].num);
    }
    if (!s->started) /* what older files say of an evaluated step stays */
        hone_try(write_start(s, step + evaluation, err));
    begin_event(&event, step);
    put_bytes(&event, 5, summary.at, summary.bytes);
    return write_record(s, &event, err);
}

static const hone_logger api = { .size = sizeof api,
                                 .write = tensorboard_write };

static const hone_component tensorboard = {
    .size = sizeof tensorboard,
    .kind = HONE_KIND_LOGGER,
    .name = "tensorboard",
    .help = "TensorBoard events: loss, gradient norm, rate, speed",
    .options = options,
    .config_size = sizeof(struct tensorboard),
    .state_size = sizeof(struct tensorboard_state),
    .open = tensorboard_open,
    .close = tensorboard_close,
    .ops = &api,
};

HONE_PLUGIN("tensorboard", "1.0", &tensorboard)

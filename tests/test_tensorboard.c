/* SPDX-License-Identifier: MIT
 *
 * test_tensorboard.c -- the events file, read back by a reader of its own:
 * framing, both checksums, every message field by field; and what a second
 * start of the same run writes.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "registry.h"

static char folder[] = "/tmp/hone-events-XXXXXX";

typedef struct {
    const uint8_t *at, *end;
} bytes;

typedef struct {
    int64_t step;
    double wall_time;
    char version[32];
    int start; /* of a session */
    struct { char tag[64]; float value; } value[8];
    int values;
} event;

/* ----------------------------------------------------------- the reader */

/* Bit by bit, unlike the one that is tested. */
static uint32_t crc32c(const uint8_t *data, size_t n)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1)));
    }
    return ~crc;
}

static uint32_t masked(const uint8_t *data, size_t n)
{
    uint32_t crc = crc32c(data, n);

    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static uint64_t number(const uint8_t *at, int n)
{
    uint64_t v = 0;

    for (int i = n; i-- > 0;)
        v = v << 8 | at[i];
    return v;
}

static uint64_t varint(bytes *b)
{
    uint64_t v = 0;

    for (int shift = 0;; shift += 7) {
        assert_true(b->at < b->end && shift < 64);
        v |= (uint64_t)(*b->at & 0x7f) << shift;
        if (!(*b->at++ & 0x80))
            return v;
    }
}

/* The next field of a message: its number and, by wire type, bits or bytes. */
static int next_field(bytes *b, int *wire, uint64_t *bits, bytes *inside)
{
    uint64_t key, n;

    if (b->at == b->end)
        return 0;
    key = varint(b);
    *wire = (int)(key & 7);
    if (*wire == 0) {
        *bits = varint(b);
        return (int)(key >> 3);
    }
    n = *wire == 1 ? 8 : *wire == 5 ? 4 : varint(b);
    assert_true(*wire == 1 || *wire == 2 || *wire == 5);
    assert_true(n <= (uint64_t)(b->end - b->at));
    *bits = *wire == 2 ? 0 : number(b->at, (int)n);
    *inside = (bytes){ b->at, b->at + n };
    b->at += n;
    return (int)(key >> 3);
}

static void read_summary(event *e, bytes summary)
{
    bytes value, text;
    uint64_t bits;
    int wire, field;

    while ((field = next_field(&summary, &wire, &bits, &value))) {
        assert_int_equal(field, 1);
        assert_int_equal(wire, 2);
        assert_true(e->values < 8);
        while ((field = next_field(&value, &wire, &bits, &text))) {
            uint32_t half = (uint32_t)bits;
            if (field == 1)
                snprintf(e->value[e->values].tag, 64, "%.*s",
                         (int)(text.end - text.at), (const char *)text.at);
            else if (field == 2)
                memcpy(&e->value[e->values].value, &half, 4);
        }
        e->values++;
    }
}

static event read_event(bytes b)
{
    event e = { .step = 0 };
    bytes inside = { 0 };
    uint64_t bits;
    int wire, field;

    while ((field = next_field(&b, &wire, &bits, &inside)))
        switch (field) {
        case 1:
            memcpy(&e.wall_time, &bits, 8);
            break;
        case 2:
            e.step = (int64_t)bits;
            break;
        case 3:
            snprintf(e.version, sizeof e.version, "%.*s",
                     (int)(inside.end - inside.at), (const char *)inside.at);
            break;
        case 5:
            read_summary(&e, inside);
            break;
        case 7:
            assert_int_equal(next_field(&inside, &wire, &bits, NULL), 1);
            e.start = bits == 1;
            break;
        default:
            fail_msg("field %d of an event", field);
        }
    return e;
}

/* All records of one file, each sum held to its bytes. */
static int read_file(const char *name, event *events, int max)
{
    static uint8_t all[1 << 16];
    char path[512];
    FILE *f;
    size_t size, at = 0;
    int n = 0;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "rb");
    assert_non_null(f);
    size = fread(all, 1, sizeof all, f);
    fclose(f);
    for (; at < size; n++) {
        size_t length;
        assert_true(size - at >= 16 && n < max);
        length = (size_t)number(all + at, 8);
        assert_int_equal(number(all + at + 8, 4), masked(all + at, 8));
        assert_true(length <= size - at - 16);
        assert_int_equal(number(all + at + 12 + length, 4),
                         masked(all + at + 12, length));
        events[n] = read_event((bytes){ all + at + 12,
                                        all + at + 12 + length });
        at += 16 + length;
    }
    return n;
}

static int is_events(const struct dirent *d)
{
    return !strncmp(d->d_name, "events.out.tfevents.", 20);
}

/* ------------------------------------------------------------- the tests */

/* One start of a run: steps FIRST to LAST. */
static void record(int first, int last)
{
    const hone_component *c = hone_find(HONE_KIND_LOGGER, "tensorboard");
    const char *dir = folder;
    hone_arena a = { 0 };
    hone_instance logger;
    hone_err err;

    assert_non_null(c);
    if (hone_instance_open(&logger, c, &dir, &a, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    for (int step = first; step <= last; step++) {
        hone_field f[] = { { "step", step, 1 },
                           { "loss", 1.0 / (1 + step), 0 },
                           { "grad_norm", 0.5, 0 },
                           { "lr", 1e-4, 0 },
                           { "rows", 8, 1 },
                           { "tokens_per_s", 123.5, 0 } };
        hone_field eval[] = { { "step", step, 1 }, { "eval_loss", 2.5, 0 },
                              { "eval_target_tokens", 70, 1 } };
        const hone_logger *api = c->ops;
        assert_int_equal(api->write(logger.state, f, 6, &err), HONE_OK);
        if (step % 2 == 0)
            assert_int_equal(api->write(logger.state, eval, 3, &err), HONE_OK);
    }
    hone_instance_close(&logger);
    hone_arena_free(&a);
}

static void check_step(const event *e, int step)
{
    static const char *const tags[] = { "train/loss", "train/grad_norm",
                                        "train/lr", "train/tokens_per_s" };
    const float want[] = { (float)(1.0 / (1 + step)), 0.5f, 1e-4f, 123.5f };

    assert_int_equal(e->step, step);
    assert_true(e->wall_time > 1.6e9);
    assert_int_equal(e->values, 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(e->value[i].tag, tags[i]);
        assert_true(e->value[i].value == want[i]);
    }
}

static void test_events(void **state)
{
    struct dirent **files = NULL;
    event e[16];

    (void)state;
    assert_int_equal(crc32c((const uint8_t *)"123456789", 9), 0xe3069283u);
    record(1, 300);
    record(200, 203); /* resumed from a checkpoint of step 199 */
    assert_int_equal(scandir(folder, &files, is_events, alphasort), 2);
    assert_int_equal(read_file(files[1]->d_name, e, 16), 8);
    assert_string_equal(e[0].version, "brain.Event:2");
    assert_true(e[1].start); /* what the first file says from here on goes */
    assert_int_equal(e[1].step, 200);
    check_step(&e[2], 200);
    assert_int_equal(e[3].values, 1);
    assert_int_equal(e[3].step, 200);
    assert_string_equal(e[3].value[0].tag, "eval/loss");
    assert_true(e[3].value[0].value == 2.5f);
    check_step(&e[4], 201);
    check_step(&e[7], 203);
    for (int i = 0; i < 2; i++)
        free(files[i]);
    free(files);
}

/* A run that goes on with an evaluation behind step 4: the loss of step 4 is
 * in the older file and stays. */
static void test_goes_on_with_evaluation(void **state)
{
    const hone_component *c = hone_find(HONE_KIND_LOGGER, "tensorboard");
    const hone_logger *api = c->ops;
    const hone_field eval[] = { { "step", 4, 1 }, { "eval_loss", 2.5, 0 } };
    const char *dir = folder;
    struct dirent **files = NULL;
    hone_arena a = { 0 };
    hone_instance logger;
    hone_err err;
    event e[4];
    int n;

    (void)state;
    assert_int_equal(hone_instance_open(&logger, c, &dir, &a, &err), HONE_OK);
    assert_int_equal(api->write(logger.state, eval, 2, &err), HONE_OK);
    hone_instance_close(&logger);
    hone_arena_free(&a);
    n = scandir(folder, &files, is_events, alphasort);
    assert_int_equal(n, 3);
    assert_int_equal(read_file(files[2]->d_name, e, 4), 3);
    assert_true(e[1].start);
    assert_int_equal(e[1].step, 5);
    assert_int_equal(e[2].step, 4);
    while (n-- > 0)
        free(files[n]);
    free(files);
}

static void test_long(void **state)
{
    static event e[512];
    struct dirent **files = NULL;
    int n;

    (void)state;
    n = scandir(folder, &files, is_events, alphasort);
    assert_int_equal(read_file(files[0]->d_name, e, 512), 2 + 300 + 150);
    check_step(&e[2], 1);
    check_step(&e[450], 300);
    while (n-- > 0)
        free(files[n]);
    free(files);
}

static int set_up(void **state)
{
    hone_err err;

    (void)state;
    unsetenv("HONE_PLUGIN_PATH");
    if (!mkdtemp(folder))
        return -1;
    return hone_registry_open(NULL, &err) == HONE_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events), cmocka_unit_test(test_long),
        cmocka_unit_test(test_goes_on_with_evaluation),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

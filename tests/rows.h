/* SPDX-License-Identifier: MIT
 *
 * rows.h -- for tests of data: files in a folder of their own, a tokenizer
 * that shows every byte, and what a prepared row holds.
 */
#ifndef HONE_TESTS_ROWS_H
#define HONE_TESTS_ROWS_H

#include "dataset.h"
#include "log.h"
#include "registry.h"

static char folder[] = "/tmp/hone-data-XXXXXX";
static hone_err err;

static const char *in_folder(const char *name)
{
    static char path[8][256];
    static int next;

    next = (next + 1) % 8;
    snprintf(path[next], sizeof path[next], "%s/%s", folder, name);
    return path[next];
}

static const char *put_file(const char *name, const char *text)
{
    const char *path = in_folder(name);
    FILE *f = fopen(path, "wb");

    fputs(text, f);
    fclose(f);
    return path;
}

/* ------------------------------- a tokenizer: bytes + 10, 1 begins, 2 ends */

static int64_t encode(const void *self, const char *text, size_t bytes,
                      uint32_t flags, int32_t *ids, int64_t cap)
{
    int64_t n = 0;

    (void)self;
    if (flags & HONE_SPECIALS && n++ < cap)
        ids[0] = 1;
    for (size_t i = 0; i < bytes; i++, n++)
        if (n < cap)
            ids[n] = 10 + (unsigned char)text[i];
    return n;
}

static int64_t decode(const void *self, const int32_t *ids, int64_t n,
                      uint32_t flags, char *text, int64_t cap)
{
    int64_t bytes = 0;

    (void)self;
    (void)flags;
    for (int64_t i = 0; i < n; i++)
        if (ids[i] >= 10 && bytes++ < cap)
            text[bytes - 1] = (char)(ids[i] - 10);
    return bytes;
}

static int32_t vocab(const void *self)
{
    (void)self;
    return 266;
}

static int is_special(const void *self, int32_t id)
{
    (void)self;
    return id == 1 || id == 2;
}

static const hone_tokenizer bytes_api = { .size = sizeof bytes_api,
                                          .is_special = is_special,
                                          .encode = encode,
                                          .decode = decode,
                                          .vocab = vocab };

static hone_tokens byte_tokens(void)
{
    hone_tokens t = { .api = &bytes_api, .eos = 2, .bos = 1, .pad = -1,
                      .path = "bytes" };

    memset(t.hash, '0', 64);
    return t;
}

/* ------------------------------------------------------------ prepared rows */

static void read_row(const hone_split *s, int64_t row, int32_t *tokens,
                     uint8_t *mask)
{
    hone_row_reader *r;
    void *memory = NULL;

    assert_int_equal(posix_memalign(&memory, 64,
                                    (size_t)hone_row_reader_bytes(&s->shard)),
                     0);
    assert_int_equal(hone_row_reader_open(&r, &s->shard, memory, &err),
                     HONE_OK);
    if (hone_row_read(r, row, tokens, mask, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    free(memory);
}

/* Row ROW is PROMPT, masked, then OUTPUT and the end token. */
static void expect_row(const hone_split *s, int64_t row, const char *prompt,
                       const char *output)
{
    static int32_t tokens[4096];
    static uint8_t mask[4096];
    int64_t p = (int64_t)strlen(prompt), o = (int64_t)strlen(output);

    assert_int_equal(s->length[row], 1 + p + o + 1);
    read_row(s, row, tokens, mask);
    assert_int_equal(tokens[0], 1);
    for (int64_t i = 0; i < p; i++)
        assert_int_equal(tokens[1 + i], 10 + (unsigned char)prompt[i]);
    for (int64_t i = 0; i < o; i++)
        assert_int_equal(tokens[1 + p + i], 10 + (unsigned char)output[i]);
    assert_int_equal(tokens[1 + p + o], 2);
    for (int64_t i = 0; i < s->length[row]; i++)
        assert_int_equal(mask[i], i > p);
    assert_int_equal(s->targets[row], o + 1);
}

static int make_folder(void **state)
{
    static const char *const dirs[] = { HONE_BUILD "/lib/hone/plugins", NULL };

    (void)state;
    if (!mkdtemp(folder))
        return 1;
    setenv("HONE_CACHE", in_folder("cache"), 1);
    setenv("HONE_SHARE", HONE_SOURCE "/recipes", 1);
    hone_log_level(HONE_LOG_WARN);
    return hone_registry_open(dirs, &err) != HONE_OK;
}

static int remove_folder(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

#endif

/* SPDX-License-Identifier: MIT
 *
 * checkpoint.c -- see checkpoint.h. The order of system calls is what makes it
 * safe: data, its folder, the new name, the folder of names; each is on disk
 * before the next, and what is old goes last.
 */
#include "checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "log.h"

enum { MANIFEST_BYTES = 512, READ_BYTES = 1 << 16 };

static const char state_name[] = "state.safetensors";

/* ---------------------------------------------------------------- manifest */

static const char manifest_format[] =
    "{\n"
    "  \"format\": 1,\n"
    "  \"step\": %lld,\n"
    "  \"files\": {\n"
    "    \"state.safetensors\": {\n"
    "      \"bytes\": %lld,\n"
    "      \"xxh3_128\": \"%016llx%016llx\"\n"
    "    }\n"
    "  }\n"
    "}\n";
static const char manifest_scan[] =
    "{ \"format\": 1, \"step\": %lld, \"files\": { \"state.safetensors\": { "
    "\"bytes\": %lld, \"xxh3_128\": \"%16llx%16llx\" } } }";

typedef struct {
    long long step, bytes;
    unsigned long long high, low; /* of the hash */
} manifest;

static size_t manifest_text(const manifest *m, char text[MANIFEST_BYTES])
{
    return (size_t)snprintf(text, MANIFEST_BYTES, manifest_format, m->step,
                            m->bytes, m->high, m->low);
}

static void set_hash(manifest *m, const XXH3_state_t *state)
{
    XXH128_hash_t h = XXH3_128bits_digest(state);

    m->high = h.high64;
    m->low = h.low64;
}

/* Every byte of the text counts: it is what these numbers are written as. */
static hone_status read_manifest(const char *folder, manifest *m, hone_err *err)
{
    char path[PATH_MAX + 32], text[MANIFEST_BYTES] = "", again[MANIFEST_BYTES];
    ssize_t n = -1;
    int fd;

    snprintf(path, sizeof path, "%s/manifest.json", folder);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, text, sizeof text - 1);
        close(fd);
    }
    if (n < 0)
        return hone_fail(err, HONE_EIO, "%s: %s", path, strerror(errno));
    if (sscanf(text, manifest_scan, &m->step, &m->bytes, &m->high,
               &m->low) != 4 || (size_t)n != manifest_text(m, again) ||
        memcmp(text, again, (size_t)n) != 0)
        return hone_fail(err, HONE_EIO, "%s: damaged, or of another version "
                         "of hone", path);
    return HONE_OK;
}

/* Reads all of the file and compares. */
static hone_status check_file(const char *path, int fd, const manifest *want,
                              hone_err *err)
{
    char buffer[READ_BYTES];
    XXH3_state_t hash;
    manifest got = *want;
    ssize_t n;

    XXH3_128bits_reset(&hash);
    got.bytes = 0;
    while ((n = read(fd, buffer, sizeof buffer)) > 0) {
        XXH3_128bits_update(&hash, buffer, (size_t)n);
        got.bytes += n;
    }
    if (n < 0)
        return hone_fail(err, HONE_EIO, "%s: cannot be read: %s", path,
                         strerror(errno));
    if (got.bytes != want->bytes)
        return hone_fail(err, HONE_EIO, "%s: damaged: %lld bytes, manifest.json "
                         "has %lld", path, got.bytes, want->bytes);
    set_hash(&got, &hash);
    if (got.high != want->high || got.low != want->low)
        return hone_fail(err, HONE_EIO, "%s: damaged: its hash is not that of "
                         "manifest.json", path);
    return HONE_OK;
}

static void step_path(char to[PATH_MAX], const char *folder, int64_t step)
{
    snprintf(to, PATH_MAX, "%s/step-%08lld", folder, (long long)step);
}

static hone_status verify(const char *folder, int64_t step, hone_err *err)
{
    char path[PATH_MAX], file[PATH_MAX + 32];
    hone_status status;
    manifest m;
    int fd;

    step_path(path, folder, step);
    hone_try(read_manifest(path, &m, err));
    if (m.step != step)
        return hone_fail(err, HONE_EIO, "%s/manifest.json: is that of step "
                         "%lld", path, m.step);
    snprintf(file, sizeof file, "%s/%s", path, state_name);
    fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return hone_fail(err, HONE_EIO, "%s: %s", file, strerror(errno));
    status = check_file(file, fd, &m, err);
    close(fd);
    return status;
}

/* ------------------------------------------------------------- the folder */

typedef struct {
    int64_t count, oldest, newest; /* steps; -1: none */
} census;

static void count_name(census *c, const char *name, int64_t below)
{
    char *end;
    long long step;

    if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9')
        return;
    step = strtoll(name + 5, &end, 10);
    if (*end || step >= below)
        return;
    c->oldest = c->count && c->oldest < step ? c->oldest : step;
    c->newest = c->newest > step ? c->newest : step;
    c->count++;
}

/* The checkpoints of steps below BELOW. Without opendir(), which allocates. */
static census look(const char *folder, int64_t below)
{
    census c = { 0, -1, -1 };
    char buffer[4096] __attribute__((aligned(16)));
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ssize_t n;

    while (fd >= 0 && (n = getdents64(fd, buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *d = (const void *)(buffer + at);
            count_name(&c, d->d_name, below);
            at += d->d_reclen;
        }
    }
    if (fd >= 0)
        close(fd);
    return c;
}

/* Deletes a folder of ours; what others put there stays, and it with it. */
static void delete_folder(const char *folder)
{
    static const char *const files[] = { "manifest.json", "manifest.json.part",
                                         "state.safetensors",
                                         "state.safetensors.part" };
    char path[PATH_MAX + 32];

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    if (rmdir(folder) != 0 && errno != ENOENT)
        hone_log(HONE_LOG_WARN, "%s: cannot be deleted: %s", folder,
                 strerror(errno));
}

/* Under another name first: a checkpoint is never there in part. */
static int delete_step(const hone_checkpoint *c, int64_t step)
{
    char path[PATH_MAX];

    step_path(path, c->folder, step);
    if (rename(path, c->old) != 0) {
        hone_log(HONE_LOG_WARN, "%s: cannot be deleted: %s", path,
                 strerror(errno));
        return 0;
    }
    delete_folder(c->old);
    return 1;
}

/* That of STEP is whole. Those of later steps are damaged, or the run would
 * have gone on from them. */
static void delete_others(const hone_checkpoint *c, int64_t step)
{
    census now;

    while ((now = look(c->folder, INT64_MAX)).newest > step)
        if (!delete_step(c, now.newest))
            return;
    while ((now = look(c->folder, INT64_MAX)).count > c->keep)
        if (!delete_step(c, now.oldest))
            return;
}

/* What a kill left in the midst of a save or of a deletion. */
static void delete_unfinished(const hone_checkpoint *c)
{
    delete_folder(c->fresh);
    delete_folder(c->old);
}

/* ----------------------------------------------------------------- writing */

hone_status hone_checkpoint_prepare(hone_checkpoint *c, hone_arena *a,
                                    const char *out, const char *const *names,
                                    const hone_type *types, int count,
                                    int64_t keep, hone_err *err)
{
    uintptr_t hash = (uintptr_t)hone_alloc(a, sizeof(XXH3_state_t) + 63);

    *c = (hone_checkpoint){ .keep = keep, .saved = -1, .fd = -1 };
    c->folder = hone_format_text(a, "%s/checkpoints", out);
    c->fresh = hone_format_text(a, "%s/.tmp-new", c->folder);
    c->old = hone_format_text(a, "%s/.tmp-old", c->folder);
    c->hash = (void *)((hash + 63) / 64 * 64);
    return hone_saver_prepare(
        a, hone_format_text(a, "%s/%s", c->fresh, state_name), names, types,
        count, NULL, &c->saver, err);
}

int64_t hone_checkpoint_bytes(const hone_checkpoint *c)
{
    return c->folder ? hone_saver_bytes(c->saver) + MANIFEST_BYTES : 0;
}

int hone_checkpoint_order(const hone_checkpoint *c, int i)
{
    return hone_saver_order(c->saver, i);
}

hone_status hone_checkpoint_begin(hone_checkpoint *c, hone_err *err)
{
    size_t bytes;
    const void *header = hone_saver_header(c->saver, &bytes);

    delete_unfinished(c);
    hone_try(hone_make_folder(c->fresh, err));
    XXH3_128bits_reset(c->hash);
    XXH3_128bits_update(c->hash, header, bytes);
    return hone_saver_begin(c->saver, err);
}

hone_status hone_checkpoint_put(hone_checkpoint *c, const void *data,
                                int64_t bytes, hone_err *err)
{
    XXH3_128bits_update(c->hash, data, (size_t)bytes);
    return hone_saver_put(c->saver, data, bytes, err);
}

/* Gives the folder its name; one of that name is damaged, or it would have
 * been resumed from. */
static hone_status publish(const hone_checkpoint *c, int64_t step,
                           hone_err *err)
{
    char path[PATH_MAX];

    step_path(path, c->folder, step);
    if (access(path, F_OK) == 0)
        delete_step(c, step);
    if (rename(c->fresh, path) != 0)
        return hone_fail(err, HONE_EIO, "%s: cannot be renamed to %s: %s",
                         c->fresh, path, strerror(errno));
    hone_sync_folder(c->folder);
    snprintf(path, sizeof path, "%s/..", c->folder); /* it may be new */
    hone_sync_folder(path);
    return HONE_OK;
}

hone_status hone_checkpoint_end(hone_checkpoint *c, int64_t step, hone_err *err)
{
    manifest m = { .step = step, .bytes = hone_saver_bytes(c->saver) };
    char path[PATH_MAX + 32], text[MANIFEST_BYTES];

    hone_try(hone_saver_end(c->saver, err));
    set_hash(&m, c->hash);
    snprintf(path, sizeof path, "%s/manifest.json", c->fresh);
    hone_try(hone_write_file(path, text, manifest_text(&m, text), err));
    hone_try(publish(c, step, err));
    hone_try(verify(c->folder, step, err));
    c->saved = step;
    delete_others(c, step);
    return HONE_OK;
}

void hone_checkpoint_drop(hone_checkpoint *c)
{
    delete_folder(c->fresh);
}

/* ----------------------------------------------------------------- reading */

hone_status hone_checkpoint_find(const char *out, int64_t *step, hone_err *err)
{
    char folder[PATH_MAX];
    int64_t below = INT64_MAX;
    hone_err why;

    snprintf(folder, sizeof folder, "%s/checkpoints", out);
    for (;;) {
        *step = look(folder, below).newest;
        if (*step < 0 || verify(folder, *step, &why) == HONE_OK)
            break;
        hone_log(HONE_LOG_WARN, "%s; trying the checkpoint before it", why.msg);
        below = *step;
    }
    if (*step < 0 && below != INT64_MAX)
        return hone_fail(err, HONE_EIO, "%s: every checkpoint is damaged; "
                         "--fresh starts over", folder);
    return HONE_OK;
}

static hone_status read_all(const hone_checkpoint *c, void *to, int64_t bytes,
                            hone_err *err)
{
    char *at = to;

    while (bytes > 0) {
        ssize_t n = read(c->fd, at, (size_t)bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return hone_fail(err, HONE_EIO, "%s: a checkpoint cannot be read: "
                             "%s", c->folder,
                             n ? strerror(errno) : "it ends early");
        at += n;
        bytes -= n;
    }
    return HONE_OK;
}

/* The header says which tensors there are: the same text, or another run. */
hone_status hone_checkpoint_open(hone_checkpoint *c, int64_t step,
                                 hone_err *err)
{
    char path[PATH_MAX], file[PATH_MAX + 32], some[1024];
    size_t bytes, n;
    const char *header = hone_saver_header(c->saver, &bytes);

    step_path(path, c->folder, step);
    snprintf(file, sizeof file, "%s/%s", path, state_name);
    c->fd = open(file, O_RDONLY | O_CLOEXEC);
    if (c->fd < 0)
        return hone_fail(err, HONE_EIO, "%s: %s", file, strerror(errno));
    for (size_t at = 0; at < bytes; at += n) {
        n = bytes - at < sizeof some ? bytes - at : sizeof some;
        hone_try(read_all(c, some, (int64_t)n, err));
        if (memcmp(some, header + at, n) != 0)
            return hone_fail(err, HONE_EINVAL, "%s: holds other tensors than "
                             "this recipe trains; was it made by another "
                             "version of hone? --fresh starts over", file);
    }
    c->saved = step;
    delete_unfinished(c);
    delete_others(c, step);
    return HONE_OK;
}

hone_status hone_checkpoint_get(hone_checkpoint *c, void *to, int64_t bytes,
                                hone_err *err)
{
    return read_all(c, to, bytes, err);
}

void hone_checkpoint_close(hone_checkpoint *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

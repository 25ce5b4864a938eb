/* SPDX-License-Identifier: MIT
 *
 * dataset_state.c -- see dataset_state.h. A state replaces the one before in
 * one rename; what it counts on is on the disk before.
 */
#include "dataset_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include "log.h"

#define MAGIC "HONEPRE3"

static uint64_t hash_of(const hone_prep_state *s)
{
    return XXH64(s, offsetof(hone_prep_state, hash), 0);
}

int hone_prep_state_load(hone_prep_state *s, const char *folder)
{
    char path[4096];
    ssize_t n = -1;
    int fd;

    snprintf(path, sizeof path, "%s/prep.state", folder);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, s, sizeof *s);
        close(fd);
    }
    if (n == (ssize_t)sizeof *s && !memcmp(s->magic, MAGIC, 8) &&
        s->hash == hash_of(s))
        return 1;
    memset(s, 0, sizeof *s);
    return 0;
}

hone_status hone_prep_state_save(hone_prep_state *s, const char *folder,
                                 hone_err *err)
{
    char path[4096], part[4096];
    ssize_t n = -1;
    int fd, failed;

    memcpy(s->magic, MAGIC, 8);
    s->hash = hash_of(s);
    snprintf(path, sizeof path, "%s/prep.state", folder);
    snprintf(part, sizeof part, "%s/prep.state.part", folder);
    fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd >= 0)
        n = write(fd, s, sizeof *s);
    failed = n != (ssize_t)sizeof *s || fdatasync(fd);
    if (fd >= 0)
        close(fd);
    if (failed || rename(part, path))
        return hone_fail(err, HONE_EIO, "%s: %s", part,
                         n >= 0 && n < (ssize_t)sizeof *s ? "the disk is full"
                                                          : strerror(errno));
    return HONE_OK;
}

void hone_prep_state_remove(const char *folder)
{
    static const char *const name[] = { "prep.state", "prep.state.part" };
    char path[4096];

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, name[i]);
        unlink(path);
    }
}

hone_status hone_prep_lock(const char *folder, int *fd, hone_err *err)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/lock", folder);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0)
        return hone_fail(err, HONE_EIO, "%s: %s; set HONE_CACHE to a folder "
                         "for prepared data", path, strerror(errno));
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return HONE_OK; /* a file system that has no locks goes without */
    hone_log(HONE_LOG_NOTE, "another hone prepares this data: waiting for it");
    while (flock(*fd, LOCK_EX))
        if (errno != EINTR) {
            close(*fd);
            return hone_fail(err, HONE_EIO, "%s: %s", path, strerror(errno));
        }
    return HONE_OK;
}

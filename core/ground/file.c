/* SPDX-License-Identifier: MIT
 *
 * file.c -- see file.h. A pipe of that name does not keep anybody waiting.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static hone_status check(int fd, const char *path, int64_t most,
                         size_t *bytes, hone_err *err)
{
    struct stat st;

    if (fstat(fd, &st))
        return hone_fail(err, HONE_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return hone_fail(err, HONE_EINVAL, "%s: is not a file", path);
    if (st.st_size > most)
        return hone_fail(err, HONE_EINVAL, "%s: larger than %lld MiB", path,
                         (long long)most >> 20);
    *bytes = (size_t)st.st_size;
    return HONE_OK;
}

static hone_status read_all(int fd, const char *path, char *to, size_t bytes,
                            hone_err *err)
{
    size_t at = 0;

    while (at < bytes) {
        ssize_t n = read(fd, to + at, bytes - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return hone_fail(err, HONE_EIO, "%s: cannot be read: %s", path,
                             n < 0 ? strerror(errno) : "it is cut short");
        at += (size_t)n;
    }
    return HONE_OK;
}

hone_status hone_file_read(hone_arena *a, const char *path, int64_t most,
                           hone_file *to, hone_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    hone_status s;
    char *text;

    if (fd < 0)
        return hone_fail(err, HONE_EINVAL, "%s: %s", path, strerror(errno));
    s = check(fd, path, most, &to->bytes, err);
    if (s == HONE_OK) {
        to->text = text = hone_alloc(a, to->bytes + 1);
        s = read_all(fd, path, text, to->bytes, err);
    }
    close(fd);
    return s;
}

const char *hone_folder_of(hone_arena *a, const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return ".";
    return hone_format_text(a, "%.*s", slash == path ? 1 : (int)(slash - path),
                            path);
}

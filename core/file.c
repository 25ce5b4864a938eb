/* SPDX-License-Identifier: MIT
 *
 * file.c -- see file.h.
 */
#include "file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

hone_status hone_file_read(hone_arena *a, const char *path, int64_t most,
                           hone_file *to, hone_err *err)
{
    FILE *f = fopen(path, "rbe");
    hone_status s = HONE_OK;
    struct stat st;
    char *text;

    if (!f)
        return hone_fail(err, HONE_EINVAL, "%s: cannot open: %s", path,
                         strerror(errno));
    if (fstat(fileno(f), &st) || !S_ISREG(st.st_mode) || st.st_size > most) {
        s = hone_fail(err, HONE_EINVAL, "%s: not a file of at most %lld bytes",
                      path, (long long)most);
    } else {
        to->bytes = (size_t)st.st_size;
        to->text = text = hone_alloc(a, to->bytes + 1);
        if (fread(text, 1, to->bytes, f) != to->bytes)
            s = hone_fail(err, HONE_EIO, "%s: cannot read it whole", path);
    }
    fclose(f);
    return s;
}

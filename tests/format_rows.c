/* SPDX-License-Identifier: MIT
 *
 * format_rows.c -- prints the rows of a data file as a format plugin hands them out:
 * each behind the number of its bytes and a blank; what it says of damage,
 * behind "!STATUS "; at the end, on stderr, the share of the file that is read.
 * tests/rowfiles.py reads this:
 *
 *     format_rows FORMAT.so FILE
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "hone/plugin.h"

static void say(const hone_host *host, int level, const char *fmt, ...)
{
    va_list ap;

    (void)host;
    (void)level;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static const hone_host host = { .size = sizeof host, .log = say };

/* Behind damage that can be passed the rows go on. */
static void print_rows(const hone_format *f, void *reader)
{
    for (double last = 0, share;; last = share) {
        hone_row row = { NULL, 0, 0, 0 };
        hone_err err = { HONE_OK, "" };
        hone_status status = f->next(reader, &row, &err);

        share = f->share(reader);
        if (!(share >= last && share <= 1))
            printf("!%d the share read goes from %g to %g\n", HONE_EINVAL,
                   last, share);
        if (status == HONE_END) {
            fprintf(stderr, "share %.2f\n", share);
            return;
        }
        if (status == HONE_OK) {
            printf("%zu ", row.bytes);
            fwrite(row.json, 1, row.bytes, stdout);
            putchar('\n');
        } else {
            printf("!%d %s\n", (int)status, err.msg);
            if (status != HONE_EINVAL || !row.number)
                return;
        }
    }
}

int main(int argc, char **argv)
{
    const hone_plugin *(*entry)(void);
    void *plugin = argc > 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    void *symbol = plugin ? dlsym(plugin, "hone_plugin_entry") : NULL;
    const hone_format *f;
    void *reader;
    hone_err err = { HONE_OK, "" };
    hone_status status;

    if (!symbol) {
        fprintf(stderr, "usage: format_rows FORMAT.so FILE\n%s\n",
                argc > 2 ? dlerror() : "");
        return 2;
    }
    memcpy(&entry, &symbol, sizeof entry);
    f = entry()->components[0]->ops;
    status = f->open(&host, argv[2], &reader, &err);
    if (status == HONE_OK) {
        print_rows(f, reader);
        f->close(reader);
    } else {
        printf("!%d %s\n", (int)status, err.msg);
    }
    return 0;
}

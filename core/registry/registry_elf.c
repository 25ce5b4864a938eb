/* SPDX-License-Identifier: MIT
 *
 * registry_elf.c -- see registry_elf.h. What is right is what this program is
 * itself: class, byte order and machine are compared with its own header.
 */
#include "registry_elf.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <string.h>

static hone_status read_header(FILE *f, ElfW(Ehdr) *h, hone_err *err)
{
    if (fread(h, sizeof *h, 1, f) != 1 || memcmp(h->e_ident, ELFMAG, SELFMAG))
        return hone_fail(err, HONE_EINVAL,
                         "is no shared library (not an ELF file); build it "
                         "with -shared");
    return HONE_OK;
}

static int is_like(const ElfW(Ehdr) *a, const ElfW(Ehdr) *b)
{
    return a->e_ident[EI_CLASS] == b->e_ident[EI_CLASS] &&
           a->e_ident[EI_DATA] == b->e_ident[EI_DATA] &&
           a->e_machine == b->e_machine;
}

/* Whether all that is to be mapped lies inside the file. */
static int is_whole(FILE *f, const ElfW(Ehdr) *h, int64_t bytes)
{
    ElfW(Phdr) p;

    if (h->e_phentsize != sizeof p)
        return 0;
    for (int i = 0; i < h->e_phnum; i++) {
        if (fseeko(f, (off_t)h->e_phoff + i * (off_t)sizeof p, SEEK_SET) != 0 ||
            fread(&p, sizeof p, 1, f) != 1)
            return 0;
        if (p.p_type == PT_LOAD && (p.p_offset > (uint64_t)bytes ||
                                    p.p_filesz > (uint64_t)bytes - p.p_offset))
            return 0;
    }
    return 1;
}

static hone_status check(FILE *f, FILE *self, int64_t bytes, hone_err *err)
{
    ElfW(Ehdr) h, mine;

    hone_try(read_header(self, &mine, err));
    hone_try(read_header(f, &h, err));
    if (!is_like(&h, &mine))
        return hone_fail(err, HONE_EINVAL,
                         "is built for another machine (ELF machine %d, class "
                         "%d; this is %d, class %d); build it here",
                         h.e_machine, h.e_ident[EI_CLASS], mine.e_machine,
                         mine.e_ident[EI_CLASS]);
    if (h.e_type != ET_DYN)
        return hone_fail(err, HONE_EINVAL,
                         "is no shared library (ELF type %d); build it with "
                         "-shared", h.e_type);
    if (!is_whole(f, &h, bytes))
        return hone_fail(err, HONE_EINVAL,
                         "is cut off after %lld bytes; copy or build it again",
                         (long long)bytes);
    return HONE_OK;
}

hone_status hone_check_library(const char *path, int64_t bytes, hone_err *err)
{
    FILE *f = fopen(path, "rb"), *self = fopen("/proc/self/exe", "rb");
    hone_status status;

    if (f && self)
        status = check(f, self, bytes, err);
    else
        status = hone_fail(err, HONE_EINVAL, "cannot be read: %s",
                           strerror(errno));
    if (f)
        fclose(f);
    if (self)
        fclose(self);
    return status;
}

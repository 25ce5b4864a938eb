/* SPDX-License-Identifier: MIT
 *
 * library.c -- see library.h. Looked for by name (LD_LIBRARY_PATH, ldconfig),
 * then where bootstrap and CUDA Toolkits put it.
 */
#include "library.h"

#include <dlfcn.h>
#include <string.h>

#define NAME "libcudnn.so.9"

static void *open_by_name(void)
{
    static const char *const folders[] = { HONE_CUDNN_LIBRARIES,
                                           "/usr/local/cuda/lib64",
                                           "/usr/local/cuda/lib", NULL };
    void *library = dlopen(NAME, RTLD_NOW | RTLD_LOCAL);

    for (int i = 0; !library && folders[i]; i++) {
        char path[1024];

        snprintf(path, sizeof path, "%s/" NAME, folders[i]);
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    return library;
}

/* Function pointers from void *, as POSIX wants it done. */
static int find(const cudnn_library *l, const char *name, void *to)
{
    void *symbol = dlsym(l->library, name);

    memcpy(to, &symbol, sizeof symbol);
    return symbol != NULL;
}

static int find_all(cudnn_library *l)
{
    return find(l, "cudnnGetVersion", &l->get_version) &&
           find(l, "cudnnCreate", &l->create) &&
           find(l, "cudnnSetStream", &l->set_stream) &&
           find(l, "cudnnGetErrorString", &l->error_text) &&
           find(l, "cudnnGetLastErrorString", &l->last_error) &&
           find(l, "cudnnBackendCreateDescriptor", &l->desc_create) &&
           find(l, "cudnnBackendDestroyDescriptor", &l->desc_destroy) &&
           find(l, "cudnnBackendFinalize", &l->desc_finish) &&
           find(l, "cudnnBackendSetAttribute", &l->desc_set) &&
           find(l, "cudnnBackendGetAttribute", &l->desc_get) &&
           find(l, "cudnnBackendExecute", &l->execute);
}

/* 9.10.0 and 9.10.1 compute wrong attention, as their release notes say; what
 * is before 9.6 has no grouped heads by document. */
static hone_status check_version(const cudnn_library *l, hone_err *err)
{
    int major = (int)(l->version / 10000), minor = (int)(l->version / 100 % 100);

    if (l->version >= 90600 && l->version != 91000 && l->version != 91001)
        return HONE_OK;
    return hone_fail(err, HONE_ENOSUP,
                     "cudnn: " NAME " is version %d.%d.%d; 9.6 or later is "
                     "needed, but for 9.10.0 and 9.10.1: install a newer "
                     "nvidia-cudnn", major, minor, (int)(l->version % 100));
}

hone_status cudnn_library_open(const cudnn_library **out, hone_err *err)
{
    static cudnn_library l;
    const char *why;

    *out = &l;
    if (!l.version) {
        if (!l.library)
            l.library = open_by_name();
        if (!l.library || !find_all(&l)) {
            why = dlerror();
            return hone_fail(err, HONE_ENOSUP,
                             "cudnn: " NAME " is missing (%.300s); install "
                             "cuDNN 9 (the wheel nvidia-cudnn-cu13, say), or "
                             "put its folder into LD_LIBRARY_PATH",
                             why ? why : "no reason given");
        }
        l.version = l.get_version();
    }
    return check_version(&l, err);
}

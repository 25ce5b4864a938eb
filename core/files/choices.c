/* SPDX-License-Identifier: MIT
 *
 * choices.c -- see choices.h.
 */
#include "choices.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataset.h"
#include "log.h"
#include "model_files.h"
#include "safetensors.h"

#define FILE_NAME "algorithms.json"

static const char *find(void *self, const char *key)
{
    hone_choice_book *b = self;
    json_t *value = json_object_get(b->kept, key);

    if (json_is_string(value))
        json_object_set(b->used, key, value);
    else
        b->missing++;
    return json_string_value(value);
}

static void keep(void *self, const char *key, const char *value)
{
    hone_choice_book *b = self;
    json_t *text = json_string(value);

    json_object_set(b->kept, key, text);
    json_object_set(b->used, key, text);
    json_object_set(b->fresh, key, text);
    json_decref(text);
}

/* Takes in a file, if there is one; 0: there is none. */
static int take(json_t *into, const char *folder)
{
    char path[4096];
    json_t *json = NULL;
    hone_err err;

    snprintf(path, sizeof path, "%s/" FILE_NAME, folder);
    if (access(path, F_OK))
        return 0;
    if (hone_json_read(folder, FILE_NAME, &json, &err) != HONE_OK) {
        hone_log(HONE_LOG_WARN, "%s; algorithms are chosen again", err.msg);
        return 0;
    }
    json_object_update(into, json);
    json_decref(json);
    return 1;
}

void hone_choices_begin(hone_choice_book *b, const hone_device *device,
                        void *dev, const char *run, void *memory,
                        int64_t bytes)
{
    const size_t known = offsetof(hone_device, choose) + sizeof device->choose;
    hone_arena a = { 0 };

    *b = (hone_choice_book){ .api = { .size = sizeof b->api, .self = b,
                                      .find = find, .keep = keep },
                             .device = device, .run = run };
    if (device->size < known || !device->choose)
        return;
    b->dev = dev;
    b->kept = json_object();
    b->used = json_object();
    b->fresh = json_object();
    (void)take(b->kept, hone_cache_dir(&a));
    b->of_run = run && take(b->kept, run);
    hone_arena_free(&a);
    device->choose(dev, &b->api, memory, bytes);
}

/* Another process reads the old file or the new one. */
static hone_status put(json_t *json, const char *folder, hone_err *err)
{
    char path[4096], fresh[4096];
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS);
    hone_status s;

    if (!text)
        return hone_fail(err, HONE_ENOMEM, "no memory for " FILE_NAME);
    snprintf(path, sizeof path, "%s/" FILE_NAME, folder);
    snprintf(fresh, sizeof fresh, "%s/." FILE_NAME ".%ld", folder,
             (long)getpid());
    s = hone_make_folder(folder, err);
    if (s == HONE_OK)
        s = hone_write_file(fresh, text, strlen(text), err);
    if (s == HONE_OK && rename(fresh, path) != 0)
        s = hone_fail(err, HONE_EIO, "%s: cannot be written", path);
    if (s != HONE_OK)
        unlink(fresh);
    free(text);
    return s;
}

/* A cache that cannot be written costs time, nothing else. */
static void put_in_cache(hone_choice_book *b)
{
    hone_arena a = { 0 };
    const char *folder = hone_cache_dir(&a);
    json_t *all = json_object();
    hone_err err;

    (void)take(all, folder);
    json_object_update(all, b->fresh);
    if (put(all, folder, &err) != HONE_OK)
        hone_log(HONE_LOG_WARN, "%s; algorithms will be chosen again by the "
                 "next run", err.msg);
    json_decref(all);
    hone_arena_free(&a);
}

hone_status hone_choices_end(hone_choice_book *b, hone_status so_far,
                             hone_err *err)
{
    hone_status s = so_far;

    if (!b->dev)
        return so_far;
    b->device->choose(b->dev, NULL, NULL, 0);
    if (b->of_run && b->missing)
        hone_log(HONE_LOG_NOTE, "%d of the algorithms that %s began with are "
                 "not for this device and its libraries: the last bits may "
                 "differ from here on", b->missing, b->run);
    if (json_object_size(b->fresh))
        put_in_cache(b);
    if (s == HONE_OK && b->run && json_object_size(b->used))
        s = put(b->used, b->run, err);
    json_decref(b->kept);
    json_decref(b->used);
    json_decref(b->fresh);
    return s;
}

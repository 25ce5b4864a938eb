/* SPDX-License-Identifier: MIT
 *
 * hub.c -- see hub.h: KIND--ORG--NAME/refs/REVISION holds the name of a commit,
 * snapshots/COMMIT its files.
 */
#include "hub.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *cache(hone_arena *a)
{
    static const struct {
        const char *variable, *below;
    } places[] = { { "HF_HUB_CACHE", "" },
                   { "HF_HOME", "/hub" },
                   { "XDG_CACHE_HOME", "/huggingface/hub" },
                   { "HOME", "/.cache/huggingface/hub" } };

    for (int i = 0; i < 4; i++) {
        const char *value = getenv(places[i].variable);
        if (value && value[0])
            return hone_format_text(a, "%s%s", value, places[i].below);
    }
    return "/nonexistent";
}

/* Bytes of the next part of a name; 0: it is none. */
static size_t part_of(const char *text)
{
    size_t n = 0;

    while (isalnum((unsigned char)text[n]) || (text[n] && n &&
                                               strchr("-_.", text[n])))
        n++;
    return n;
}

int hone_hub_is_name(const char *text, const char **behind)
{
    size_t org = part_of(text), name;

    if (!org || text[org] != '/')
        return 0;
    name = part_of(text + org + 1);
    if (behind)
        *behind = text + org + 1 + name + (text[org + 1 + name] == '/');
    text += org + 1 + name;
    return name && (!*text || (behind && *text == '/'));
}

hone_status hone_hub_find(hone_arena *a, const char *kind, const char *name,
                          const char *revision, const char **folder,
                          hone_err *err)
{
    const char *slash = strchr(name, '/');
    const char *root = hone_format_text(a, "%s/%s--%.*s--%.*s", cache(a), kind,
                                        (int)(slash - name), name,
                                        (int)part_of(slash + 1), slash + 1);
    const char *prefix = strcmp(kind, "models") ? "datasets/" : "";
    char commit[128] = "";
    FILE *f;

    revision = revision ? revision : "main";
    if (access(root, F_OK))
        return hone_fail(err, HONE_ENOSUP, "not in the Hugging Face cache "
                         "(%s); get it with: hone fetch %s%.*s",
                         root, prefix,
                         (int)((slash - name) + 1 + (int)part_of(slash + 1)),
                         name);
    f = strstr(revision, "..") ? NULL
                               : fopen(hone_format_text(a, "%s/refs/%s", root,
                                                        revision), "re");
    if (f && fgets(commit, sizeof commit, f))
        commit[strcspn(commit, " \r\n")] = 0;
    if (f)
        fclose(f);
    *folder = hone_format_text(a, "%s/snapshots/%s", root,
                               commit[0] ? commit : revision);
    if (!strchr(*folder + strlen(root) + 11, '/') && !access(*folder, F_OK))
        return HONE_OK;
    return hone_fail(err, HONE_EINVAL, "%s: revision %s is not there; get it "
                     "with: hone fetch %s%.*s --revision %s", root, revision,
                     prefix, (int)((slash - name) + 1 +
                                   (int)part_of(slash + 1)),
                     name, revision);
}

const char *hone_hub_model(const char *typed)
{
    static hone_arena names;
    const char *folder;
    hone_err err;

    if (!typed || !access(typed, F_OK) || !hone_hub_is_name(typed, NULL) ||
        hone_hub_find(&names, "models", typed, NULL, &folder, &err) != HONE_OK)
        return typed;
    return folder;
}

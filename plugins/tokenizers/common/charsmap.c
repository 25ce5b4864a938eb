/* SPDX-License-Identifier: MIT
 *
 * charsmap.c -- sentencepiece's compiled normalization: a trie of what is
 * replaced in the form of Darts (double array: a unit holds a label, whether
 * a key ends, and where its children lie) and the texts that replace it. As a
 * step of tokenizer.json it works on graphemes in the library's odd way: the
 * shortest key that a grapheme of less than 6 bytes begins with replaces all
 * of it. The blob comes from a file, so every step is bounded.
 */
#include <stdlib.h>

#include "tok.h"

static uint32_t offset_of(uint32_t unit)
{
    return (unit >> 10) << ((unit & 512) >> 6);
}

static uint32_t label_of(uint32_t unit)
{
    return unit & (1u << 31 | 0xFF);
}

tk_text tk_charsmap_find(const tk_charsmap *m, tk_text t, int longest,
                         size_t *used)
{
    tk_text found = { NULL, 0 };
    uint32_t at, value = 0;
    int any = 0;

    if (!m->units)
        return found;
    at = offset_of(m->unit[0]);
    for (size_t i = 0; i < t.len && t.at[i]; i++) {
        unsigned char c = (unsigned char)t.at[i];
        uint32_t unit;

        at ^= c;
        if (at >= m->units || label_of(unit = m->unit[at]) != c)
            break;
        at ^= offset_of(unit);
        if (!(unit & 256) || at >= m->units)
            continue;
        value = m->unit[at] & 0x7FFFFFFF;
        any = 1;
        *used = i + 1;
        if (!longest)
            break;
    }
    /* A text begins with a character; the texts as a whole are UTF-8. */
    if (!any || value >= m->texts.len ||
        ((unsigned char)m->texts.at[value] & 0xC0) == 0x80)
        return found;
    found.at = m->texts.at + value;
    found.len = strnlen(found.at, m->texts.len - value);
    return found;
}

/* Unicode's Grapheme_Cluster_Break=Control: nothing joins these. */
static int is_control(int32_t c)
{
    if (c == 0x200C || c == 0x200D || (tk_is(c) & TK_LEADS) ||
        (c >= 0xE000 && c <= 0xF8FF) || c >= 0xF0000)
        return 0;
    return c < 0x20 || (tk_is(c) & TK_IS_BERT_CONTROL) || c == 0x2028 ||
           c == 0x2029 || c == 0x2065 || (c >= 0xFFF0 && c <= 0xFFF8);
}

/* One grapheme, as far as it matters here: the bytes from AT on. */
static size_t grapheme(tk_text t, size_t at)
{
    size_t i = at, len;
    int32_t c = tk_char(t.at + i, &len);

    i += len;
    if (c == '\r' && i < t.len && t.at[i] == '\n')
        return 2;
    if (is_control(c))
        return i - at;
    while ((tk_is(c) & TK_LEADS) && i < t.len) {
        int32_t next = tk_char(t.at + i, &len);

        if (is_control(next))
            return i - at;
        c = next;
        i += len;
    }
    while (i < t.len) {
        if (!(tk_is(tk_char(t.at + i, &len)) & TK_JOINS))
            break;
        i += len;
    }
    return i - at;
}

static char *put(char *out, tk_text t)
{
    memcpy(out, t.at, t.len);
    return out + t.len;
}

tk_text tk_charsmap_apply(tk_scratch *s, const tk_charsmap *m, tk_text t,
                          size_t *first)
{
    size_t cap = 0, done = 0, front = 0, len, used;
    void *to = NULL;
    char *out;
    tk_text made;

    for (size_t i = 0; i < t.len; i += len) {
        tk_text g = { t.at + i, len = grapheme(t, i) }, with = { NULL, 0 };

        if (len < 6)
            with = tk_charsmap_find(m, g, 0, &used);
        tk_room(&to, &cap, done + with.len + 8, 1, done);
        out = (char *)to + done;
        if (with.at)
            out = put(out, with);
        for (size_t k = 0, n; !with.at && k < len; k += n) {
            tk_text one = { g.at + k, 0 };
            tk_text by;

            tk_char(one.at, &n);
            one.len = n;
            by = tk_charsmap_find(m, one, 0, &used);
            done = (size_t)(out - (char *)to);
            tk_room(&to, &cap, done + by.len + 8, 1, done);
            out = put((char *)to + done, by.at ? by : one);
        }
        done = (size_t)(out - (char *)to);
        if (i < *first)
            front = done;
    }
    *first = front;
    made = tk_keep(&s->arena, to, done);
    free(to);
    return made;
}

hone_status tk_charsmap_read(tk_arena *a, tk_charsmap *to, tk_text blob,
                             const char *where, hone_err *err)
{
    uint32_t bytes = 0;

    if (blob.len >= 4)
        memcpy(&bytes, blob.at, 4);
    if (blob.len < 4 || bytes % 4 || bytes > blob.len - 4)
        return hone_fail(err, HONE_EINVAL,
                         "%s: the charsmap is cut short or no charsmap", where);
    for (size_t i = 4 + bytes, n; i < blob.len; i += n) {
        int ok;
        n = hone_utf8_step(blob.at + i, blob.len - i, &ok);
        if (!ok)
            return hone_fail(err, HONE_EINVAL,
                             "%s: the texts of the charsmap are not UTF-8",
                             where);
    }
    to->units = bytes / 4;
    to->unit = tk_alloc(a, bytes);
    memcpy((void *)to->unit, blob.at + 4, bytes);
    to->texts = tk_keep(a, blob.at + 4 + bytes, blob.len - 4 - bytes);
    return HONE_OK;
}

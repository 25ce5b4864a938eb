/* SPDX-License-Identifier: MIT
 *
 * spm_normal.c -- sentencepiece's normalization: the longest rule of the
 * charsmap at each place, spaces as U+2581, one in front of the text.
 */
#include "spm.h"

static const tk_text mark = { "\xE2\x96\x81", 3 };

enum { TEXT_ROOM = 6 };

size_t tk_spm_user(const tk_spm *m, tk_text t, int32_t *id)
{
    uint32_t node = TK_ROOT;
    size_t found = 0;

    if (!m->has_user)
        return 0;
    for (size_t i = 0; i < t.len;) {
        node = tk_trie_step(&m->user, node, (unsigned char)t.at[i++]);
        if (node == TK_ROOT)
            break;
        if (m->user.node[node].id >= 0) {
            *id = m->user.node[node].id;
            found = i;
        }
    }
    return found;
}

/* What becomes of the beginning of TEXT, and how much of it that is. */
static tk_text prefix(const tk_spm *m, tk_text t, size_t *used)
{
    int32_t id;
    tk_text by = { NULL, 0 };

    *used = tk_spm_user(m, t, &id);
    if (*used)
        return (tk_text){ t.at, *used };
    if (m->map.units)
        by = tk_charsmap_find(&m->map, t, 1, used);
    if (by.at)
        return by;
    tk_char(t.at, used);
    return (tk_text){ t.at, *used };
}

typedef struct {
    tk_scratch *s;
    const tk_spm *m;
    char *out;
    size_t used;
} writer;

static void need(writer *w, size_t more)
{
    size_t bytes = w->used + more;

    tk_room(&w->s->room[TEXT_ROOM], &w->s->room_cap[TEXT_ROOM], bytes, 1,
            w->used);
    w->out = w->s->room[TEXT_ROOM];
}

static void put_space(writer *w)
{
    if (w->m->escape) {
        memcpy(w->out + w->used, mark.at, 3);
        w->used += 3;
    } else {
        w->out[w->used++] = ' ';
    }
}

static void put_text(writer *w, tk_text t)
{
    for (size_t i = 0; i < t.len; i++)
        if (t.at[i] == ' ')
            put_space(w);
        else
            w->out[w->used++] = t.at[i];
}

/* ASCII before more ASCII, and no rule touches it. */
static int is_plain(const tk_spm *m, tk_text t, size_t i)
{
    return i + 1 < t.len && (unsigned char)t.at[i] < 0x80 &&
           (unsigned char)t.at[i + 1] < 0x80 && m->plain[(int)t.at[i]];
}

/* The usual: words that no rule touches, with one space between them. Returns
 * their bytes. */
static size_t plain_run(writer *w, tk_text t)
{
    const tk_spm *m = w->m;
    size_t i = 0;

    if (m->has_user)
        return 0;
    for (;;) {
        size_t from = i;

        while (is_plain(m, t, i) && t.at[i] != ' ')
            i++;
        memcpy(w->out + w->used, t.at + from, i - from);
        w->used += i - from;
        if (i == from || !is_plain(m, t, i) || !is_plain(m, t, i + 1) ||
            t.at[i + 1] == ' ')
            return i;
        put_space(w);
        i++;
    }
}

static tk_text skip_spaces(const tk_spm *m, tk_text t)
{
    size_t used;

    while (t.len) {
        tk_text p = prefix(m, t, &used);

        if (p.len != 1 || p.at[0] != ' ')
            break;
        t.at += used;
        t.len -= used;
    }
    return t;
}

static void drop_last_spaces(writer *w)
{
    size_t n = w->m->escape ? 3 : 1;
    const char *space = w->m->escape ? mark.at : " ";

    while (w->used >= n && !memcmp(w->out + w->used - n, space, n))
        w->used -= n;
}

tk_text tk_spm_normalize(tk_scratch *s, const tk_spm *m, tk_text t)
{
    writer w = { s, m, NULL, 0 };
    int space_before = m->remove_extra;

    if (m->remove_extra)
        t = skip_spaces(m, t);
    if (!t.len)
        return (tk_text){ "", 0 };
    need(&w, 3 * t.len + 8);
    if (!m->as_suffix && m->dummy_prefix)
        put_space(&w);
    while (t.len) {
        size_t used = plain_run(&w, t);
        tk_text p;

        if (used) {
            space_before = 0;
            t.at += used;
            t.len -= used;
        }
        p = prefix(m, t, &used);
        while (space_before && p.len && p.at[0] == ' ') {
            p.at++;
            p.len--;
        }
        if (p.len) {
            need(&w, 3 * p.len + 3 * t.len + 8);
            put_text(&w, p);
            space_before = m->remove_extra && p.at[p.len - 1] == ' ';
        } else if (!m->remove_extra) {
            space_before = 0;
        }
        t.at += used;
        t.len -= used;
    }
    if (m->remove_extra)
        drop_last_spaces(&w);
    if (m->as_suffix && m->dummy_prefix)
        put_space(&w);
    return (tk_text){ w.out, w.used };
}

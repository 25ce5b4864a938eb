/* SPDX-License-Identifier: MIT
 *
 * bpe_cut.c -- cuts a text where no merge can join: a merge whose left piece
 * ends with the character before the cut and whose right piece begins with
 * the one behind it does not exist. So the ids of the parts are the ids of the
 * whole, and models without pre-tokenizers have words to remember, too.
 */
#include "bpe_model.h"

enum { MARK = 0x2581, MARK_CODE = 128 };

static int32_t first_char(tk_text t)
{
    size_t len;

    return tk_char(t.at, &len);
}

static int32_t last_char(tk_text t)
{
    size_t len;

    return tk_char(t.at + tk_char_before(t.at, t.len), &len);
}

static inline int code_of(int32_t c)
{
    return c < 128 ? c : c == MARK ? MARK_CODE : -1;
}

static inline uint64_t key_of(int32_t left, int32_t right)
{
    return ((uint64_t)left << 21 | (uint64_t)right) + 1;
}

void tk_joints_make(tk_joints *j, tk_arena *a, size_t count)
{
    size_t n = tk_slots_for(count);

    memset(j, 0, sizeof *j);
    j->slot = tk_zeroed(a, n * sizeof *j->slot);
    j->mask = n - 1;
}

static uint64_t *slot_of(const tk_joints *j, uint64_t key)
{
    size_t i = tk_mix(key) & j->mask;

    while (j->slot[i] && j->slot[i] != key)
        i = (i + 1) & j->mask;
    return &j->slot[i];
}

void tk_joints_add(tk_joints *j, tk_text left, tk_text right)
{
    int32_t l, r;

    if (!left.len || !right.len)
        return;
    l = last_char(left);
    r = first_char(right);
    if (code_of(l) >= 0 && code_of(r) >= 0)
        j->plain[code_of(l)][code_of(r) / 64] |= (uint64_t)1
                                                 << (code_of(r) % 64);
    else
        *slot_of(j, key_of(l, r)) = key_of(l, r);
}

static size_t char_bytes(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/* A merge inside of a character cuts nothing; one at the end of a character
 * counts for all characters that its pieces may be part of. */
void tk_joints_add_bytes(tk_joints *j, tk_text left, tk_text right)
{
    const unsigned char *l = (const unsigned char *)left.at;
    const unsigned char *r = (const unsigned char *)right.at;
    size_t tail = tk_char_before(left.at, left.len);
    int whole_left = (l[tail] & 0xC0) != 0x80;
    unsigned char last = l[left.len - 1];

    if ((r[0] & 0xC0) == 0x80 ||
        (whole_left && left.len - tail < char_bytes(l[tail])))
        return;
    if (whole_left && right.len >= char_bytes(r[0]))
        tk_joints_add(j, (tk_text){ left.at + tail, left.len - tail },
                      (tk_text){ right.at, char_bytes(r[0]) });
    else
        j->part[last][r[0] / 64] |= (uint64_t)1 << (r[0] % 64);
}

static inline int joined(const tk_joints *j, int32_t l, int32_t r)
{
    int a = code_of(l), b = code_of(r);

    if (a >= 0 && b >= 0)
        return (int)(j->plain[a][b / 64] >> (b % 64) & 1);
    return *slot_of(j, key_of(l, r)) != 0;
}

/* One character needs neither cache nor merging. */
static void part(tk_scratch *s, const tk_bpe *m, tk_text t, size_t chars,
                 int32_t last, tk_word_fn *each)
{
    int32_t id = chars == 1 && !m->raw ? tk_bpe_char(m, t.at, t.len, last)
                                       : -1;

    if (id >= 0)
        tk_emit(s, id);
    else
        tk_cached(s, t, each, TK_PART);
}

void tk_bpe_cut(tk_scratch *s, tk_text t, tk_word_fn *each)
{
    const tk_bpe *m = s->tok->model.self;
    const tk_joints *j = m->joints;
    size_t start = 0, at, len, chars = 1;
    int32_t before = tk_char(t.at, &len);
    /* What has no piece may be one unknown with its neighbours. */
    int known = m->complete || tk_bpe_char(m, t.at, len, before) >= 0;

    for (at = len; at < t.len; at += len) {
        int32_t c = tk_char(t.at + at, &len);
        int now = m->complete || tk_bpe_char(m, t.at + at, len, c) >= 0;

        unsigned char l = (unsigned char)t.at[at - 1];
        unsigned char r = (unsigned char)t.at[at];

        if (known && now && !joined(j, before, c) &&
            !(m->raw && (j->part[l][r / 64] >> (r % 64) & 1))) {
            part(s, m, (tk_text){ t.at + start, at - start }, chars, before,
                 each);
            start = at;
            chars = 0;
        }
        chars++;
        before = c;
        known = now;
    }
    part(s, m, (tk_text){ t.at + start, t.len - start }, chars, before, each);
}

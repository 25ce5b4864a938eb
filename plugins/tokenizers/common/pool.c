/* SPDX-License-Identifier: MIT
 *
 * pool.c -- the scratch of calls: a tokenizer keeps those of finished calls
 * in slots, and a thread looks into its own slot first, so that it finds its
 * memory and its cache of words again. No lock, no allocation in the long run.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tok.h"

enum { MOST_KEPT = 1 << 20 }; /* items of a room that a call leaves */

static _Atomic unsigned threads;
static _Thread_local unsigned my_slot; /* from 1 on; 0: not known yet */

static void *zeroed(size_t count, size_t size)
{
    void *to = aligned_alloc(64, count * size);

    if (!to) {
        fprintf(stderr, "tokenizer: out of memory\n");
        abort();
    }
    return memset(to, 0, count * size);
}

static unsigned slot_of_thread(void)
{
    if (!my_slot)
        my_slot = 1 + atomic_fetch_add(&threads, 1u) % TK_SLOTS;
    return my_slot - 1;
}

static tk_scratch *take(tk_tok *t, unsigned k)
{
    if (!atomic_load_explicit(&t->slot[k].left, memory_order_relaxed))
        return NULL;
    return atomic_exchange(&t->slot[k].left, (tk_scratch *)NULL);
}

tk_scratch *tk_begin(const tk_tok *tok)
{
    tk_tok *t = (tk_tok *)tok; /* the slots alone are written to */
    unsigned k = slot_of_thread();
    tk_scratch *s = NULL;

    /* One that another thread left is warm, too. */
    for (unsigned i = 0; i < TK_SLOTS && !s; i++)
        s = take(t, (k + i) % TK_SLOTS);
    if (!s) {
        s = zeroed(1, (sizeof *s + 63) & ~(size_t)63);
        s->tok = tok;
    }
    s->ids = NULL;
    s->count = s->cap = 0;
    return s;
}

void tk_end(tk_scratch *s)
{
    tk_tok *t = (tk_tok *)s->tok;
    unsigned k = slot_of_thread();

    tk_reset(&s->arena);
    for (int i = 0; i < 8; i++)
        if (s->room_cap[i] > MOST_KEPT) {
            free(s->room[i]);
            s->room[i] = NULL;
            s->room_cap[i] = 0;
        }
    for (unsigned i = 0; i < TK_SLOTS; i++) {
        tk_scratch *empty = NULL;
        if (atomic_compare_exchange_strong(
                &t->slot[(k + i) % TK_SLOTS].left, &empty, s))
            return;
    }
    tk_scratch_free(s);
}

void tk_scratch_free(tk_scratch *s)
{
    if (!s)
        return;
    pcre2_match_data_free(s->match);
    tk_free(&s->arena);
    free(s->line);
    free(s->long_line);
    for (int i = 0; i < 8; i++)
        free(s->room[i]);
    free(s);
}

/* ------------------------------------------------------------ the cache */

static void put_ids(tk_scratch *s, const int32_t *id, int64_t n)
{
    if (s->count + n <= s->cap) {
        for (int64_t i = 0; i < n; i++)
            s->ids[s->count + i] = id[i];
        s->count += n;
        return;
    }
    for (int64_t i = 0; i < n; i++)
        tk_emit(s, id[i]);
}

/* Bytes of a short word as two numbers; with its length they are the word. */
static void key_of(tk_text t, uint64_t key[2])
{
    uint32_t a, b;

    key[1] = 0;
    if (t.len >= 8) {
        memcpy(&key[0], t.at, 8);
        memcpy(&key[1], t.at + t.len - 8, 8);
    } else if (t.len >= 4) {
        memcpy(&a, t.at, 4);
        memcpy(&b, t.at + t.len - 4, 4);
        key[0] = (uint64_t)b << 32 | a;
    } else {
        key[0] = (uint64_t)(unsigned char)t.at[0] << 16 |
                 (uint64_t)(unsigned char)t.at[t.len / 2] << 8 |
                 (unsigned char)t.at[t.len - 1];
    }
}

static void long_word(tk_scratch *s, tk_text t, tk_word_fn *fn, int kind)
{
    uint64_t hash = tk_hash(t.at, t.len, (uint64_t)kind);
    tk_long_line *l;
    int64_t from = s->count;

    if (!s->long_line)
        s->long_line = zeroed(TK_LONG_LINES, sizeof *s->long_line);
    l = &s->long_line[hash & (TK_LONG_LINES - 1)];
    if (l->hash == hash && l->len == t.len && l->kind == (uint32_t)kind &&
        !memcmp(l->key, t.at, t.len)) {
        put_ids(s, l->id, l->count);
        return;
    }
    fn(s, t);
    if (s->count > s->cap ||
        s->count - from > (int64_t)(sizeof l->id / sizeof *l->id))
        return;
    l->hash = hash;
    l->len = (uint32_t)t.len;
    l->kind = (uint32_t)kind;
    l->count = (uint32_t)(s->count - from);
    memcpy(l->key, t.at, t.len);
    for (uint32_t i = 0; i < l->count; i++)
        l->id[i] = s->ids[from + i];
}

void tk_cached(tk_scratch *s, tk_text t, tk_word_fn *fn, int kind)
{
    const uint8_t len = (uint8_t)(t.len | (size_t)kind << 7);
    tk_line *l;
    uint64_t key[2];
    int64_t from = s->count;

    if (t.len > 16) {
        if (t.len <= sizeof s->long_line->key)
            long_word(s, t, fn, kind);
        else
            fn(s, t);
        return;
    }
    if (!s->line)
        s->line = zeroed(TK_LINES, sizeof *s->line);
    key_of(t, key);
    l = &s->line[tk_mix(key[0] ^ key[1] * 0x9FB21C651E98DF25u ^ len) &
                 (TK_LINES - 1)];
    if (l->key[0] == key[0] && l->key[1] == key[1] && l->len == len) {
        put_ids(s, l->id, l->count);
        return;
    }
    fn(s, t);
    if (s->count > s->cap || s->count - from > 11)
        return;
    l->key[0] = key[0];
    l->key[1] = key[1];
    l->len = len;
    l->count = (uint8_t)(s->count - from);
    for (int64_t i = 0; i < l->count; i++)
        l->id[i] = s->ids[from + i];
}

/* SPDX-License-Identifier: MIT
 *
 * model.c -- the BPE model: vocabulary, merges, and a word to ids. The pair
 * with the lowest rank merges first, the leftmost of equals before others
 * (Sennrich et al., 2016, arXiv:1508.07909). Byte-level pieces are looked up
 * by the bytes they stand for, so no text is ever spelt in GPT-2's alphabet.
 */
#include <string.h>
#include <sys/random.h>

#include "bpe.h"

enum { SHORT_WORD = 32 }; /* symbols up to which scanning beats a heap */

/* ------------------------------------------------------------- tables */

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
    h *= 0xBF58476D1CE4E5B9u;
    return h ^ h >> 32;
}

static uint64_t process_seed(void)
{
    uint64_t seed;

    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
        seed = (uint64_t)(uintptr_t)&seed;
    return seed;
}

static uint64_t hash_text(const char *text, size_t len, uint64_t h)
{
    uint64_t word;

    h ^= len * 0x9E3779B97F4A7C15u;
    for (; len >= 8; text += 8, len -= 8) {
        memcpy(&word, text, 8);
        h = mix(h ^ word);
    }
    word = 0;
    if (len)
        memcpy(&word, text, len);
    return mix(h ^ word);
}

size_t bpe_slots_for(size_t count)
{
    size_t n = 16;

    while (n < 2 * count + 2)
        n *= 2;
    return n;
}

void bpe_table_make(bpe_table *t, bpe_arena *a, size_t count)
{
    size_t n = bpe_slots_for(count);

    t->slot = bpe_alloc(a, n * sizeof *t->slot);
    for (size_t i = 0; i < n; i++)
        t->slot[i] = (bpe_entry){ { NULL, 0 }, 0, -1 };
    t->mask = n - 1;
    t->count = 0;
    t->seed = process_seed();
}

static bpe_entry *probe(const bpe_table *t, const char *text, size_t len,
                        uint64_t hash)
{
    size_t i = hash & t->mask;

    while (t->slot[i].id >= 0 &&
           (t->slot[i].hash != hash || t->slot[i].key.len != len ||
            memcmp(t->slot[i].key.at, text, len) != 0))
        i = (i + 1) & t->mask;
    return &t->slot[i];
}

void bpe_table_put(bpe_table *t, bpe_text key, int32_t id)
{
    uint64_t hash = hash_text(key.at, key.len, t->seed);
    bpe_entry *e = probe(t, key.at, key.len, hash);

    t->count += e->id < 0;
    *e = (bpe_entry){ key, hash, id };
}

int32_t bpe_table_find(const bpe_table *t, const char *text, size_t len)
{
    return probe(t, text, len, hash_text(text, len, t->seed))->id;
}

bpe_merge *bpe_merge_slot(const bpe_model *m, uint64_t key)
{
    size_t i = mix(key ^ m->seed) & m->merge_mask;

    while (m->merge[i].key != key && m->merge[i].key != BPE_NONE)
        i = (i + 1) & m->merge_mask;
    return &m->merge[i];
}

/* What the pair merges to: rank << 32 | id, or BPE_NONE. */
static uint64_t pair_of(const bpe_model *m, int32_t left, int32_t right)
{
    return bpe_merge_slot(m, (uint64_t)left << 32 | (uint32_t)right)->to;
}

/* -------------------------------------------------------------- a word */

static void room(bpe_scratch *s, size_t n)
{
    if (n <= s->word_cap)
        return;
    if (n < 2 * s->word_cap)
        n = 2 * s->word_cap;
    if (n < SHORT_WORD)
        n = SHORT_WORD;
    s->word_cap = n;
    s->symbol = bpe_alloc(&s->arena, n * sizeof *s->symbol);
    s->pair = bpe_alloc(&s->arena, n * sizeof *s->pair);
    if (n > SHORT_WORD) {
        s->heap = bpe_alloc(&s->arena, 2 * n * sizeof *s->heap);
        s->next = bpe_alloc(&s->arena, n * sizeof *s->next);
        s->prev = bpe_alloc(&s->arena, n * sizeof *s->prev);
    }
}

/* A character without a piece: its bytes, if all of them have one, else the
 * unknown token, which is held back while more of them may join it. */
static size_t unknown(bpe_scratch *s, const char *text, size_t len, size_t n,
                      int *held)
{
    const bpe_model *m = &s->tok->model;
    size_t i;

    for (i = 0; m->byte_fallback && i < len; i++)
        if (m->fallback[(unsigned char)text[i]] < 0)
            break;
    if (m->byte_fallback && i == len) {
        for (i = 0; i < len; i++)
            s->symbol[n++] = m->fallback[(unsigned char)text[i]];
        return n;
    }
    if (m->unk < 0)
        return n;
    if (*held && !m->fuse_unk)
        s->symbol[n++] = m->unk;
    *held = 1;
    return n;
}

static int32_t char_id(const bpe_model *m, const char *text, size_t len,
                       int32_t code)
{
    return code < 0x10000 ? m->chars[code]
                          : bpe_table_find(&m->vocab, text, len);
}

/* The word's characters (byte-level: bytes) as ids. */
static size_t symbols(bpe_scratch *s, bpe_text t)
{
    const bpe_model *m = &s->tok->model;
    size_t n = 0, len;
    int held = 0;

    for (size_t i = 0; i < t.len; i += len) {
        char spelt[4];
        const char *text = t.at + i;
        int32_t id;

        if (m->byte_level) {
            len = 1;
            id = m->byte[(unsigned char)t.at[i]];
        } else {
            id = bpe_char(text, &len);
            id = char_id(m, text, len, id);
        }
        if (id >= 0) {
            if (held)
                s->symbol[n++] = m->unk;
            held = 0;
            s->symbol[n++] = id;
        } else if (m->byte_level) {
            size_t k = bpe_put_char(bpe_byte_char((unsigned char)*text), spelt);
            n = unknown(s, spelt, k, n, &held);
        } else {
            n = unknown(s, text, len, n, &held);
        }
    }
    if (held)
        s->symbol[n++] = m->unk;
    return n;
}

/* pair[i] is what symbol i and its right neighbour merge to: its order is the
 * order of ranks, and the first of equals is the leftmost. */
static size_t merge_short(const bpe_model *m, int32_t *symbol, uint64_t *pair,
                          size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        pair[i] = pair_of(m, symbol[i], symbol[i + 1]);
    while (n > 1) {
        size_t best = 0;

        for (size_t i = 1; i + 1 < n; i++)
            if (pair[i] < pair[best])
                best = i;
        if (pair[best] == BPE_NONE)
            break;
        symbol[best] = (int32_t)(uint32_t)pair[best];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            symbol[i] = symbol[i + 1];
            pair[i - 1] = pair[i];
        }
        if (best + 1 < n)
            pair[best] = pair_of(m, symbol[best], symbol[best + 1]);
        if (best > 0)
            pair[best - 1] = pair_of(m, symbol[best - 1], symbol[best]);
    }
    return n;
}

static void sift_up(uint64_t *heap, size_t i)
{
    uint64_t key = heap[i];

    while (i > 0 && heap[(i - 1) / 2] > key) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = key;
}

static void sift_down(uint64_t *heap, size_t n, size_t i)
{
    uint64_t key = heap[i];

    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= key)
            break;
        heap[i] = heap[child];
    }
    heap[i] = key;
}

/* What symbol AT and its right neighbour merge to, noted and queued. */
static void queue_pair(bpe_scratch *s, uint32_t at, size_t n, size_t *count)
{
    uint32_t right = s->next[at];

    s->pair[at] = right < n ? pair_of(&s->tok->model, s->symbol[at],
                                      s->symbol[right])
                            : BPE_NONE;
    if (s->pair[at] == BPE_NONE)
        return;
    s->heap[*count] = s->pair[at] >> 32 << 32 | at;
    sift_up(s->heap, (*count)++);
}

/* Joins symbol AT with the one to its right. */
static void merge_at(bpe_scratch *s, uint32_t at, size_t n, size_t *count)
{
    uint32_t right = s->next[at], prev = s->prev[at];

    s->symbol[at] = (int32_t)(uint32_t)s->pair[at];
    s->pair[right] = BPE_NONE;
    s->next[at] = s->next[right];
    if (s->next[at] < n)
        s->prev[s->next[at]] = at;
    queue_pair(s, at, n, count);
    if (prev < n)
        queue_pair(s, prev, n, count);
}

/* A heap of rank << 32 | position: at most n - 1 at first, and each merge
 * takes one out and puts two in. An entry is stale, and passed over, when the
 * pair at its position has another rank by now. */
static size_t merge_long(bpe_scratch *s, size_t n)
{
    uint64_t *heap = s->heap;
    size_t count = 0, out = 0;

    for (size_t i = n; i-- > 0;) {
        s->next[i] = (uint32_t)i + 1;
        s->prev[i] = (uint32_t)i - 1;
        queue_pair(s, (uint32_t)i, n, &count);
    }
    while (count) {
        uint32_t at = (uint32_t)heap[0], rank = (uint32_t)(heap[0] >> 32);

        heap[0] = heap[--count];
        if (count)
            sift_down(heap, count, 0);
        if (s->pair[at] != BPE_NONE && s->pair[at] >> 32 == rank)
            merge_at(s, at, n, &count);
    }
    for (size_t i = 0; i < n; i = s->next[i])
        s->symbol[out++] = s->symbol[i];
    return out;
}

void bpe_word(bpe_scratch *s, bpe_text t)
{
    const bpe_model *m = &s->tok->model;
    size_t n;

    if (m->ignore_merges) {
        int32_t id = bpe_table_find(m->byte_level ? &m->bytes : &m->vocab,
                                    t.at, t.len);
        if (id >= 0) {
            bpe_emit(s, id);
            return;
        }
    }
    /* A byte without a piece may become two: its character in UTF-8. */
    room(s, m->byte_level ? 2 * t.len : t.len);
    n = symbols(s, t);
    n = n > SHORT_WORD ? merge_long(s, n)
                       : merge_short(m, s->symbol, s->pair, n);
    for (size_t i = 0; i < n; i++)
        bpe_emit(s, s->symbol[i]);
}

/* SPDX-License-Identifier: MIT
 *
 * bpe_merge.c -- a word to ids: its characters or bytes as ids, then merge
 * after merge. Short words are searched for the lowest rank; for long ones a
 * heap is cheaper.
 */
#include "bpe_model.h"

enum { SHORT_WORD = 48 }; /* symbols up to which searching beats a heap */

/* The room of the scratch, as the model uses it. */
enum { SYMBOL, RANK, TO, HEAP, NEXT, PREV };

typedef struct {
    const tk_bpe *m;
    int32_t *symbol;
    uint32_t *rank; /* of the pair of symbol i and its right neighbour */
    int32_t *to;    /* and what it merges to */
    uint64_t *heap;
    uint32_t *next, *prev;
    uint64_t *halves;
} work;

#define NO_RANK UINT32_MAX

static void *room(tk_scratch *s, int which, size_t n, size_t size)
{
    tk_room(&s->room[which], &s->room_cap[which], n, size, 0);
    return s->room[which];
}

static void make_room(tk_scratch *s, work *w, size_t n)
{
    w->symbol = room(s, SYMBOL, n, sizeof *w->symbol);
    w->rank = room(s, RANK, n, sizeof *w->rank);
    w->to = room(s, TO, n, sizeof *w->to);
}

static void make_heap(tk_scratch *s, work *w, size_t n)
{
    w->heap = room(s, HEAP, 2 * n, sizeof *w->heap);
    w->next = room(s, NEXT, n, sizeof *w->next);
    w->prev = room(s, PREV, n, sizeof *w->prev);
}

/* --------------------------------------------------------------- symbols */

/* A character without a piece: its bytes, if all of them have one, else the
 * unknown token, which is held back while more of them may join it. */
static size_t unknown(const work *w, const char *text, size_t len, size_t n,
                      int *held)
{
    const tk_bpe *m = w->m;
    size_t i;

    for (i = 0; m->byte_fallback && i < len; i++)
        if (m->fallback[(unsigned char)text[i]] < 0)
            break;
    if (m->byte_fallback && i == len) {
        for (i = 0; i < len; i++)
            w->symbol[n++] = m->fallback[(unsigned char)text[i]];
        return n;
    }
    if (m->unk < 0)
        return n;
    if (*held && !m->fuse_unk)
        w->symbol[n++] = m->unk;
    *held = 1;
    return n;
}

static size_t raw_symbols(const work *w, tk_text t)
{
    const tk_bpe *m = w->m;
    char spelt[4];
    size_t n = 0;
    int held = 0;

    for (size_t i = 0; i < t.len; i++) {
        unsigned char b = (unsigned char)t.at[i];
        int32_t id = m->byte[b];

        if (id < 0) {
            size_t k = tk_put_char(tk_byte_char(b), spelt);
            n = unknown(w, spelt, k, n, &held);
            continue;
        }
        if (held)
            w->symbol[n++] = m->unk;
        held = 0;
        w->symbol[n++] = id;
    }
    if (held)
        w->symbol[n++] = m->unk;
    return n;
}

/* A character with the marks of its place in the word. */
static tk_text marked(tk_scratch *s, const tk_bpe *m, tk_text c, int first,
                      int last)
{
    size_t n = 0;
    char *to;

    if ((first || !m->prefix.len) && (!last || !m->suffix.len))
        return c;
    to = tk_alloc(&s->arena, m->prefix.len + c.len + m->suffix.len);
    if (!first && m->prefix.len) {
        memcpy(to, m->prefix.at, m->prefix.len);
        n = m->prefix.len;
    }
    memcpy(to + n, c.at, c.len);
    n += c.len;
    if (last && m->suffix.len) {
        memcpy(to + n, m->suffix.at, m->suffix.len);
        n += m->suffix.len;
    }
    return (tk_text){ to, n };
}

static size_t char_symbols(tk_scratch *s, const work *w, tk_text t)
{
    const tk_bpe *m = w->m;
    int marks = m->prefix.len || m->suffix.len, held = 0;
    size_t n = 0, len;

    for (size_t i = 0; i < t.len; i += len) {
        int32_t code = tk_char(t.at + i, &len), id;
        tk_text c = { t.at + i, len };

        if (marks) {
            c = marked(s, m, c, i == 0, i + len == t.len);
            id = tk_table_find(&m->tok->vocab, c.at, c.len);
        } else {
            id = tk_bpe_char(m, c.at, c.len, code);
        }
        if (id < 0) {
            n = unknown(w, c.at, c.len, n, &held);
            continue;
        }
        if (held)
            w->symbol[n++] = m->unk;
        held = 0;
        w->symbol[n++] = id;
    }
    if (held)
        w->symbol[n++] = m->unk;
    return n;
}

/* --------------------------------------------------------------- merging */

static inline void set_pair(const work *w, size_t i, uint64_t pair)
{
    w->rank[i] = (uint32_t)(pair >> 32);
    w->to[i] = (int32_t)(uint32_t)pair;
}

static inline void find_pair(const work *w, size_t i, size_t right)
{
    uint64_t pair = tk_bpe_pair(w->m, w->symbol[i], w->symbol[right]);

    set_pair(w, i, pair);
    if (w->m->unused && pair != TK_NO_PAIR && w->m->unused[(uint32_t)pair])
        w->halves[(uint32_t)pair] = (uint64_t)w->symbol[i] << 32 |
                                    (uint32_t)w->symbol[right];
}

/* The pairs at the start; of raw bytes they lie in a table. */
static void first_pairs(const work *w, tk_text t, size_t n)
{
    if (w->m->byte_pair && n == t.len) {
        const unsigned char *b = (const unsigned char *)t.at;

        for (size_t i = 0; i + 1 < n; i++)
            set_pair(w, i, w->m->byte_pair[b[i] << 8 | b[i + 1]]);
        return;
    }
    for (size_t i = 0; i + 1 < n; i++)
        find_pair(w, i, i + 1);
}

/* The first of the lowest ranks. */
static inline size_t lowest(const uint32_t *rank, size_t n)
{
    uint32_t low = NO_RANK;
    size_t i;

    for (i = 0; i < n; i++)
        low = rank[i] < low ? rank[i] : low;
    if (low == NO_RANK)
        return n;
    for (i = 0; rank[i] != low; i++)
        ;
    return i;
}

static size_t merge_short(const work *w, size_t n)
{
    size_t best;

    while (n > 1 && (best = lowest(w->rank, n - 1)) < n - 1) {
        w->symbol[best] = w->to[best];
        n--;
        for (size_t i = best + 1; i < n; i++)
            w->symbol[i] = w->symbol[i + 1];
        for (size_t i = best; i + 1 < n; i++) {
            w->rank[i] = w->rank[i + 1];
            w->to[i] = w->to[i + 1];
        }
        if (best > 0)
            find_pair(w, best - 1, best);
        if (best + 1 < n)
            find_pair(w, best, best + 1);
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
static void queue_pair(const work *w, uint32_t at, size_t n, size_t *count)
{
    uint32_t right = w->next[at];

    if (right < n)
        find_pair(w, at, right);
    else
        w->rank[at] = NO_RANK;
    if (w->rank[at] == NO_RANK)
        return;
    w->heap[*count] = (uint64_t)w->rank[at] << 32 | at;
    sift_up(w->heap, (*count)++);
}

/* Joins symbol AT with the one to its right. */
static void merge_at(const work *w, uint32_t at, size_t n, size_t *count)
{
    uint32_t right = w->next[at], prev = w->prev[at];

    w->symbol[at] = w->to[at];
    w->rank[right] = NO_RANK;
    w->next[at] = w->next[right];
    if (w->next[at] < n)
        w->prev[w->next[at]] = at;
    if (prev < n)
        queue_pair(w, prev, n, count);
    queue_pair(w, at, n, count);
}

/* A heap of rank << 32 | position: at most n - 1 at first, and each merge
 * takes one out and puts two in. An entry is stale, and passed over, when the
 * pair at its position has another rank by now. */
static size_t merge_long(const work *w, size_t n)
{
    uint64_t *heap = w->heap;
    size_t count = 0, out = 0;

    for (size_t i = 0; i < n; i++) {
        w->next[i] = (uint32_t)i + 1;
        w->prev[i] = (uint32_t)i - 1;
        if (i + 1 < n && w->rank[i] != NO_RANK)
            heap[count++] = (uint64_t)w->rank[i] << 32 | i;
    }
    w->rank[n - 1] = NO_RANK;
    for (size_t i = count / 2; i-- > 0;)
        sift_down(heap, count, i);
    while (count) {
        uint32_t at = (uint32_t)heap[0], rank = (uint32_t)(heap[0] >> 32);

        heap[0] = heap[--count];
        if (count)
            sift_down(heap, count, 0);
        if (w->rank[at] == rank && rank != NO_RANK)
            merge_at(w, at, n, &count);
    }
    for (size_t i = 0; i < n; i = w->next[i])
        w->symbol[out++] = w->symbol[i];
    return out;
}

void tk_bpe_merge_word(tk_scratch *s, tk_text t)
{
    work w = { .m = s->tok->model.self };
    size_t n;

    /* A byte without a piece may become two, a marked character more. */
    make_room(s, &w, 2 * t.len + w.m->prefix.len + w.m->suffix.len +
                         (w.m->prefix.len + 4) * (w.m->prefix.len ? t.len : 0));
    n = w.m->symbols ? w.m->symbols(s, t, w.symbol)
        : w.m->raw   ? raw_symbols(&w, t)
                     : char_symbols(s, &w, t);
    w.halves = s->room[TK_HALVES_ROOM]; /* which symbols() may have made */
    if (n > 1) {
        first_pairs(&w, t, n);
        if (n > SHORT_WORD) {
            make_heap(s, &w, n);
            n = merge_long(&w, n);
        } else {
            n = merge_short(&w, n);
        }
    }
    if (w.m->emit) {
        w.m->emit(s, w.symbol, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        tk_emit(s, w.symbol[i]);
}

static int is_ascii(tk_text t)
{
    for (size_t i = 0; i < t.len; i++)
        if ((unsigned char)t.at[i] >= 0x80)
            return 0;
    return 1;
}

void tk_bpe_word(tk_scratch *s, tk_text t)
{
    const tk_bpe *m = s->tok->model.self;

    if (m->ignore_merges) {
        int32_t id = tk_table_find(m->whole, t.at, t.len);
        if (id >= 0) {
            tk_emit(s, id);
            return;
        }
    }
    /* A word of ASCII letters hardly ever falls apart. */
    if (m->joints && (!m->raw || !is_ascii(t)))
        tk_bpe_cut(s, t, tk_bpe_merge_word);
    else
        tk_bpe_merge_word(s, t);
}

/* SPDX-License-Identifier: MIT
 *
 * added.c -- added tokens: pieces that are found in the text before the model
 * sees it, the longest of those that begin first. Tokens that are not
 * "normalized" are looked for in the raw text, the others in what the
 * normalizers leave.
 */
#include <stdlib.h>

#include "tok.h"

enum { MAX_CONTENT = 4096 };

/* ------------------------------------------------------------- reading */

int32_t tk_find_id(const tk_tok *tok, const char *piece, size_t len)
{
    int32_t i = tk_table_find(&tok->added_ids, piece, len);

    return i >= 0 ? tok->added[i].id : tk_table_find(&tok->vocab, piece, len);
}

static hone_status read_one(const tk_json *item, tk_added *to, uint32_t number,
                            hone_err *err)
{
    static const struct {
        const char *key;
        uint32_t flag;
    } flags[] = { { "special", TK_SPECIAL },     { "lstrip", TK_LSTRIP },
                  { "rstrip", TK_RSTRIP },       { "single_word", TK_WORD },
                  { "normalized", TK_NORMALIZED } };
    char where[48];
    int on;

    snprintf(where, sizeof where, "added_tokens: entry %u", number);
    if (!tk_json_is(item, TK_OBJECT))
        return hone_fail(err, HONE_EINVAL, "%s must be an object", where);
    hone_try(tk_get_text(item, "content", &to->content, where, err));
    if (!to->content.at)
        return hone_fail(err, HONE_EINVAL, "%s needs its 'content'", where);
    if (to->content.len > MAX_CONTENT)
        return hone_fail(err, HONE_EINVAL, "%s: longer than %d bytes", where,
                         MAX_CONTENT);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        int usual = flags[i].flag == TK_NORMALIZED &&
                    !(to->flags & TK_SPECIAL);
        hone_try(tk_get_flag(item, flags[i].key, usual, &on, where, err));
        to->flags |= on ? flags[i].flag : 0;
    }
    return HONE_OK;
}

static void warn_of_claims(const tk_tok *tok, const tk_json *list)
{
    for (uint32_t i = 0; i < tk_json_count(list); i++) {
        const tk_json *item = tk_json_at(list, i);
        const tk_json *claim = tk_json_get(item, "id");
        tk_text content = tk_json_text(tk_json_get(item, "content"));
        int32_t id = content.len ? tk_find_id(tok, content.at, content.len)
                                 : -1;

        if (id < 0 || !tk_json_is(claim, TK_INTEGER) || claim->u.integer == id)
            continue;
        if (tok->host && tok->host->log)
            tok->host->log(tok->host, 1,
                           "tokenizer.json: added token '%.60s' claims id %lld "
                           "but has %d, as the library gives them in order",
                           content.at, (long long)claim->u.integer, (int)id);
        return;
    }
}

static void find_pattern(tk_tok *tok, tk_added *a)
{
    tk_scratch *s;
    tk_text t;
    size_t first = 0;

    a->pattern = a->content;
    if (!(a->flags & TK_NORMALIZED))
        return;
    s = tk_begin(tok);
    t = tk_normalize(s, a->content, &first);
    if (t.len != a->content.len || memcmp(t.at, a->content.at, t.len) != 0)
        a->pattern = tk_keep(&tok->arena, t.at, t.len);
    tk_end(s);
}

static int by_pattern(const void *x, const void *y)
{
    const tk_text *a = &(*(const tk_added *const *)x)->pattern;
    const tk_text *b = &(*(const tk_added *const *)y)->pattern;
    int order = memcmp(a->at, b->at, a->len < b->len ? a->len : b->len);

    return order ? order : (a->len > b->len) - (a->len < b->len);
}

/* The library refuses two tokens that look for the same text. */
static hone_status make_set(tk_tok *tok, tk_added_set *set,
                            uint32_t normalized, hone_err *err)
{
    uint32_t n = 0;

    set->list = tk_alloc(&tok->arena, tok->added_count * sizeof *set->list);
    for (uint32_t i = 0; i < tok->added_count; i++)
        if ((tok->added[i].flags & TK_NORMALIZED) == normalized) {
            if (!tok->added[i].pattern.len)
                return hone_fail(err, HONE_EINVAL,
                                 "added_tokens: '%.60s' is empty once it is "
                                 "normalized", tok->added[i].content.at);
            set->list[n++] = &tok->added[i];
        }
    if (n)
        qsort(set->list, n, sizeof *set->list, by_pattern);
    for (uint32_t i = 1; i < n; i++)
        if (by_pattern(&set->list[i - 1], &set->list[i]) == 0)
            return hone_fail(err, HONE_EINVAL,
                             "added_tokens: '%.60s' and '%.60s' are the same "
                             "once they are normalized",
                             set->list[i - 1]->content.at,
                             set->list[i]->content.at);
    set->count = n;
    for (uint32_t b = 0, i = 0; b <= 256; b++) {
        while (i < n && (unsigned char)set->list[i]->pattern.at[0] < b)
            i++;
        set->first[b] = i;
    }
    if (n)
        set->only = (unsigned char)set->list[0]->pattern.at[0];
    if (n && (unsigned char)set->list[n - 1]->pattern.at[0] != set->only)
        set->only = 0;
    return HONE_OK;
}

/* id -> text for decoders; an added token hides the model's piece. Decoding
 * leaves out what has the text of a special token, whatever its id. */
static void make_pieces(tk_tok *tok)
{
    const tk_table *vocab = &tok->vocab;
    tk_piece *old = tok->piece;

    tok->piece = tk_zeroed(&tok->arena,
                           (size_t)tok->highest * sizeof *tok->piece);
    if (old)
        memcpy(tok->piece, old, (size_t)tok->vocab_size * sizeof *old);
    for (size_t i = 0; !old && i <= vocab->mask; i++)
        if (vocab->slot[i].id >= 0)
            tok->piece[vocab->slot[i].id].text = vocab->slot[i].key;
    for (uint32_t i = 0; i < tok->added_count; i++) {
        const tk_added *a = &tok->added[i];
        tok->piece[a->id] = (tk_piece){ a->pattern, a->flags };
    }
    for (uint32_t i = 0; i < tok->added_count; i++) {
        const tk_added *a = &tok->added[i];
        int32_t id = tk_table_find(vocab, a->content.at, a->content.len);
        tk_text t = tok->piece[a->id].text;

        if (tk_table_find(&tok->specials, t.at, t.len) >= 0)
            tok->piece[a->id].flags |= TK_SKIPPED;
        if ((a->flags & TK_SPECIAL) && id >= 0 && id != a->id)
            tok->piece[id].flags |= TK_SKIPPED;
    }
}

hone_status tk_added_put(tk_tok *tok, const tk_added *added, hone_err *err)
{
    tk_added a = *added;
    int32_t at = tk_table_find(&tok->added_ids, a.content.at, a.content.len);

    a.content = tk_keep(&tok->arena, a.content.at, a.content.len);

    /* A token that the model knows keeps the model's id; another gets the
     * next free one. The file's own id is only a claim, as in the library. */
    a.id = tk_find_id(tok, a.content.at, a.content.len);
    if (a.id < 0)
        a.id = tok->next_id++;
    if (a.id >= TK_MAX_ID)
        return hone_fail(err, HONE_EINVAL, "added_tokens: too many");
    if (a.id >= tok->highest)
        tok->highest = a.id + 1;
    find_pattern(tok, &a);
    if (a.flags & TK_SPECIAL)
        tk_table_put(&tok->specials, a.content, 0);
    /* Named twice: the later flags hold. */
    if (at < 0) {
        at = (int32_t)tok->added_count++;
        tk_table_put(&tok->added_ids, a.content, at);
    }
    tok->added[at] = a;
    return HONE_OK;
}

void tk_added_open(tk_tok *tok, uint32_t most)
{
    tok->added = tk_zeroed(&tok->arena, most * sizeof *tok->added);
    tk_table_make(&tok->added_ids, &tok->arena, most);
    tk_table_make(&tok->specials, &tok->arena, most);
    tok->next_id = tok->vocab_size;
}

hone_status tk_added_close(tk_tok *tok, hone_err *err)
{
    hone_try(make_set(tok, &tok->raw, 0, err));
    hone_try(make_set(tok, &tok->normalized, TK_NORMALIZED, err));
    make_pieces(tok);
    return HONE_OK;
}

hone_status tk_added_read(tk_tok *tok, const tk_json *list, hone_err *err)
{
    uint32_t n = tk_json_count(list);

    if (n >= TK_MAX_ID || (!tk_json_none(list) && !tk_json_is(list, TK_LIST)))
        return hone_fail(err, HONE_EINVAL,
                         "'added_tokens' must be a list of fewer than %d",
                         TK_MAX_ID);
    tk_added_open(tok, n);
    for (uint32_t i = 0; i < n; i++) {
        tk_added a = { 0 };

        hone_try(read_one(tk_json_at(list, i), &a, i + 1, err));
        if (a.content.len)
            hone_try(tk_added_put(tok, &a, err));
    }
    hone_try(tk_added_close(tok, err));
    warn_of_claims(tok, list);
    return HONE_OK;
}

/* ------------------------------------------------------------ searching */

/* The first index in [lo, hi) whose pattern has a byte >= C at position D. */
static uint32_t bound(const tk_added_set *set, uint32_t lo, uint32_t hi,
                      size_t d, unsigned c)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if ((unsigned char)set->list[mid]->pattern.at[d] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest pattern that TEXT begins with: the range of candidates narrows
 * by a byte at a time, and the shortest of them always stands first. */
static const tk_added *longest(const tk_added_set *set, tk_text t)
{
    const tk_added *best = NULL;
    unsigned char c = (unsigned char)t.at[0];
    uint32_t lo = set->first[c], hi = set->first[c + 1];

    for (size_t d = 1; lo < hi; d++) {
        while (lo < hi && set->list[lo]->pattern.len == d)
            best = set->list[lo++];
        if (d == t.len)
            break;
        c = (unsigned char)t.at[d];
        lo = bound(set, lo, hi, d, c);
        hi = bound(set, lo, hi, d, c + 1u);
    }
    return best;
}

static int is_word(int32_t c)
{
    return (tk_is(c) & TK_IS_RE_WORD) != 0;
}

static int stands_alone(tk_text t, size_t start, size_t end)
{
    size_t len;

    if (start && is_word(tk_char(t.at + tk_char_before(t.at, start), &len)))
        return 0;
    return end == t.len || !is_word(tk_char(t.at + end, &len));
}

static size_t white_before(tk_text t, size_t at, size_t low)
{
    size_t len;

    while (at > low) {
        size_t i = tk_char_before(t.at, at);
        if (!tk_is_white(tk_char(t.at + i, &len)))
            break;
        at = i;
    }
    return at;
}

static size_t white_after(tk_text t, size_t at)
{
    size_t len;

    while (at < t.len && tk_is_white(tk_char(t.at + at, &len)))
        at += len;
    return at;
}

/* The next place from AT on where a pattern may begin; t.len: none. */
static size_t next_start(const tk_added_set *set, tk_text t, size_t at)
{
    const char *hit;

    if (set->only) {
        hit = memchr(t.at + at, set->only, t.len - at);
        return hit ? (size_t)(hit - t.at) : t.len;
    }
    while (at < t.len && set->first[(unsigned char)t.at[at]] ==
                             set->first[(unsigned char)t.at[at] + 1])
        at++;
    return at;
}

typedef void between_fn(tk_scratch *, tk_text, size_t first);

/* Emits the tokens of SET in T; what lies between them goes to BETWEEN. */
static void extract(tk_scratch *s, const tk_added_set *set, tk_text t,
                    size_t first, between_fn *between)
{
    size_t done = 0, at = 0;

    while (set->count && (at = next_start(set, t, at)) < t.len) {
        tk_text rest = { t.at + at, t.len - at };
        const tk_added *hit = longest(set, rest);
        size_t start = at, end;

        if (!hit) {
            at++;
            continue;
        }
        at = end = start + hit->pattern.len;
        if ((hit->flags & TK_WORD) && !stands_alone(t, start, end))
            continue;
        if (hit->flags & TK_LSTRIP)
            start = white_before(t, start, done);
        if (start < done)
            start = done;
        if (hit->flags & TK_RSTRIP)
            end = white_after(t, end);
        if (done < start)
            between(s, (tk_text){ t.at + done, start - done },
                    first > done ? first - done : 0);
        tk_emit(s, hit->id);
        done = end;
    }
    if (done < t.len)
        between(s, (tk_text){ t.at + done, t.len - done },
                first > done ? first - done : 0);
}

static void to_pre_tokenizers(tk_scratch *s, tk_text t, size_t first)
{
    tk_pre_tokenize(s, 0, t, first);
}

static void to_normalizers(tk_scratch *s, tk_text t, size_t first)
{
    t = tk_normalize(s, t, &first);
    extract(s, &s->tok->normalized, t, first, to_pre_tokenizers);
}

void tk_encode_text(tk_scratch *s, tk_text t)
{
    size_t first = 0;

    if (t.len)
        tk_char(t.at, &first);
    extract(s, &s->tok->raw, t, first, to_normalizers);
}

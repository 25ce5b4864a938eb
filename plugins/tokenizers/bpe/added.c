/* SPDX-License-Identifier: MIT
 *
 * added.c -- added tokens: pieces that are found in the text before the model
 * sees it, the longest of those that begin first. Tokens that are not
 * "normalized" are looked for in the raw text, the others in what the
 * normalizers leave.
 */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"

enum { MAX_CONTENT = 4096 };

/* ------------------------------------------------------------- reading */

int32_t bpe_find_id(const bpe_tok *tok, const char *piece, size_t len)
{
    int32_t i = bpe_table_find(&tok->added_ids, piece, len);

    return i >= 0 ? tok->added[i].id
                  : bpe_table_find(&tok->model.vocab, piece, len);
}

static hone_status read_one(bpe_tok *tok, json_t *item, bpe_added *to,
                            size_t number, hone_err *err)
{
    static const struct {
        const char *key;
        uint32_t flag;
    } flags[] = { { "special", BPE_SPECIAL },     { "lstrip", BPE_LSTRIP },
                  { "rstrip", BPE_RSTRIP },       { "single_word", BPE_WORD },
                  { "normalized", BPE_NORMALIZED } };
    char where[48];
    int on;

    snprintf(where, sizeof where, "added_tokens: entry %zu", number);
    if (!json_is_object(item))
        return hone_fail(err, HONE_EINVAL, "%s must be an object", where);
    hone_try(bpe_get_text(&tok->arena, item, "content", &to->content, where,
                          err));
    if (!to->content.at)
        return hone_fail(err, HONE_EINVAL, "%s needs its 'content'", where);
    if (to->content.len > MAX_CONTENT)
        return hone_fail(err, HONE_EINVAL, "%s: longer than %d bytes", where,
                         MAX_CONTENT);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        int usual = flags[i].flag == BPE_NORMALIZED &&
                    !(to->flags & BPE_SPECIAL);
        hone_try(bpe_get_flag(item, flags[i].key, usual, &on, where, err));
        to->flags |= on ? flags[i].flag : 0;
    }
    return HONE_OK;
}

/* A token that the model knows keeps the model's id; another gets the next
 * free one. The file's own id is only a claim, as in the library. */
static hone_status give_id(bpe_tok *tok, bpe_added *a, int32_t *free_id,
                           hone_err *err)
{
    a->id = bpe_find_id(tok, a->content.at, a->content.len);
    if (a->id < 0)
        a->id = (*free_id)++;
    if (a->id >= BPE_MAX_ID)
        return hone_fail(err, HONE_EINVAL, "added_tokens: too many");
    if (a->id >= tok->vocab)
        tok->vocab = a->id + 1;
    return HONE_OK;
}

static void warn_of_claims(const bpe_tok *tok, json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = json_array_get(list, i);
        json_t *claim = json_object_get(item, "id");
        json_t *content = json_object_get(item, "content");
        int32_t id = bpe_find_id(tok, json_string_value(content),
                                 json_string_length(content));

        if (id < 0 || !json_is_integer(claim) ||
            json_integer_value(claim) == id)
            continue;
        if (tok->host && tok->host->log)
            tok->host->log(tok->host, 1,
                           "tokenizer.json: added token '%.60s' claims id %lld "
                           "but has %d, as the library gives them in order",
                           json_string_value(content),
                           (long long)json_integer_value(claim), (int)id);
        return;
    }
}

static void find_pattern(bpe_tok *tok, bpe_added *a)
{
    bpe_scratch s;
    bpe_text t;

    a->pattern = a->content;
    if (!(a->flags & BPE_NORMALIZED))
        return;
    bpe_begin(&s, tok);
    t = bpe_normalize(&s, a->content);
    a->pattern = bpe_keep(&tok->arena, t.at, t.len);
    bpe_end(&s);
}

static int by_pattern(const void *x, const void *y)
{
    const bpe_text *a = &(*(const bpe_added *const *)x)->pattern;
    const bpe_text *b = &(*(const bpe_added *const *)y)->pattern;
    int order = memcmp(a->at, b->at, a->len < b->len ? a->len : b->len);

    return order ? order : (a->len > b->len) - (a->len < b->len);
}

static void make_set(bpe_tok *tok, bpe_added_set *set, uint32_t normalized)
{
    uint32_t n = 0;

    set->list = bpe_alloc(&tok->arena, tok->added_count * sizeof *set->list);
    for (uint32_t i = 0; i < tok->added_count; i++)
        if ((tok->added[i].flags & BPE_NORMALIZED) == normalized &&
            tok->added[i].pattern.len)
            set->list[n++] = &tok->added[i];
    if (n)
        qsort(set->list, n, sizeof *set->list, by_pattern);
    set->count = n;
    for (uint32_t b = 0, i = 0; b <= 256; b++) {
        while (i < n && (unsigned char)set->list[i]->pattern.at[0] < b)
            i++;
        set->first[b] = i;
    }
}

/* id -> text for decoders; an added token hides the model's piece. */
static void make_pieces(bpe_tok *tok)
{
    const bpe_table *vocab = &tok->model.vocab;

    tok->piece = bpe_zeroed(&tok->arena,
                            (size_t)tok->vocab * sizeof *tok->piece);
    for (size_t i = 0; i <= vocab->mask; i++)
        if (vocab->slot[i].id >= 0)
            tok->piece[vocab->slot[i].id].text = vocab->slot[i].key;
    for (uint32_t i = 0; i < tok->added_count; i++) {
        const bpe_added *a = &tok->added[i];
        tok->piece[a->id] = (bpe_piece){ a->pattern, a->flags };
    }
}

hone_status bpe_added_read(bpe_tok *tok, json_t *list, hone_err *err)
{
    size_t n = json_array_size(list);
    int32_t free_id = (int32_t)tok->model.vocab.count;

    if (n >= BPE_MAX_ID ||
        (list && !json_is_null(list) && !json_is_array(list)))
        return hone_fail(err, HONE_EINVAL,
                         "'added_tokens' must be a list of fewer than %d",
                         BPE_MAX_ID);
    tok->added = bpe_zeroed(&tok->arena, n * sizeof *tok->added);
    bpe_table_make(&tok->added_ids, &tok->arena, n);
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_array_get(list, i);
        bpe_added a = { 0 };
        int32_t at;

        hone_try(read_one(tok, item, &a, i + 1, err));
        if (!a.content.len)
            continue;
        hone_try(give_id(tok, &a, &free_id, err));
        find_pattern(tok, &a);
        /* Named twice: the later flags hold. */
        at = bpe_table_find(&tok->added_ids, a.content.at, a.content.len);
        if (at < 0) {
            at = (int32_t)tok->added_count++;
            bpe_table_put(&tok->added_ids, a.content, at);
        }
        tok->added[at] = a;
    }
    make_set(tok, &tok->raw, 0);
    make_set(tok, &tok->normalized, BPE_NORMALIZED);
    make_pieces(tok);
    warn_of_claims(tok, list);
    return HONE_OK;
}

/* ------------------------------------------------------------ searching */

/* The first index in [lo, hi) whose pattern has a byte >= C at position D. */
static uint32_t bound(const bpe_added_set *set, uint32_t lo, uint32_t hi,
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
static const bpe_added *longest(const bpe_added_set *set, bpe_text t)
{
    const bpe_added *best = NULL;
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

static size_t char_before(const char *text, size_t at)
{
    do
        at--;
    while (at && ((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

static int stands_alone(bpe_text t, size_t start, size_t end)
{
    size_t len;

    if (start && bpe_is_word(bpe_char(t.at + char_before(t.at, start), &len)))
        return 0;
    return end == t.len || !bpe_is_word(bpe_char(t.at + end, &len));
}

static size_t white_before(bpe_text t, size_t at, size_t low)
{
    size_t len;

    while (at > low) {
        size_t i = char_before(t.at, at);
        if (!bpe_is_white(bpe_char(t.at + i, &len)))
            break;
        at = i;
    }
    return at;
}

static size_t white_after(bpe_text t, size_t at)
{
    size_t len;

    while (at < t.len && bpe_is_white(bpe_char(t.at + at, &len)))
        at += len;
    return at;
}

typedef void between_fn(bpe_scratch *, bpe_text, int first);

/* Emits the tokens of SET in T; what lies between them goes to BETWEEN. */
static void extract(bpe_scratch *s, const bpe_added_set *set, bpe_text t,
                    int first, between_fn *between)
{
    size_t done = 0, at = 0;

    while (set->count && at < t.len) {
        bpe_text rest = { t.at + at, t.len - at };
        const bpe_added *hit = longest(set, rest);
        size_t start = at, end;

        if (!hit) {
            at++;
            continue;
        }
        at = end = start + hit->pattern.len;
        if ((hit->flags & BPE_WORD) && !stands_alone(t, start, end))
            continue;
        if (hit->flags & BPE_LSTRIP)
            start = white_before(t, start, done);
        if (hit->flags & BPE_RSTRIP)
            end = white_after(t, end);
        if (done < start)
            between(s, (bpe_text){ t.at + done, start - done },
                    first && done == 0);
        bpe_emit(s, hit->id);
        done = end;
    }
    if (done < t.len)
        between(s, (bpe_text){ t.at + done, t.len - done },
                first && done == 0);
}

static void to_pre_tokenizers(bpe_scratch *s, bpe_text t, int first)
{
    bpe_pre_tokenize(s, 0, t, first);
}

static void to_normalizers(bpe_scratch *s, bpe_text t, int first)
{
    extract(s, &s->tok->normalized, bpe_normalize(s, t), first,
            to_pre_tokenizers);
}

void bpe_encode_text(bpe_scratch *s, bpe_text t)
{
    extract(s, &s->tok->raw, t, 1, to_normalizers);
}

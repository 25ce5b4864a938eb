/* SPDX-License-Identifier: MIT
 *
 * bpe_read.c -- reads the BPE model of a tokenizer.json: merges and flags.
 * The file may be hostile: every merge must name pieces that exist.
 */
#include <stdlib.h>

#include "bpe_model.h"

/* ------------------------------------------------------- building a model */

void tk_bpe_merges(tk_bpe *m, tk_arena *a, size_t count)
{
    size_t slots = tk_slots_for(count), bits = 4 * slots;

    m->merge = tk_alloc(a, slots * sizeof *m->merge);
    m->merge_mask = slots - 1;
    m->filter = tk_zeroed(a, bits / 8);
    m->filter_mask = bits - 1;
    m->seed = tk_process_seed();
    for (size_t i = 0; i < slots; i++)
        m->merge[i] = (tk_merge){ TK_NO_PAIR, TK_NO_PAIR };
}

void tk_bpe_put(tk_bpe *m, int32_t left, int32_t right, uint32_t rank,
                int32_t to, int replace)
{
    uint64_t key = (uint64_t)left << 32 | (uint32_t)right;
    uint64_t h = tk_mix(key ^ m->seed);
    size_t i = h & m->merge_mask, bit = (h >> 36) & m->filter_mask;

    while (m->merge[i].key != key && m->merge[i].key != TK_NO_PAIR)
        i = (i + 1) & m->merge_mask;
    if (m->merge[i].key == key && !replace)
        return;
    m->merge[i] = (tk_merge){ key, (uint64_t)rank << 32 | (uint32_t)to };
    m->filter[bit / 64] |= (uint64_t)1 << (bit % 64);
}

/* Tables by character and byte, so that a word's symbols need no hashing. */
void tk_bpe_index(tk_bpe *m, tk_tok *tok)
{
    char text[8];

    m->chars = tk_alloc(&tok->arena, 0x10000 * sizeof *m->chars);
    memset(m->chars, 0xFF, 0x10000 * sizeof *m->chars);
    for (size_t i = 0; i <= tok->vocab.mask; i++) {
        const tk_entry *e = &tok->vocab.slot[i];
        size_t len = 0;
        int32_t code = 0;

        if (e->id >= 0 && e->key.len)
            code = tk_char(e->key.at, &len);
        if (len && len == e->key.len && code < 0x10000)
            m->chars[code] = e->id;
    }
    m->complete = m->raw || m->byte_fallback;
    for (int b = 0; b < 256; b++) {
        m->byte[b] = m->chars[tk_byte_char((unsigned char)b)];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        m->fallback[b] = tk_table_find(&tok->vocab, text, 6);
        if ((m->raw ? m->byte : m->fallback)[b] < 0)
            m->complete = 0;
    }
    if (m->raw)
        tk_bpe_byte_pairs(m, tok);
}

void tk_bpe_byte_pairs(tk_bpe *m, tk_tok *tok)
{
    m->byte_pair = tk_alloc(&tok->arena, 65536 * sizeof *m->byte_pair);
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++)
            m->byte_pair[a << 8 | b] =
                m->byte[a] < 0 || m->byte[b] < 0
                    ? TK_NO_PAIR
                    : tk_bpe_pair(m, m->byte[a], m->byte[b]);
}

/* --------------------------------------------------------------- merges */

/* "a b", or ["a", "b"] in newer files. */
static int merge_parts(const tk_json *item, tk_text *left, tk_text *right)
{
    tk_text line = tk_json_text(item);
    const char *gap;

    if (line.at) {
        gap = memchr(line.at, ' ', line.len);
        if (!gap)
            return 0;
        *left = (tk_text){ line.at, (size_t)(gap - line.at) };
        *right = (tk_text){ gap + 1, line.len - left->len - 1 };
        return !memchr(right->at, ' ', right->len);
    }
    *left = tk_json_text(tk_json_at(item, 0));
    *right = tk_json_text(tk_json_at(item, 1));
    return tk_json_count(item) == 2 && left->at && right->at;
}

typedef struct {
    tk_tok *tok;
    tk_bpe *m;
    tk_joints *joints;
    int odd; /* a merge takes the unknown token or a byte's: no cutting */
    void *room;
    size_t cap;
} merge_reader;

static int32_t joined_id(merge_reader *r, tk_text left, tk_text right)
{
    size_t n = left.len + right.len;

    tk_room(&r->room, &r->cap, n + 1, 1, 0);
    memcpy(r->room, left.at, left.len);
    memcpy((char *)r->room + left.len, right.at, right.len);
    return tk_table_find(&r->tok->vocab, r->room, n);
}

static int is_odd(const tk_bpe *m, tk_text t, int32_t id)
{
    return id == m->unk || (t.len == 6 && !memcmp(t.at, "<0x", 3));
}

/* The bytes that a piece in GPT-2's alphabet stands for; 0: it has a
 * character of another alphabet, so no text can give it. */
static size_t raw_bytes(tk_text piece, char *to)
{
    size_t n = 0, len;

    for (size_t i = 0; i < piece.len; i += len) {
        int byte = tk_char_byte(tk_char(piece.at + i, &len));
        if (byte < 0)
            return 0;
        to[n++] = (char)byte;
    }
    return n;
}

static void add_raw_joint(merge_reader *r, tk_text left, tk_text right)
{
    char *to;
    size_t a, b;

    tk_room(&r->room, &r->cap, left.len + right.len + 1, 1, 0);
    to = r->room;
    a = raw_bytes(left, to);
    b = raw_bytes(right, to + a);
    if (a && b)
        tk_joints_add_bytes(r->joints, (tk_text){ to, a },
                            (tk_text){ to + a, b });
}

static hone_status add_merge(merge_reader *r, const tk_json *item,
                             uint32_t number, uint32_t rank, hone_err *err)
{
    const tk_table *vocab = &r->tok->vocab;
    size_t skip = r->m->prefix.len;
    tk_text left, right, tail;
    int32_t a, b, ab = -1;

    if (!merge_parts(item, &left, &right))
        return hone_fail(err, HONE_EINVAL,
                         "model: merges: entry %u must be two pieces, as "
                         "\"a b\" or [\"a\", \"b\"]", number);
    a = tk_table_find(vocab, left.at, left.len);
    b = tk_table_find(vocab, right.at, right.len);
    tail = right;
    if (right.len >= skip) {
        tail = (tk_text){ right.at + skip, right.len - skip };
        ab = joined_id(r, left, tail);
    }
    if (a < 0 || b < 0 || ab < 0)
        return hone_fail(err, HONE_EINVAL,
                         "model: merges: entry %u ('%.*s' + '%.*s') names a "
                         "piece that is not in the vocabulary", number,
                         (int)(left.len < 60 ? left.len : 60), left.at,
                         (int)(right.len < 60 ? right.len : 60), right.at);
    tk_bpe_put(r->m, a, b, rank, ab, 1);
    if (r->m->raw)
        add_raw_joint(r, left, right);
    else
        r->odd |= is_odd(r->m, left, a) || is_odd(r->m, right, b);
    if (r->joints && !r->m->raw)
        tk_joints_add(r->joints, left, right);
    return HONE_OK;
}

static hone_status read_merges(merge_reader *r, const tk_json *merges,
                               hone_err *err)
{
    uint32_t count = tk_json_count(merges), rank = 0;
    uint32_t type = count ? tk_json_at(merges, 0)->type : 0;

    if (!tk_json_is(merges, TK_LIST))
        return hone_fail(err, HONE_EINVAL,
                         "model: 'merges' must be a list of pairs of pieces");
    tk_bpe_merges(r->m, &r->tok->arena, count);
    for (uint32_t i = 0; i < count; i++) {
        const tk_json *item = tk_json_at(merges, i);
        const char *text = tk_json_string(item);

        if (item->type != type)
            return hone_fail(err, HONE_EINVAL,
                             "model: merges: entry %u is written another way "
                             "than the first", i + 1);
        if (text && !strncmp(text, "#version", 8))
            continue; /* the first line of a merges.txt */
        hone_try(add_merge(r, item, i + 1, rank++, err));
    }
    return HONE_OK;
}

/* ----------------------------------------------------------- the options */

/* Byte-level: every piece also by the bytes that it stands for; one with a
 * character that is not of GPT-2's alphabet no text can give. */
static void spell_pieces(tk_tok *tok, tk_bpe *m)
{
    tk_table_make(&m->bytes, &tok->arena, tok->vocab.count);
    for (size_t k = 0; k <= tok->vocab.mask; k++) {
        const tk_entry *e = &tok->vocab.slot[k];
        char *out;
        size_t n;

        if (e->id < 0)
            continue;
        out = tk_alloc(&tok->arena, e->key.len);
        n = raw_bytes(e->key, out);
        if (n)
            tk_table_put(&m->bytes, (tk_text){ out, n }, e->id);
    }
    m->whole = &m->bytes;
}

/* Zero is no dropout; the library draws lots otherwise. */
static hone_status refuse_dropout(const tk_json *model, hone_err *err)
{
    const tk_json *v = tk_json_get(model, "dropout");

    if (tk_json_none(v) || (v->type == TK_INTEGER && v->u.integer == 0) ||
        (v->type == TK_REAL && v->u.real == 0))
        return HONE_OK;
    return hone_fail(err, HONE_ENOSUP,
                     "model: 'dropout' is not supported: the same text would "
                     "give other ids each time; set it to null");
}

static hone_status read_options(tk_tok *tok, tk_bpe *m, const tk_json *model,
                                hone_err *err)
{
    tk_text prefix = { NULL, 0 }, suffix = { NULL, 0 };

    hone_try(refuse_dropout(model, err));
    hone_try(tk_get_flag(model, "fuse_unk", 0, &m->fuse_unk, "model", err));
    hone_try(tk_get_flag(model, "byte_fallback", 0, &m->byte_fallback,
                         "model", err));
    hone_try(tk_get_flag(model, "ignore_merges", 0, &m->ignore_merges,
                         "model", err));
    hone_try(tk_get_text(model, "continuing_subword_prefix", &prefix, "model",
                         err));
    hone_try(tk_get_text(model, "end_of_word_suffix", &suffix, "model", err));
    if (prefix.len)
        m->prefix = tk_keep(&tok->arena, prefix.at, prefix.len);
    if (suffix.len)
        m->suffix = tk_keep(&tok->arena, suffix.at, suffix.len);
    return HONE_OK;
}

static hone_status read_unknown(tk_tok *tok, tk_bpe *m, const tk_json *model,
                                hone_err *err)
{
    tk_text unk = { NULL, 0 };

    m->unk = -1;
    hone_try(tk_get_text(model, "unk_token", &unk, "model", err));
    if (unk.at)
        m->unk = tk_table_find(&tok->vocab, unk.at, unk.len);
    m->unk_missing = unk.at && m->unk < 0;
    return HONE_OK;
}

/* Cutting is sure only where a character's symbol is its piece. */
static int can_cut(const tk_bpe *m)
{
    return !m->prefix.len && !m->suffix.len;
}

hone_status tk_bpe_read(tk_tok *tok, const tk_json *model, hone_err *err)
{
    tk_bpe *m = tk_zeroed(&tok->arena, sizeof *m);
    merge_reader r = { .tok = tok, .m = m };
    const char *type = tk_json_string(tk_json_get(model, "type"));
    hone_status s;

    m->tok = tok;
    tok->model = (tk_model){ .word = tk_bpe_word, .self = m };
    if (type && strcmp(type, "BPE") != 0)
        return hone_fail(err, HONE_ENOSUP,
                         "model: type '%.60s' is not supported; this plugin "
                         "reads BPE", type);
    hone_try(read_options(tok, m, model, err));
    if (m->prefix.len || m->suffix.len)
        tk_spell_again(tok);
    m->raw = tok->raw_bytes;
    hone_try(tk_vocab_read(tok, tk_json_get(model, "vocab"), err));
    hone_try(read_unknown(tok, m, model, err));
    if (can_cut(m)) {
        r.joints = tk_alloc(&tok->arena, sizeof *r.joints);
        tk_joints_make(r.joints, &tok->arena,
                       tk_json_count(tk_json_get(model, "merges")));
    }
    s = read_merges(&r, tk_json_get(model, "merges"), err);
    free(r.room);
    hone_try(s);
    m->whole = &tok->vocab;
    if (m->raw && m->ignore_merges)
        spell_pieces(tok, m);
    tk_bpe_index(m, tok);
    m->joints = r.odd || (m->raw && !m->complete) ? NULL : r.joints;
    tok->model.cached = m->raw || !m->joints;
    if (m->unk_missing && !m->complete)
        return hone_fail(err, HONE_EINVAL,
                         "model: unk_token '%.100s' is not in the vocabulary",
                         tk_json_string(tk_json_get(model, "unk_token")));
    return HONE_OK;
}

/* SPDX-License-Identifier: MIT
 *
 * vocab.c -- reads the model of a tokenizer.json: pieces, merges and flags.
 * The file may be hostile: ids are bounded, and every merge must name pieces
 * that exist.
 */
#include <string.h>

#include "bpe.h"

static hone_status absent(json_t *model, const char *key, hone_err *err)
{
    json_t *v = json_object_get(model, key);

    if (!v || json_is_null(v) ||
        (json_is_string(v) && !json_string_length(v)) ||
        (json_is_number(v) && json_number_value(v) == 0))
        return HONE_OK;
    return hone_fail(err, HONE_ENOSUP,
                     "model: '%s' is not supported; only BPE models without "
                     "it are", key);
}

/* The bytes that a piece in GPT-2's alphabet stands for; 0 if a character is
 * not of that alphabet: no text can give such a piece. */
static int spelt_bytes(bpe_arena *a, bpe_text piece, bpe_text *to)
{
    char *out = bpe_alloc(a, piece.len);
    size_t n = 0;

    for (size_t i = 0, len; i < piece.len; i += len) {
        int byte = bpe_char_byte(bpe_char(piece.at + i, &len));
        if (byte < 0)
            return 0;
        out[n++] = (char)byte;
    }
    *to = (bpe_text){ out, n };
    return 1;
}

static hone_status add_piece(bpe_tok *tok, const char *key, json_t *value,
                             hone_err *err)
{
    bpe_model *m = &tok->model;
    bpe_text bytes, piece = bpe_keep(&tok->arena, key, strlen(key));
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;

    if (id < 0 || id >= BPE_MAX_ID)
        return hone_fail(err, HONE_EINVAL,
                         "model: vocab: '%.100s' needs a whole number from 0 "
                         "to %d", key, BPE_MAX_ID - 1);
    bpe_table_put(&m->vocab, piece, (int32_t)id);
    if (m->byte_level && spelt_bytes(&tok->arena, piece, &bytes))
        bpe_table_put(&m->bytes, bytes, (int32_t)id);
    if (id >= tok->vocab)
        tok->vocab = (int32_t)id + 1;
    return HONE_OK;
}

static hone_status read_vocab(bpe_tok *tok, json_t *vocab, hone_err *err)
{
    bpe_model *m = &tok->model;
    const char *key;
    json_t *value;

    if (!json_is_object(vocab))
        return hone_fail(err, HONE_EINVAL,
                         "model: 'vocab' must be an object of piece: id");
    bpe_table_make(&m->vocab, &tok->arena, json_object_size(vocab));
    if (m->byte_level)
        bpe_table_make(&m->bytes, &tok->arena, json_object_size(vocab));
    json_object_foreach(vocab, key, value)
        hone_try(add_piece(tok, key, value, err));
    return HONE_OK;
}

/* "a b", or ["a", "b"] in newer files. */
static int merge_parts(json_t *item, bpe_text *left, bpe_text *right)
{
    if (json_is_string(item)) {
        const char *text = json_string_value(item);
        size_t len = json_string_length(item);
        const char *gap = memchr(text, ' ', len);

        if (!gap || memchr(gap + 1, ' ', len - (size_t)(gap + 1 - text)))
            return 0;
        *left = (bpe_text){ text, (size_t)(gap - text) };
        *right = (bpe_text){ gap + 1, len - left->len - 1 };
        return 1;
    }
    if (json_array_size(item) != 2)
        return 0;
    for (int i = 0; i < 2; i++) {
        json_t *part = json_array_get(item, (size_t)i);
        if (!json_is_string(part))
            return 0;
        *(i ? right : left) =
            (bpe_text){ json_string_value(part), json_string_length(part) };
    }
    return 1;
}

static int32_t joined_id(bpe_tok *tok, bpe_arena *work, bpe_text left,
                         bpe_text right)
{
    char small[256];
    size_t n = left.len + right.len;
    char *text = n <= sizeof small ? small : bpe_alloc(work, n);

    memcpy(text, left.at, left.len);
    memcpy(text + left.len, right.at, right.len);
    return bpe_table_find(&tok->model.vocab, text, n);
}

static hone_status add_merge(bpe_tok *tok, bpe_arena *work, json_t *item,
                             size_t number, uint32_t rank, hone_err *err)
{
    bpe_model *m = &tok->model;
    bpe_text left, right;
    int32_t a, b, ab;
    uint64_t key;

    if (!merge_parts(item, &left, &right))
        return hone_fail(err, HONE_EINVAL,
                         "model: merges: entry %zu must be two pieces, as "
                         "\"a b\" or [\"a\", \"b\"]", number);
    a = bpe_table_find(&m->vocab, left.at, left.len);
    b = bpe_table_find(&m->vocab, right.at, right.len);
    ab = joined_id(tok, work, left, right);
    if (a < 0 || b < 0 || ab < 0)
        return hone_fail(err, HONE_EINVAL,
                         "model: merges: entry %zu ('%.*s' + '%.*s') names a "
                         "piece that is not in the vocabulary", number,
                         (int)(left.len < 60 ? left.len : 60), left.at,
                         (int)(right.len < 60 ? right.len : 60), right.at);
    key = (uint64_t)a << 32 | (uint32_t)b;
    *bpe_merge_slot(m, key) =
        (bpe_merge){ key, (uint64_t)rank << 32 | (uint32_t)ab };
    return HONE_OK;
}

static hone_status read_merges(bpe_tok *tok, json_t *merges, hone_err *err)
{
    bpe_model *m = &tok->model;
    bpe_arena work = { NULL };
    hone_status status = HONE_OK;
    size_t slots, count = json_array_size(merges);
    uint32_t rank = 0;

    if (!json_is_array(merges) || count >= UINT32_MAX / 2)
        return hone_fail(err, HONE_EINVAL,
                         "model: 'merges' must be a list of pairs of pieces");
    slots = bpe_slots_for(count);
    m->merge = bpe_alloc(&tok->arena, slots * sizeof *m->merge);
    m->merge_mask = slots - 1;
    m->seed = m->vocab.seed;
    for (size_t i = 0; i < slots; i++)
        m->merge[i] = (bpe_merge){ BPE_NONE, BPE_NONE };
    for (size_t i = 0; i < count && status == HONE_OK; i++) {
        json_t *item = json_array_get(merges, i);
        const char *text = json_string_value(item);

        if (text && !strncmp(text, "#version", 8))
            continue; /* the first line of a merges.txt */
        status = add_merge(tok, &work, item, i + 1, rank++, err);
    }
    bpe_free(&work);
    return status;
}

/* Tables by character and byte, so that a word's symbols need no hashing. */
static void index_chars(bpe_tok *tok)
{
    bpe_model *m = &tok->model;
    char text[8];

    m->chars = bpe_alloc(&tok->arena, 0x10000 * sizeof *m->chars);
    memset(m->chars, 0xFF, 0x10000 * sizeof *m->chars);
    for (size_t i = 0; i <= m->vocab.mask; i++) {
        const bpe_entry *e = &m->vocab.slot[i];
        size_t len = 0;
        int32_t code = 0;

        if (e->id >= 0 && e->key.len)
            code = bpe_char(e->key.at, &len);
        if (len && len == e->key.len && code < 0x10000)
            m->chars[code] = e->id;
    }
    for (int b = 0; b < 256; b++) {
        m->byte[b] = m->chars[bpe_byte_char((unsigned char)b)];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        m->fallback[b] = bpe_table_find(&m->vocab, text, 6);
    }
}

/* Every text can be spelt without the unknown token. */
static int is_complete(const bpe_model *m)
{
    const int32_t *bytes = m->byte_level ? m->byte : m->fallback;

    if (!m->byte_level && !m->byte_fallback)
        return 0;
    for (int b = 0; b < 256; b++)
        if (bytes[b] < 0)
            return 0;
    return 1;
}

static hone_status read_unknown(bpe_tok *tok, json_t *model, hone_err *err)
{
    bpe_model *m = &tok->model;
    bpe_text unk = { NULL, 0 };

    m->unk = -1;
    hone_try(bpe_get_text(&tok->arena, model, "unk_token", &unk, "model", err));
    if (unk.at)
        m->unk = bpe_table_find(&m->vocab, unk.at, unk.len);
    if (unk.at && m->unk < 0 && !is_complete(m))
        return hone_fail(err, HONE_EINVAL,
                         "model: unk_token '%.100s' is not in the vocabulary",
                         unk.at);
    return HONE_OK;
}

hone_status bpe_model_read(bpe_tok *tok, json_t *model, hone_err *err)
{
    static const char *const unsupported[] = {
        "dropout", "continuing_subword_prefix", "end_of_word_suffix"
    };
    bpe_model *m = &tok->model;
    json_t *type = json_object_get(model, "type");

    if (!json_is_object(model))
        return hone_fail(err, HONE_EINVAL, "'model' must be an object");
    if (type && (!json_is_string(type) ||
                 strcmp(json_string_value(type), "BPE") != 0))
        return hone_fail(err, HONE_ENOSUP,
                         "model: type '%.60s' is not supported; this plugin "
                         "reads BPE",
                         json_is_string(type) ? json_string_value(type) : "?");
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        hone_try(absent(model, unsupported[i], err));
    hone_try(bpe_get_flag(model, "fuse_unk", 0, &m->fuse_unk, "model", err));
    hone_try(bpe_get_flag(model, "byte_fallback", 0, &m->byte_fallback,
                          "model", err));
    hone_try(bpe_get_flag(model, "ignore_merges", 0, &m->ignore_merges,
                          "model", err));
    hone_try(read_vocab(tok, json_object_get(model, "vocab"), err));
    hone_try(read_merges(tok, json_object_get(model, "merges"), err));
    index_chars(tok);
    return read_unknown(tok, model, err);
}

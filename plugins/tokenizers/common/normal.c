/* SPDX-License-Identifier: MIT
 *
 * normal.c -- normalizers: text to text, in the order of the file. FIRST is
 * how many leading bytes stem from where the whole text begins: Metaspace
 * asks for it.
 */
#include "tok.h"

/* Writes what becomes of the character C, at most 12 bytes; a step's options
 * are in STEP. */
typedef size_t map_fn(const tk_step *step, int32_t c, char *to);

static tk_text map_chars(tk_scratch *s, tk_text t, size_t *first,
                         const tk_step *step, map_fn *fn)
{
    char *to = tk_alloc(&s->arena, 3 * t.len + 16), *out = to;
    size_t front = 0;

    for (size_t i = 0, len; i < t.len; i += len) {
        int32_t c = tk_char(t.at + i, &len);

        out += fn(step, c, out);
        if (i < *first)
            front = (size_t)(out - to);
    }
    *first = front;
    return (tk_text){ to, (size_t)(out - to) };
}

static size_t lower_char(const tk_step *step, int32_t c, char *to)
{
    (void)step;
    if (c == 0x130) { /* the one letter whose small form is two */
        memcpy(to, "i\xCC\x87", 3);
        return 3;
    }
    return tk_put_char(tk_lower(c), to);
}

static size_t drop_mark(const tk_step *step, int32_t c, char *to)
{
    (void)step;
    return tk_is(c) & TK_IS_MARK ? 0 : tk_put_char(c, to);
}

static size_t drop_bert_mark(const tk_step *step, int32_t c, char *to)
{
    (void)step;
    return tk_is(c) & TK_IS_BERT_MARK ? 0 : tk_put_char(c, to);
}

/* Nmt: control characters vanish, odd white space becomes a space. */
static size_t nmt_char(const tk_step *step, int32_t c, char *to)
{
    static const int32_t gone[][2] = { { 1, 8 },       { 0xB, 0xB },
                                       { 0xE, 0x1F },  { 0x7F, 0x7F },
                                       { 0x8F, 0x8F }, { 0x9F, 0x9F } };
    static const int32_t space[][2] = {
        { 9, 10 },          { 0xC, 0xD },       { 0x1680, 0x1680 },
        { 0x200B, 0x200F }, { 0x2028, 0x2029 }, { 0x2581, 0x2581 },
        { 0xFEFF, 0xFEFF }, { 0xFFFD, 0xFFFD }
    };

    (void)step;
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        if (c >= gone[i][0] && c <= gone[i][1])
            return 0;
    for (size_t i = 0; i < sizeof space / sizeof *space; i++)
        if (c >= space[i][0] && c <= space[i][1])
            c = ' ';
    return tk_put_char(c, to);
}

static int is_chinese(int32_t c)
{
    static const int32_t blocks[][2] = {
        { 0x4E00, 0x9FFF },   { 0x3400, 0x4DBF },   { 0x20000, 0x2A6DF },
        { 0x2A700, 0x2B73F }, { 0x2B740, 0x2B81F }, { 0x2B920, 0x2CEAF },
        { 0xF900, 0xFAFF },   { 0x2F800, 0x2FA1F }
    };

    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (c >= blocks[i][0] && c <= blocks[i][1])
            return 1;
    return 0;
}

/* Cleaning and room around Chinese characters, in one go. */
static size_t bert_char(const tk_step *step, int32_t c, char *to)
{
    size_t n = 0;

    if (step->clean) {
        if (c == 0 || c == 0xFFFD || (tk_is(c) & TK_IS_BERT_CONTROL))
            return 0;
        if (tk_is_white(c))
            c = ' ';
    }
    if (!step->chinese || c < 0x3400 || !is_chinese(c))
        return tk_put_char(c, to);
    to[n++] = ' ';
    n += tk_put_char(c, to + n);
    to[n++] = ' ';
    return n;
}

static size_t spell_char(const tk_step *step, int32_t c, char *to)
{
    char bytes[4];

    (void)step;
    return tk_spell_bytes((tk_text){ bytes, tk_put_char(c, bytes) }, to);
}

/* Letters of ASCII only: no table is needed. */
static tk_text lowercase(tk_scratch *s, tk_text t, size_t *first)
{
    char *to;

    for (size_t i = 0; i < t.len; i++)
        if ((unsigned char)t.at[i] >= 0x80)
            return map_chars(s, t, first, NULL, lower_char);
    to = tk_alloc(&s->arena, t.len);
    for (size_t i = 0; i < t.len; i++)
        to[i] = t.at[i] >= 'A' && t.at[i] <= 'Z' ? (char)(t.at[i] | 32)
                                                 : t.at[i];
    return (tk_text){ to, t.len };
}

static tk_text strip(tk_text t, size_t *first, int left, int right)
{
    size_t len;

    while (left && t.len && tk_is_white(tk_char(t.at, &len))) {
        t.at += len;
        t.len -= len;
        *first -= *first < len ? *first : len;
    }
    while (right && t.len) {
        size_t i = tk_char_before(t.at, t.len);
        if (!tk_is_white(tk_char(t.at + i, &len)))
            break;
        t.len = i;
    }
    return t;
}

static tk_text prepend(tk_scratch *s, tk_text t, size_t *first, tk_text prefix)
{
    char *to;

    if (!t.len)
        return t;
    to = tk_alloc(&s->arena, prefix.len + t.len);
    memcpy(to, prefix.at, prefix.len);
    memcpy(to + prefix.len, t.at, t.len);
    *first += *first ? prefix.len : 0;
    return (tk_text){ to, prefix.len + t.len };
}

static tk_text replace(tk_scratch *s, tk_text t, size_t *first,
                       const tk_step *step)
{
    tk_search search = { &step->pattern, t.at, t.len, 0, 0, 0 };
    size_t start, end;

    if (*first && tk_next(&search, s, &start, &end) && start == 0)
        *first = step->text.len + (*first > end ? *first - end : 0);
    return tk_replace(s, &step->pattern, t, step->text);
}

static tk_text unicode_form(tk_scratch *s, tk_text t, size_t *first, int kind)
{
    tk_text to = tk_unicode_form(s, t, (tk_normal_kind)kind);
    size_t len = 0;

    if (to.at != t.at && *first) {
        if (to.len)
            tk_char(to.at, &len);
        *first = len;
    }
    return to;
}

static tk_text bert(tk_scratch *s, tk_text t, size_t *first,
                    const tk_step *step)
{
    if (step->clean || step->chinese)
        t = map_chars(s, t, first, step, bert_char);
    if (step->accents) {
        t = unicode_form(s, t, first, TK_NFD);
        t = map_chars(s, t, first, step, drop_bert_mark);
    }
    return step->lower ? lowercase(s, t, first) : t;
}

static tk_text apply(tk_scratch *s, tk_text t, size_t *first,
                     const tk_step *step)
{
    switch (step->kind) {
    case TK_PREPEND:
        return prepend(s, t, first, step->text);
    case TK_REPLACE:
        return replace(s, t, first, step);
    case TK_LOWERCASE:
        return lowercase(s, t, first);
    case TK_STRIP:
        return strip(t, first, step->left != 0, step->right != 0);
    case TK_STRIP_ACCENTS:
        return map_chars(s, t, first, step, drop_mark);
    case TK_NMT:
        return map_chars(s, t, first, step, nmt_char);
    case TK_BERT:
        return bert(s, t, first, step);
    case TK_CHARSMAP:
        return tk_charsmap_apply(s, &step->map, t, first);
    case TK_SPELL_BYTES:
        return map_chars(s, t, first, step, spell_char);
    default:
        return unicode_form(s, t, first, step->kind);
    }
}

tk_text tk_normalize(tk_scratch *s, tk_text t, size_t *first)
{
    const tk_steps *steps = &s->tok->normal;

    for (int i = 0; i < steps->count; i++)
        t = apply(s, t, first, &steps->step[i]);
    return t;
}

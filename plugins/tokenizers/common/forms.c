/* SPDX-License-Identifier: MIT
 *
 * forms.c -- Unicode's normal forms. Most characters of most texts are their
 * own form and join nothing; utf8proc gets only what lies between those. What
 * utf8proc may know but the library does not is left alone.
 */
#include <pthread.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "tok.h"

enum { QUICK = 0x30000, FORMS = 4 };

/* Characters that are their own form, begin one, and join nothing before. */
static uint64_t quick[FORMS][QUICK / 64];

static int options_of(tk_normal_kind kind)
{
    int options = UTF8PROC_STABLE;

    options |= kind == TK_NFC || kind == TK_NFKC ? UTF8PROC_COMPOSE
                                                 : UTF8PROC_DECOMPOSE;
    if (kind == TK_NFKC || kind == TK_NFKD)
        options |= UTF8PROC_COMPAT;
    return options;
}

static void set(uint64_t *map, int32_t c, int on)
{
    uint64_t bit = (uint64_t)1 << (c % 64);

    map[c / 64] = on ? map[c / 64] | bit : map[c / 64] & ~bit;
}

static int is_own_form(int32_t c, int options)
{
    char text[8];
    utf8proc_int32_t codes[40];
    utf8proc_ssize_t n, len = (utf8proc_ssize_t)tk_put_char(c, text);

    n = utf8proc_decompose((const utf8proc_uint8_t *)text, len, codes, 40,
                           options);
    if (n < 0 || n > 32)
        return 0;
    if (options & UTF8PROC_COMPOSE)
        n = utf8proc_normalize_utf32(codes, n, options);
    return n == 1 && codes[0] == c;
}

/* Characters that stand behind another one in a decomposition may join what
 * stands before them; so do vowels and finals of Hangul. */
static void unset_joining(uint64_t *map)
{
    utf8proc_int32_t codes[40];
    int bound = 0;

    for (int32_t c = 0xC0; c < QUICK; c++) {
        utf8proc_ssize_t n;

        if (c >= 0xAC00 && c < 0xE000)
            continue; /* Hangul, surrogates */
        n = utf8proc_decompose_char(c, codes, 40,
                                    UTF8PROC_DECOMPOSE | UTF8PROC_STABLE,
                                    &bound);
        for (utf8proc_ssize_t i = 1; i < n && i < 40; i++)
            if (codes[i] < QUICK)
                set(map, codes[i], 0);
    }
    for (int32_t c = 0x1161; c <= 0x11C2; c++)
        set(map, c, 0);
}

static void fill(int form)
{
    int options = options_of((tk_normal_kind)(form + TK_NFC));

    for (int32_t c = 0; c < QUICK; c++)
        set(quick[form], c,
            c < 0xC0 && !(options & UTF8PROC_COMPAT)
                ? 1
                : utf8proc_get_property(c)->combining_class == 0 &&
                      (c < 0xD800 || c > 0xDFFF) && is_own_form(c, options));
    if (options & UTF8PROC_COMPOSE)
        unset_joining(quick[form]);
    for (int32_t c = 0; c < QUICK; c++)
        if (tk_is(c) & TK_NORM_NEW)
            set(quick[form], c, 1);
}

static void fill_nfc(void) { fill(0); }
static void fill_nfd(void) { fill(1); }
static void fill_nfkc(void) { fill(2); }
static void fill_nfkd(void) { fill(3); }

static const uint64_t *quick_of(tk_normal_kind kind)
{
    static pthread_once_t once[FORMS] = { PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT,
                                          PTHREAD_ONCE_INIT,
                                          PTHREAD_ONCE_INIT };
    static void (*const fillers[FORMS])(void) = { fill_nfc, fill_nfd,
                                                  fill_nfkc, fill_nfkd };

    pthread_once(&once[kind - TK_NFC], fillers[kind - TK_NFC]);
    return quick[kind - TK_NFC];
}

static int is_quick(const uint64_t *map, int32_t c)
{
    if (c < QUICK)
        return (int)(map[c / 64] >> (c % 64) & 1);
    return (tk_is(c) & TK_NORM_NEW) ||
           (utf8proc_get_property(c)->combining_class == 0 && c < 0xF0000);
}

/* Where the first character that is not quick begins; t.len: nowhere. */
static size_t skip_quick(const uint64_t *map, tk_text t, size_t at)
{
    size_t len;

    while (at < t.len) {
        if ((unsigned char)t.at[at] < 0x80)
            at++;
        else if (is_quick(map, tk_char(t.at + at, &len)))
            at += len;
        else
            break;
    }
    return at;
}

static size_t skip_others(const uint64_t *map, tk_text t, size_t at)
{
    size_t len;

    while (at < t.len && !is_quick(map, tk_char(t.at + at, &len)))
        at += len;
    return at;
}

typedef struct {
    void *at;
    size_t used, cap;
} buffer;

static void append(buffer *b, const char *text, size_t n)
{
    tk_room(&b->at, &b->cap, b->used + n, 1, b->used);
    if (n)
        memcpy((char *)b->at + b->used, text, n);
    b->used += n;
}

/* The form of a short stretch. */
static void convert(tk_scratch *s, buffer *to, tk_text t, int options)
{
    utf8proc_ssize_t n = utf8proc_decompose((const utf8proc_uint8_t *)t.at,
                                            (utf8proc_ssize_t)t.len, NULL, 0,
                                            options);
    int32_t *codes;

    if (n < 0) {
        append(to, t.at, t.len);
        return;
    }
    /* The last step writes UTF-8 over the codes, and a NUL behind it. */
    codes = tk_alloc(&s->arena, ((size_t)n + 1) * sizeof *codes);
    n = utf8proc_decompose((const utf8proc_uint8_t *)t.at,
                           (utf8proc_ssize_t)t.len, codes, n, options);
    n = utf8proc_reencode(codes, n, options);
    append(to, (const char *)codes, n < 0 ? 0 : (size_t)n);
}

tk_text tk_unicode_form(tk_scratch *s, tk_text t, tk_normal_kind kind)
{
    const uint64_t *map = quick_of(kind);
    size_t done = 0, at = skip_quick(map, t, 0);
    buffer out = { NULL, 0, 0 };
    tk_text made;

    if (at == t.len)
        return t;
    while (at < t.len) {
        size_t end = skip_others(map, t, at), start = at, len;

        if (start > done) { /* the character before may take part */
            size_t before = tk_char_before(t.at, start);
            if (!(tk_is(tk_char(t.at + before, &len)) & TK_NORM_NEW))
                start = before;
        }
        append(&out, t.at + done, start - done);
        convert(s, &out, (tk_text){ t.at + start, end - start },
                options_of(kind));
        done = end;
        at = skip_quick(map, t, end);
    }
    append(&out, t.at + done, t.len - done);
    made = tk_keep(&s->arena, out.at, out.used);
    free(out.at);
    return made;
}

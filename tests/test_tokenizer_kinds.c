/* SPDX-License-Identifier: MIT
 *
 * test_tokenizer_kinds.c -- every tokenizer plugin gives the ids and texts of
 * the library that its files are from: on tests/tokenizer/kinds.json always,
 * on the .model files of $HONE_TEST_DATA where they are. The scanners written
 * by hand cut as the regular expressions do. Damaged files crash nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "plugins.h"

enum { MOST = 1 << 16, MUTANTS = 120 };

typedef struct {
    char *at;
    size_t len;
} text;

static json_t *kinds(void)
{
    json_t *root = json_load_file(HONE_SOURCE "/tests/tokenizer/kinds.json",
                                  JSON_ALLOW_NUL, NULL);

    assert_non_null(root);
    return root;
}

static const hone_tokenizer *api_of(json_t *kind)
{
    const char *name = json_string_value(json_object_get(kind, "component"));
    const hone_component *c = test_component(HONE_KIND_TOKENIZER, name);

    assert_non_null(c);
    return c->ops;
}

static int digit64(char c)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop"
                                  "qrstuvwxyz0123456789+/";
    const char *p = strchr(letters, c);

    return c && p ? (int)(p - letters) : -1;
}

/* The file of a kind: as it is, or in base 64. */
static text file_of(json_t *kind)
{
    json_t *coded = json_object_get(kind, "base64");
    json_t *plain = json_object_get(kind, "file");
    const char *p = json_string_value(coded);
    text t = { NULL, 0 };
    unsigned bits = 0;
    int have = 0;

    if (!p) {
        t.len = json_string_length(plain);
        t.at = malloc(t.len + 1);
        memcpy(t.at, json_string_value(plain), t.len + 1);
        return t;
    }
    t.at = malloc(json_string_length(coded) + 1);
    for (; digit64(*p) >= 0; p++) {
        bits = bits << 6 | (unsigned)digit64(*p);
        have += 6;
        if (have >= 8) {
            have -= 8;
            t.at[t.len++] = (char)(bits >> have);
        }
    }
    return t;
}

/* ---------------------------------------------------------------- answers */

static int ids_are(const int32_t *ids, int64_t n, json_t *want)
{
    if (n != (int64_t)json_array_size(want))
        return 0;
    for (int64_t i = 0; i < n; i++)
        if (ids[i] != json_integer_value(json_array_get(want, (size_t)i)))
            return 0;
    return 1;
}

static int check_text(const hone_tokenizer *api, void *tok, json_t *input,
                      json_t *answer)
{
    static int32_t ids[MOST];
    static char out[MOST];
    const char *in = json_string_value(input);
    size_t len = json_string_length(input);
    int bad = 0;

    for (uint32_t special = 0; special < 2; special++) {
        int64_t n = api->encode(tok, in, len, special ? HONE_SPECIALS : 0, ids,
                                MOST);
        if (ids_are(ids, n, json_array_get(answer, special)))
            continue;
        fprintf(stderr, "'%s': wrong ids:", in);
        for (int64_t i = 0; i < n && i < 40; i++)
            fprintf(stderr, " %d", (int)ids[i]);
        fprintf(stderr, "\n");
        bad++;
    }
    for (uint32_t skip = 0; skip < 2; skip++) {
        json_t *want = json_array_get(answer, 2 + skip);
        int64_t n = (int64_t)json_array_size(json_array_get(answer, 1)), got;

        for (int64_t i = 0; i < n; i++)
            ids[i] = (int32_t)json_integer_value(
                json_array_get(json_array_get(answer, 1), (size_t)i));
        got = api->decode(tok, ids, n, skip ? HONE_SKIP_SPECIALS : 0, out,
                          MOST);
        if (got == (int64_t)json_string_length(want) &&
            !memcmp(out, json_string_value(want), (size_t)got))
            continue;
        fprintf(stderr, "'%.*s' decoded, expected '%s'\n", (int)got, out,
                json_string_value(want));
        bad++;
    }
    return bad;
}

static void every_kind(void **state)
{
    json_t *root = kinds(), *list = json_object_get(root, "kinds");
    json_t *texts = json_object_get(root, "texts");
    int bad = 0;

    (void)state;
    assert_true(json_array_size(list) >= 12);
    for (size_t k = 0; k < json_array_size(list); k++) {
        json_t *kind = json_array_get(list, k);
        const hone_tokenizer *api = api_of(kind);
        text file = file_of(kind);
        hone_err err = { 0 };
        void *tok = NULL;
        int wrong = 0;

        assert_true(api->probe(file.at, file.len));
        if (api->load(NULL, file.at, file.len, &tok, &err) != HONE_OK)
            fail_msg("%s", err.msg);
        for (size_t i = 0; i < json_array_size(texts); i++)
            wrong += check_text(api, tok, json_array_get(texts, i),
                                json_array_get(json_object_get(kind, "answers"),
                                               i));
        if (wrong)
            fprintf(stderr, "^ '%s'\n",
                    json_string_value(json_object_get(kind, "name")));
        bad += wrong;
        api->unload(tok);
        free(file.at);
    }
    json_decref(root);
    assert_int_equal(bad, 0);
}

/* Each plugin takes its own files and no others. */
static void probes_tell_them_apart(void **state)
{
    static const char *const names[] = { "bpe", "unigram", "wordpiece",
                                         "wordlevel", "sentencepiece",
                                         "tiktoken" };
    json_t *root = kinds(), *list = json_object_get(root, "kinds");

    (void)state;
    for (size_t k = 0; k < json_array_size(list); k++) {
        json_t *kind = json_array_get(list, k);
        const char *own = json_string_value(json_object_get(kind, "component"));
        text file = file_of(kind);

        for (int i = 0; i < 6; i++) {
            const hone_tokenizer *api =
                test_component(HONE_KIND_TOKENIZER, names[i])->ops;
            if (api->probe(file.at, file.len) != !strcmp(names[i], own))
                fail_msg("%s on a file of %s", names[i], own);
        }
        free(file.at);
    }
    json_decref(root);
}

/* --------------------------------------------------------------- scanners */

#define CLITICS "'s|'t|'re|'ve|'m|'ll|'d"
#define TAIL "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define OTHERS "| ?[^\\s\\p{L}\\p{N}]+"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

static const char *const patterns[] = {
    CLITICS "| ?\\p{L}+| ?\\p{N}+" OTHERS "|\\s+(?!\\S)|\\s+",
    "'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?\\p{N}++| ?[^\\s\\p{L}\\p{N}]++|\\s++$"
    "|\\s+(?!\\S)|\\s",
    "(?i:" CLITICS ")|" LEAD "\\p{L}+|\\p{N}{1,3}" OTHERS "[\\r\\n]*" TAIL,
    "(?i:" CLITICS ")|" LEAD "\\p{L}+|\\p{N}" OTHERS "[\\r\\n]*" TAIL,
    "(?i:" CLITICS ")|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+"
    "[\\r\\n]*" TAIL,
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+"
    "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s",
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}"
    "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s",
    LEAD UPPER "*" LOWER "+(?i:" CLITICS ")?|" LEAD UPPER "+" LOWER
    "*(?i:" CLITICS ")?|\\p{N}{1,3}" OTHERS "[\\r\\n/]*" TAIL,
    LEAD UPPER "*" LOWER "+|" LEAD UPPER "+" LOWER "*|\\p{N}" OTHERS
    "[\\r\\n/]*" TAIL,
};

/* A tokenizer of bytes that puts a space before every piece that REGEX cuts:
 * its ids show where the cuts are. */
static void *cutter_of(const hone_tokenizer *api, const char *regex, int group)
{
    char grouped[2048];
    json_t *vocab = json_object(), *file;
    hone_err err = { 0 };
    void *tok = NULL;
    char *dump;

    snprintf(grouped, sizeof grouped, group ? "(?:%s)" : "%s", regex);
    for (int b = 0, more = 256; b < 256; b++) {
        int prints = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
        int c = prints ? b : more++;
        char piece[3] = { (char)c, 0, 0 };

        if (c >= 0x80) {
            piece[0] = (char)(0xC0 | c >> 6);
            piece[1] = (char)(0x80 | (c & 0x3F));
        }
        json_object_set_new(vocab, piece, json_integer(b));
    }
    file = json_pack(
        "{s:{s:s,s:o,s:[]},s:{s:s,s:[{s:s,s:{s:s},s:s,s:b},{s:s,s:b,s:b,s:b}]}}",
        "model", "type", "BPE", "vocab", vocab, "merges", "pre_tokenizer",
        "type", "Sequence", "pretokenizers", "type", "Split", "pattern",
        "Regex", grouped, "behavior", "Isolated", "invert", 0, "type",
        "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1, "use_regex", 0);
    assert_non_null(file);
    dump = json_dumps(file, 0);
    if (api->load(NULL, dump, strlen(dump), &tok, &err) != HONE_OK)
        fail_msg("%s", err.msg);
    free(dump);
    json_decref(file);
    return tok;
}

static uint64_t rng_state = 88172645463325252u;

static uint32_t rnd(uint32_t n)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)(rng_state >> 33) % n;
}

static size_t random_text(char *to)
{
    static const char *const parts[] = {
        " ", "  ", "\n", "\r\n", "\t", "\xC2\xA0", "\xE3\x80\x80", "\xC2\x85", "a", "Bc",
        "DEF", "gHi", "'s", "'LL", "'\xC5\xBF", "'", "1", "23456", "\xC2\xBD",
        "\xD9\xA0", "-", "!?", "/", "/\n", "\xCC\x81", "e\xCC\x81", "\xE4\xB8\xAD",
        "\xE4\xB8\xAD\xE6\x96\x87" "A", "\xC7\x85", "\xCA\xB0", "\xD0\x96\xD0\xB6",
        "\xF0\x9F\x98\x80", "\xE2\x80\x8D", "\xE0\xA4\x95\xE0\xA5\x8D", "_",
    };
    size_t n = 0;

    for (uint32_t k = rnd(12); k > 0; k--) {
        const char *p = parts[rnd(sizeof parts / sizeof *parts)];
        size_t len = strlen(p);
        memcpy(to + n, p, len);
        n += len;
    }
    return n;
}

static void scanners_are_their_patterns(void **state)
{
    const hone_tokenizer *api =
        test_component(HONE_KIND_TOKENIZER, "bpe")->ops;
    static int32_t a[512], b[512];
    char input[256];

    (void)state;
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++) {
        void *fast = cutter_of(api, patterns[p], 0);
        void *slow = cutter_of(api, patterns[p], 1);

        for (int i = 0; i < 4000; i++) {
            size_t len = random_text(input);
            int64_t n = api->encode(fast, input, len, 0, a, 512);
            int64_t m = api->encode(slow, input, len, 0, b, 512);

            if (n != m || memcmp(a, b, (size_t)n * sizeof *a) != 0)
                fail_msg("pattern %zu cuts '%.*s' another way", p, (int)len,
                         input);
        }
        api->unload(fast);
        api->unload(slow);
    }
}

/* ---------------------------------------------------------------- hostile */

/* A few bytes changed, a piece cut out or doubled. */
static text mutant(text file)
{
    text t = { malloc(2 * file.len + 16), file.len };

    memcpy(t.at, file.at, file.len);
    for (uint32_t k = 1 + rnd(3); k > 0 && t.len > 8; k--) {
        size_t at = rnd((uint32_t)t.len - 1), n = 1 + rnd(64);

        if (n > t.len - at)
            n = t.len - at;
        switch (rnd(5)) {
        case 0:
            t.at[at] ^= (char)(1 << rnd(8));
            break;
        case 1:
            t.at[at] = "{}[],:\"0-9e\\"[rnd(12)];
            break;
        case 2:
            memmove(t.at + at, t.at + at + n, t.len - at - n);
            t.len -= n;
            break;
        case 3:
            memmove(t.at + at + n, t.at + at, t.len - at);
            t.len += n;
            break;
        default:
            t.len = at + 1;
        }
        if (t.len > file.len + 200)
            break;
    }
    return t;
}

static void use(const hone_tokenizer *api, void *tok, json_t *texts)
{
    static int32_t ids[MOST];
    static char out[64];

    for (size_t i = 0; i < json_array_size(texts); i++) {
        json_t *input = json_array_get(texts, i);
        int64_t n = api->encode(tok, json_string_value(input),
                                json_string_length(input), HONE_SPECIALS, ids,
                                MOST);
        assert_in_range(n, 0, MOST);
        api->decode(tok, ids, n, 0, out, sizeof out);
    }
    for (int i = 0; i < 20; i++)
        ids[i] = (int32_t)rnd(3000) - 5;
    api->decode(tok, ids, 20, HONE_SKIP_SPECIALS, out, sizeof out);
}

static void damaged_files(void **state)
{
    json_t *root = kinds(), *list = json_object_get(root, "kinds");
    int loaded = 0, refused = 0;

    (void)state;
    for (size_t k = 0; k < json_array_size(list); k++) {
        json_t *kind = json_array_get(list, k);
        const hone_tokenizer *api = api_of(kind);
        text file = file_of(kind);

        for (int i = 0; i < MUTANTS; i++) {
            text bad = mutant(file);
            hone_err err = { 0 };
            void *tok = NULL;

            (void)api->probe(bad.at, bad.len);
            if (api->load(NULL, bad.at, bad.len, &tok, &err) == HONE_OK) {
                use(api, tok, json_object_get(root, "texts"));
                api->unload(tok);
                loaded++;
            } else {
                assert_true(err.msg[0] != 0);
                refused++;
            }
            free(bad.at);
        }
        free(file.at);
    }
    json_decref(root);
    assert_true(loaded > 100 && refused > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),
        cmocka_unit_test(probes_tell_them_apart),
        cmocka_unit_test(scanners_are_their_patterns),
        cmocka_unit_test(damaged_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

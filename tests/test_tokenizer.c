/* SPDX-License-Identifier: MIT
 *
 * test_tokenizer.c -- the plugin bpe gives the ids and texts of the library
 * `tokenizers`: on tests/tokenizer/cases.json always, on the vectors of real
 * models where $HONE_TEST_DATA has them. What it does not know it refuses by
 * name; hostile files neither crash it nor get past it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <pthread.h>

#include "plugins.h"

typedef struct {
    char *at;
    size_t len;
} text;

static const hone_tokenizer *api(void)
{
    static const hone_tokenizer *found;

    if (!found)
        found = test_component(HONE_KIND_TOKENIZER, "bpe")->ops;
    return found;
}

/* ------------------------------------------------------------ comparing */

static int same_ids(void *tok, const char *input, size_t len, uint32_t flags,
                    const int32_t *want, int64_t n)
{
    int64_t cap = (int64_t)len * 4 + 64;
    int32_t *ids = malloc((size_t)cap * sizeof *ids);
    int64_t got = api()->encode(tok, input, len, flags, ids, cap);
    int same = got == n && !memcmp(ids, want, (size_t)n * sizeof *ids);

    if (!same) {
        fprintf(stderr, "input '%.80s': %lld ids, expected %lld:", input,
                (long long)got, (long long)n);
        for (int64_t i = 0; i < got && i < 40 && i < cap; i++)
            fprintf(stderr, " %d", (int)ids[i]);
        fprintf(stderr, "\n");
    }
    free(ids);
    return same;
}

static int same_text(void *tok, const int32_t *ids, int64_t n, uint32_t flags,
                     const char *want, size_t len)
{
    int64_t got = api()->decode(tok, ids, n, flags, NULL, 0);
    char *out = malloc((size_t)got + 1);
    int same;

    api()->decode(tok, ids, n, flags, out, got);
    out[got] = 0;
    same = (size_t)got == len && !memcmp(out, want, len);
    if (!same)
        fprintf(stderr, "decoded '%s', expected '%s'\n", out, want);
    free(out);
    return same;
}

static int32_t *ids_of(json_t *list, int64_t *n)
{
    int32_t *ids = malloc((json_array_size(list) + 1) * sizeof *ids);

    *n = (int64_t)json_array_size(list);
    for (int64_t i = 0; i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    return ids;
}

/* ------------------------------------------------------- our own cases */

/* ANSWER: ids, ids with specials, the latter's text, and without specials. */
static int check_answer(void *tok, json_t *input, json_t *answer)
{
    const char *in = json_string_value(input);
    int bad = 0;

    for (uint32_t specials = 0; specials < 2; specials++) {
        json_t *out = json_array_get(answer, 2 + specials);
        int64_t n, all;
        int32_t *ids = ids_of(json_array_get(answer, specials), &n);
        int32_t *full = ids_of(json_array_get(answer, 1), &all);

        bad += !same_ids(tok, in, json_string_length(input), specials, ids, n);
        bad += !same_text(tok, full, all, specials, json_string_value(out),
                          json_string_length(out));
        free(ids);
        free(full);
    }
    return bad;
}

static int check_case(json_t *root, json_t *test)
{
    const char *base = json_string_value(json_object_get(test, "base"));
    const char *name = json_string_value(json_object_get(test, "name"));
    json_t *file = json_deep_copy(
        json_object_get(json_object_get(root, "bases"), base));
    json_t *texts = json_object_get(root, "texts");
    json_t *answers = json_object_get(test, "answers");
    hone_err err = { 0 };
    void *tok = NULL;
    char *dump;
    int bad = 0;

    json_object_update(file, json_object_get(test, "change"));
    json_object_update(json_object_get(file, "model"),
                       json_object_get(test, "model"));
    dump = json_dumps(file, 0);
    if (api()->load(NULL, dump, strlen(dump), &tok, &err) != HONE_OK) {
        fprintf(stderr, "%s: %s\n", name, err.msg);
        bad = 1;
    }
    for (size_t i = 0; tok && i < json_array_size(texts); i++)
        bad += check_answer(tok, json_array_get(texts, i),
                            json_array_get(answers, i));
    if (bad)
        fprintf(stderr, "^ in '%s' on '%s'\n", name, base);
    api()->unload(tok);
    free(dump);
    json_decref(file);
    return bad;
}

static json_t *cases(void)
{
    json_error_t why;
    json_t *root = json_load_file(HONE_SOURCE "/tests/tokenizer/cases.json",
                                  JSON_ALLOW_NUL, &why);

    assert_non_null(root);
    return root;
}

static void every_part_of_the_format(void **state)
{
    json_t *root = cases(), *tests = json_object_get(root, "tests");
    int bad = 0;

    (void)state;
    assert_true(json_array_size(tests) > 40);
    for (size_t i = 0; i < json_array_size(tests); i++)
        bad += check_case(root, json_array_get(tests, i));
    json_decref(root);
    assert_int_equal(bad, 0);
}

/* ----------------------------------------------------------- refusals */

static void refuse(const char *base, const char *change, const char *want)
{
    json_t *root = cases();
    json_t *file = json_object_get(json_object_get(root, "bases"), base);
    json_t *patch = json_loads(change, 0, NULL);
    hone_err err = { 0 };
    void *tok = NULL;
    char *dump;

    assert_non_null(patch);
    json_object_update_recursive(file, patch);
    dump = json_dumps(file, 0);
    if (api()->load(NULL, dump, strlen(dump), &tok, &err) == HONE_OK)
        fail_msg("%s was not refused", change);
    if (!strstr(err.msg, want))
        fail_msg("'%s' does not say '%s'", err.msg, want);
    free(dump);
    json_decref(patch);
    json_decref(root);
}

static void the_unknown_is_refused_by_name(void **state)
{
    (void)state;
    refuse("bytes", "{\"normalizer\":{\"type\":\"Newest\"}}",
           "normalizer: type 'Newest'");
    refuse("bytes", "{\"normalizer\":{\"type\":\"Precompiled\"}}",
           "'precompiled_charsmap'");
    refuse("bytes",
           "{\"normalizer\":{\"type\":\"Precompiled\","
           "\"precompiled_charsmap\":\"/////w==\"}}", "charsmap");
    refuse("bytes", "{\"pre_tokenizer\":{\"type\":\"Newest\"}}",
           "pre_tokenizer: type 'Newest'");
    refuse("bytes",
           "{\"pre_tokenizer\":{\"type\":\"FixedLength\",\"length\":0}}",
           "'length'");
    refuse("bytes", "{\"decoder\":{\"type\":\"Newest\"}}",
           "decoder: type 'Newest'");
    refuse("bytes", "{\"post_processor\":{\"type\":\"New\"}}",
           "post_processor: type 'New'");
    refuse("bytes", "{\"model\":{\"type\":\"Unigram\"}}", "type 'Unigram'");
    refuse("bytes", "{\"model\":{\"dropout\":0.1}}", "'dropout'");
    refuse("bytes", "{\"truncation\":{\"max_length\":8}}", "'truncation'");
    refuse("bytes", "{\"version\":\"2.0\"}", "version '2.0'");
    refuse("bytes",
           "{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Odd\","
           "\"invert\":false,"
           "\"pattern\":{\"String\":\" \"}}}", "behavior 'Odd'");
    refuse("bytes",
           "{\"pre_tokenizer\":{\"type\":\"Split\",\"invert\":false,"
           "\"pattern\":{\"Regex\":\"(a\"}}}", "regular expression '(a'");
    refuse("bytes",
           "{\"pre_tokenizer\":{\"type\":\"Split\",\"invert\":false,"
           "\"pattern\":{\"Regex\":\"\\\\p{Odd}\"}}}", "a property");
    refuse("bytes",
           "{\"added_tokens\":[{\"content\":\"A\"},{\"content\":\"a\"}],"
           "\"normalizer\":{\"type\":\"Lowercase\"}}", "'A' and 'a'");
}

static void the_hostile_is_refused(void **state)
{
    (void)state;
    refuse("bytes", "{\"model\":{\"vocab\":{\"x\":-1}}}", "'x'");
    refuse("bytes", "{\"model\":{\"vocab\":{\"x\":4000000000}}}", "'x'");
    refuse("bytes", "{\"model\":{\"vocab\":{\"x\":\"1\"}}}", "'x'");
    refuse("bytes", "{\"model\":{\"vocab\":[]}}", "'vocab'");
    refuse("bytes", "{\"model\":{\"merges\":{}}}", "'merges'");
    refuse("bytes", "{\"model\":{\"merges\":[\"a b c\"]}}", "entry 1");
    refuse("bytes", "{\"model\":{\"merges\":[[\"a\"]]}}", "entry 1");
    refuse("bytes", "{\"model\":{\"merges\":[\"a zz\"]}}", "'zz'");
    refuse("pieces", "{\"model\":{\"byte_fallback\":false,"
                     "\"unk_token\":\"?\"}}", "unk_token '?'");
    refuse("bytes", "{\"added_tokens\":[{\"content\":7}]}", "entry 1");
    refuse("bytes", "{\"added_tokens\":7}", "'added_tokens'");
    refuse("pieces",
           "{\"post_processor\":{\"special_tokens\":{\"<s>\":"
           "{\"ids\":[99999]}}}}", "id 99999");
    refuse("pieces", "{\"post_processor\":{\"single\":[]}}", "'single'");
}

static void a_cut_file_is_refused(void **state)
{
    json_t *root = cases();
    char *dump = json_dumps(
        json_object_get(json_object_get(root, "bases"), "pieces"), 0);
    size_t len = strlen(dump);
    hone_err err = { 0 };
    void *tok = NULL;

    (void)state;
    for (size_t i = 0; i < len; i += 37)
        assert_int_not_equal(api()->load(NULL, dump, i, &tok, &err), HONE_OK);
    assert_true(api()->probe(dump, len));
    assert_false(api()->probe("{\"vocab\":{\"merges\": 3}}", 23));
    free(dump);
    json_decref(root);
}

/* -------------------------------------------------------------- threads */

enum { ROUNDS = 400, MOST = 256 };

typedef struct {
    void *tok;
    uint64_t sum;
} worker;

static void *encode_often(void *arg)
{
    worker *w = arg;
    int32_t ids[MOST];
    char input[512];

    for (int i = 0; i < ROUNDS; i++) {
        int len = snprintf(input, sizeof input, "the cat %d sat <s> %*s mat", i,
                           i % 60, "");
        int64_t n = api()->encode(w->tok, input, (size_t)len, 1, ids, MOST);

        for (int64_t k = 0; k < n; k++)
            w->sum = w->sum * 31 + (uint64_t)ids[k];
    }
    return NULL;
}

static void threads_share_a_tokenizer(void **state)
{
    json_t *root = cases();
    char *dump = json_dumps(
        json_object_get(json_object_get(root, "bases"), "bytes"), 0);
    worker w[5] = { { NULL, 0 } };
    pthread_t thread[4];
    hone_err err;
    void *tok;

    (void)state;
    assert_int_equal(api()->load(NULL, dump, strlen(dump), &tok, &err),
                     HONE_OK);
    for (int i = 0; i < 5; i++)
        w[i].tok = tok;
    for (int i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, encode_often, &w[i]);
    encode_often(&w[4]);
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        assert_true(w[i].sum == w[4].sum);
    }
    api()->unload(tok);
    free(dump);
    json_decref(root);
}

/* --------------------------------------------------- vectors of models */

static const char *data_dir(void)
{
    return getenv("HONE_TEST_DATA");
}

static text read_text(const char *fmt, const char *a, const char *b)
{
    char path[4096];
    size_t n = (size_t)snprintf(path, sizeof path, "%s/", data_dir());
    text t = { NULL, 0 };
    FILE *f;

    snprintf(path + n, sizeof path - n, fmt, a, b);
    f = fopen(path, "rb");
    if (!f) {
        printf("skipped: no %s\n", path);
        return t;
    }
    fseek(f, 0, SEEK_END);
    t.len = (size_t)ftell(f);
    rewind(f);
    t.at = malloc(t.len + 1);
    assert_int_equal(fread(t.at, 1, t.len, f), t.len);
    t.at[t.len] = 0;
    fclose(f);
    return t;
}

static void *load_model(const char *fmt, const char *name)
{
    text t = read_text(fmt, name, "");
    hone_err err = { 0 };
    void *tok = NULL;

    if (t.at) {
        assert_true(api()->probe(t.at, t.len));
        if (api()->load(NULL, t.at, t.len, &tok, &err) != HONE_OK)
            fail_msg("%s: %s", name, err.msg);
    }
    free(t.at);
    return tok;
}

/* The next line of T from *AT on, without its end. */
static text next_line(text t, size_t *at)
{
    text line = { t.at + *at, 0 };
    char *end = memchr(line.at, '\n', t.len - *at);

    line.len = end ? (size_t)(end - line.at) : t.len - *at;
    *at += line.len + 1;
    return line;
}

/* Numbers of a line, whatever stands between them. */
static int32_t *numbers(text line, int64_t *n)
{
    int32_t *ids = malloc((line.len + 1) * sizeof *ids);
    const char *end = line.at + line.len;

    *n = 0;
    for (char *p = line.at; p < end;) {
        if (*p < '0' || *p > '9')
            p++;
        else
            ids[(*n)++] = (int32_t)strtol(p, &p, 10);
    }
    return ids;
}

/* The corpora write a line's newlines and spaces as \n and \s. */
static text unescape(text line)
{
    text t = { malloc(line.len + 1), 0 };

    for (size_t i = 0; i < line.len; i++) {
        char c = line.at[i], d = i + 1 < line.len ? line.at[i + 1] : 0;

        if (c == '\\' && (d == 'n' || d == 's')) {
            c = d == 'n' ? '\n' : ' ';
            i++;
        }
        t.at[t.len++] = c;
    }
    t.at[t.len] = 0;
    return t;
}

static int check_lines(void *tok, text input, text want)
{
    size_t i = 0, k = 0;
    int bad = 0;

    while (k < want.len && i <= input.len) {
        text in = unescape(next_line(input, &i));
        int64_t n;
        int32_t *ids = numbers(next_line(want, &k), &n);

        bad += !same_ids(tok, in.at, in.len, 0, ids, n);
        free(ids);
        free(in.at);
    }
    return bad;
}

static int check_whole(void *tok, text input, text want, text out)
{
    int64_t n;
    int32_t *ids = numbers(want, &n);
    int bad = !same_ids(tok, input.at, input.len, 0, ids, n);

    if (out.at)
        bad += !same_text(tok, ids, n, 0, out.at, out.len);
    free(ids);
    return bad;
}

static int check_corpora(const char *folder, const char *name)
{
    static const char dir[] = "tokenizer_vectors/kitoken/";
    void *tok = load_model("tokenizers/%s/tokenizer.json%s", folder);
    int bad = 0;

    for (int i = 0; tok && i < 3; i++) {
        const char *corpus = i == 0 ? "small" : i == 1 ? "mixed" : "utf8";
        char fmt[96];
        text in, want, out = { NULL, 0 };

        snprintf(fmt, sizeof fmt, "%s%%s_input.txt%%s", dir);
        in = read_text(fmt, corpus, "");
        snprintf(fmt, sizeof fmt, "%stokenizers/%%s_tokens_%%s.txt", dir);
        want = read_text(fmt, corpus, name);
        snprintf(fmt, sizeof fmt, "%stokenizers/%%s_output_%%s.txt", dir);
        if (i == 2 && (!strcmp(name, "llama2") || !strcmp(name, "mistral03") ||
                       !strcmp(name, "gemma3")))
            out = read_text(fmt, corpus, name);
        if (in.at && want.at)
            bad += i == 2 ? check_whole(tok, in, want, out)
                          : check_lines(tok, in, want);
        free(in.at);
        free(want.at);
        free(out.at);
    }
    if (tok)
        api()->unload(tok);
    return bad;
}

/* Texts with a separator line between them; a line of ids for each. */
static int check_texts(const char *folder, const char *name)
{
    static const char gap[] = "\n__ggml_vocab_test__\n";
    static const char dir[] =
        "tokenizer_vectors/llama.cpp/ggml-vocab-%s.gguf.%s";
    void *tok = load_model("tokenizers/%s/tokenizer.json%s", folder);
    text in = tok ? read_text(dir, name, "inp") : (text){ NULL, 0 };
    text want = tok ? read_text(dir, name, "out") : (text){ NULL, 0 };
    size_t k = 0;
    int bad = 0;

    for (char *p = in.at; p && want.at && k < want.len;) {
        char *end = strstr(p, gap);
        size_t len = end ? (size_t)(end - p) : strlen(p);
        int64_t n;
        int32_t *ids = numbers(next_line(want, &k), &n);

        bad += !same_ids(tok, p, len, 0, ids, n);
        free(ids);
        p = end ? end + sizeof gap - 1 : NULL;
    }
    free(in.at);
    free(want.at);
    if (tok)
        api()->unload(tok);
    return bad;
}

static void vectors_of_real_models(void **state)
{
    static const char *const corpora[][2] = {
        { "gpt2", "gpt2" },         { "llama2", "llama2" },
        { "llama3.1", "llama32" },  { "llama3.1", "llama33" },
        { "gemma3", "gemma3" },     { "mistral-v0.3", "mistral03" },
    };
    static const char *const texts[][2] = {
        { "gpt2", "gpt-2" },
        { "llama3.1", "llama-bpe" },
        { "llama2", "llama-spm" },
        { "qwen3", "qwen2" },
    };
    int bad = 0;

    (void)state;
    if (!data_dir()) {
        printf("skipped: HONE_TEST_DATA is not set: no vectors of models\n");
        return;
    }
    for (size_t i = 0; i < sizeof corpora / sizeof *corpora; i++)
        bad += check_corpora(corpora[i][0], corpora[i][1]);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        bad += check_texts(texts[i][0], texts[i][1]);
    assert_int_equal(bad, 0);
}

/* Llama 2's prompts with BOS. */
static void prompts_with_specials(void **state)
{
    void *tok;
    text t;
    json_t *root;
    int bad = 0;

    (void)state;
    if (!data_dir())
        return;
    tok = load_model("tokenizers/%s/tokenizer.json%s", "llama2");
    t = read_text("tokenizer_vectors/%s%s", "llama2c_prompt_encodings.json",
                  "");
    root = t.at ? json_loadb(t.at, t.len, 0, NULL) : NULL;
    for (size_t i = 0; tok && i < json_array_size(root); i++) {
        json_t *one = json_array_get(root, i);
        json_t *in = json_object_get(one, "text");
        int64_t n;
        int32_t *ids = ids_of(json_object_get(one, "ids_with_bos"), &n);

        bad += !same_ids(tok, json_string_value(in), json_string_length(in),
                         HONE_SPECIALS, ids, n);
        free(ids);
    }
    json_decref(root);
    free(t.at);
    if (tok)
        api()->unload(tok);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_of_the_format),
        cmocka_unit_test(the_unknown_is_refused_by_name),
        cmocka_unit_test(the_hostile_is_refused),
        cmocka_unit_test(a_cut_file_is_refused),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(vectors_of_real_models),
        cmocka_unit_test(prompts_with_specials),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

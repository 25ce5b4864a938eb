/* SPDX-License-Identifier: MIT
 *
 * test_template.c -- the plugin jinja against what jinja2 gave, as Transformers
 * sets it up: small templates for each thing it knows (tests/golden/jinja.json)
 * and, where $HONE_TEST_DATA has them, real chat templates (golden/chat.json);
 * then the parts that an assistant says, the caps, and a fuzz of templates.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>
#include <openssl/evp.h>

#include "plugins.h"

static const hone_template *api(void)
{
    static const hone_template *found;

    if (!found)
        found = test_component(HONE_KIND_TEMPLATE, "jinja")->ops;
    return found;
}

/* What a rendering came to. */
typedef struct {
    char *text; /* rendered, raised, or the message */
    char kind;  /* 't', 'r' or 'e' */
    char spans[400]; /* "[part][part]" */
} outcome;

static void keep_spans(outcome *o, const hone_rendered *r)
{
    size_t at = 0;

    for (uint32_t i = 0; i < r->spans; i++) {
        size_t n = (size_t)(r->span[i].to - r->span[i].from);

        if (at + n + 3 > sizeof o->spans)
            return;
        o->spans[at++] = '[';
        memcpy(o->spans + at, r->text + r->span[i].from, n);
        at += n;
        o->spans[at++] = ']';
    }
}

static outcome render_json(const char *template, size_t bytes,
                           const char *json, hone_learn learn)
{
    hone_rendered r = { .size = sizeof r };
    outcome o = { NULL, 'e', "" };
    hone_err err = { 0 };
    void *self = NULL;

    if (api()->load(NULL, template, bytes, &self, &err) != HONE_OK) {
        o.text = strdup(err.msg);
        return o;
    }
    if (api()->render(self, json, strlen(json), learn, &r, &err) == HONE_OK) {
        o.kind = 't';
        o.text = strndup(r.text, (size_t)r.bytes);
        keep_spans(&o, &r);
    } else {
        o.kind = r.raised ? 'r' : 'e';
        o.text = strdup(r.raised ? r.raised : err.msg);
    }
    api()->release(&r);
    api()->unload(self);
    return o;
}

static outcome render(const char *template, const json_t *variables,
                      hone_learn learn)
{
    char *json = json_dumps(variables, 0);
    outcome o = render_json(template, strlen(template), json, learn);

    free(json);
    return o;
}

static json_t *load_json(const char *folder, const char *name)
{
    char path[4096];
    json_error_t why;
    json_t *root;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    root = json_load_file(path, JSON_ALLOW_NUL, &why);
    if (!root)
        fprintf(stderr, "%s: %s\n", path, why.text);
    return root;
}

/* ------------------------------------------------------- small templates */

static void test_engine(void **state)
{
    json_t *root = load_json(HONE_SOURCE, "tests/golden/jinja.json"), *row;
    json_t *variables = json_object_get(root, "variables");
    int bad = 0;
    size_t i;

    (void)state;
    assert_non_null(root);
    json_array_foreach(json_object_get(root, "templates"), i, row) {
        const char *text = json_string_value(json_array_get(row, 0));
        const char *kind = json_string_value(json_array_get(row, 1));
        const char *want = json_string_value(json_array_get(row, 2));
        outcome o = render(text, variables, HONE_LEARN_NOTHING);

        if (o.kind != kind[0] || (o.kind != 'e' && strcmp(o.text, want))) {
            fprintf(stderr, "%s\n  want %s '%s'\n  got  %c '%s'\n", text, kind,
                    want, o.kind, o.text);
            bad++;
        }
        free(o.text);
    }
    json_decref(root);
    assert_int_equal(bad, 0);
}

/* ---------------------------------------------------- real chat templates */

static char *read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text;
    long n;

    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    n = ftell(f);
    rewind(f);
    text = calloc(1, (size_t)n + 1);
    if (fread(text, 1, (size_t)n, f) != (size_t)n)
        text[0] = 0;
    fclose(f);
    return text;
}

static char *case_template(const char *file, const char *name)
{
    json_t *root = load_json(getenv("HONE_TEST_DATA"), file), *row;
    json_t *list = json_is_array(root) ? root : json_object_get(root, "cases");
    char *text = NULL;
    size_t i;

    json_array_foreach(list, i, row)
        if (!text && !strcmp(json_string_value(json_object_get(row, "name")),
                             name))
            text = strdup(json_string_value(json_object_get(row,
                                                            "chat_template")));
    json_decref(root);
    return text;
}

/* The template that tests/parity/chat.py calls NAME. */
static char *material(const char *name)
{
    const char *data = getenv("HONE_TEST_DATA");
    char path[1024], *text;
    json_t *config;

    if (!strncmp(name, "tokenizers/", 11)) {
        snprintf(path, sizeof path, "%s/tokenizer_config.json", name);
        config = load_json(data, path);
        text = strdup(json_string_value(json_object_get(config,
                                                        "chat_template")));
        json_decref(config);
        return text;
    }
    snprintf(path, sizeof path, "%s/chat_templates/llama_cpp/%s", data, name);
    if ((text = read_text(path)))
        return text;
    snprintf(path, sizeof path, "%s/chat_templates/%s", data, name);
    if ((text = read_text(path)))
        return text;
    snprintf(path, sizeof path, "chat_templates/%.*s/chat_template_cases.json",
             (int)strcspn(name, "/"), name);
    return case_template(path, name + strcspn(name, "/") + 1);
}

static void digest(const outcome *o, char to[16])
{
    unsigned char sum[EVP_MAX_MD_SIZE];

    snprintf(to, 16, "e");
    if (o->kind == 'e')
        return;
    EVP_Digest(o->text, strlen(o->text), sum, NULL, EVP_sha256(), NULL);
    snprintf(to, 16, "%c:%02x%02x%02x%02x%02x%02x", o->kind, sum[0], sum[1],
             sum[2], sum[3], sum[4], sum[5]);
}

static int check_template(const char *name, const char *want,
                          const json_t *chats)
{
    char *text = material(name), got[16];
    int bad = text == NULL;
    json_t *chat;
    size_t i;

    json_array_foreach((json_t *)chats, i, chat) {
        outcome o = text ? render(text, chat, HONE_LEARN_NOTHING)
                         : (outcome){ strdup(""), 'e', "" };

        digest(&o, got);
        if (strncmp(got, want, strlen(got))) {
            fprintf(stderr, "%s: conversation %zu differs: %.200s\n", name, i,
                    o.text);
            bad++;
        }
        want += strcspn(want, " ") + 1;
        free(o.text);
    }
    free(text);
    return bad;
}

static void test_material(void **state)
{
    json_t *root = load_json(HONE_SOURCE, "tests/golden/chat.json"), *want;
    const char *name;
    int bad = 0;

    (void)state;
    if (!getenv("HONE_TEST_DATA")) {
        json_decref(root);
        printf("skipped: HONE_TEST_DATA is not set\n");
        skip();
    }
    json_object_foreach(json_object_get(root, "templates"), name, want)
        bad += check_template(name, json_string_value(want),
                              json_object_get(root, "conversations"));
    json_decref(root);
    assert_int_equal(bad, 0);
}

/* ---------------------------------------------------- what is to be learnt */

#define CHAT                                                                   \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "               \
    "{\"role\": \"assistant\", \"content\": \"<think>t</think>b\"}, "          \
    "{\"role\": \"user\", \"content\": \"c\"}, "                               \
    "{\"role\": \"assistant\", \"content\": \"<think>u</think>d\"}]}"
#define BODY(CONTENT)                                                          \
    "{% for m in messages %}<{{ m.role }}>" CONTENT "<end>\n{% endfor %}"      \
    "{% if add_generation_prompt %}<assistant>{% endif %}"

static void check_spans(const char *template, const char *chat,
                        hone_learn learn, const char *want)
{
    outcome o = render_json(template, strlen(template), chat, learn);

    if (o.kind != 't')
        fail_msg("%s: %s", template, o.text);
    assert_string_equal(o.spans, want);
    free(o.text);
}

static void test_turns(void **state)
{
    const char *thinking =
        BODY("{% if m.role == 'assistant' and not loop.last %}"
             "{{ m.content.split('</think>')[-1] }}"
             "{% else %}{{ m.content }}{% endif %}");

    (void)state;
    check_spans(BODY("{{ m.content }}"), CHAT, HONE_LEARN_ASSISTANT,
                "[<think>t</think>b<end>\n][<think>u</think>d<end>\n]");
    check_spans(BODY("{{ m.content }}"), CHAT, HONE_LEARN_LAST,
                "[<think>u</think>d<end>\n]");
    check_spans(BODY("{{ m.content }}"), CHAT, HONE_LEARN_NOTHING, "");
    /* thinking goes once another turn follows */
    check_spans(thinking, CHAT, HONE_LEARN_ASSISTANT,
                "[b<end>\n][<think>u</think>d<end>\n]");
    /* the generation prompt opens a thought that the turn does not have */
    check_spans("{% for m in messages %}<{{ m.role }}>"
                "{{ m.content.split('</think>')[-1] }}<end>{% endfor %}"
                "{% if add_generation_prompt %}<assistant><think>{% endif %}",
                CHAT, HONE_LEARN_ASSISTANT, "[b<end>][d<end>]");
    /* an end token behind the whole chat only */
    check_spans("{% for m in messages %}{{ m.content }}"
                "{% if not loop.last %}  {% endif %}{% endfor %}</s>", CHAT,
                HONE_LEARN_ASSISTANT,
                "[<think>t</think>b][<think>u</think>d</s>]");
}

#define MESSAGES(ROWS) "{\"messages\": [" ROWS "]}"
#define USER(TEXT) "{\"role\": \"user\", \"content\": \"" TEXT "\"}"
#define SAYS(TEXT) "{\"role\": \"assistant\", \"content\": \"" TEXT "\""

/* Templates that write a turn otherwise where it is the last one. */
static void test_turns_by_what_follows(void **state)
{
    /* the last of the assistant's turns is left for the model to say */
    const char *left = "{% for m in messages %}{% if m.role == 'user' or not "
                       "loop.last %} {{ m.role }}: {{ m.content }}\n"
                       "{% endif %}{% endfor %} assistant:[SEP]";
    /* thoughts are of the last turn alone, which ends otherwise */
    const char *thoughts =
        "{% for m in messages %}<{{ m.role }}>{% if loop.last and m.thinking %}"
        "<t>{{ m.thinking }}</t>{% endif %}<m>{{ m.content }}"
        "{{ '<return>' if loop.last and m.role != 'user' else '<end>' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}";
    /* an end token behind the whole, with which a content begins */
    const char *ended = BODY("{{ m.content }}")
        "{% if not add_generation_prompt %}</s>{% endif %}";

    (void)state;
    check_spans(left, MESSAGES(USER("a") "," SAYS("") "}," USER("b")),
                HONE_LEARN_ASSISTANT, "[\n]");
    check_spans(left, MESSAGES(USER("a") "," SAYS("c") "}," USER("b")),
                HONE_LEARN_ASSISTANT, "[c\n]");
    check_spans(thoughts,
                MESSAGES(USER("a") "," SAYS("b") ",\"thinking\": \"t\"},"
                         USER("c") "," SAYS("d") ",\"thinking\": \"u\"}"),
                HONE_LEARN_ASSISTANT, "[<m>b][<t>u</t><m>d<return>]");
    check_spans(ended, MESSAGES(USER("a") "," SAYS("</s> b") "}," USER("c")),
                HONE_LEARN_ASSISTANT, "[</s> b<end>\n]");
}

static void test_generation(void **state)
{
    const char *marked =
        BODY("{% if m.role == 'assistant' %}{% generation %}{{ m.content }}é"
             "{% endgeneration %}{% else %}{{ m.content }}{% endif %}");

    (void)state;
    check_spans(marked, CHAT, HONE_LEARN_ASSISTANT,
                "[<think>t</think>bé][<think>u</think>dé]");
    check_spans(marked, CHAT, HONE_LEARN_LAST, "[<think>u</think>dé]");
    /* in a macro its place is not known: found by rendering */
    check_spans("{% macro say(m) %}{% generation %}{{ m.content }}"
                "{% endgeneration %}{% endmacro %}" BODY("{{ say(m) }}"),
                CHAT, HONE_LEARN_LAST, "[<think>u</think>d<end>\n]");
}

static void test_lost_turn(void **state)
{
    /* no beginning is one of the whole, and the contents are not in it */
    const char *numbered = "{{ messages|length }}" BODY("...");
    /* nor does it take another content in their place */
    const char *strict = "{{ messages|length }}{% for m in messages %}"
                         "{% if m.role == 'assistant' and m.content|length == 1"
                         "%}{{ raise_exception('short') }}{% endif %}"
                         "{{ m.content }}{% endfor %}";
    outcome o = render_json(numbered, strlen(numbered), CHAT,
                            HONE_LEARN_ASSISTANT);

    (void)state;
    assert_int_equal(o.kind, 'e');
    assert_non_null(strstr(o.text, "message 2: the template writes nothing"));
    free(o.text);
    o = render_json(strict, strlen(strict), CHAT, HONE_LEARN_ASSISTANT);
    assert_int_equal(o.kind, 'e');
    assert_non_null(strstr(o.text, "message 2: what the template makes of"));
    assert_non_null(strstr(o.text, "{% generation %}"));
    free(o.text);
}

/* -------------------------------------------------------- caps and messages */

static void refused(const char *template, const char *words)
{
    outcome o = render_json(template, strlen(template), CHAT,
                            HONE_LEARN_NOTHING);

    if (o.kind != 'e' || !strstr(o.text, words))
        fail_msg("%.60s: expected '%s', got %c '%.200s'", template, words,
                 o.kind, o.text);
    free(o.text);
}

static void test_messages(void **state)
{
    (void)state;
    refused("\n\n{{ nothing.more }}", "line 3: 'nothing' is undefined");
    refused("\n{% if %}", "line 2: expected an expression");
    refused("{% for x in y %}", "expected '{% endfor %}'");
    refused("{% include 'a' %}", "{% include %} is not supported");
    refused("{% nosuch %}", "unknown tag 'nosuch'");
    refused("{{ 1|nosuch }}", "no filter named 'nosuch'");
    refused("{{ 1 is nosuch }}", "no test named 'nosuch'");
    refused("{{ 'x'|urlize }}", "not supported");
    refused("a\n{{ 'a' + 1 }}", "line 2: unsupported operand");
    refused("{{ messages.append(1) }}", "it changes the value");
    refused("{{ ''.__class__.mro() }}", "is unsafe");
}

static void test_caps(void **state)
{
    char *deep = calloc(1, 40000);

    (void)state;
    refused("{% for a in range(100000) %}{% for b in range(100000) %}"
            "{% endfor %}{% endfor %}", "more than");
    refused("{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}"
            "{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
            "MiB");
    refused("{{ 'a' * 99999999999 }}", "");
    refused("{{ [1] * 99999999999 }}", "more than");
    refused("{% for a in range(99999) %}{{ 'aaaaaaaa' * 9999 }}{% endfor %}",
            "MiB");
    refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deep");
    refused("{{ '%999999999d' % 1 }}", "width");
    refused("{{ '{:999999999}'.format(1) }}", "width");
    refused("{{ range(100001) }}", "range too big");
    for (int i = 0; i < 5000; i++)
        strcat(deep + i, "(");
    memcpy(deep, "{{", 2);
    refused(deep, "deep");
    for (int i = 0; i < 3000; i++)
        memcpy(deep + 11 * i, "{% if 1 %} ", 12);
    refused(deep, "deep");
    free(deep);
}

/* ------------------------------------------------------------------ the fuzz */

static uint64_t random_state = 88172645463325252u;

static uint32_t draw(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % n;
}

/* A piece of another template, a byte of its own, a piece less. */
static size_t mutate(char *text, size_t n, size_t most, const json_t *rows)
{
    static const char bits[] = "{}%#-+|()[]'\".,:~*/= \nx1\xC3\xA9\xF0\0";
    const json_t *row = json_array_get(rows, draw((uint32_t)
                                                  json_array_size(rows)));
    const char *other = json_string_value(json_array_get(row, 0));
    size_t len = strlen(other), from = draw((uint32_t)len + 1), at;
    size_t take = draw((uint32_t)(len - from) + 1);

    at = draw((uint32_t)n + 1);
    switch (draw(4)) {
    case 0:
        if (n)
            text[at < n ? at : n - 1] = bits[draw(sizeof bits)];
        return n;
    case 1:
        take = draw((uint32_t)(n - at) + 1);
        memmove(text + at, text + at + take, n - at - take);
        return n - take;
    default:
        if (n + take > most)
            return n;
        memmove(text + at + take, text + at, n - at);
        memcpy(text + at, other + from, take);
        return n + take;
    }
}

/* Variables with values in each other's places, at any depth. */
static void shuffle(json_t *all, const json_t *in)
{
    json_t *at = all;

    for (int depth = 0; depth < 4; depth++) {
        size_t n = json_is_object(at) ? json_object_size(at)
                                      : json_array_size(at);
        uint32_t i = n ? draw((uint32_t)n) : 0, steps = i;
        void *entry = json_object_iter(at);
        json_t *with, *inner;

        if (!n)
            return;
        while (steps-- > 0)
            entry = json_object_iter_next(at, entry);
        inner = entry ? json_object_iter_value(entry) : json_array_get(at, i);
        if (draw(2) && (json_is_object(inner) || json_is_array(inner))) {
            at = inner;
            continue;
        }
        entry = json_object_iter((json_t *)in);
        for (steps = draw((uint32_t)json_object_size(in)); steps > 0; steps--)
            entry = json_object_iter_next((json_t *)in, entry);
        with = json_deep_copy(json_object_iter_value(entry));
        if (json_is_object(at)) {
            const char *key;
            json_t *value;

            json_object_foreach(at, key, value)
                if (i-- == 0)
                    break;
            json_object_set_new(at, key, with);
        } else
            json_array_set_new(at, i, with);
        return;
    }
}

static char *hostile_variables(const json_t *variables)
{
    json_t *made = json_deep_copy(variables);
    char *text;

    for (uint32_t i = draw(6); i > 0; i--)
        shuffle(made, variables);
    text = json_dumps(made, 0);
    json_decref(made);
    return text;
}

static void test_fuzz(void **state)
{
    const char *rounds = getenv("HONE_FUZZ_ROUNDS");
    json_t *root = load_json(HONE_SOURCE, "tests/golden/jinja.json");
    const json_t *rows = json_object_get(root, "templates");
    const json_t *variables = json_object_get(root, "variables");
    long most = rounds ? atol(rounds) : 4000;
    char text[4096];
    size_t n = 0;

    (void)state;
    for (long i = 0; i < most; i++) {
        char *json = hostile_variables(variables);
        outcome o;

        if (i % 8 == 0)
            n = 0;
        for (uint32_t k = draw(4) + 1; k > 0; k--)
            n = mutate(text, n, sizeof text, rows);
        o = render_json(text, n, json, 1 + (hone_learn)draw(3));
        assert_non_null(o.text);
        free(o.text);
        free(json);
    }
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engine),
        cmocka_unit_test(test_material),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_turns_by_what_follows),
        cmocka_unit_test(test_generation),
        cmocka_unit_test(test_lost_turn),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_fuzz),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

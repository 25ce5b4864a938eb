/* SPDX-License-Identifier: MIT
 *
 * turns.c -- which parts of a rendered chat the assistant says. A template
 * with {% generation %} tells; otherwise beginnings of the chat are rendered
 * and looked for in the whole: the chat before a turn with the generation
 * prompt ends where the turn starts, the chat up to it ends where it ends.
 * Templates that write a turn otherwise once others follow (thinking left out,
 * an end token at the very end) are met by what stays the same.
 */
#include <string.h>

#include "jinja.h"

typedef struct {
    ji_run *r;
    const ji_template *template;
    ji_dict *variables;
    ji_list *messages;
    ji_str *whole;
    int64_t steps; /* of all renderings */
    int parting;   /* look at what follows a turn, too */
} chat;

enum { RENDERINGS = 20 }; /* times JI_STEPS_MAX, for all beginnings together */

/* --------------------------------------------------------------- renderings */

typedef struct {
    const ji_template *template;
    ji_dict *variables;
    ji_str *text;
} rendering;

static void run_rendering(ji_run *r, void *data)
{
    rendering *g = data;

    g->text = ji_render(r, g->template, g->variables);
}

static ji_dict *with_messages(ji_run *r, const ji_dict *old, ji_list *messages,
                              int generation)
{
    ji_dict *d = ji_dict_new(r);

    for (size_t i = 0; i < old->n; i++)
        ji_set(r, d, old->at[i].key, old->at[i].value);
    ji_set(r, d, ji_of(r, "messages"), ji_listed(messages));
    ji_set(r, d, ji_of(r, "add_generation_prompt"), ji_bool(generation));
    return d;
}

/* The text of these messages in memory of its own; NULL: the template does not
 * take them. */
static ji_str *render(chat *c, ji_list *messages, int generation)
{
    ji_run apart = { .arena = { NULL, 0, JI_MEMORY_MAX } };
    rendering g = { c->template, NULL, NULL };
    ji_str *text = NULL;

    g.variables = with_messages(c->r, c->variables, messages, generation);
    if (ji_try(&apart, run_rendering, &g) == 0)
        text = g.text;
    c->steps += apart.steps;
    if (text && text->len < JI_OUTPUT_MAX / 4)
        text = ji_text(c->r, text->at, text->len);
    ji_arena_free(&apart.arena);
    if (c->steps > (int64_t)RENDERINGS * JI_STEPS_MAX)
        ji_leave(c->r, "the chat is too long to find its turns; use a "
                 "template with {% generation %} or loss = \"all\"", 0);
    return text;
}

static ji_str *beginning(chat *c, size_t n, int generation)
{
    ji_list part = { c->messages->at, n, n, 0 };

    return render(c, &part, generation);
}

/* ----------------------------------------------------------------- likeness */

static size_t same_start(const ji_str *a, const ji_str *b)
{
    size_t n = 0;

    while (n < a->len && n < b->len && a->at[n] == b->at[n])
        n++;
    while (n > 0 && n < a->len && ((unsigned char)a->at[n] & 0xC0) == 0x80)
        n--; /* not inside a character */
    return n;
}

static size_t same_end(const ji_str *a, const ji_str *b, size_t most)
{
    size_t n = 0;

    while (n < most && n < a->len && n < b->len &&
           a->at[a->len - 1 - n] == b->at[b->len - 1 - n])
        n++;
    while (n > 0 && ((unsigned char)a->at[a->len - n] & 0xC0) == 0x80)
        n--;
    return n;
}

static int starts_with(const ji_str *a, const ji_str *b)
{
    return b && b->len <= a->len && !memcmp(a->at, b->at, b->len);
}

static int blank(const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!strchr(" \t\r\n", at[i]))
            return 0;
    return 1;
}

/* AT, or the start of the marker <...> or [...] that it is inside of: two
 * markers that begin alike differ as a whole. */
static size_t before_marker(const ji_str *s, size_t at, size_t least)
{
    for (size_t i = at; i > least && at - i < 40; i--) {
        char c = s->at[i - 1];

        if (c == '<' || c == '[')
            return i - 1;
        if (strchr("> ]\n\t", c))
            return at;
    }
    return at;
}

/* --------------------------------------------------------- another content */

/* A text that begins and ends otherwise than S. */
static ji_val otherwise(ji_run *r, const ji_str *s)
{
    static const char *const marks[] = { "\uE0A1", "\uE0A2", "\uE0A3" };
    ji_str *bare = ji_strip(r, (ji_str *)s, NULL, 3);

    for (int i = 0; i < 3; i++) {
        ji_str *mark = ji_wrap(r, marks[i], 3);

        if (bare->len < 3 || (memcmp(bare->at, mark->at, 3) &&
                              memcmp(bare->at + bare->len - 3, mark->at, 3)))
            return ji_string(mark);
    }
    return ji_of(r, marks[0]);
}

static ji_val copy_with(ji_run *r, ji_val of, const char *key, ji_val value)
{
    ji_dict *d = ji_dict_new(r);

    for (size_t i = 0; i < of.u.d->n; i++)
        ji_set(r, d, of.u.d->at[i].key, of.u.d->at[i].value);
    ji_set(r, d, ji_of(r, key), value);
    return (ji_val){ .kind = JI_DICT, .u.d = d };
}

/* A list of parts with other texts. */
static ji_val other_parts(ji_run *r, const ji_list *parts)
{
    ji_list *l = ji_list_new(r, parts->n);

    for (size_t i = 0; i < parts->n; i++) {
        ji_val part = parts->at[i];
        ji_val *text = part.kind == JI_DICT ? ji_get_text(r, part.u.d, "text")
                                            : NULL;

        if (text && text->kind == JI_STR)
            part = copy_with(r, part, "text", otherwise(r, text->u.s));
        ji_push(r, l, part);
    }
    return ji_listed(l);
}

/* The whole chat, message I with another content; NULL: there is none, or the
 * template does not take it. */
static ji_list *perturbed(chat *c, size_t i)
{
    ji_run *r = c->r;
    ji_list *l = ji_list_new(r, c->messages->n);
    ji_val *content = ji_get_text(r, c->messages->at[i].u.d, "content");

    if (!content || (content->kind != JI_STR && content->kind != JI_LIST))
        return NULL;
    for (size_t k = 0; k < c->messages->n; k++)
        ji_push(r, l, c->messages->at[k]);
    l->at[i] = copy_with(r, l->at[i], "content",
                         content->kind == JI_STR
                             ? otherwise(r, content->u.s)
                             : other_parts(r, content->u.l));
    return l;
}

/* ---------------------------------------------------------------- one turn */

static size_t find_start(chat *c, size_t i, ji_list *other)
{
    ji_str *asked = beginning(c, i, 1), *before, *changed;
    size_t same;

    if (starts_with(c->whole, asked))
        return asked->len;
    before = asked ? beginning(c, i, 0) : NULL;
    if (asked && starts_with(c->whole, before)) {
        same = before_marker(c->whole, same_start(c->whole, asked), 0);
        if (same >= before->len && same > 0)
            return same;
    }
    changed = other ? render(c, other, 0) : NULL;
    if (!changed || ji_same(changed, c->whole))
        return JI_UNKNOWN;
    return same_start(c->whole, changed);
}

/* The last of what the turn says, not more than a few words, and no thoughts:
 * those may be left out. NULL: it says nothing, or no text. */
static ji_str *last_words(chat *c, size_t i)
{
    enum { ENOUGH = 24 }; /* bytes */
    ji_val *content = ji_get_text(c->r, c->messages->at[i].u.d, "content");
    const ji_str *thought = ji_wrap(c->r, "</think>", 8);
    ji_str *all;
    size_t at;

    if (!content || content->kind != JI_STR)
        return NULL;
    all = content->u.s;
    while ((at = ji_find(all, thought, 0)) != JI_UNKNOWN)
        all = ji_part(c->r, all, at + thought->len, all->len);
    all = ji_strip(c->r, all, NULL, 3);
    at = all->len > ENOUGH ? all->len - ENOUGH : 0;
    while (at < all->len && ((unsigned char)all->at[at] & 0xC0) == 0x80)
        at++;
    return all->len ? ji_part(c->r, all, at, all->len) : NULL;
}

/* Whether they stand between two places of the whole chat. */
static int are_between(chat *c, const ji_str *words, size_t from, size_t to)
{
    ji_str part = { c->whole->at, to, JI_UNKNOWN, NULL, 0 };

    return ji_find(&part, words, from) != JI_UNKNOWN;
}

/* Whether what the turn says ends behind TO. */
static int ends_later(chat *c, size_t i, size_t from, size_t to)
{
    const ji_str *words = last_words(c, i);

    return words && !are_between(c, words, from, to) &&
           are_between(c, words, from, c->whole->len);
}

/* Where the turn ends that starts at START, if the chat up to it is UPTO: the
 * longest end of that which stands at START, for templates that leave the
 * beginning of earlier turns out. */
static size_t find_overlap(chat *c, size_t i, const ji_str *upto, size_t start)
{
    size_t left = c->whole->len - start;

    if (upto->len < start || memcmp(upto->at, c->whole->at, start))
        return JI_UNKNOWN;
    for (size_t d = start; d < upto->len; d++) {
        size_t n = upto->len - d;

        if (n > left || upto->at[d] != c->whole->at[start] ||
            memcmp(upto->at + d, c->whole->at + start, n))
            continue;
        return blank(upto->at + d, n) || ends_later(c, i, start, start + n)
                   ? JI_UNKNOWN
                   : start + n;
    }
    return JI_UNKNOWN;
}

/* The chat up to the turn says it all and something more, such as the end
 * token of a whole chat, with which the whole ends too. */
static size_t find_common(chat *c, size_t i, const ji_str *upto, size_t start)
{
    ji_val *content = ji_get_text(c->r, c->messages->at[i].u.d, "content");
    size_t same = same_start(c->whole, upto), end;
    ji_str part, *bare;

    if (same < start)
        return JI_UNKNOWN;
    end = before_marker(c->whole, same, start);
    if (upto->len - same_end(upto, c->whole, upto->len) <= same ||
        (end > start && upto->len - end < 40 && upto->at[end] == '<'))
        return end;
    if (!content || content->kind != JI_STR)
        return JI_UNKNOWN;
    bare = ji_strip(c->r, content->u.s, NULL, 3);
    part = (ji_str){ c->whole->at, same, JI_UNKNOWN, NULL, 0 };
    return bare->len && ji_find(&part, bare, start) != JI_UNKNOWN ? end
                                                                  : JI_UNKNOWN;
}

/* Behind the content of the turn, and what follows it in UPTO. */
static size_t find_tail(chat *c, size_t i, ji_str *upto, size_t start,
                        ji_list *other)
{
    ji_list part = { other->at, i + 1, i + 1, 0 };
    ji_str *changed = render(c, other, 0);
    ji_str *changed_upto = render(c, &part, 0);
    size_t end, tail;

    if (!changed || !changed_upto || ji_same(changed, c->whole))
        return JI_UNKNOWN;
    end = c->whole->len - same_end(c->whole, changed, c->whole->len - start);
    tail = same_end(upto, changed_upto, upto->len);
    if (tail > c->whole->len - end ||
        memcmp(upto->at + upto->len - tail, c->whole->at + end, tail))
        return JI_UNKNOWN;
    return end + tail;
}

/* Where what follows the turn's content ends to be the same whoever speaks
 * next: for templates that end a chat otherwise than they part its turns. */
static size_t find_parting(chat *c, size_t i, size_t start, ji_list *other)
{
    static const char *const roles[] = { "user", "assistant" };
    ji_run *r = c->r;
    ji_str *changed = render(c, other, 0);
    size_t least, end = c->whole->len;

    if (!changed || ji_same(changed, c->whole))
        return JI_UNKNOWN;
    least = end - same_end(c->whole, changed, end - start);
    for (int k = 0; k < 2; k++) {
        ji_list *part = ji_list_new(r, i + 2);
        ji_dict *next = ji_dict_new(r);
        ji_str *text;

        for (size_t m = 0; m <= i; m++)
            ji_push(r, part, c->messages->at[m]);
        ji_set(r, next, ji_of(r, "role"), ji_of(r, roles[k]));
        ji_set(r, next, ji_of(r, "content"), ji_of(r, "\uE0A1"));
        ji_push(r, part, (ji_val){ .kind = JI_DICT, .u.d = next });
        text = render(c, part, 0);
        if (!text || same_start(c->whole, text) < least)
            return JI_UNKNOWN;
        if (same_start(c->whole, text) < end)
            end = same_start(c->whole, text);
    }
    end = before_marker(c->whole, end, least);
    while (end > least && c->whole->at[end - 1] == ' ')
        end--; /* of the next turn's first word */
    return end;
}

static size_t find_end(chat *c, size_t i, size_t start, ji_list *other)
{
    ji_str *upto;
    size_t end;

    if (i + 1 == c->messages->n)
        return c->whole->len;
    if (c->parting)
        return other ? find_parting(c, i, start, other) : JI_UNKNOWN;
    upto = beginning(c, i + 1, 0);
    if (!upto)
        return JI_UNKNOWN;
    if (starts_with(c->whole, upto) && upto->len >= start)
        return upto->len;
    end = find_overlap(c, i, upto, start);
    if (end == JI_UNKNOWN)
        end = find_common(c, i, upto, start);
    if (end == JI_UNKNOWN && other)
        end = find_tail(c, i, upto, start, other);
    return end;
}

/* The turn's own text, where it stands once behind FROM: for templates that
 * put something into earlier turns, such as the tools before the last one. */
static size_t find_text(chat *c, size_t i, size_t from, size_t *end)
{
    ji_str *asked = beginning(c, i, 1), *upto = beginning(c, i + 1, 0), *turn;
    size_t at;

    if (!upto || !starts_with(upto, asked))
        return JI_UNKNOWN;
    turn = ji_part(c->r, upto, asked->len, upto->len);
    at = ji_find(c->whole, turn, from);
    if (at == JI_UNKNOWN || blank(turn->at, turn->len) ||
        ji_find(c->whole, turn, at + 1) != JI_UNKNOWN)
        return JI_UNKNOWN;
    *end = at + turn->len;
    return at;
}

/* Nothing of the turn is in the whole chat. */
static int left_out(chat *c, size_t i)
{
    ji_list *l = ji_list_new(c->r, c->messages->n);
    ji_dict *d = ji_dict_new(c->r);
    ji_str *text;

    for (size_t k = 0; k < c->messages->n; k++)
        ji_push(c->r, l, c->messages->at[k]);
    ji_set(c->r, d, ji_of(c->r, "role"), ji_of(c->r, "assistant"));
    ji_set(c->r, d, ji_of(c->r, "content"), ji_of(c->r, "\uE0A1"));
    l->at[i] = (ji_val){ .kind = JI_DICT, .u.d = d };
    text = render(c, l, 0);
    return text && ji_same(text, c->whole);
}

/* Whether these bytes can be the turn: what it says is there, or in no other
 * place. The template may have changed it, but not left it out. */
static int may_be(chat *c, size_t i, ji_span turn)
{
    const ji_str *words = last_words(c, i);

    if (!words || are_between(c, words, turn.from, turn.to))
        return 1;
    if (ji_get_text(c->r, c->messages->at[i].u.d, "tool_calls"))
        return turn.to > turn.from; /* said without what is beside them */
    return turn.to > turn.from && !are_between(c, words, 0, c->whole->len) &&
           !left_out(c, i);
}

/* FROM: the end of the turn before. 0: it is not found. */
static int look_for(chat *c, size_t i, size_t from, ji_span *turn)
{
    ji_list *other = perturbed(c, i);
    size_t start = find_start(c, i, other);
    size_t end = start == JI_UNKNOWN ? start : find_end(c, i, start, other);

    if (end == JI_UNKNOWN || end < start)
        start = find_text(c, i, from, &end);
    *turn = (ji_span){ start, end };
    return start != JI_UNKNOWN && end != JI_UNKNOWN && end >= start &&
           may_be(c, i, *turn);
}

/* The messages without the thoughts that the template leaves out of the whole
 * chat, though not of its beginnings; NULL: it leaves none out. */
static ji_list *without_thoughts(chat *c)
{
    static const char *const names[] = { "reasoning_content", "thinking",
                                         "reasoning" };
    ji_list *l = ji_list_new(c->r, c->messages->n);
    int dropped = 0;

    for (size_t i = 0; i < c->messages->n; i++)
        ji_push(c->r, l, c->messages->at[i]);
    for (size_t i = 0; i < l->n; i++) {
        ji_val old = l->at[i];
        ji_dict *d = ji_dict_new(c->r);
        ji_str *text;

        for (size_t k = 0; k < old.u.d->n; k++) {
            ji_val key = old.u.d->at[k].key;
            int is_thought = 0;

            for (int n = 0; n < 3; n++)
                is_thought |= key.kind == JI_STR && ji_is(key.u.s, names[n]);
            if (!is_thought)
                ji_set(c->r, d, key, old.u.d->at[k].value);
        }
        if (d->n == old.u.d->n)
            continue;
        l->at[i] = (ji_val){ .kind = JI_DICT, .u.d = d };
        text = render(c, l, 0);
        if (text && starts_with(c->whole, text))
            dropped = 1;
        else
            l->at[i] = old;
    }
    return dropped ? l : NULL;
}

static ji_span find_turn(chat *c, size_t i, size_t from)
{
    ji_list *bare;
    ji_span turn;

    if (look_for(c, i, from, &turn))
        return turn;
    bare = without_thoughts(c);
    if (bare) {
        c->messages = bare;
        if (look_for(c, i, from, &turn))
            return turn;
    }
    c->parting = 1;
    if (look_for(c, i, from, &turn))
        return turn;
    if (left_out(c, i))
        ji_leave(c->r, ji_format(c->r, "message %zu: the template writes "
                                 "nothing of what this turn says; use another "
                                 "template, or give the message \"weight\": 0: "
                                 "it is not learnt then", i + 1), 0);
    ji_leave(c->r, ji_format(c->r, "message %zu: what the template makes "
                             "of this turn is not found again in the whole "
                             "chat; use a template with {%% generation %%}, "
                             "loss = \"all\", or \"weight\": 0 in the message",
                             i + 1), 0);
}

/* --------------------------------------------------------------- all turns */

static int is_assistant(ji_run *r, ji_val message)
{
    ji_val *role = ji_get_text(r, message.u.d, "role");

    return role && role->kind == JI_STR &&
           (ji_is(role->u.s, "assistant") || ji_is(role->u.s, "model"));
}

/* A turn that its row says is not to be learnt: weight = 0, as OpenAI's files
 * have it, or loss_weight. */
static int weightless(ji_run *r, ji_val message)
{
    static const char *const names[] = { "weight", "loss_weight" };

    for (int i = 0; i < 2; i++) {
        ji_val *v = ji_get_text(r, message.u.d, names[i]);

        if (v && ji_number(*v) && ji_double(*v) == 0)
            return 1;
    }
    return 0;
}

static void find_turns(chat *c, ji_chat *to, int last_only)
{
    size_t n = c->messages->n, end = 0;

    to->span = ji_alloc(c->r, (n + 1) * sizeof *to->span);
    for (size_t i = n; i-- > 0 && last_only;)
        if (is_assistant(c->r, c->messages->at[i])) {
            if (!weightless(c->r, c->messages->at[i]))
                to->span[to->spans++] = find_turn(c, i, 0);
            return;
        }
    for (size_t i = 0; i < n; i++) {
        ji_span s;

        if (!is_assistant(c->r, c->messages->at[i]) ||
            weightless(c->r, c->messages->at[i]))
            continue;
        s = find_turn(c, i, end);
        if (s.from < end)
            s.from = end < s.to ? end : s.to;
        end = s.to;
        to->span[to->spans++] = s;
    }
}

/* The spans that {% generation %} marked: where there is one for each of the
 * assistant's turns, those that are to be learnt. */
static void take_marked(chat *c, ji_chat *to, int last_only)
{
    int n = 0, turn = 0, kept = 0;

    to->span = ji_alloc(c->r, ((size_t)c->r->spans + 1) * sizeof *to->span);
    for (size_t i = 0; i < c->messages->n; i++)
        n += is_assistant(c->r, c->messages->at[i]);
    for (size_t i = 0; n == c->r->spans && i < c->messages->n; i++) {
        if (!is_assistant(c->r, c->messages->at[i]))
            continue;
        turn++;
        if ((!last_only || turn == n) &&
            !weightless(c->r, c->messages->at[i]))
            to->span[kept++] = c->r->span[turn - 1];
    }
    for (int i = last_only ? c->r->spans - 1 : 0;
         n != c->r->spans && i >= 0 && i < c->r->spans; i++)
        to->span[kept++] = c->r->span[i];
    to->spans = kept;
}

void ji_chat_spans(ji_run *r, ji_chat *to, hone_learn want)
{
    chat c = { r, to->template, to->variables, to->messages, to->text, 0, 0 };

    if (want == HONE_LEARN_NOTHING)
        return;
    to->found = !to->template->has_generation || r->lost;
    if (to->found)
        find_turns(&c, to, want == HONE_LEARN_LAST);
    else
        take_marked(&c, to, want == HONE_LEARN_LAST);
}

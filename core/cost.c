/* SPDX-License-Identifier: MIT
 *
 * cost.c -- see cost.h. Two clocks, one a stream, go through the nodes as the
 * executor issues them: a copy on the side stream starts when all before it is
 * done on both, and stream 0 waits for it where place.c put the join.
 */
#include "cost.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STREAMS = 4 };

/* How an op spends its time. Ops that are not here read and write each of
 * their operands once; those of other people's plugins too. */
typedef enum { MOVES = 0, MULTIPLIES, ATTENDS, PICKS } work_kind;

static const struct {
    const char *op;
    work_kind kind;
} works[] = {
    { "linear", MULTIPLIES },       { "linear_dx", MULTIPLIES },
    { "linear_dw", MULTIPLIES },    { "linear_list", MULTIPLIES },
    { "linear_dw_list", MULTIPLIES }, { "attention", ATTENDS },
    { "attention_grad", ATTENDS },  { "embed", PICKS },
    { "gather", PICKS },            { "cache_write", PICKS },
};

static work_kind kind_of(const char *op)
{
    for (size_t i = 0; i < sizeof works / sizeof *works; i++)
        if (!strcmp(works[i].op, op))
            return works[i].kind;
    return MOVES;
}

static double bytes_of(const hone_type *t)
{
    double bytes = 0;

    for (int p = 0; p < HONE_PARTS; p++)
        bytes += (double)hone_part_bytes(t->storage, p, hone_count(t));
    return bytes;
}

/* What the call reads and writes. Rows picked from a table cost as many bytes
 * as they fill, not the table. */
static double traffic(const hone_call *c, work_kind kind)
{
    double in = 0, out = 0;

    for (uint32_t i = 0; i < c->nin + c->nout; i++) {
        double bytes = bytes_of(&c->type[i]);

        if (i < c->nin)
            in += bytes;
        else
            out += c->mode[i] == HONE_WRITE ? bytes : 2 * bytes;
    }
    return kind == PICKS ? 2 * out : in + out;
}

/* Weights held as codes are turned into what the products take, and with fp8
 * the other factor too, on the way. */
static double unpacking(const hone_call *c)
{
    const hone_type *w = &c->type[c->nin > 1];
    double bytes = 0;

    for (uint32_t i = 1; i < c->nin; i++)
        if (c->type[i].storage == HONE_NF4)
            bytes += bytes_of(&c->type[i]) + 2 * (double)hone_count(&c->type[i]);
    if (w->storage == HONE_FP8) {
        bytes += 3 * (double)hone_count(&c->type[0]);
        if (!strcmp(c->op, "linear_dx"))
            bytes += 2 * bytes_of(w);
    }
    return bytes;
}

static hone_card_rate rate_of(const hone_call *c)
{
    if (c->nin > 1 && c->type[1].storage == HONE_FP8)
        return HONE_CARD_FP8;
    return c->compute == HONE_BF16  ? HONE_CARD_BF16
           : c->compute == HONE_F16 ? HONE_CARD_F16
                                    : HONE_CARD_F32;
}

/* Kernels take so many keys at a time, of which the last are masked. */
static const double TILE = 128;

/* As the op counts, if rows are as long as a cap on their number says; SPAN
 * is what is known of them. */
static double attention_flops(const hone_call *c, double counted, double span)
{
    uint32_t q = strcmp(c->op, "attention") != 0; /* behind do, in the grad */
    double cap = (double)c->type[q].dim[0] /
                 (double)c->type[c->nin - 1].dim[0];

    return span > 0 ? counted * (span + TILE) / cap : counted;
}

typedef struct {
    const hone_program *program;
    const hone_card *card;
    int unknown;    /* a node's cost */
    double busy[2]; /* until when copies go to the device, to the host */
    hone_cost cost;
} walk;

/* What it does not know would be divided by. */
static int knows_enough(const hone_card *c)
{
    return c->rate[HONE_CARD_COPY].points && c->rate[HONE_CARD_F32].points &&
           c->figure[HONE_CARD_TO_DEVICE].value > 0 &&
           c->figure[HONE_CARD_TO_HOST].value > 0 &&
           c->figure[HONE_CARD_BOTH].value > 0 &&
           c->figure[HONE_CARD_ATTENTION].value > 0 &&
           c->figure[HONE_CARD_ATTENTION_GRAD].value > 0;
}

/* Seconds of a node on stream 0, added to where they belong. */
static double compute_node(walk *w, const hone_node *node)
{
    const hone_card *card = w->card;
    hone_call c = hone_node_call(&w->program->graph, node);
    work_kind kind = kind_of(c.op);
    double bytes = traffic(&c, kind), flops = 0, rate = 0, share = 1;
    double moved = bytes / hone_curve_at(&card->rate[HONE_CARD_COPY], bytes);
    double counted = 0, launch = card->figure[HONE_CARD_LAUNCH].value, extra;

    if (kind == MULTIPLIES || kind == ATTENDS) {
        flops = node->op->flops(&c);
        rate = hone_curve_at(&card->rate[rate_of(&c)], flops);
    }
    if (kind == ATTENDS) {
        int grad = !strcmp(c.op, "attention_grad");

        flops = attention_flops(&c, flops, w->program->span);
        share = card->figure[grad ? HONE_CARD_ATTENTION_GRAD
                                  : HONE_CARD_ATTENTION].value;
        rate = hone_curve_at(&card->rate[rate_of(&c)], 1e30);
    }
    if (flops > 0 && rate > 0)
        counted = flops / (rate * share);
    else if (flops > 0) /* the card does not say how fast it does this */
        w->unknown = 1;
    extra = kind == MULTIPLIES ? unpacking(&c) : 0;
    if (extra > 0)
        extra /= hone_curve_at(&card->rate[HONE_CARD_COPY], extra);
    w->cost.launch += launch;
    w->cost.memory += extra;
    if (counted <= moved)
        w->cost.memory += moved;
    else if (kind == ATTENDS)
        w->cost.attention += counted;
    else
        w->cost.products += counted;
    return launch + extra + fmax(counted, moved);
}

/* When a copy that starts at FROM ends; slower while one goes the other way
 * over the link. */
static double copy_node(walk *w, const hone_node *node, double from)
{
    const hone_graph *g = &w->program->graph;
    const hone_figure *figure = w->card->figure;
    double bytes = bytes_of(&g->tensor[node->in[0]].type), rate, end;
    int out = g->tensor[node->out[0]].space == HONE_PINNED_SPACE;

    if (!out && g->tensor[node->in[0]].space != HONE_PINNED_SPACE)
        return from + 2 * bytes /
                          hone_curve_at(&w->card->rate[HONE_CARD_COPY],
                                        2 * bytes);
    rate = figure[w->busy[!out] > from ? HONE_CARD_BOTH
                  : out                ? HONE_CARD_TO_HOST
                                       : HONE_CARD_TO_DEVICE].value;
    end = from + bytes / rate;
    w->busy[out] = fmax(w->busy[out], end);
    return end;
}

hone_cost hone_program_cost(const hone_program *p, const hone_card *card)
{
    const hone_graph *g = &p->graph;
    walk w = { .program = p, .card = card };
    double now = 0, side[STREAMS] = { 0 }, *joins;

    if (!p->name || !knows_enough(card))
        return w.cost;
    joins = calloc((size_t)g->nodes + 1, sizeof *joins);
    for (int n = 0; joins && n < g->nodes; n++) {
        const hone_node *node = &g->node[n];

        w.cost.wait += fmax(joins[n] - now, 0);
        now = fmax(joins[n], now);
        if (node->stream == 0) {
            now += node->kernel ? compute_node(&w, node)
                                : copy_node(&w, node, now) - now;
            continue;
        }
        side[node->stream] = copy_node(&w, node,
                                       fmax(now, side[node->stream]));
        joins[node->join] = fmax(joins[node->join], side[node->stream]);
    }
    free(joins);
    w.cost.seconds = now;
    return w.unknown ? (hone_cost){ 0 } : w.cost;
}

double hone_program_seconds(const hone_program *p, const hone_card *card)
{
    return hone_program_cost(p, card).seconds;
}

static void add(hone_cost *to, const hone_cost *c, double times)
{
    to->seconds += times * c->seconds;
    to->products += times * c->products;
    to->attention += times * c->attention;
    to->memory += times * c->memory;
    to->launch += times * c->launch;
    to->wait += times * c->wait;
}

hone_cost hone_step_cost(const hone_step_programs *s, const hone_card *card)
{
    hone_cost sum = { 0 }, one;

    for (uint32_t i = 0; i < s->buckets; i++) {
        one = hone_program_cost(&s->micro[i], card);
        add(&sum, &one, s->runs[i]);
    }
    for (int i = 0; i < 4; i++) {
        if (!s->once[i])
            continue;
        one = hone_program_cost(s->once[i], card);
        add(&sum, &one, 1);
    }
    return sum;
}

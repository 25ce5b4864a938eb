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

/* How an op spends its time: as products, as attention, by picking rows from a
 * table; else by moving its operands. SHARE: of the rate of a large copy that
 * its traffic comes to; MORE: seconds beside a kernel's own beginning and end.
 * As measured with pack cuda on an H100, see docs/memory.md; ops that are not
 * here, those of other people's plugins too, are taken to be like most. */
typedef enum { MOVES = 0, MULTIPLIES, ATTENDS, PICKS } work_kind;

typedef struct {
    const char *op;
    work_kind kind;
    double share, more;
} work;

static const work works[] = {
    { "linear", MULTIPLIES, 0.9, 0 },
    { "linear_dx", MULTIPLIES, 0.9, 0 },
    { "linear_dw", MULTIPLIES, 0.9, 3e-6 }, /* parts of sums, added up */
    { "linear_list", MULTIPLIES, 0.9, 0 },
    { "linear_dw_list", MULTIPLIES, 0.4, 3e-6 },
    { "linear_grads", MULTIPLIES, 0.75, 8e-6 },
    { "linear_dx_sum", MULTIPLIES, 0.85, 0 },
    { "attention", ATTENDS, 0.8, 0 },
    { "attention_grad", ATTENDS, 0.8, 0 },
    { "embed", PICKS, 0.8, 0 },
    { "gather", PICKS, 0.8, 0 },
    { "cache_write", PICKS, 0.8, 0 },
    { "swiglu", MOVES, 0.97, 0 },
    { "swiglu_grad", MOVES, 0.93, 0 },
    { "swiglu_regrad", MOVES, 0.93, 0 },
    { "swiglu_factors", MOVES, 0.85, 4e-6 },
    { "swiglu_factors_grad", MOVES, 0.85, 4e-6 },
    { "map", MOVES, 0.95, 0 },
    { "sumsq", MOVES, 1, 0 },
    { "fill", MOVES, 1, 0 },
    { "xent", MOVES, 0.6, 0 },
    { "xent_grad", MOVES, 0.93, 0 },
    { "xent_slopes", MOVES, 0.9, 2e-6 },
    { "rmsnorm_dw", MOVES, 0.8, 4e-6 },
    { "rmsnorm_grads", MOVES, 0.8, 4e-6 },
};

/* A kernel's beginning and end: its work comes on top. */
static const double KERNEL_S = 2e-6, PRODUCT_S = 1.5e-6;

static work work_of(const char *op)
{
    for (size_t i = 0; i < sizeof works / sizeof *works; i++)
        if (!strcmp(works[i].op, op))
            return works[i];
    return (work){ op, MOVES, 0.8, 0 };
}

static double bytes_of(const hone_type *t)
{
    double bytes = 0;

    for (int p = 0; p < HONE_PARTS; p++)
        bytes += (double)hone_type_bytes(t, p);
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

/* Weights held as nf4 are turned into what the products take, on the way. */
static double unpacking(const hone_call *c)
{
    double bytes = 0;

    for (uint32_t i = 1; i < c->nin; i++)
        if (c->type[i].storage == HONE_NF4)
            bytes += bytes_of(&c->type[i]) + 2 * (double)hone_count(&c->type[i]);
    return bytes;
}

/* What a kernel reads of pinned memory comes over the link. */
static double linked(const hone_graph *g, const hone_node *node, work_kind kind)
{
    double bytes = 0;

    for (uint32_t i = 0; i < node->nin; i++) {
        hone_id id = node->in[i], read = kind == PICKS ? node->out[0] : id;
        if (id != HONE_NONE && g->tensor[id].space == HONE_PINNED_SPACE)
            bytes += bytes_of(&g->tensor[read].type);
    }
    return bytes;
}

/* Of what the card has no rate, it has that of others: a guess, but a time. */
static hone_card_rate rate_of(const hone_card *card, const hone_call *c)
{
    hone_card_rate rate = c->type[0].storage == HONE_FP8 ? HONE_CARD_FP8
                          : c->compute == HONE_BF16      ? HONE_CARD_BF16
                          : c->compute == HONE_F16       ? HONE_CARD_F16
                                                         : HONE_CARD_F32;

    for (hone_card_rate other = HONE_CARD_BF16;
         !card->rate[rate].points && other <= HONE_CARD_F32; other++)
        rate = other;
    return rate;
}

/* The op counts as if rows were as long as a cap on their number says; SPAN is
 * what is known of them. */
static double attention_work(const hone_call *c, double flops, double span)
{
    int grad = strcmp(c->op, "attention") != 0;
    const hone_type *q = &c->type[grad], *lse = &c->type[5]; /* [T,heads] */
    double cap = (double)q->dim[0] / (double)c->type[c->nin - 1].dim[0];

    return hone_card_attention(flops / cap, span > 0 ? span : cap,
                               (double)q->dim[1] / (double)lse->dim[1], grad);
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

/* Seconds of arithmetic. */
static double arithmetic(walk *w, const hone_node *node, const hone_call *c,
                         work_kind kind)
{
    const hone_card *card = w->card;
    const hone_curve *curve = &card->rate[rate_of(card, c)];
    double flops, rate;

    if (kind != MULTIPLIES && kind != ATTENDS)
        return 0;
    flops = node->op->flops(c);
    rate = hone_curve_at(curve, flops);
    if (kind == ATTENDS) {
        rate = hone_curve_at(curve, 1e30) *
               card->figure[!strcmp(c->op, "attention")
                                ? HONE_CARD_ATTENTION
                                : HONE_CARD_ATTENTION_GRAD].value;
        flops = attention_work(c, flops, w->program->span);
    }
    w->unknown |= !(rate > 0);
    return rate > 0 ? flops / rate : 0;
}

/* Seconds of a node on stream 0, added to where they belong. */
static double compute_node(walk *w, const hone_node *node)
{
    const hone_call c = hone_node_call(&w->program->graph, node);
    const work k = work_of(c.op);
    double copy = hone_curve_at(&w->card->rate[HONE_CARD_COPY], 1e30);
    double counted = arithmetic(w, node, &c, k.kind);
    double moved = fmax(traffic(&c, k.kind) / (copy * k.share),
                        linked(&w->program->graph, node, k.kind) /
                            w->card->figure[HONE_CARD_TO_DEVICE].value);
    double extra = k.kind == MULTIPLIES ? unpacking(&c) / (0.8 * copy) : 0;
    double launch = w->card->figure[HONE_CARD_LAUNCH].value + k.more +
                    (k.kind == MULTIPLIES ? PRODUCT_S : KERNEL_S);
    double busy = k.kind == MULTIPLIES ? hypot(counted, moved)
                                       : fmax(counted, moved);

    w->cost.launch += launch;
    w->cost.memory += extra;
    if (counted <= moved)
        w->cost.memory += busy;
    else if (k.kind == ATTENDS)
        w->cost.attention += busy;
    else
        w->cost.products += busy;
    return launch + extra + busy;
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
    for (int n = 0; joins && n <= g->nodes; n++) {
        const hone_node *node = &g->node[n];

        w.cost.wait += fmax(joins[n] - now, 0);
        now = fmax(joins[n], now);
        if (n == g->nodes)
            break; /* the end waits, too */
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

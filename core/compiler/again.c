/* SPDX-License-Identifier: MIT
 *
 * again.c -- results that cost nothing to have again. The gradient of an
 * element-wise op reads all that the op read, so that it can make the op's
 * result once more on its way: then nobody needs to keep that from the forward
 * pass. Which op does both is data in the gradient's op (`again`).
 */
#include <string.h>

#include "passes.h"

typedef struct {
    hone_graph *g;
    const hone_component *const *packs;
    int grad;        /* the node of the gradient */
    hone_id old;     /* the result that is kept now */
    hone_id made;    /* the result made again */
} again;

static const char *again_of(const hone_node *node)
{
    const hone_op *op = node->op;

    return op->size >= offsetof(hone_op, again_of) + sizeof op->again_of &&
                   op->again
               ? op->again_of : NULL;
}

/* The forward node whose gradient node GRAD is: it reads what that reads
 * behind its first input. */
static int find_forward(const again *a)
{
    const hone_node *grad = &a->g->node[a->grad];

    for (int n = 0; n < a->grad; n++) {
        const hone_node *node = &a->g->node[n];

        if (node->phase == HONE_FORWARD && node->nout == 1 &&
            node->acc[0] == HONE_NONE && node->nin + 1 == grad->nin &&
            !strcmp(node->component->name, again_of(grad)) &&
            !memcmp(node->in, grad->in + 1, node->nin * sizeof *node->in))
            return n;
    }
    return -1;
}

/* Whether node N could stand right behind the gradient: what it writes is
 * neither read nor written in between. */
static int can_wait(const again *a, int n)
{
    const hone_node *node = &a->g->node[n];

    for (int k = n + 1; k <= a->grad; k++)
        for (uint32_t i = 0; i < node->nout; i++) {
            const hone_node *other = &a->g->node[k];

            if (hone_node_reads(other, node->out[i]))
                return 0;
            for (uint32_t o = 0; o < other->nout; o++)
                if (other->out[o] == node->out[i] ||
                    other->acc[o] == node->out[i])
                    return 0;
        }
    return 1;
}

/* Backward nodes before the gradient that read the result must be able to
 * wait for it; the number of those anywhere. */
static int count_readers(const again *a)
{
    int count = 0;

    for (int n = 0; n < a->g->nodes; n++) {
        const hone_node *node = &a->g->node[n];

        if (node->phase != HONE_BACKWARD || !hone_node_reads(node, a->old))
            continue;
        if (n < a->grad && !can_wait(a, n))
            return 0;
        count++;
    }
    return count;
}

static hone_status describe(again *a, hone_node *to, hone_err *err)
{
    hone_graph *g = a->g;
    const hone_node *grad = &g->node[a->grad];
    uint32_t n = grad->nout;

    *to = *grad;
    hone_try(hone_need_component(HONE_KIND_OP, grad->op->again, &to->component,
                                 err));
    to->op = to->component->ops;
    to->nout = n + 1;
    to->out = hone_copy(g->arena, grad->out, n, n + 1, sizeof *to->out);
    to->acc = hone_copy(g->arena, grad->acc, n, n + 1, sizeof *to->acc);
    a->made = hone_graph_tensor(g, NULL, g->tensor[a->old].type, HONE_T_TEMP);
    to->out[n] = a->made;
    to->acc[n] = HONE_NONE;
    return HONE_OK;
}

/* Readers before the gradient move behind it, in their order. */
static void move_readers(again *a)
{
    hone_graph *g = a->g;

    for (int n = a->grad - 1, behind = a->grad; n >= 0; n--) {
        hone_node node = g->node[n];

        if (node.phase != HONE_BACKWARD || !hone_node_reads(&node, a->old))
            continue;
        memmove(&g->node[n], &g->node[n + 1],
                (size_t)(behind - n) * sizeof node);
        g->node[behind] = node;
        a->grad--;
        behind--;
    }
    hone_graph_replace(g, a->old, a->made, a->grad, g->nodes);
}

hone_status hone_pass_again(hone_graph *g, const hone_component *const *packs,
                            hone_err *err)
{
    for (int n = 0; n < g->nodes; n++) {
        again a = { .g = g, .packs = packs, .grad = n };
        hone_node both;
        int forward;

        if (g->node[n].phase != HONE_BACKWARD || !again_of(&g->node[n]))
            continue;
        forward = find_forward(&a);
        if (forward < 0)
            continue;
        a.old = g->node[forward].out[0];
        if (!count_readers(&a))
            continue;
        hone_try(describe(&a, &both, err));
        if (!hone_node_is_covered(g, &both, packs))
            continue;
        g->node[n] = both;
        move_readers(&a);
    }
    return HONE_OK;
}

/* SPDX-License-Identifier: MIT
 *
 * mapplan.h -- the postfix program of `map` as instructions with three
 * addresses. The depth of the stack is known at every word, so pushing an
 * operand costs nothing at run time: an instruction names it. Addresses below
 * MAP_UNIFORM are slots that each element has of its own; those from there on
 * are scalars and then literals, the same for all. What the step before has
 * made is at hand without a slot.
 */
#ifndef HONE_CUDA_MAPPLAN_H
#define HONE_CUDA_MAPPLAN_H

#include "mapcode.h"

enum {
    MAP_UNIFORM = 64,
    MAP_UNIFORMS = 190,
    MAP_NOWHERE = 254, /* a result that only the next step reads */
    MAP_LAST = 255,    /* an operand: the result of the step before */
    MAP_STEPS = 256,
    MAP_Y = HONE_MAP_TENSORS, /* first slots: x, y, r, temporaries */
    MAP_R = MAP_Y + HONE_MAP_TENSORS,
    MAP_TEMP = MAP_R + HONE_MAP_REGISTERS
};

typedef struct map_step {
    unsigned char code, to, a, b, c;
} map_step;

typedef struct map_plan {
    int count, scalars, uniforms;
    unsigned reads_y, writes_y;
    unsigned long long used; /* bit i: slot i */
    float uniform[MAP_UNIFORMS];
    map_step step[MAP_STEPS];
} map_plan;

typedef struct map_planner {
    map_plan *p;
    int depth;
    unsigned char stack[HONE_MAP_STACK + 1];
} map_planner;

static inline int map_stacked(const map_planner *m, int address)
{
    for (int i = 0; i < m->depth; i++)
        if (m->stack[i] == address)
            return 1;
    return 0;
}

/* A temporary that nothing on the stack refers to. */
static inline int map_free_temp(const map_planner *m)
{
    int t = MAP_TEMP;

    while (map_stacked(m, t))
        t++;
    return t;
}

static inline void map_emit(map_planner *m, hone_map_code code, int to, int a,
                            int b, int c)
{
    map_step s = { (unsigned char)code, (unsigned char)to, (unsigned char)a,
                   (unsigned char)b, (unsigned char)c };

    m->p->step[m->p->count++] = s;
}

static inline void map_push(map_planner *m, int address)
{
    m->stack[m->depth++] = (unsigned char)address;
}

/* Before SLOT changes, what is still to be read of it is copied away. */
static inline void map_keep(map_planner *m, int slot)
{
    for (int i = 0; i < m->depth; i++)
        if (m->stack[i] == slot) {
            int temp = map_free_temp(m);
            map_emit(m, HONE_MAP_DUP, temp, slot, 0, 0);
            for (int k = i; k < m->depth; k++)
                if (m->stack[k] == slot)
                    m->stack[k] = (unsigned char)temp;
        }
}

/* Pops into SLOT. The step that made the value writes there at once, if it
 * was the last one and nothing else wants its temporary. */
static inline void map_set(map_planner *m, int slot)
{
    map_plan *p = m->p;
    int from = m->stack[--m->depth], count = p->count;

    map_keep(m, slot);
    if (from >= MAP_TEMP && from < MAP_UNIFORM && count == p->count &&
        count > 0 && p->step[count - 1].to == from && !map_stacked(m, from)) {
        p->step[count - 1].to = (unsigned char)slot;
        return;
    }
    map_emit(m, HONE_MAP_DUP, slot, from, 0, 0);
}

static inline void map_compute(map_planner *m, hone_map_code code, int takes)
{
    unsigned char *top = m->stack + (m->depth -= takes);
    int a = top[0], b = takes > 1 ? top[1] : 0, c = takes > 2 ? top[2] : 0;
    int to = map_free_temp(m);

    map_emit(m, code, to, a, b, c);
    map_push(m, to);
}

static inline void map_word(map_planner *m, const hone_map_step *s)
{
    unsigned char swap;

    switch (s->code) {
    case HONE_MAP_NUMBER:
        m->p->uniform[m->p->uniforms] = (float)s->value;
        map_push(m, MAP_UNIFORM + m->p->uniforms++);
        break;
    case HONE_MAP_S: map_push(m, MAP_UNIFORM + s->index); break;
    case HONE_MAP_X: map_push(m, s->index); break;
    case HONE_MAP_Y: map_push(m, MAP_Y + s->index); break;
    case HONE_MAP_R: map_push(m, MAP_R + s->index); break;
    case HONE_MAP_SET_Y: map_set(m, MAP_Y + s->index); break;
    case HONE_MAP_SET_R: map_set(m, MAP_R + s->index); break;
    case HONE_MAP_DUP: map_push(m, m->stack[m->depth - 1]); break;
    case HONE_MAP_SWAP:
        swap = m->stack[m->depth - 1];
        m->stack[m->depth - 1] = m->stack[m->depth - 2];
        m->stack[m->depth - 2] = swap;
        break;
    case HONE_MAP_LERP:
    case HONE_MAP_SELECT: map_compute(m, s->code, 3); break;
    default: map_compute(m, s->code, s->code >= HONE_MAP_NEG ? 1 : 2);
    }
}

static inline int map_takes(int code)
{
    if (code >= HONE_MAP_LERP)
        return 3;
    return code >= HONE_MAP_NEG || code == HONE_MAP_DUP ? 1 : 2;
}

/* Whether a step from I on reads slot AT as it is now. */
static inline int map_is_read(const map_plan *p, int i, int at)
{
    for (; i < p->count; i++) {
        const map_step *s = &p->step[i];
        const unsigned char operand[3] = { s->a, s->b, s->c };

        for (int k = 0; k < map_takes(s->code); k++)
            if (operand[k] == at)
                return 1;
        if (s->to == at)
            return 0;
    }
    return 0;
}

/* Operands that the step before has just made are taken from it; what nobody
 * else reads needs no slot. */
static inline void map_forward(map_plan *p)
{
    for (int i = p->count - 1; i > 0; i--) {
        map_step *s = &p->step[i];
        unsigned char *operand[3] = { &s->a, &s->b, &s->c };

        for (int k = 0; k < map_takes(s->code); k++)
            if (*operand[k] == p->step[i - 1].to)
                *operand[k] = MAP_LAST;
    }
    for (int i = 0; i < p->count; i++)
        if (p->step[i].to >= MAP_R && !map_is_read(p, i + 1, p->step[i].to))
            p->step[i].to = MAP_NOWHERE;
}

/* Bit i: slot i holds something. */
static inline void map_find_used(map_plan *p)
{
    p->used = (unsigned long long)(p->reads_y | p->writes_y) << MAP_Y;
    for (int i = 0; i < p->count; i++) {
        const map_step *s = &p->step[i];
        const unsigned char address[4] = { s->to, s->a, s->b, s->c };

        for (int k = 0; k <= map_takes(s->code); k++)
            if (address[k] < MAP_UNIFORM)
                p->used |= 1ull << address[k];
    }
}

/* Renumbers slots so that those in use lie side by side; their number. */
static inline int map_compact(map_plan *p, unsigned char *number)
{
    int slots = 0;

    for (int i = 0; i < MAP_UNIFORM; i++)
        number[i] = (unsigned char)(p->used >> i & 1 ? slots++ : 0);
    for (int i = 0; i < p->count; i++) {
        map_step *s = &p->step[i];
        unsigned char *address[4] = { &s->to, &s->a, &s->b, &s->c };
        for (int k = 0; k < 4; k++)
            if (*address[k] < MAP_UNIFORM)
                *address[k] = number[*address[k]];
    }
    return slots;
}

/* A checked program becomes a plan; 0: it is too long for one. */
static inline int map_plan_make(map_plan *p, const hone_mapcode *code,
                                int scalars)
{
    map_planner m;

    memset(p, 0, sizeof *p);
    memset(&m, 0, sizeof m);
    m.p = p;
    p->scalars = p->uniforms = scalars;
    p->reads_y = code->reads_y;
    p->writes_y = code->writes_y;
    for (int i = 0; i < code->count; i++) {
        if (p->count + HONE_MAP_STACK + 1 > MAP_STEPS ||
            p->uniforms == MAP_UNIFORMS)
            return 0;
        map_word(&m, &code->step[i]);
    }
    map_forward(p);
    map_find_used(p);
    return 1;
}

#endif

/* SPDX-License-Identifier: MIT
 *
 * mapcode.h -- the postfix program of `map` (docs/ops.md) as an array of
 * steps, checked: known words, operands that exist, a stack that never runs
 * empty and ends empty, no register read before it is written. Shared by the
 * reference and by packs. After parsing nothing can fail.
 *
 * y0, y1... start as what the tensors hold; `=y0` changes the value that
 * later words see, and at the end each y that was set is stored, once.
 */
#ifndef HONE_MAPCODE_H
#define HONE_MAPCODE_H

#include "hone/plugin.h"

#include <stdlib.h>
#include <string.h>

#define HONE_MAP_STEPS 192
#define HONE_MAP_STACK 16
#define HONE_MAP_SCALARS 16
#define HONE_MAP_TENSORS 8   /* most reads, most writes of one element */
#define HONE_MAP_REGISTERS 8

typedef enum {
    HONE_MAP_NUMBER = 1, /* push value */
    HONE_MAP_S,          /* push scalar INDEX; X, Y, R alike */
    HONE_MAP_X,
    HONE_MAP_Y,
    HONE_MAP_R,
    HONE_MAP_SET_Y, /* pop */
    HONE_MAP_SET_R,
    HONE_MAP_DUP,
    HONE_MAP_SWAP,
    HONE_MAP_PLUS, /* two operands */
    HONE_MAP_MINUS,
    HONE_MAP_TIMES,
    HONE_MAP_OVER,
    HONE_MAP_MIN,
    HONE_MAP_MAX,
    HONE_MAP_LESS,
    HONE_MAP_MORE,
    HONE_MAP_NEG, /* one operand */
    HONE_MAP_ABS,
    HONE_MAP_SQRT,
    HONE_MAP_EXP,
    HONE_MAP_EXPM1,
    HONE_MAP_LOG,
    HONE_MAP_SIGN,
    HONE_MAP_FINITE,
    HONE_MAP_LERP, /* three operands */
    HONE_MAP_SELECT
} hone_map_code;

typedef struct hone_map_step {
    hone_map_code code;
    int index;    /* of the operand */
    double value; /* NUMBER */
} hone_map_step;

typedef struct hone_mapcode {
    int count;           /* steps */
    int depth;           /* of the stack, at most */
    unsigned reads_y;    /* bit i: yi is read before it is set */
    unsigned writes_y;   /* bit i: yi is set */
    hone_map_step step[HONE_MAP_STEPS];
} hone_mapcode;

typedef struct hone_map_word {
    const char *name;
    hone_map_code code;
    int takes, gives;
} hone_map_word;

static inline const hone_map_word *hone_map_find(const char *word)
{
    static const hone_map_word table[] = {
        { "dup", HONE_MAP_DUP, 1, 2 },      { "swap", HONE_MAP_SWAP, 2, 2 },
        { "+", HONE_MAP_PLUS, 2, 1 },       { "-", HONE_MAP_MINUS, 2, 1 },
        { "*", HONE_MAP_TIMES, 2, 1 },      { "/", HONE_MAP_OVER, 2, 1 },
        { "min", HONE_MAP_MIN, 2, 1 },      { "max", HONE_MAP_MAX, 2, 1 },
        { "<", HONE_MAP_LESS, 2, 1 },       { ">", HONE_MAP_MORE, 2, 1 },
        { "neg", HONE_MAP_NEG, 1, 1 },      { "abs", HONE_MAP_ABS, 1, 1 },
        { "sqrt", HONE_MAP_SQRT, 1, 1 },    { "exp", HONE_MAP_EXP, 1, 1 },
        { "expm1", HONE_MAP_EXPM1, 1, 1 },  { "log", HONE_MAP_LOG, 1, 1 },
        { "sign", HONE_MAP_SIGN, 1, 1 },    { "finite", HONE_MAP_FINITE, 1, 1 },
        { "lerp", HONE_MAP_LERP, 3, 1 },    { "select", HONE_MAP_SELECT, 3, 1 },
    };
    size_t i;
    for (i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, word) == 0)
            return &table[i];
    return NULL;
}

/* "x0", "=y1"...: 0 if the word has not this form. */
static inline int hone_map_operand(const char *word, hone_map_step *s,
                                   int *takes)
{
    const char *digit = word + (word[0] == '=') + 1;
    *takes = word[0] == '=';
    if (!word[*takes] || digit[0] < '0' || digit[0] > '9' ||
        (digit[1] && (digit[1] < '0' || digit[1] > '9' || digit[2])))
        return 0;
    s->index = atoi(digit);
    switch (word[*takes]) {
    case 's': s->code = HONE_MAP_S; return !*takes;
    case 'x': s->code = HONE_MAP_X; return !*takes;
    case 'y': s->code = *takes ? HONE_MAP_SET_Y : HONE_MAP_Y; return 1;
    case 'r': s->code = *takes ? HONE_MAP_SET_R : HONE_MAP_R; return 1;
    default: return 0;
    }
}

static inline int hone_map_literal(const char *word, hone_map_step *s)
{
    char *end;
    if (!strpbrk(word, "0123456789") ||
        word[strspn(word, "0123456789.eE+-")] != '\0')
        return 0;
    s->code = HONE_MAP_NUMBER;
    s->value = strtod(word, &end);
    return *end == '\0';
}

/* How many operands of the kind of S there are. */
static inline int64_t hone_map_limit(const hone_map_step *s, int64_t scalars,
                                     int64_t reads, int64_t writes)
{
    switch (s->code) {
    case HONE_MAP_S: return scalars;
    case HONE_MAP_X: return reads;
    case HONE_MAP_Y:
    case HONE_MAP_SET_Y: return writes;
    default: return HONE_MAP_REGISTERS;
    }
}

/* Follows reads and writes of y and r; 0: a register is read too early. */
static inline int hone_map_track(hone_mapcode *m, const hone_map_step *s,
                                 unsigned *registers)
{
    unsigned bit = 1u << s->index;
    if (s->code == HONE_MAP_Y && !(m->writes_y & bit))
        m->reads_y |= bit;
    if (s->code == HONE_MAP_SET_Y)
        m->writes_y |= bit;
    if (s->code == HONE_MAP_SET_R)
        *registers |= bit;
    return s->code != HONE_MAP_R || (*registers & bit);
}

/* Reads one word into S; TAKES and GIVES: what it does to the stack. */
static inline hone_status hone_map_read(const char *word, int64_t scalars,
                                        int64_t reads, int64_t writes,
                                        hone_map_step *s, int *takes,
                                        int *gives, hone_err *err)
{
    const hone_map_word *known = hone_map_find(word);
    if (known) {
        s->code = known->code;
        *takes = known->takes;
        *gives = known->gives;
        return HONE_OK;
    }
    if (hone_map_operand(word, s, takes)) {
        int64_t limit = hone_map_limit(s, scalars, reads, writes);
        *gives = !*takes;
        if (s->index < limit)
            return HONE_OK;
        return hone_fail(err, HONE_EINVAL,
                         "map: '%s' in the program, but there are only %lld",
                         word, (long long)limit);
    }
    *takes = 0;
    *gives = 1;
    if (hone_map_literal(word, s))
        return HONE_OK;
    return hone_fail(err, HONE_EINVAL,
                     "map: unknown word '%s' in the program; docs/ops.md "
                     "lists the words", word);
}

static inline hone_status hone_mapcode_parse(const char *program,
                                             int64_t scalars, int64_t reads,
                                             int64_t writes, hone_mapcode *m,
                                             hone_err *err)
{
    const char *at = program;
    unsigned registers = 0;
    int stack = 0;

    memset(m, 0, sizeof *m);
    for (at += strspn(at, " \n\t"); *at; at += strspn(at, " \n\t")) {
        size_t n = strcspn(at, " \n\t");
        hone_map_step *s = &m->step[m->count];
        char word[32];
        int takes, gives;

        if (n >= sizeof word || m->count == HONE_MAP_STEPS)
            return hone_fail(err, HONE_EINVAL,
                             "map: the program has more than %d words or one "
                             "of more than %d letters: '%.40s'",
                             HONE_MAP_STEPS, (int)sizeof word - 1, at);
        memcpy(word, at, n);
        word[n] = '\0';
        at += n;
        hone_try(hone_map_read(word, scalars, reads, writes, s, &takes, &gives,
                               err));
        if (stack < takes)
            return hone_fail(err, HONE_EINVAL,
                             "map: '%s' (word %d) finds %d of %d operands on "
                             "the stack", word, m->count + 1, stack, takes);
        stack += gives - takes;
        if (stack > HONE_MAP_STACK)
            return hone_fail(err, HONE_EINVAL,
                             "map: the stack is deeper than %d at '%s'",
                             HONE_MAP_STACK, word);
        if (!hone_map_track(m, s, &registers))
            return hone_fail(err, HONE_EINVAL,
                             "map: '%s' is read before it is set", word);
        m->depth = stack > m->depth ? stack : m->depth;
        m->count++;
    }
    if (stack != 0)
        return hone_fail(err, HONE_EINVAL,
                         "map: the program leaves %d values on the stack",
                         stack);
    if (!m->writes_y)
        return hone_fail(err, HONE_EINVAL,
                         "map: the program sets no tensor; end it with =y0");
    return HONE_OK;
}

#endif

/* SPDX-License-Identifier: MIT
 *
 * jinja.h -- the Jinja that chat templates are written in, as Transformers
 * sets jinja2 up. Memory of a rendering lies in one arena that is freed as a
 * whole, so an error is a jump out of it (ji_fail) and nothing leaks.
 */
#ifndef JINJA_H
#define JINJA_H

#include <setjmp.h>
#include <stdint.h>

#include "hone/plugin.h"

/* What a template may use: it comes from strangers. */
enum {
    JI_TEMPLATE_MAX = 4 << 20, /* bytes of a template */
    JI_STEPS_MAX = 20000000,   /* nodes evaluated, items touched */
    JI_DEPTH_MAX = 400,        /* calls, nested values, nested syntax */
    JI_RANGE_MAX = 100000,     /* items of range(), as the sandbox has it */
    JI_ARGS_MAX = 8            /* named parameters of a builtin */
};
#define JI_MEMORY_MAX ((size_t)512 << 20)
#define JI_OUTPUT_MAX ((size_t)128 << 20)
#define JI_UNKNOWN SIZE_MAX

/* ------------------------------------------------------------------ values */

typedef enum {
    JI_ABSENT = 0, /* an argument that was not given */
    JI_UNDEF,
    JI_NONE,
    JI_BOOL,
    JI_INT,
    JI_FLOAT,
    JI_STR,
    JI_LIST,
    JI_TUPLE,
    JI_DICT,
    JI_RANGE,
    JI_VIEW,  /* of a dict: keys, values or items */
    JI_ITER,  /* a generator: gives its items once */
    JI_SPACE, /* namespace() */
    JI_MACRO,
    JI_LOOP,
    JI_METHOD,
    JI_FUNCTION,
    JI_CYCLER,
    JI_JOINER
} ji_kind;

typedef struct ji_run ji_run;
typedef struct ji_node ji_node;
typedef struct ji_scope ji_scope;

/* Text, UTF-8. It may share its bytes with a longer one (see ji_join). */
typedef struct ji_str {
    const char *at;
    size_t len, chars; /* chars: JI_UNKNOWN until somebody asks */
    struct ji_room *room;
    int markup; /* markupsafe.Markup: what is added to it gets escaped */
} ji_str;

typedef struct ji_val {
    ji_kind kind;
    union {
        int64_t i; /* also of JI_BOOL */
        double f;
        ji_str *s;
        const char *why; /* JI_UNDEF: the message of whoever uses it */
        struct ji_list *l;
        struct ji_dict *d; /* also of JI_SPACE */
        struct ji_range *range;
        struct ji_view *view;
        struct ji_iter *iter;
        struct ji_macro *macro;
        struct ji_loop *loop;
        struct ji_method *method;
        const struct ji_def *def;
        struct ji_cycle *cycle;
    } u;
} ji_val;

typedef struct ji_list {
    ji_val *at;
    size_t n, cap;
    int group; /* a pair of groupby: has .grouper and .list */
} ji_list;

/* Keeps the order of insertion; nothing is ever removed. */
typedef struct ji_entry {
    ji_val key, value;
    uint64_t hash;
} ji_entry;

typedef struct ji_dict {
    ji_entry *at;
    size_t n, cap;
    uint32_t *slot; /* 0: free, else 1 + index */
    size_t slots;
} ji_dict;

typedef struct ji_range {
    int64_t start, stop, step, n;
} ji_range;

typedef struct ji_view {
    ji_dict *d;
    enum { JI_KEYS = 1, JI_VALUES, JI_ITEMS } what;
} ji_view;

/* Items are made at once; an error on the way waits until it is reached. */
typedef struct ji_iter {
    ji_list *items;
    size_t next;
    const char *broken; /* the error behind the last item, or NULL */
    int raised;         /* which came from raise_exception() */
    const char *type;   /* Python's name of it */
} ji_iter;

typedef struct ji_macro {
    const ji_node *node;
    ji_scope *scope; /* where it was defined */
} ji_macro;

typedef struct ji_method {
    ji_val self;
    const struct ji_def *def;
} ji_method;

typedef struct ji_cycle {
    ji_list *items; /* of a joiner: the separator */
    size_t at;
} ji_cycle;

typedef struct ji_args {
    ji_val *at;
    int n;
    ji_str **name;
    ji_val *named;
    int names;
} ji_args;

/* A filter, test, method or function. PARAMS: names, separated by blanks; the
 * first MIN must be given; "-name" cannot be given by name; "*" leaves the
 * arguments alone. P has them in order, JI_ABSENT where not given. */
typedef struct ji_def {
    const char *name, *params;
    int min;
    ji_val (*run)(ji_run *, ji_val self, const ji_args *, ji_val *p);
} ji_def;

/* ------------------------------------------------------------------ a run */

typedef struct ji_arena {
    struct ji_block *first;
    size_t bytes, most;
} ji_arena;

typedef struct ji_buf {
    char *at;
    size_t len, cap;
} ji_buf;

typedef struct ji_span {
    size_t from, to;
} ji_span;

/* One rendering, or the loading of a template. */
struct ji_run {
    ji_arena arena;
    jmp_buf *trap;
    const char *message; /* of the error that was jumped out with */
    int raised;          /* it came from raise_exception(): its text alone */
    int line;
    int64_t steps;
    int depth;
    ji_dict *variables;
    ji_buf *out, *root_out;
    ji_span *span; /* of {% generation %} in root_out */
    int spans, span_cap, lost; /* lost: one was not in root_out */
};

/* Leaves for r->trap. The message gets the line of the template. */
_Noreturn void ji_fail(ji_run *, const char *fmt, ...) HONE_PRINTF(2, 3);
_Noreturn void ji_raise(ji_run *, const char *text);
_Noreturn void ji_leave(ji_run *, const char *message, int raised);
/* Calls f(r, data) so that its error comes back as 1. */
int ji_try(ji_run *, void (*f)(ji_run *, void *), void *data);

void *ji_alloc(ji_run *, size_t bytes); /* zeroed */
void *ji_grow(ji_run *, void *old, size_t size, size_t n, size_t *cap);
void ji_arena_free(ji_arena *);
char *ji_format(ji_run *, const char *fmt, ...) HONE_PRINTF(2, 3);
/* Counts work; every loop whose length a template chooses does. */
void ji_step(ji_run *, size_t n);
void ji_deeper(ji_run *);

void ji_put(ji_run *, ji_buf *, const char *text, size_t len);
void ji_puts(ji_run *, ji_buf *, const char *text);
ji_str *ji_take(ji_run *, ji_buf *); /* its text; the buffer is empty then */

/* -------------------------------------------------------------------- text */

ji_str *ji_text(ji_run *, const char *at, size_t len); /* a copy */
ji_str *ji_wrap(ji_run *, const char *at, size_t len); /* no copy */
ji_str *ji_join(ji_run *, ji_str *a, ji_str *b);
size_t ji_chars(ji_str *);
/* The byte at which character I begins; I may be the number of them. */
size_t ji_offset(ji_str *, size_t i);
ji_str *ji_part(ji_run *, ji_str *, size_t from, size_t to); /* bytes */
int ji_is(const ji_str *, const char *text);
int ji_same(const ji_str *, const ji_str *);
int ji_order(const ji_str *, const ji_str *);
/* The code point at T and its bytes; T is valid UTF-8. */
uint32_t ji_code(const char *t, int *bytes);
int ji_encode(uint32_t code, char *to);
int ji_space(uint32_t code);
int ji_word(uint32_t code);     /* \w of Python's regular expressions */
int ji_has_case(uint32_t code); /* a letter in upper, lower or title case */
/* Where B is in A from byte FROM on, or JI_UNKNOWN. */
size_t ji_find(const ji_str *a, const ji_str *b, size_t from);
size_t ji_rfind(ji_run *, const ji_str *a, const ji_str *b, size_t to);
typedef enum { JI_UPPER = 1, JI_LOWER, JI_TITLE, JI_FOLD } ji_case;
ji_str *ji_cased(ji_run *, const ji_str *, ji_case);
ji_str *ji_strip(ji_run *, ji_str *, const ji_str *chars, int sides);
ji_str *ji_escape(ji_run *, ji_str *); /* HTML; gives markup */
ji_list *ji_lines(ji_run *, ji_str *, int keep_ends);
ji_str *ji_replace(ji_run *, ji_str *, ji_str *old, ji_str *with,
                   int64_t most);
ji_str *ji_center(ji_run *, ji_str *, int64_t width, const char *fill);

/* ---------------------------------------------------------- making values */

static inline ji_val ji_none(void)
{
    return (ji_val){ .kind = JI_NONE };
}
static inline ji_val ji_bool(int b)
{
    return (ji_val){ .kind = JI_BOOL, .u.i = b != 0 };
}
static inline ji_val ji_int(int64_t i)
{
    return (ji_val){ .kind = JI_INT, .u.i = i };
}
static inline ji_val ji_float(double f)
{
    return (ji_val){ .kind = JI_FLOAT, .u.f = f };
}
static inline ji_val ji_string(ji_str *s)
{
    return (ji_val){ .kind = JI_STR, .u.s = s };
}
ji_val ji_undefined(ji_run *, const char *fmt, ...) HONE_PRINTF(2, 3);
ji_val ji_of(ji_run *, const char *text); /* a copy of it as a value */

ji_list *ji_list_new(ji_run *, size_t cap);
void ji_push(ji_run *, ji_list *, ji_val);
ji_val ji_listed(ji_list *);
ji_val ji_pair(ji_run *, ji_val a, ji_val b); /* a tuple */
ji_dict *ji_dict_new(ji_run *);
void ji_set(ji_run *, ji_dict *, ji_val key, ji_val value);
/* NULL: not there. */
ji_val *ji_get(ji_run *, ji_dict *, ji_val key);
ji_val *ji_get_text(ji_run *, ji_dict *, const char *key);
ji_val ji_made(ji_run *, ji_list *items, const char *type); /* a generator */

const char *ji_type(ji_val); /* Python's name of its type */
int ji_number(ji_val);       /* int, float or bool */
double ji_double(ji_val);
int ji_true(ji_run *, ji_val);
int ji_equal(ji_run *, ji_val, ji_val);
int ji_compare(ji_run *, ji_val, ji_val, const char *op); /* -1, 0, 1 */
int ji_hashable(ji_val);
int ji_contains(ji_run *, ji_val in, ji_val item);
/* -1: has no length */
int64_t ji_length(ji_run *, ji_val);
int ji_iterable(ji_val);
/* Its items as a list; uses a generator up. */
ji_list *ji_items(ji_run *, ji_val);
/* The value as a whole number, or an error. */
int64_t ji_index(ji_run *, ji_val);

ji_val ji_getattr(ji_run *, ji_val, ji_str *name);
ji_val ji_getitem(ji_run *, ji_val, ji_val key);
ji_val ji_slice(ji_run *, ji_val, ji_val from, ji_val to, ji_val step);

ji_str *ji_tostr(ji_run *, ji_val); /* str() */
void ji_repr(ji_run *, ji_buf *, ji_val);
void ji_put_float(ji_run *, ji_buf *, double);
/* 1 and the number, if the text is one as Python's int() or float() has it. */
int ji_parse_int(ji_run *, const ji_str *, int base, int64_t *);
int ji_parse_float(ji_run *, const ji_str *, double *);

ji_val ji_binary(ji_run *, char op, ji_val, ji_val); /* + - * / % and / ~ */
ji_val ji_power(ji_run *, ji_val, ji_val);
ji_val ji_floor_div(ji_run *, ji_val, ji_val);
ji_val ji_negative(ji_run *, ji_val);
ji_str *ji_percent(ji_run *, ji_str *, ji_val args);          /* "%s" % x */
ji_str *ji_format_call(ji_run *, ji_str *, const ji_args *); /* .format() */
ji_val ji_round_to(ji_run *, ji_val, int64_t digits);

/* ------------------------------------------------------------------- JSON */

struct json_t;
ji_val ji_from_json(ji_run *, const struct json_t *);
ji_val ji_tojson(ji_run *, ji_val, const ji_args *, ji_val *p);

/* ----------------------------------------------------------------- syntax */

typedef enum {
    JI_DATA = 1, /* statements */
    JI_OUTPUT,
    JI_IF,
    JI_FOR,
    JI_SET,
    JI_SET_BLOCK,
    JI_MACRO_DEF,
    JI_CALL_BLOCK,
    JI_FILTER_BLOCK,
    JI_WITH,
    JI_GENERATION,
    JI_BREAK,
    JI_CONTINUE,
    JI_CONST, /* expressions */
    JI_NAME,
    JI_NSREF,
    JI_LIST_OF,
    JI_TUPLE_OF,
    JI_DICT_OF,
    JI_ATTR,
    JI_ITEM,
    JI_SLICE_OF,
    JI_CALL,
    JI_FILTER,
    JI_TEST,
    JI_NOT,
    JI_AND,
    JI_OR,
    JI_COND,
    JI_COMPARE,
    JI_CONCAT,
    JI_BINARY,
    JI_UNARY
} ji_syntax;

/* kids: what it is made of; more: a second list (a loop's else, the names of
 * keyword arguments as constants, macro parameters). */
struct ji_node {
    ji_syntax kind;
    int line, op, flags;
    ji_str *name;
    ji_val value;
    ji_node *a, *b, *c;
    struct ji_nodes {
        ji_node **at;
        size_t n, cap;
    } kids, more, args;
    const ji_def *def; /* of a filter or test; NULL: there is none */
    ji_str *special[3]; /* of a macro: caller, kwargs, varargs if asked for */
};

enum {
    JI_RECURSIVE = 1,
    JI_EXTENDED = 2, /* the body asks for `loop` */
    JI_CALLER = 4,
    JI_KWARGS = 8,
    JI_VARARGS = 16,
    JI_STAR = 32,     /* a call's argument: *x */
    JI_STAR_STAR = 64 /* **x */
};

typedef struct ji_template {
    ji_run run; /* owns the nodes */
    struct ji_nodes body;
    ji_dict *names; /* all that it names, in texts too */
    int has_generation;
} ji_template;

typedef enum {
    JI_T_END = 1,
    JI_T_DATA,
    JI_T_BLOCK_BEGIN,
    JI_T_BLOCK_END,
    JI_T_VAR_BEGIN,
    JI_T_VAR_END,
    JI_T_NAME,
    JI_T_STRING,
    JI_T_INT,
    JI_T_FLOAT,
    JI_T_OP
} ji_token_kind;

typedef struct ji_token {
    ji_token_kind kind;
    int line;
    char op[3]; /* of JI_T_OP */
    ji_str *text;
    ji_val value; /* of numbers */
} ji_token;

/* All tokens of a template, JI_T_END last. */
ji_token *ji_lex(ji_run *, const char *text, size_t len);

typedef struct ji_parser {
    ji_run *r;
    ji_token *at;
    ji_dict *names;        /* text -> the one ji_str of it */
    ji_node *macro[64];    /* being read, outermost first */
    int macros;
    ji_node *loop;         /* innermost one being read */
    int loops, has_generation;
} ji_parser;

void ji_parse(ji_run *, const char *text, size_t len, ji_template *);
ji_node *ji_node_new(ji_parser *, ji_syntax);
void ji_kid(ji_parser *, struct ji_nodes *, ji_node *);
ji_str *ji_intern(ji_parser *, ji_str *);
int ji_at_op(const ji_parser *, const char *op);
int ji_at_name(const ji_parser *, const char *name);
int ji_skip_op(ji_parser *, const char *op);
int ji_skip_name(ji_parser *, const char *name);
void ji_expect_op(ji_parser *, const char *op);
ji_str *ji_expect_name(ji_parser *);
_Noreturn void ji_unexpected(ji_parser *, const char *wanted);
ji_node *ji_expression(ji_parser *);
ji_node *ji_or_test(ji_parser *); /* without an inline if */
ji_node *ji_primary(ji_parser *, int with_namespace);
ji_node *ji_filters(ji_parser *, ji_node *, int inline_start);
/* UNTIL: a name that ends it, or NULL. */
ji_node *ji_tuple(ji_parser *, int simple, int cond, const char *until,
                  int parens, int with_namespace);

/* -------------------------------------------------------------- evaluation */

/* Variables by their interned name. */
struct ji_scope {
    ji_scope *parent; /* NULL: the template's own */
    struct ji_var {
        const ji_str *name;
        ji_val value;
    } *var, few[4];
    int n, cap;
};

ji_scope *ji_scope_new(ji_run *, ji_scope *parent);
void ji_assign(ji_run *, ji_scope *, const ji_str *name, ji_val);
ji_val ji_lookup(ji_run *, ji_scope *, ji_str *name);
ji_val ji_eval(ji_run *, ji_scope *, const ji_node *);
void ji_eval_args(ji_run *, ji_scope *, const ji_node *, ji_args *);
ji_val ji_call(ji_run *, ji_val callee, const ji_args *);
ji_val ji_call_def(ji_run *, const ji_def *, ji_val self, const ji_args *);
ji_val ji_call_macro(ji_run *, const ji_macro *, const ji_args *);
/* 0, or JI_BREAK or JI_CONTINUE that has to be handed up. */
int ji_exec(ji_run *, ji_scope *, const struct ji_nodes *);
/* Runs the nodes and gives what they write. */
ji_str *ji_capture(ji_run *, ji_scope *, const struct ji_nodes *);
void ji_bind_target(ji_run *, ji_scope *, const ji_node *target, ji_val);

/* What a loop's variable `loop` has, JI_ABSENT if not; loop(...) of it. */
ji_val ji_loop_attr(ji_run *, struct ji_loop *, const ji_str *name);
ji_val ji_loop_again(ji_run *, struct ji_loop *, const ji_args *);
extern const ji_def ji_loop_methods[];

const ji_def *ji_find_filter(const ji_str *name);
const ji_def *ji_find_test(const ji_str *name);
const ji_def *ji_find_function(const ji_str *name);
/* NULL: it has none of that name. UNSAFE: it has, but it changes things. */
const ji_def *ji_find_method(ji_val, const ji_str *name, int *unsafe);
const ji_def *ji_def_in(const ji_def *table, const ji_str *name);
/* Arguments of builtins: a text; a text, or NULL if None or not given; a whole
 * number, or OTHER. */
ji_str *ji_text_arg(ji_run *, ji_val, const char *what);
ji_str *ji_text_or_none(ji_run *, ji_val, const char *what);
int64_t ji_int_or(ji_run *, ji_val, int64_t other);
extern const ji_def ji_text_filters[], ji_list_filters[], ji_number_filters[];
extern const ji_def ji_pick_filters[], ji_str_methods[], ji_str_edits[];
extern const ji_def ji_str_tests[];
/* a.b.0 of an item; ATTRIBUTE: a text, a number or absent. */
ji_val ji_dig(ji_run *, ji_val item, ji_val attribute, ji_val other);

/* Renders with VARIABLES; the text is in r's arena. */
ji_str *ji_render(ji_run *, const ji_template *, ji_dict *variables);

/* ------------------------------------------------------------------- chats */

typedef struct ji_chat {
    const ji_template *template;
    ji_dict *variables;
    ji_list *messages;
    ji_str *text; /* rendered, just now, by the same run */
    ji_span *span;
    int spans, found; /* found: by rendering */
} ji_chat;

ji_dict *ji_chat_variables(ji_run *, const struct json_t *);
/* Fills in the spans of the text that a model is to learn: those of
 * {% generation %}, or else the assistant's turns. */
void ji_chat_spans(ji_run *, ji_chat *, hone_learn want);

#endif

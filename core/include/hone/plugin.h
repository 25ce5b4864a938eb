/* SPDX-License-Identifier: MIT
 *
 * hone/plugin.h -- the whole contract between the engine and a plugin.
 *
 * A plugin is a shared object that includes this one file, links against
 * nothing of ours and exports one function, hone_plugin_entry, which returns
 * constant data. Build it with -fvisibility=hidden -Wl,-z,defs. The header is
 * C11 and C++17. docs/design.md carries worked examples through every pass.
 *
 * Growth: every struct that the engine reads from a plugin is led by its size;
 * members are only ever appended. A change that breaks a plugin bumps
 * HONE_ABI. 0 is never a meaningful enum choice.
 */
#ifndef HONE_PLUGIN_H
#define HONE_PLUGIN_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HONE_ABI 1u

/* ------------------------------------------------------------------ errors */

typedef enum {
    HONE_OK = 0,
    HONE_EINVAL,  /* what the user wrote is wrong: recipe, file, row (exit 2) */
    HONE_ENOMEM,  /* it does not fit the budget (exit 3) */
    HONE_EIO,     /* disk or device failed (exit 1) */
    HONE_ENOSUP,  /* this component does not cover the case: ask the next one */
    HONE_END,     /* no more rows; not an error */
    HONE_EINTR    /* interrupted by a signal (exit 130) */
} hone_status;

/* Owned by the caller, never allocated. The message says what is wrong, where,
 * and the cure, in one line without a trailing newline. */
typedef struct hone_err {
    hone_status code;
    char msg[1024];
} hone_err;

#if defined(__GNUC__)
#define HONE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define HONE_PRINTF(fmt, args)
#endif

/* Fills ERR (which may be NULL) and returns CODE. */
HONE_PRINTF(3, 4)
static inline hone_status hone_fail(hone_err *err, hone_status code,
                                    const char *fmt, ...)
{
    if (err) {
        va_list ap;
        err->code = code;
        va_start(ap, fmt);
        (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
    }
    return code;
}

#define hone_try(expr)                                                         \
    do {                                                                       \
        hone_status hone_try_status_ = (expr);                                 \
        if (hone_try_status_ != HONE_OK)                                       \
            return hone_try_status_;                                           \
    } while (0)

/* -------------------------------------------------------------------- text */

/* Bytes of the character at TEXT (not empty), or of the maximal subpart of
 * broken UTF-8 there: then *OK is 0 (table 3-7 of the Unicode standard). */
static inline size_t hone_utf8_step(const char *text, size_t bytes, int *ok)
{
    const unsigned char *t = (const unsigned char *)text;
    size_t need = t[0] < 0x80 ? 1 : t[0] < 0xE0 ? 2 : t[0] < 0xF0 ? 3 : 4, i;
    unsigned char low = t[0] == 0xE0 ? 0xA0 : t[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = t[0] == 0xED ? 0x9F : t[0] == 0xF4 ? 0x8F : 0xBF;

    *ok = need == 1;
    if (*ok || t[0] < 0xC2 || t[0] > 0xF4)
        return 1;
    for (i = 1; i < need && i < bytes && t[i] >= low && t[i] <= high; i++) {
        low = 0x80;
        high = 0xBF;
    }
    *ok = i == need;
    return i;
}

/* ----------------------------------------------------------------- options */

typedef enum {
    HONE_BOOL = 1, /* int */
    HONE_INT,      /* int64_t */
    HONE_REAL,     /* double */
    HONE_STR,      /* const char *, owned by the engine; NULL when not given */
    HONE_ENUM,     /* int: index into choices */
    HONE_VALUE     /* engine only: another constructor's value or a function */
} hone_opt_type;

#define HONE_REQUIRED 1u /* flags: an error when the recipe leaves it out */

/* One option: a row gives its default, its range, its help, its check in the
 * recipe, --set, `hone describe` and the docs. A table ends with name NULL. */
typedef struct hone_option {
    const char *name, *help;
    hone_opt_type type;
    uint32_t flags;
    size_t offset;              /* into the component's config struct */
    double def, min, max;       /* numbers and booleans; inclusive range */
    const char *sdef;           /* HONE_STR and HONE_ENUM: the default's text */
    const char *const *choices; /* HONE_ENUM: names, ends with NULL */
} hone_option;

#define HONE_OPT_INT(S, f, d, lo, hi, h)                                       \
    { #f, h, HONE_INT, 0, offsetof(S, f), d, lo, hi, NULL, NULL }
#define HONE_OPT_REAL(S, f, d, lo, hi, h)                                      \
    { #f, h, HONE_REAL, 0, offsetof(S, f), d, lo, hi, NULL, NULL }
#define HONE_OPT_BOOL(S, f, d, h)                                              \
    { #f, h, HONE_BOOL, 0, offsetof(S, f), d, 0, 1, NULL, NULL }
#define HONE_OPT_STR(S, f, d, h)                                               \
    { #f, h, HONE_STR, 0, offsetof(S, f), 0, 0, 0, d, NULL }
#define HONE_OPT_ENUM(S, f, d, c, h)                                           \
    { #f, h, HONE_ENUM, 0, offsetof(S, f), 0, 0, 0, d, c }
#define HONE_OPT_END { NULL, NULL, HONE_BOOL, 0, 0, 0, 0, 0, NULL, NULL }

/* ---------------------------------------------------------------- the host */

/* What the engine lends to a component; defined behind what it names. */
typedef struct hone_host hone_host;

/* ------------------------------------------------------- storage and types */

/* How the elements of a tensor are held: a named tuple of buffers (parts). */
typedef enum {
    HONE_NOTHING = 0, /* an optional operand that is absent */
    HONE_F32,
    HONE_BF16,
    HONE_F16,
    HONE_F64, /* the reference in double; never in a training run */
    HONE_I32,
    HONE_I64,
    HONE_U8,
    HONE_NF4,  /* codes u8[n/2], absmax u8[n/64], nested f32[n/16384], mean
                  f32[2]; nf4.h */
    HONE_FP8,  /* e4m3 codes u8[n], scale f32[rows]; of a weight all alike */
    HONE_INT8, /* block-wise optimizer state: codes u8[n], absmax f32[n/256] */
    HONE_UINT8, /* the same for what is never negative */
    HONE_NF4_PLAIN, /* codes u8[n/2], absmax f32[n/64]; nf4.h */
    HONE_FP8_TURNED, /* HONE_FP8 of the transposed matrix: scale f32[columns] */
    HONE_STORAGES
} hone_storage;

#define HONE_PARTS 4
#define HONE_RANK 4
#define HONE_ALIGN 256 /* bytes; every part of every tensor starts at this,
                          but for one that is some rows of another */

typedef struct hone_part {
    const char *name;
    uint32_t bytes; /* of one unit of the part; 0: no such part */
    int64_t per;    /* elements that share one unit; 0: all of them */
} hone_part;

#define HONE_PER_ROW (-1) /* per: a unit for each row, or each column */
#define HONE_PER_COLUMN (-2)

/* The parts of a storage, as data: planner, loader and packs read this. */
static inline const hone_part *hone_parts(hone_storage s)
{
    static const hone_part table[HONE_STORAGES][HONE_PARTS] = {
        { { NULL, 0, 1 } },
        { { "f32", 4, 1 } },
        { { "bf16", 2, 1 } },
        { { "f16", 2, 1 } },
        { { "f64", 8, 1 } },
        { { "i32", 4, 1 } },
        { { "i64", 8, 1 } },
        { { "u8", 1, 1 } },
        { { "codes", 1, 2 },
          { "absmax", 1, 64 },
          { "nested", 4, 16384 },
          { "mean", 8, 0 } },
        { { "codes", 1, 1 }, { "scale", 4, HONE_PER_ROW } },
        { { "codes", 1, 1 }, { "absmax", 4, 256 } },
        { { "codes", 1, 1 }, { "absmax", 4, 256 } },
        { { "codes", 1, 2 }, { "absmax", 4, 64 } },
        { { "codes", 1, 1 }, { "scale", 4, HONE_PER_COLUMN } },
    };
    return table[s < HONE_STORAGES ? s : 0];
}

/* Bytes of part P for N elements, without alignment; not of one for each row
 * or column. */
static inline int64_t hone_part_bytes(hone_storage s, int p, int64_t n)
{
    const hone_part *part = &hone_parts(s)[p];
    if (!part->bytes)
        return 0;
    if (!part->per)
        return part->bytes;
    return (n + part->per - 1) / part->per * (int64_t)part->bytes;
}

/* Logical type of a tensor: row-major, contiguous, dimension 0 slowest.
 * Activations are [T,H]: T tokens of the micro-batch, documents end to end. */
typedef struct hone_type {
    hone_storage storage;
    int rank;
    int64_t dim[HONE_RANK];
} hone_type;

static inline int64_t hone_count(const hone_type *t)
{
    int64_t n = 1;
    int i;
    for (i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

static inline hone_type hone_type_of(hone_storage s, int rank, int64_t d0,
                                     int64_t d1)
{
    hone_type t;
    int i;
    t.storage = s;
    t.rank = rank;
    for (i = 0; i < HONE_RANK; i++)
        t.dim[i] = 1;
    t.dim[0] = d0;
    t.dim[1] = rank > 1 ? d1 : 1;
    return t;
}

/* Bytes of part P of a tensor, without alignment. */
static inline int64_t hone_type_bytes(const hone_type *t, int p)
{
    const hone_part *part = &hone_parts(t->storage)[p];
    int64_t columns = t->rank ? t->dim[t->rank - 1] : 1;
    if (!part->bytes || part->per >= 0)
        return hone_part_bytes(t->storage, p, hone_count(t));
    return (part->per == HONE_PER_ROW ? hone_count(t) / columns : columns) *
           (int64_t)part->bytes;
}

/* Addresses of the parts of one operand; part[0] alone for plain storages. */
typedef struct hone_ptr {
    void *part[HONE_PARTS];
} hone_ptr;

/* ----------------------------------------------------- graphs, seen by ops */

typedef int32_t hone_id; /* a tensor of the graph under construction */
#define HONE_NONE ((hone_id)-1)

/* An attribute by name, set through the op's option table. */
typedef struct hone_attr {
    const char *name;
    double num;
    const char *str; /* used instead of num if not NULL */
} hone_attr;

/* Lent to rules and optimizers. Everything they make is an ordinary op. */
typedef struct hone_builder {
    uint32_t size;
    /* Appends one op. OUT[i] that is HONE_NONE becomes a new tensor of the
     * type that the op's shape rule gives; otherwise the op writes there.
     * A HONE_UPDATE output must be given. NULL name: derived from the rule. */
    hone_status (*emit)(struct hone_builder *, const char *op,
                        const char *name, const hone_attr *attrs,
                        uint32_t nattrs, const hone_id *in, uint32_t nin,
                        hone_id *out, uint32_t nout, hone_err *);
    /* A new tensor that lives between its first write and its last read. */
    hone_id (*temp)(struct hone_builder *, hone_type);
    hone_type (*type)(struct hone_builder *, hone_id);
    /* A graph input by name ("tokens", "positions"...; see HONE_IMPLICIT). */
    hone_id (*input)(struct hone_builder *, const char *name);
    void *self;
} hone_builder;

/* One application of an op, as its backward rule and decomposition see it. */
typedef struct hone_rule {
    const void *attrs;   /* the op's config struct */
    const char *name;    /* of the node, e.g. "model.layers.0.mlp.act" */
    uint32_t nin, nout;
    const hone_id *in;   /* HONE_NONE where an optional one is absent */
    hone_id *out;        /* a decomposition fills this in */
    const hone_id *dout; /* gradient of each output; HONE_NONE: none flows */
    const uint8_t *need; /* need[i]: the gradient of in[i] is wanted */
    hone_id *din;        /* a backward rule fills in where need[i] */
} hone_rule;

/* Operand flags. */
#define HONE_ROWS 1u      /* dimension 0 is the row axis T: rows independent */
#define HONE_OPTIONAL 2u
#define HONE_VARIADIC 4u  /* the last one: any number */
#define HONE_IMPLICIT 8u  /* found by its name among the graph's inputs */
#define HONE_CAN_ADD 16u  /* output: every pack can add into it (beta = 1) */
#define HONE_UPDATED 32u  /* output: exists already, is read and written */
#define HONE_SUMMED 64u   /* output: a sum over rows; chunks add into it */
#define HONE_NO_GRAD 128u /* input: never has a gradient */
#define HONE_TWICE 256u   /* output: see hone_need.twice */
#define HONE_INPLACE(i) (((uint32_t)(i) + 1u) << 16) /* output: may take the
                            bytes of input i where that one dies here */
#define HONE_INPLACE_OF(flags) ((int)((flags) >> 16) - 1)

typedef struct hone_operand {
    const char *name; /* a table of operands ends with NULL */
    uint32_t flags;
} hone_operand;

/* How one call touches an operand. */
typedef enum { HONE_READ = 1, HONE_WRITE, HONE_ADD, HONE_UPDATE } hone_mode;

/* One op call with everything but addresses: what shape rules, packs and the
 * reference see. Operands are numbered inputs first, then outputs. */
typedef struct hone_call {
    uint32_t size;
    const char *op;
    const void *attrs;
    uint32_t nin, nout;
    const hone_type *type; /* [nin + nout]; absent: storage HONE_NOTHING */
    const uint8_t *mode;   /* [nin + nout] hone_mode */
    hone_storage compute;  /* of activations: HONE_F32, HONE_BF16, HONE_F64 */
    /* In prepare(): what it is planned for, as far as known; or NULL. */
    const struct hone_device_info *device;
} hone_call;

/* Where a fused op's attribute comes from when its pattern is found: node
 * NODE of the decomposition (emission order), attribute ATTR there. */
typedef struct hone_bind {
    const char *attr; /* of the fused op; a table ends with NULL */
    int node;
    const char *from;
} hone_bind;

/* An op is data. Its attributes are the component's option table. */
typedef struct hone_op {
    uint32_t size;
    const hone_operand *in, *out;
    /* Fills the type of every output from inputs and attributes; refuses
     * shapes that do not fit together. The numbers of operands fit the tables
     * already, and HONE_UPDATED outputs have their type in the call. */
    hone_status (*shape)(const hone_call *, hone_type *out, hone_err *);
    /* Emits ops that compute din from in, out and dout. Whatever tensor it
     * names is kept until then or recomputed: there are no other savings.
     * NULL: through the decomposition, or not differentiable. */
    hone_status (*backward)(hone_builder *, const hone_rule *, hone_err *);
    /* Emits the same result with simpler ops; also the pattern that the fuse
     * pass looks for, if the last op needs all others and there are at most 16
     * of at most 8 operands each. NULL for a basic op. */
    hone_status (*decompose)(hone_builder *, const hone_rule *, hone_err *);
    const hone_bind *binds;
    /* The specification: plain loops over contiguous operands, HONE_ADD
     * honoured. In the double one every HONE_F32 operand is HONE_F64. */
    void (*ref_f32)(const hone_call *, const hone_ptr *);
    void (*ref_f64)(const hone_call *, const hone_ptr *);
    /* Floating-point operations of one call; NULL: one per output element. */
    double (*flops)(const hone_call *);
    /* Relative error allowed against the reference in fp32; 0: 1e-5. */
    double tolerance;
    /* Lets `kernels check` draw valid inputs: called after real operands were
     * filled with random numbers, it fills those that must make sense, such
     * as indices, layouts and statistics. NULL: random numbers will do. */
    void (*sample)(const hone_call *, uint64_t seed, const hone_ptr *);
    /* Lets `kernels check` and `bench` draw calls: sets attributes, which hold
     * their defaults, and the types of the inputs, 32 at most; behind them
     * those of HONE_UPDATED outputs. ROWS 0: small odd shapes that differ by
     * SEED; else those of a training with that many rows. NULL: every input
     * is f32[T,H]. */
    void (*draw)(uint64_t seed, int64_t rows, void *attrs, hone_type *type,
                 uint32_t *nin, uint32_t *nout);
    /* An op with the same attributes that does several of these in one call,
     * which share input SHARED: its inputs are that one and then the other one
     * of each; its outputs are theirs. The group pass puts it in where a pack
     * covers it. NULL: there is none. */
    const char *list;
    uint32_t shared;
    /* Of a gradient op: an op that does the same and besides op AGAIN_OF, whose
     * inputs are this one's behind the first, once more: its result comes
     * behind this op's. So nobody need keep that. NULL: there is none. */
    const char *again, *again_of;
    /* An op with the same attributes that does this and op PAIR_OF where both
     * read one first input and attributes that both have are equal: its inputs
     * are this one's, then those of PAIR_OF that this one has not; its outputs
     * this one's, PAIR_OF's, one each. NULL: there is none. */
    const char *pair, *pair_of;
    /* An op with the same attributes that adds up several of these: its inputs
     * are theirs, one behind the other. NULL: there is none. */
    const char *sum;
} hone_op;

/* ----------------------------------------------------------- kernel packs */

typedef struct hone_stream_s *hone_stream; /* == cudaStream_t; NULL on CPU */

/* What a call needs, filled by the device-free half of prepare. */
typedef struct hone_need {
    uint32_t size;
    int64_t workspace_bytes; /* scratch on the device while it runs */
    int64_t prepared_bytes;  /* host memory for the prepared call */
    /* [nin + nout] in: the storage it has; out: the storage it must have.
     * Where they differ the compiler inserts `convert`. */
    hone_storage *want;
    /* Set where the kernel can add to what lies elsewhere: run() then takes
     * the address of what output i adds to from ptr[nin + nout + i]; it may be
     * the output's own. */
    int32_t adds_from;
    /* Set where a call has more outputs than its op and the kernel covers it:
     * for each that is flagged HONE_TWICE, in order, one behind all others
     * that gets the same values, once rounded, in its own storage. Where
     * readers want another storage the compiler asks for this first. */
    int32_t twice;
} hone_need;

typedef struct hone_kernel {
    const char *op; /* a table of kernels ends with NULL */
    /* Pure: no device, no driver. HONE_ENOSUP: not covered, ask the next
     * pack. THREADS: host threads that run() may use (CPU packs). */
    hone_status (*prepare)(const hone_call *, int threads, hone_need *,
                           hone_err *);
    /* Device half, before step 0: fills PREPARED (prepared_bytes, zeroed)
     * and may keep nothing of the call but copies. CTX is the device's or
     * the collective's state. Changes no byte count. */
    hone_status (*init)(const hone_call *, int threads, void *ctx,
                        void *prepared, hone_err *);
    /* Enqueues the work. Allocates nothing, chooses nothing, may be captured.
     * PTR: one per operand; behind them one per output, see adds_from. Absent
     * operands have part[0] NULL. */
    void (*run)(const void *prepared, const hone_ptr *ptr, void *workspace,
                hone_stream);
} hone_kernel;

typedef struct hone_pack {
    uint32_t size;
    const char *device; /* name of the device component it runs on */
    const hone_kernel *kernels;
    int behind; /* 1: asked after the device's own pack, for what that lacks;
                   0: before it. A recipe's `packs` is an order of its own. */
} hone_pack;

/* ---------------------------------------------------------------- devices */

typedef struct hone_event_s *hone_event;
typedef struct hone_graph_s *hone_graph_exec;

typedef enum { HONE_DEVICE_SPACE = 1, HONE_PINNED_SPACE } hone_space;
typedef enum { HONE_TO_DEVICE = 1, HONE_TO_HOST, HONE_ON_DEVICE } hone_way;

typedef struct hone_device_info {
    uint32_t size;
    char name[128];
    int64_t total_bytes, free_bytes, context_bytes;
    int is_host;    /* device memory is host memory: planned as host bytes */
    int streams;    /* useful number of streams, at least 1 */
    int can_capture;
    int threads;    /* host threads that kernels use */
    int arch;       /* of an NVIDIA GPU: 90 for compute capability 9.0 */
} hone_device_info;

/* The component's open() opens the device; its config has an int64_t `index`
 * first. Device pointers need not be readable by the host. All calls come
 * from the trainer's thread. After freeze() an allocation is an error. */
/* What packs chose by measuring: texts that are kept from run to run. */
typedef struct hone_choices {
    uint32_t size;
    void *self;
    const char *(*find)(void *self, const char *key); /* NULL: not there */
    void (*keep)(void *self, const char *key, const char *value);
} hone_choices;

#define HONE_GRAPH_USE 8 /* numbers */

typedef struct hone_device {
    uint32_t size;
    hone_status (*info)(void *dev, hone_device_info *, hone_err *);
    hone_status (*reserve)(void *dev, hone_space, int64_t bytes, void **ptr,
                           hone_err *);
    void (*release)(void *dev, hone_space, void *ptr);
    void (*freeze)(void *dev);
    hone_status (*stream_open)(void *dev, hone_stream *, hone_err *);
    void (*stream_close)(void *dev, hone_stream);
    hone_status (*event_open)(void *dev, hone_event *, hone_err *);
    void (*event_close)(void *dev, hone_event);
    void (*record)(void *dev, hone_event, hone_stream);
    void (*wait)(void *dev, hone_stream, hone_event);
    hone_status (*sync)(void *dev, hone_stream, hone_err *);
    void (*copy)(void *dev, void *dst, const void *src, int64_t bytes,
                 hone_way, hone_stream);
    void (*fill)(void *dev, void *dst, int byte, int64_t bytes, hone_stream);
    hone_status (*capture)(void *dev, hone_stream, hone_err *);
    hone_status (*capture_end)(void *dev, hone_stream, hone_graph_exec *,
                               hone_err *);
    void (*launch)(void *dev, hone_graph_exec, hone_stream);
    void (*graph_close)(void *dev, hone_graph_exec);
    /* The host waits for what was last recorded in the event, and for nothing
     * behind it. Absent: sync() of the stream is called instead. */
    hone_status (*await)(void *dev, hone_event, hone_err *);
    /* Seconds on the device from one event to another that were both reached.
     * Absent: the host's clock is used. */
    double (*seconds)(void *dev, hone_event from, hone_event to);
    /* Until it is called with NULL, init() of kernels may choose by measuring,
     * in BYTES of device memory at SCRATCH. Absent: nothing is measured. */
    void (*choose)(void *dev, const hone_choices *, void *scratch,
                   int64_t bytes);
    /* Adds a call to what those of a graph take, in the device's own terms, all
     * zero at first; bytes of device memory for all of them. Pure. */
    int64_t (*graph_bytes)(const hone_call *, int64_t use[HONE_GRAPH_USE]);
} hone_device;

/* A collective is a pack whose kernels get its state as CTX, and that knows
 * its group. Opened with config { int64_t rank, ranks } first. */
typedef struct hone_collective {
    uint32_t size;
    const char *device;
    const hone_kernel *kernels; /* "all_reduce"... */
} hone_collective;

/* -------------------------------------------------------------- optimizers */

typedef struct hone_state_spec {
    const char *name; /* checkpointed under this name */
    hone_type type;
} hone_state_spec;

#define HONE_MAX_STATES 4

/* The tensors of one group of parameters that share the optimizer's options.
 * Scalars are f32[1] on the device: LR is the rate of this step; T the
 * optimizer's own step count, already counting this one; CLIP the factor for
 * gradients; OK is 0 where the step must leave everything as it is. */
typedef struct hone_group {
    uint32_t size;
    uint32_t count;
    const hone_id *param, *grad;
    const hone_id *state[HONE_MAX_STATES]; /* [count] each */
    const hone_type *type;                 /* of each parameter */
    const char *const *name;               /* as in the checkpoint */
    hone_id lr, t, clip, ok;
} hone_group;

/* Its option table must have a real `lr`. */
typedef struct hone_optimizer {
    uint32_t size;
    /* Of the parameter NAME: fills OUT, HONE_MAX_STATES at most. */
    hone_status (*states)(const void *config, const char *name,
                          const hone_type *type, hone_state_spec *out,
                          uint32_t *count, hone_err *);
    hone_status (*update)(const void *config, hone_builder *,
                          const hone_group *, hone_err *);
} hone_optimizer;

/* --------------------------------------------------------------- schedules */

/* What the engine reports to adaptive schedules: steps up to s - 2. */
typedef struct hone_report {
    uint32_t size;
    int64_t step; /* 1-based */
    double loss, grad_norm, eval_loss; /* NaN where there is none */
} hone_report;

typedef struct hone_schedule {
    uint32_t size;
    /* Factor on the optimizer's lr for step 0, 1, ... total - 1. */
    double (*factor)(const void *config, const void *state, int64_t step,
                     int64_t total);
    void (*observe)(const void *config, void *state, const hone_report *);
} hone_schedule;

/* A `warmup` option: below 1 a share of the steps (rounded up), else steps. */
static inline double hone_warmup_steps(double warmup, int64_t total)
{
    double steps = warmup < 1 ? warmup * (double)total : warmup;
    int64_t whole = (int64_t)steps;
    return (double)(whole + ((double)whole < steps));
}

/* ------------------------------------------------------------------- data */

/* One row of a data file as the text of a JSON object. */
typedef struct hone_row {
    const char *json; /* valid until the next call */
    size_t bytes;
    int64_t number;   /* from 1, as the user counts rows */
    int64_t line;     /* line of the file where it starts; 0: unknown */
} hone_row;

typedef struct hone_format {
    uint32_t size;
    const char *const *endings; /* "json", "json.gz", NULL; the longest that a
                                   file's name ends with decides */
    hone_status (*open)(const hone_host *, const char *path, void **reader,
                        hone_err *);
    /* HONE_END after the last row. A damaged row: HONE_EINVAL with file and
     * row in the message; the next call goes on behind it, unless the row's
     * number was set to 0: nothing behind this damage can be read. The text
     * of a row is not checked: the engine parses it. */
    hone_status (*next)(void *reader, hone_row *, hone_err *);
    void (*close)(void *reader);
    /* Instead of open, where the component has options: its config, filled
     * from the options of hone.data; NULL: all defaults. */
    hone_status (*open_with)(const hone_host *, const char *path,
                             const void *config, void **reader, hone_err *);
    /* How much of the file is read, 0 to 1; absent: rows are counted. */
    double (*share)(const void *reader);
} hone_format;

#define HONE_SPECIALS 1u  /* encode: add what the tokenizer adds (BOS...) */
#define HONE_SKIP_SPECIALS 1u /* decode: leave special tokens out */

typedef struct hone_file { const char *name, *text; size_t bytes; } hone_file;

/* Pure and safe from many threads once loaded. TEXT is valid UTF-8 and may
 * contain NUL. */
typedef struct hone_tokenizer {
    uint32_t size;
    /* Whether this component reads the file: cheap, looks at the text only. */
    int (*probe)(const char *text, size_t bytes);
    hone_status (*load)(const hone_host *, const char *text, size_t bytes,
                        void **tok, hone_err *);
    void (*unload)(void *tok);
    /* Number of ids; writes the first CAP of them. */
    int64_t (*encode)(const void *tok, const char *text, size_t bytes,
                      uint32_t flags, int32_t *ids, int64_t cap);
    /* Number of bytes; writes the first CAP of them, no NUL. */
    int64_t (*decode)(const void *tok, const int32_t *ids, int64_t n,
                      uint32_t flags, char *text, int64_t cap);
    int32_t (*vocab)(const void *tok); /* highest id + 1 */
    int32_t (*find)(const void *tok, const char *piece); /* -1: none */
    int (*is_special)(const void *tok, int32_t id);
    /* May be absent: of folders without tokenizer.json, NAMES of the file that
     * it reads ("*.x": by its end) and of what it wants BESIDE; NULL ends. */
    const char *const *names, *const *beside;
    hone_status (*load_files)(const hone_host *, const hone_file *file,
                              uint32_t count, void **tok, hone_err *);
} hone_tokenizer;

/* ---------------------------------------------------------- chat templates */

/* Which parts of a rendered chat a caller wants to be told: those that the
 * assistant says, all or the last. */
typedef enum {
    HONE_LEARN_NOTHING = 1,
    HONE_LEARN_ASSISTANT,
    HONE_LEARN_LAST
} hone_learn;

typedef struct hone_span {
    int64_t from, to; /* bytes of the text */
} hone_span;

typedef struct hone_rendered {
    uint32_t size;
    const char *text;
    int64_t bytes;
    const hone_span *span; /* in order, apart from each other */
    uint32_t spans;
    int found;          /* they were looked for, not marked by the template */
    const char *raised; /* of a chat that the template itself refuses: its
                           words; NULL: another error */
    void *memory;       /* the component's */
} hone_rendered;

/* A loaded template is read-only and used from many threads at once; what it
 * may cost is the component's to limit: its text comes from strangers. */
typedef struct hone_template {
    uint32_t size;
    hone_status (*load)(const hone_host *, const char *text, size_t bytes,
                        void **self, hone_err *);
    void (*unload)(void *self);
    /* VARIABLES: a JSON object with messages and, if there are any, tools,
     * add_generation_prompt, bos_token and the like. release() in any case. */
    hone_status (*render)(const void *self, const char *variables,
                          size_t bytes, hone_learn, hone_rendered *,
                          hone_err *);
    void (*release)(hone_rendered *);
    int (*uses)(const void *self, const char *name); /* it reads this name */
} hone_template;

/* A size of micro-batch that programs are compiled for. */
typedef struct hone_bucket {
    int64_t tokens; /* T */
    int64_t docs;   /* most rows laid into it */
} hone_bucket;

#define HONE_MAX_BUCKETS 16

typedef struct hone_lengths {
    uint32_t size;
    int64_t rows, min, max, total; /* of the prepared data, train and val */
    int64_t batch;                 /* rows of a step on this rank, at most */
    double squares;                /* sum of the squares of the lengths */
    int64_t tokens; /* most of a micro-batch that there is memory for, if rows
                       are not longer; 0: any number */
} hone_lengths;

/* The layout of one step: row i lies in micro-batch micro[i], from token
 * start[i] on; micro-batch m has the size buckets[bucket[m]]. */
typedef struct hone_layout {
    int32_t micros;
    int32_t *micro; /* [rows] */
    int64_t *start; /* [rows] */
    int32_t *bucket; /* [rows], first MICROS used */
    int32_t *scratch; /* [4 * rows] for the collator */
} hone_layout;

/* Lays rows out; never drops, cuts or adds one. Pure. */
typedef struct hone_collator {
    uint32_t size;
    hone_status (*buckets)(const void *config, const hone_lengths *,
                           hone_bucket *out, uint32_t *count, hone_err *);
    hone_status (*layout)(const void *config, const hone_bucket *,
                          uint32_t count, const int32_t *lengths, int64_t rows,
                          hone_layout *, hone_err *);
} hone_collator;

/* --------------------------------------------------- results and reports */

/* One number with a name; NaN is written as null. */
typedef struct hone_field {
    const char *name;
    double num;
    int whole; /* write as an integer */
} hone_field;

/* open() gets a config whose first member is const char *dir, the run's
 * folder. Nothing here may allocate after open(). */
typedef struct hone_logger {
    uint32_t size;
    hone_status (*write)(void *state, const hone_field *, uint32_t count,
                         hone_err *);
} hone_logger;

/* Tensors and texts of a model, lent to exporters by the engine. */
typedef struct hone_export {
    uint32_t size;
    const char *out;         /* the folder to write to; it exists */
    const char *model;       /* the base model's folder */
    void *self;
    uint32_t count;          /* tensors */
    const char *(*name)(void *self, uint32_t i);
    hone_type (*type)(void *self, uint32_t i);
    /* Fills BYTES from OFFSET on of tensor i in its type; both are multiples
     * of its element size. */
    hone_status (*read)(void *self, uint32_t i, int64_t offset, int64_t bytes,
                        void *to, hone_err *);
    const char *adapter;     /* PEFT folder that is merged into the tensors as
                                they are read; NULL: none */
    /* All of tensor i as HONE_NF4 or HONE_NF4_PLAIN: fills its parts. */
    hone_status (*codes)(void *self, uint32_t i, hone_storage,
                         const hone_ptr *parts, hone_err *);
} hone_export;

typedef struct hone_exporter {
    uint32_t size;
    hone_status (*write)(const void *config, const hone_export *, hone_err *);
} hone_exporter;

/* ------------------------------------------------------------------ verbs */

/* `hone NAME ...`, where no verb of the engine's has that name. */
typedef struct hone_verb {
    uint32_t size;
    const char *usage; /* what follows the name: "ORG/NAME [--revision R]" */
    /* Gets what follows the name, but for the component's options: `--NAME`
     * alone where it is a HONE_BOOL, else `--NAME VALUE`, are in the host's
     * `config`. Returns the exit status. */
    int (*run)(const hone_host *, int argc, char **argv);
} hone_verb;

/* ------------------------------------------------- components and plugins */

typedef enum {
    HONE_KIND_FORMAT = 1,
    HONE_KIND_TOKENIZER,
    HONE_KIND_COLLATOR,
    HONE_KIND_SCHEDULE,
    HONE_KIND_OPTIMIZER,
    HONE_KIND_DEVICE,
    HONE_KIND_OP,
    HONE_KIND_PACK,
    HONE_KIND_COLLECTIVE,
    HONE_KIND_LOGGER,
    HONE_KIND_EXPORTER,
    HONE_KIND_VERB,
    HONE_KIND_TEMPLATE,
    HONE_KINDS
} hone_kind;

/* One thing a recipe can name. Names are unique among the kinds that a recipe
 * calls (collator, schedule, optimizer); elsewhere within their kind. */
typedef struct hone_component {
    uint32_t size;
    hone_kind kind;
    const char *name, *help;
    const hone_option *options;
    size_t config_size;  /* the engine allocates and fills it */
    size_t state_size;   /* the engine allocates it, zeroed */
    size_t persist_size; /* leading plain bytes of state, checkpointed */
    hone_status (*open)(const hone_host *, const void *config, void *state,
                        hone_err *);
    void (*close)(void *state);
    const void *ops; /* the struct of its kind, led by its size */
} hone_component;

/* What the engine lends to a component. Append only. */
struct hone_host {
    uint32_t size;
    /* level: 0 error, 1 warning, 2 note, 3 detail */
    void (*log)(const hone_host *, int level, const char *fmt, ...)
        HONE_PRINTF(3, 4);
    /* All that follows is for verbs, and NULL elsewhere. Their own options. */
    const void *config;
    /* A component; or an error that says where it was looked for. */
    hone_status (*find)(const hone_host *, hone_kind, const char *name,
                        const hone_component **, hone_err *);
    /* What an open device does at best, measured: bytes/s of a large copy, and
     * FLOP/s of a large product in COMPUTE, 0 where no pack has it. */
    hone_status (*limits)(const hone_host *, const hone_component *device,
                          void *dev, hone_storage compute, double *bytes_per_s,
                          double *flops_per_s, hone_err *);
    /* Of a MODEL (a folder, a file in it, a name in the Hub's cache) what reads
     * its tokenizer, and its chat template, whose render() adds the model's
     * special tokens to the variables; loaded, until unload(). */
    hone_status (*tokenizer)(const hone_host *, const char *model,
                             const hone_tokenizer **, void **tok, hone_err *);
    hone_status (*chat)(const hone_host *, const char *model,
                        const hone_template **, void **self, hone_err *);
};

typedef struct hone_plugin {
    uint32_t abi, size;
    const char *name, *version, *built_with;
    const hone_component *const *components; /* ends with NULL */
} hone_plugin;

#if defined(__GNUC__)
#define HONE_EXPORT __attribute__((visibility("default")))
#else
#define HONE_EXPORT
#endif

HONE_EXPORT const hone_plugin *hone_plugin_entry(void);

#if defined(__clang__)
#define HONE_BUILT_WITH __VERSION__
#elif defined(__GNUC__)
#define HONE_BUILT_WITH "gcc " __VERSION__
#else
#define HONE_BUILT_WITH "unknown compiler"
#endif

/* Defines the entry: HONE_PLUGIN("cosine", "1.0", &cosine) at the file's end. */
#define HONE_PLUGIN(NAME, VERSION, ...)                                        \
    static const hone_component *const hone_plugin_list[] = { __VA_ARGS__,     \
                                                              NULL };          \
    static const hone_plugin hone_plugin_self = { HONE_ABI,                    \
                                                  sizeof(hone_plugin),         \
                                                  NAME,                        \
                                                  VERSION,                     \
                                                  HONE_BUILT_WITH,             \
                                                  hone_plugin_list };          \
    const hone_plugin *hone_plugin_entry(void) { return &hone_plugin_self; }

#ifdef __cplusplus
}
#endif
#endif

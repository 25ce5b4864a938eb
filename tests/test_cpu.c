/* SPDX-License-Identifier: MIT
 *
 * test_cpu.c -- the CPU pack against the references of the ops on random
 * calls, with several numbers of threads; that running allocates nothing; the
 * elementary functions over their range; the device.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../kernels/cpu/vmath.h"
#include "../plugins/verbs/kernels/kernels.h"
#include "arena.h"
#include "plugins.h"

/* --------------------------------------------- every allocation is counted */

static int counting, allocations;

#ifndef __SANITIZE_ADDRESS__ /* which has an allocator of its own */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static void count(void)
{
    if (__atomic_load_n(&counting, __ATOMIC_RELAXED))
        __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
}

void *malloc(size_t bytes)
{
    count();
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    count();
    return __libc_calloc(n, bytes);
}

void *realloc(void *p, size_t bytes)
{
    count();
    return __libc_realloc(p, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    count();
    return __libc_memalign(align, bytes);
}

void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
    count();
    return (void *)syscall(SYS_mmap, at, bytes, prot, flags, fd, offset);
}
#endif

/* ------------------------------------------------------------ the plugins */

static const hone_plugin *ops_plugin;
static const hone_pack *pack;
static const hone_device *device;
static char state[1024];
static kernel_bench bench;

static const hone_component *find_op(const char *name)
{
    for (const hone_component *const *c = ops_plugin->components; *c; c++)
        if (!strcmp((*c)->name, name))
            return *c;
    return NULL;
}

static int open_all(void **unused)
{
    const hone_component *p = test_component(HONE_KIND_PACK, "cpu");
    const hone_component *d = test_component(HONE_KIND_DEVICE, "cpu");
    const hone_plugin *(*entry)(void);
    hone_device_info info = { .size = sizeof info };
    const int64_t index = 0;
    hone_err err;
    void *so = dlopen(HONE_BUILD "/lib/hone/plugins/ops.so", RTLD_NOW);

    (void)unused;
    if (!p || !d || !so || d->state_size > sizeof state)
        return -1;
    *(void **)&entry = dlsym(so, "hone_plugin_entry");
    ops_plugin = entry();
    pack = p->ops;
    device = d->ops;
    if (d->open(NULL, &index, state, &err) != HONE_OK ||
        device->info(state, &info, &err) != HONE_OK)
        return -1;
    bench = (kernel_bench){ .device = device, .dev = state,
                            .threads = info.threads, .compute = HONE_F32 };
    return 0;
}

/* On operands of plain numbers; a kernel that takes none, on codes. */
static hone_status check(kernel_bench b, const hone_kernel *k,
                         const hone_component *op, int cases, kernel_verdict *v,
                         hone_err *err)
{
    hone_status status = kernel_check(&b, k, op, cases, v, err);

    b.compute = HONE_NF4;
    return status == HONE_ENOSUP ? kernel_check(&b, k, op, cases, v, err)
                                 : status;
}

static void check_all(int threads, int cases)
{
    kernel_bench b = bench;

    b.threads = threads;
    for (const hone_kernel *k = pack->kernels; k->op; k++) {
        kernel_verdict v;
        hone_err err = { .msg = "" };
        const hone_component *op = find_op(k->op);

        assert_non_null(op);
        if (check(b, k, op, cases, &v, &err) != HONE_OK)
            fail_msg("%s, %d threads: %s", k->op, threads, err.msg);
        if (!(v.error <= 1))
            fail_msg("%s, %d threads: off by %g, bound %g", k->op, threads,
                     v.worst, v.bound);
        if (v.cases <= cases / 5) /* codes are drawn now and then */
            fail_msg("%s: only %d of %d calls are covered", k->op, v.cases, cases);
    }
}

static void kernels_agree_with_references(void **unused)
{
    (void)unused;
    check_all(bench.threads, 30);
}

static void any_number_of_threads(void **unused)
{
    (void)unused;
    check_all(1, 10);
    check_all(3, 10);
}

/* Whether a pass puts the op in only where a pack covers it. */
static int is_a_list(const char *name)
{
    for (const hone_component *const *c = ops_plugin->components; *c; c++) {
        const hone_op *op = (*c)->ops;

        if ((op->list && !strcmp(op->list, name)) ||
            (op->pair && !strcmp(op->pair, name)) ||
            (op->sum && !strcmp(op->sum, name)))
            return 1;
    }
    return 0;
}

/* Copies and collectives are not a pack's business; the others come to
 * stand for ops that every pack has, where one covers them. */
static int is_another_s(const char *name)
{
    static const char *const all[] = { "copy", "all_reduce", "swiglu_factors",
                                       "swiglu_factors_grad", "xent_slopes",
                                       "norm_rope", "norm_rope_dx" };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i], name))
            return 1;
    return 0;
}

static void every_op_has_a_kernel(void **unused)
{
    (void)unused;
    for (const hone_component *const *c = ops_plugin->components; *c; c++) {
        const hone_kernel *k = pack->kernels;

        while (k->op && strcmp(k->op, (*c)->name))
            k++;
        if (!k->op && !is_a_list((*c)->name) && !is_another_s((*c)->name))
            fail_msg("the CPU pack has no kernel for %s", (*c)->name);
    }
}

/* ------------------------------------------------------- nothing allocated */

static const hone_kernel *counted;

static void run_counted(const void *prepared, const hone_ptr *ptr,
                        void *workspace, hone_stream stream)
{
    counting = 1;
    counted->run(prepared, ptr, workspace, stream);
    counting = 0;
}

static void running_allocates_nothing(void **unused)
{
    (void)unused;
    /* The team of threads has this size from here on. */
    check_all(bench.threads, 1);
    for (const hone_kernel *k = pack->kernels; k->op; k++) {
        hone_kernel wrapped = { k->op, k->prepare, k->init, run_counted };
        kernel_verdict v;
        hone_err err;

        counted = k;
        allocations = 0;
        assert_int_equal(
            check(bench, &wrapped, find_op(k->op), 10, &v, &err),
            HONE_OK);
        if (allocations)
            fail_msg("%s allocates while it runs", k->op);
    }
}

/* ---------------------------------------------------------------- details */

static void elementary_functions(void **unused)
{
    double worst_exp = 0, worst_tanh = 0, worst_turn = 0;

    (void)unused;
    for (double x = -87; x < 88.7; x += 0.000731) {
        double want = exp((double)(float)x);
        double off = fabs((double)vm_exp((float)x) - want) / want;
        worst_exp = fmax(worst_exp, off);
    }
    for (double x = -12; x < 12; x += 0.000173) {
        double want = tanh((double)(float)x);
        if (want != 0)
            worst_tanh =
                fmax(worst_tanh,
                     fabs((double)vm_tanh((float)x) - want) / fabs(want));
    }
    for (double x = -131072; x < 131072; x += 0.1137) {
        float s, c;
        vm_sincos(x, &s, &c);
        worst_turn = fmax(worst_turn, fabs((double)s - sin(x)));
        worst_turn = fmax(worst_turn, fabs((double)c - cos(x)));
    }
    assert_true(worst_exp < 2e-7);
    assert_true(worst_tanh < 4e-7);
    assert_true(worst_turn < 2e-7);
    assert_true(vm_exp(-INFINITY) == 0);
    assert_true(vm_exp(0) == 1);
    assert_true(isinf(vm_exp(100)));
    assert_true(isnan(vm_exp(NAN)));
}

/* One tensor of N elements, y held as AS: the pack's map, or the REFERENCE. */
static void call_map_as(const char *program, int guard, float *s, float *x,
                        hone_storage as, hone_ptr y, int64_t n, int reference)
{
    const hone_component *op = find_op("map");
    hone_arena arena = { 0 };
    kernel_case c;
    hone_err err;
    const hone_kernel *k = pack->kernels;
    hone_storage want[3];
    hone_need need = { .size = sizeof need, .want = want };
    struct {
        const char *program;
        int64_t scalars, reads, writes;
        int guard;
    } attrs = { program, 1, 1, 1, guard };
    hone_ptr ptr[3] = { { { s } }, { { x } }, y };
    void *prepared;

    while (strcmp(k->op, "map"))
        k++;
    assert_int_equal(sizeof attrs, op->config_size);
    memset(&c, 0, sizeof c);
    c.call = (hone_call){ sizeof c.call, "map",  &attrs,  2, 1,
                          c.type,        c.mode, HONE_F32, NULL };
    c.type[0] = hone_type_of(HONE_F32, 1, 1, 1);
    c.type[1] = hone_type_of(HONE_F32, 1, n, 1);
    c.type[2] = hone_type_of(as, 1, n, 1);
    assert_int_equal(k->prepare(&c.call, bench.threads, &need, &err), HONE_OK);
    prepared = hone_alloc(&arena, (size_t)need.prepared_bytes);
    assert_int_equal(k->init(&c.call, bench.threads, state, prepared, &err),
                     HONE_OK);
    if (reference)
        ((const hone_op *)op->ops)->ref_f32(&c.call, ptr);
    else
        k->run(prepared, ptr, NULL, NULL);
    hone_arena_free(&arena);
}

static void call_map(const char *program, int guard, float *s, float *x,
                     float *y, int64_t n)
{
    call_map_as(program, guard, s, x, HONE_F32, (hone_ptr){ { y } }, n, 0);
}

static void map_keeps_its_guard(void **unused)
{
    float s = 0, x[3] = { 1, 2, 3 }, y[3] = { 7, 8, 9 };

    (void)unused;
    call_map("x0 =y0", 1, &s, x, y, 3);
    assert_true(y[0] == 7 && y[2] == 9);
    call_map("x0 =y0", 0, &s, x, y, 3);
    assert_true(y[0] == 1 && y[2] == 3);
    s = 1;
    call_map("x0 y0 + =y0", 1, &s, x, y, 3);
    assert_true(y[0] == 2 && y[2] == 6);
}

/* An operand on the stack keeps the value it had when it was pushed. */
static void map_stack_holds_values(void **unused)
{
    float s = 2, x[2] = { 5, 6 }, y[2] = { 1, 10 };

    (void)unused;
    call_map("y0 x0 =y0 y0 s0 * + dup =r0 r0 7 =r0 r0 swap - + =y0", 0, &s, x,
             y, 2);
    /* y0 + 2 x0 = 11, 22; then that plus (7 - that) */
    assert_true(y[0] == 7 && y[1] == 7);
}

/* A mean that decays, in blocks of eight bits: the bits of the reference. */
static void map_holds_blocks_of_eight_bits(void **unused)
{
    enum { COUNT = 70000 };
    static uint8_t codes[2][COUNT];
    static float absmax[2][COUNT / 256 + 1], x[COUNT];
    float s = 1;

    (void)unused;
    for (int t = 0; t < 6; t++) {
        hone_storage as = t < 3 ? HONE_INT8 : HONE_UINT8;

        if (t == 3)
            memset(codes, 0, sizeof codes), memset(absmax, 0, sizeof absmax);
        for (int i = 0; i < COUNT; i++)
            x[i] = (float)((i * 31 + t * 7) % 1013 - (t < 3 ? 500 : 0)) / 77;
        for (int k = 0; k < 2; k++)
            call_map_as("y0 x0 0.25 lerp =y0", 1, &s, x, as,
                        (hone_ptr){ { codes[k], absmax[k] } }, COUNT, k);
        assert_memory_equal(codes[0], codes[1], sizeof codes[0]);
        assert_memory_equal(absmax[0], absmax[1], sizeof absmax[0]);
        assert_true(absmax[0][COUNT / 256] > 0);
    }
}

static void the_device(void **unused)
{
    hone_device_info info = { .size = sizeof info };
    const hone_component *d = test_component(HONE_KIND_DEVICE, "cpu");
    const int64_t second = 1;
    char other[1024];
    hone_err err;
    void *p = NULL, *q = NULL;

    (void)unused;
    assert_int_equal(device->info(state, &info, &err), HONE_OK);
    assert_true(info.is_host && info.threads >= 1);
    assert_true(info.total_bytes > 0 && info.free_bytes > 0);
    assert_true(info.free_bytes <= info.total_bytes);
    assert_int_equal(d->open(NULL, &second, other, &err), HONE_EINVAL);
    assert_int_equal(
        device->reserve(state, HONE_DEVICE_SPACE, 9 << 20, &p, &err), HONE_OK);
    assert_int_equal((uintptr_t)p % HONE_ALIGN, 0);
    memset(p, 1, 9 << 20);
    device->release(state, HONE_DEVICE_SPACE, p);
    device->freeze(state);
    assert_int_equal(device->reserve(state, HONE_DEVICE_SPACE, 1, &q, &err),
                     HONE_ENOMEM);
    assert_null(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_agree_with_references),
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(every_op_has_a_kernel),
        cmocka_unit_test(running_allocates_nothing),
        cmocka_unit_test(elementary_functions),
        cmocka_unit_test(map_keeps_its_guard),
        cmocka_unit_test(map_stack_holds_values),
        cmocka_unit_test(map_holds_blocks_of_eight_bits),
        cmocka_unit_test(the_device)
    };

    return cmocka_run_group_tests(tests, open_all, NULL);
}

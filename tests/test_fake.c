/* SPDX-License-Identifier: MIT
 *
 * test_fake.c -- the test device `fake` is as strict as a GPU: the host cannot
 * touch its memory, only events order its streams, a capture does nothing
 * until it is launched, and nothing can be reserved after freeze().
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "plugins.h"

enum { FLOATS = 4096, BYTES = FLOATS * 4, ROUNDS = 100 };

typedef struct {
    const hone_component *component;
    const hone_device *api;
    const hone_pack *pack;
    void *dev;
    hone_stream a, b;
    hone_event e, f;
    float *x, *y, *in, *out; /* two on the device, two pinned */
    hone_err err;
} fixture;

static const hone_component *find(hone_kind kind)
{
    const hone_plugin *(*entry)(void);
    void *so =
        dlopen(HONE_BUILD "/tests/plugins/fake.so", RTLD_NOW | RTLD_LOCAL);

    if (!so)
        fail_msg("%s", dlerror());
    *(void **)&entry = dlsym(so, "hone_plugin_entry");
    for (const hone_component *const *c = entry()->components; *c; c++)
        if ((*c)->kind == kind)
            return *c;
    return NULL;
}

static void must(hone_status status, const hone_err *err)
{
    if (status != HONE_OK)
        fail_msg("%s", err->msg);
}

static void *reserve(fixture *t, hone_space space)
{
    void *p = NULL;

    must(t->api->reserve(t->dev, space, BYTES, &p, &t->err), &t->err);
    return p;
}

static int setup(void **state)
{
    fixture *t = calloc(1, sizeof *t);
    int64_t config[2] = { 0, 1 << 30 };

    t->component = find(HONE_KIND_DEVICE);
    t->api = t->component->ops;
    t->pack = find(HONE_KIND_PACK)->ops;
    t->dev = calloc(1, t->component->state_size);
    must(t->component->open(NULL, config, t->dev, &t->err), &t->err);
    must(t->api->stream_open(t->dev, &t->a, &t->err), &t->err);
    must(t->api->stream_open(t->dev, &t->b, &t->err), &t->err);
    must(t->api->event_open(t->dev, &t->e, &t->err), &t->err);
    must(t->api->event_open(t->dev, &t->f, &t->err), &t->err);
    t->x = reserve(t, HONE_DEVICE_SPACE);
    t->y = reserve(t, HONE_DEVICE_SPACE);
    t->in = reserve(t, HONE_PINNED_SPACE);
    t->out = reserve(t, HONE_PINNED_SPACE);
    memset(t->out, 0, BYTES);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    fixture *t = *state;

    t->api->release(t->dev, HONE_PINNED_SPACE, t->in);
    t->api->release(t->dev, HONE_PINNED_SPACE, t->out);
    t->api->release(t->dev, HONE_DEVICE_SPACE, t->x);
    t->component->close(t->dev);
    free(t->dev);
    free(t);
    return 0;
}

static void test_host_access_faults(void **state)
{
    fixture *t = *state;
    int status;
    pid_t child = fork();

    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(*(volatile char *)t->x);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
}

static void test_fresh_memory_is_not_zero(void **state)
{
    fixture *t = *state;

    t->api->copy(t->dev, t->out, t->x, BYTES, HONE_TO_HOST, t->a);
    must(t->api->sync(t->dev, t->a, &t->err), &t->err);
    assert_true(t->out[7] != t->out[7]);
}

/* Input to x on stream a, x to output on stream b, ordered by e; f lets the
 * next round's input in. With random delays in both. */
static void test_events_order_streams(void **state)
{
    fixture *t = *state;

    for (int i = 1; i <= ROUNDS; i++) {
        t->in[FLOATS - 1] = (float)i;
        t->api->copy(t->dev, t->x, t->in, BYTES, HONE_TO_DEVICE, t->a);
        t->api->record(t->dev, t->e, t->a);
        t->api->wait(t->dev, t->b, t->e);
        t->api->copy(t->dev, t->y, t->x, BYTES, HONE_ON_DEVICE, t->b);
        t->api->fill(t->dev, t->x, 0, BYTES, t->b);
        t->api->copy(t->dev, t->out, t->y, BYTES, HONE_TO_HOST, t->b);
        must(t->api->sync(t->dev, t->b, &t->err), &t->err);
        assert_float_equal(t->out[FLOATS - 1], i, 0);
    }
}

/* Work that forks to stream b and joins again. */
static void issue_round(fixture *t)
{
    t->api->copy(t->dev, t->x, t->in, BYTES, HONE_TO_DEVICE, t->a);
    t->api->record(t->dev, t->e, t->a);
    t->api->wait(t->dev, t->b, t->e);
    t->api->copy(t->dev, t->y, t->x, BYTES, HONE_ON_DEVICE, t->b);
    t->api->record(t->dev, t->f, t->b);
    t->api->wait(t->dev, t->a, t->f);
    t->api->copy(t->dev, t->out, t->y, BYTES, HONE_TO_HOST, t->a);
}

static void test_a_capture_is_replayed(void **state)
{
    fixture *t = *state;
    hone_graph_exec graph;

    t->in[5] = 3;
    must(t->api->capture(t->dev, t->a, &t->err), &t->err);
    issue_round(t);
    must(t->api->capture_end(t->dev, t->a, &graph, &t->err), &t->err);
    must(t->api->sync(t->dev, t->a, &t->err), &t->err);
    must(t->api->sync(t->dev, t->b, &t->err), &t->err);
    assert_float_equal(t->out[5], 0, 0);
    t->api->freeze(t->dev);
    for (int i = 1; i <= ROUNDS; i++) {
        t->in[5] = (float)i;
        t->api->launch(t->dev, graph, t->a);
        must(t->api->sync(t->dev, t->a, &t->err), &t->err);
        assert_float_equal(t->out[5], i, 0);
    }
    t->api->graph_close(t->dev, graph);
}

/* The host sees what was copied before an event once it has waited for that,
 * and only then; behind it the stream goes on. */
static void test_the_host_waits_for_an_event(void **state)
{
    fixture *t = *state;

    t->api->fill(t->dev, t->x, 0, BYTES, t->a);
    for (int i = 1; i <= ROUNDS; i++) {
        t->in[FLOATS - 1] = (float)i;
        t->api->record(t->dev, t->f, t->a);
        t->api->copy(t->dev, t->y, t->in, BYTES, HONE_TO_DEVICE, t->a);
        t->api->copy(t->dev, t->out, t->y, BYTES, HONE_TO_HOST, t->a);
        t->api->record(t->dev, t->e, t->a);
        t->api->copy(t->dev, t->x, t->y, BYTES, HONE_ON_DEVICE, t->a);
        must(t->api->await(t->dev, t->e, &t->err), &t->err);
        assert_float_equal(t->out[FLOATS - 1], i, 0);
        assert_true(t->api->seconds(t->dev, t->f, t->e) > 0);
    }
    must(t->api->sync(t->dev, t->a, &t->err), &t->err);
}

static void test_a_stream_left_in_a_capture(void **state)
{
    fixture *t = *state;
    hone_graph_exec graph;

    must(t->api->capture(t->dev, t->a, &t->err), &t->err);
    t->api->record(t->dev, t->e, t->a);
    t->api->wait(t->dev, t->b, t->e);
    t->api->fill(t->dev, t->x, 0, BYTES, t->b);
    assert_int_not_equal(t->api->capture_end(t->dev, t->a, &graph, &t->err),
                         HONE_OK);
    assert_non_null(strstr(t->err.msg, "was not joined"));
}

static void test_nothing_after_freeze(void **state)
{
    fixture *t = *state;
    hone_stream s;
    void *p;

    t->api->freeze(t->dev);
    assert_int_not_equal(
        t->api->reserve(t->dev, HONE_DEVICE_SPACE, 1, &p, &t->err), HONE_OK);
    assert_non_null(strstr(t->err.msg, "after freeze()"));
    assert_int_not_equal(
        t->api->reserve(t->dev, HONE_PINNED_SPACE, 1, &p, &t->err), HONE_OK);
    assert_int_not_equal(t->api->stream_open(t->dev, &s, &t->err), HONE_OK);
}

static void test_its_memory_is_counted(void **state)
{
    fixture *t = *state;
    hone_device_info info = { .size = sizeof info };
    void *p;

    must(t->api->info(t->dev, &info, &t->err), &t->err);
    assert_int_equal(info.total_bytes - info.free_bytes, 2 * BYTES);
    assert_int_equal(t->api->reserve(t->dev, HONE_DEVICE_SPACE,
                                     info.free_bytes + 1, &p, &t->err),
                     HONE_ENOMEM);
}

static void test_a_wrong_copy_is_kept_as_a_fault(void **state)
{
    fixture *t = *state;

    t->api->copy(t->dev, t->out, t->in, BYTES, HONE_TO_DEVICE, t->a);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(t->api->sync(t->dev, t->a, &t->err), HONE_EIO);
        assert_non_null(strstr(t->err.msg, "not where its direction says"));
    }
}

static void test_a_copy_past_the_end(void **state)
{
    fixture *t = *state;

    t->api->copy(t->dev, t->x + 1, t->in, BYTES, HONE_TO_DEVICE, t->a);
    assert_int_equal(t->api->sync(t->dev, t->a, &t->err), HONE_EIO);
    assert_non_null(strstr(t->err.msg, "not reserved"));
}

/* ------------------------------------------------------ kernels of the pack */

typedef struct {
    hone_type type[3];
    uint8_t mode[3];
    hone_call call;
    const hone_kernel *kernel;
    void *prepared;
} sum;

static void prepare_sum(fixture *t, sum *s)
{
    hone_storage want[3];
    hone_need need = { .size = sizeof need, .want = want };

    for (int i = 0; i < 3; i++) {
        s->type[i] = hone_type_of(HONE_F32, 2, FLOATS / 64, 64);
        s->mode[i] = i < 2 ? HONE_READ : HONE_WRITE;
        want[i] = HONE_F32;
    }
    s->call = (hone_call){ sizeof s->call, "add",   NULL,    2, 1,
                           s->type,        s->mode, HONE_F32, NULL };
    for (s->kernel = t->pack->kernels; strcmp(s->kernel->op, "add");)
        s->kernel++;
    must(s->kernel->prepare(&s->call, 2, &need, &t->err), &t->err);
    assert_int_equal(need.workspace_bytes, 0);
    s->prepared = calloc(1, (size_t)need.prepared_bytes);
    must(s->kernel->init(&s->call, 2, t->dev, s->prepared, &t->err), &t->err);
}

static void test_a_kernel_runs_on_the_device(void **state)
{
    fixture *t = *state;
    hone_ptr ptr[3] = { { { t->x } }, { { t->x } }, { { t->y } } };
    sum s;

    prepare_sum(t, &s);
    for (int i = 0; i < FLOATS; i++)
        t->in[i] = (float)i;
    t->api->copy(t->dev, t->x, t->in, BYTES, HONE_TO_DEVICE, t->a);
    s.kernel->run(s.prepared, ptr, NULL, t->a);
    memset(ptr, 0, sizeof ptr); /* read while the call was issued, not later */
    t->api->copy(t->dev, t->out, t->y, BYTES, HONE_TO_HOST, t->a);
    must(t->api->sync(t->dev, t->a, &t->err), &t->err);
    for (int i = 0; i < FLOATS; i++)
        assert_float_equal(t->out[i], 2 * i, 0);
    free(s.prepared);
}

static void test_a_kernel_refuses_host_memory(void **state)
{
    fixture *t = *state;
    hone_ptr ptr[3] = { { { t->x } }, { { t->in } }, { { t->y } } };
    sum s;

    prepare_sum(t, &s);
    s.kernel->run(s.prepared, ptr, NULL, t->a);
    assert_int_equal(t->api->sync(t->dev, t->a, &t->err), HONE_EIO);
    assert_non_null(strstr(t->err.msg, "add"));
    free(s.prepared);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_host_access_faults),
        TEST(test_fresh_memory_is_not_zero),
        TEST(test_events_order_streams),
        TEST(test_a_capture_is_replayed),
        TEST(test_the_host_waits_for_an_event),
        TEST(test_a_stream_left_in_a_capture),
        TEST(test_nothing_after_freeze),
        TEST(test_its_memory_is_counted),
        TEST(test_a_wrong_copy_is_kept_as_a_fault),
        TEST(test_a_copy_past_the_end),
        TEST(test_a_kernel_runs_on_the_device),
        TEST(test_a_kernel_refuses_host_memory),
    };

    setenv("HONE_FAKE_JITTER", "1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

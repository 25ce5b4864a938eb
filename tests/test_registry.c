/* SPDX-License-Identifier: MIT
 *
 * test_registry.c -- what the registry takes, and the exact words in which it
 * refuses the plugins of tests/abi, each wrong in one way.
 */
#include "registry.h"

#include <elf.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "log.h"

#define PLUGINS HONE_BUILD "/lib/hone/plugins"
#define ABI_PLUGINS HONE_BUILD "/tests/abi"
#define REBUILD "; rebuild it against hone/plugin.h of this engine"

/* In %zu, %zu: sizes are those of this machine. */
static const struct {
    const char *plugin, *refusal;
    size_t size;
} wrong[] = {
    { "no_entry",
      "no symbol hone_plugin_entry (is it a hone plugin?)", 0 },
    { "null_plugin",
      "hone_plugin_entry returns NULL; it must return the plugin's data", 0 },
    { "other_abi", "speaks plugin ABI 7, this engine speaks 1" REBUILD, 0 },
    { "short_plugin",
      "its plugin struct has 16 bytes, this engine needs %zu" REBUILD,
      sizeof(hone_plugin) },
    { "no_plugin_name", "the plugin has no name; set it in HONE_PLUGIN", 0 },
    { "no_version", "the plugin has no version; set it in HONE_PLUGIN", 0 },
    { "no_components",
      "the plugin lists no components; name them in HONE_PLUGIN", 0 },
    { "short_component",
      "component 1: its struct has 24 bytes, this engine needs %zu" REBUILD,
      sizeof(hone_component) },
    { "unknown_kind",
      "component 1 is of kind 99, this engine knows 1 to %zu; it is for a newer "
      "hone", HONE_KINDS - 1 },
    { "no_name", "component 1 has no name; a recipe could not call it", 0 },
    { "no_ops", "'right' has no ops; point them at its hone_schedule", 0 },
    { "short_ops",
      "'right': its schedule struct has 8 bytes, this engine needs %zu" REBUILD,
      sizeof(hone_schedule) },
    { "no_factor", "'right': schedule needs 'factor', which is NULL", 0 },
    { "outside",
      "'right', option 'pace' takes bytes 16 to 24 of a config of 16; correct "
      "its offset or config_size", 0 },
    { "crooked",
      "'right', option 'pace' is at offset 4, not a multiple of 8; use "
      "offsetof", 0 },
    { "engine_type",
      "'right', option 'pace': type 6 is not one of a plugin's (1 to 5)", 0 },
    { "default_range",
      "'right', option 'pace': its default 2 is outside [0, 1]", 0 },
    { "no_choices", "'right', option 'pace': no choices", 0 },
    { "no_such_choice",
      "'right', option 'pace': its default \"medium\" is none of its choices",
      0 },
    { "no_help", "'right', option 'pace' has no help text", 0 },
    { "two_options", "'right' has two options 'pace'", 0 },
    { "twice",
      "schedule 'twice': there is a schedule 'twice' already, from this "
      "plugin; rename it or remove one of them", 0 },
    { "unresolved", "cannot be loaded: undefined symbol: hone_log", 0 },
    { "op_without_outputs", "'right': an op needs at least one output", 0 },
    { "pack_without_run",
      "'right': its kernel for linear needs 'run', which is NULL", 0 },
    { "persist", "'right': persist_size 8 is larger than state_size 0", 0 },
    { "reserved", "'lora' is a word of recipes; give it another name", 0 },
    { "uncallable",
      "'Warm-Up' cannot be called from a recipe; use a-z, 0-9 and _", 0 },
    { "optimizer_without_lr",
      "'right': an optimizer needs a real option 'lr'", 0 },
};

static const hone_loaded *loaded(const char *file)
{
    for (int i = 0; hone_loaded_at(i); i++) {
        const char *slash = strrchr(hone_loaded_at(i)->path, '/');
        if (!strcmp(slash + 1, file))
            return hone_loaded_at(i);
    }
    fail_msg("%s was not looked at", file);
    return NULL;
}

static const hone_loaded *abi_plugin(const char *name)
{
    char file[64];

    snprintf(file, sizeof file, "abi_%s.so", name);
    return loaded(file);
}

static int open_all(void **state)
{
    const char *const dirs[] = { PLUGINS, ABI_PLUGINS, NULL };
    hone_err err;

    (void)state;
    unsetenv("HONE_PLUGIN_PATH");
    hone_log_level(HONE_LOG_ERROR);
    return hone_registry_open(dirs, &err) == HONE_OK ? 0 : -1;
}

static void test_refusals(void **state)
{
    char expected[512];

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const hone_loaded *l = abi_plugin(wrong[i].plugin);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(expected, sizeof expected, wrong[i].refusal, wrong[i].size);
#pragma GCC diagnostic pop
        assert_null(l->plugin);
        assert_string_equal(l->refusal, expected);
    }
}

static void test_right_one(void **state)
{
    const hone_loaded *l = abi_plugin("right");
    const hone_component *c = hone_find(HONE_KIND_SCHEDULE, "right");

    (void)state;
    assert_null(l->refusal);
    assert_non_null(l->plugin);
    assert_non_null(c);
    assert_ptr_equal(c, l->plugin->components[0]);
    assert_null(hone_find(HONE_KIND_OPTIMIZER, "right"));
}

static void test_taken_name(void **state)
{
    char path[4096], expected[8192];

    (void)state;
    assert_non_null(realpath(PLUGINS "/cosine.so", path));
    snprintf(expected, sizeof expected,
             "schedule 'cosine': there is a schedule 'cosine' already, from "
             "%s; rename it or remove one of them", path);
    assert_string_equal(abi_plugin("taken")->refusal, expected);
}

static void test_order_and_names(void **state)
{
    const hone_component *last = NULL, *c;
    int linear = 0;

    (void)state;
    for (int i = 0; (c = hone_component_at(i)) != NULL; i++) {
        if (last)
            assert_true(strcmp(last->name, c->name) <= 0);
        linear += !strcmp(c->name, "linear") && c->kind == HONE_KIND_SCHEDULE;
        last = c;
    }
    assert_int_equal(linear, 1);
    assert_string_equal(hone_kind_name(HONE_KIND_SCHEDULE), "schedule");
}

static void test_missing_component(void **state)
{
    const hone_component *c;
    hone_err err;

    (void)state;
    assert_int_equal(hone_need_component(HONE_KIND_SCHEDULE, "cosin", &c, &err),
                     HONE_EINVAL);
    assert_null(c);
    assert_non_null(strstr(err.msg, "no schedule 'cosin', did you mean "
                                    "'cosine'?; tried: "));
    assert_non_null(strstr(err.msg, "/lib/hone/plugins/cosin.so"));
    assert_non_null(strstr(err.msg, "/tests/abi/cosin.so"));
    assert_non_null(strstr(err.msg, "refused: "));
}

static int count_loaded(void)
{
    int n = 0;

    while (hone_loaded_at(n))
        n++;
    return n;
}

/* The same file once more, under another name in another folder. */
static void test_same_file(void **state)
{
    char folder[] = "/tmp/hone-test-XXXXXX", link[64];
    const char *const dirs[] = { folder, NULL };
    hone_err err;
    int before = count_loaded();

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(link, sizeof link, "%s/again.so", folder);
    assert_int_equal(symlink(PLUGINS "/cosine.so", link), 0);
    assert_int_equal(hone_registry_open(dirs, &err), HONE_OK);
    assert_int_equal(count_loaded(), before);
    unlink(link);
    rmdir(folder);
}

/* Files that are no plugins, made of the bytes of one. */
static void write_file(const char *folder, const char *name, const void *bytes,
                       size_t count, int mode)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s.so", folder, name);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    assert_int_equal(fchmod(fileno(f), (mode_t)mode), 0);
    fclose(f);
}

static void test_broken_files(void **state)
{
    static char bytes[1 << 20];
    char folder[] = "/tmp/hone-test-XXXXXX", path[64], want[256];
    const char *const dirs[] = { folder, NULL };
    FILE *f = fopen(ABI_PLUGINS "/abi_right.so", "rb");
    ElfW(Ehdr) *h = (void *)bytes;
    size_t count;
    hone_err err;
    static const struct {
        const char *file, *refusal;
    } broken[] = {
        { "text.so", "is no shared library (not an ELF file); build it with "
                     "-shared" },
        { "empty.so", "is no shared library (not an ELF file); build it with "
                      "-shared" },
        { "half.so", "is cut off after 4096 bytes; copy or build it again" },
        { "object.so", "is no shared library (ELF type 1); build it with "
                       "-shared" },
        { "open.so", "everybody may write to this file; chmod o-w it" },
        { "folder.so", "is no file" },
    };

    (void)state;
    assert_non_null(f);
    count = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_non_null(mkdtemp(folder));
    write_file(folder, "text", "not a library, but long enough to be a header "
               "of one, if only it began as they do", 80, 0755);
    write_file(folder, "empty", "", 0, 0755);
    write_file(folder, "half", bytes, 4096, 0755);
    write_file(folder, "open", bytes, count, 0777);
    h->e_type = ET_REL;
    write_file(folder, "object", bytes, count, 0755);
    h->e_type = ET_DYN;
    snprintf(want, sizeof want, "is built for another machine (ELF machine "
             "%d, class %d; this is %d, class %d); build it here",
             h->e_machine + 1, h->e_ident[EI_CLASS], h->e_machine,
             h->e_ident[EI_CLASS]);
    h->e_machine++;
    write_file(folder, "other", bytes, count, 0755);
    snprintf(path, sizeof path, "%s/folder.so", folder);
    assert_int_equal(mkdir(path, 0755), 0);

    assert_int_equal(hone_registry_open(dirs, &err), HONE_OK);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_string_equal(loaded(broken[i].file)->refusal,
                            broken[i].refusal);
    assert_string_equal(loaded("other.so")->refusal, want);
    rmdir(path);
    for (size_t i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, broken[i].file);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/other.so", folder);
    unlink(path);
    rmdir(folder);
}

static void test_open_folder(void **state)
{
    char folder[] = "/tmp/hone-test-XXXXXX", file[64];
    const char *const dirs[] = { folder, NULL };
    hone_err err;
    int before = count_loaded();

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/x.so", folder);
    assert_int_equal(symlink("/nowhere", file), 0);
    assert_int_equal(chmod(folder, 0777), 0);
    assert_int_equal(hone_registry_open(dirs, &err), HONE_OK);
    assert_int_equal(count_loaded(), before + 1);
    assert_string_equal(hone_loaded_at(before)->refusal,
                        "everybody may write to this folder; chmod o-w it to "
                        "have its plugins loaded");
    unlink(file);
    rmdir(folder);
}

static void test_folders(void **state)
{
    const char *const dirs[] = { "/nowhere/at/all", NULL };
    hone_err err;

    (void)state;
    assert_int_equal(hone_registry_open(dirs, &err), HONE_EINVAL);
    assert_string_equal(err.msg, "plugin folder /nowhere/at/all: No such file "
                                 "or directory");
    /* What the path names may be absent; what is relative is left out. */
    setenv("HONE_PLUGIN_PATH", "/nowhere/at/all:tests", 1);
    assert_int_equal(hone_registry_open(NULL, &err), HONE_OK);
    unsetenv("HONE_PLUGIN_PATH");
}

static void test_instance(void **state)
{
    const hone_component *c = hone_find(HONE_KIND_SCHEDULE, "hello");
    const hone_schedule *s = c->ops;
    hone_instance in = { 0 };
    hone_arena arena = { 0 };
    hone_err err;

    (void)state;
    assert_int_equal(hone_instance_open(&in, c, NULL, &arena, &err), HONE_OK);
    assert_true(s->factor(in.config, in.state, 0, 10) == 0.5);
    hone_instance_close(&in);
    assert_null(in.state);
    hone_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_right_one),
        cmocka_unit_test(test_taken_name),
        cmocka_unit_test(test_order_and_names),
        cmocka_unit_test(test_missing_component),
        cmocka_unit_test(test_same_file),
        cmocka_unit_test(test_broken_files),
        cmocka_unit_test(test_open_folder),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_instance),
    };
    return cmocka_run_group_tests(tests, open_all, NULL);
}

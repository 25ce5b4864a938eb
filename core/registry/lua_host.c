/* SPDX-License-Identifier: MIT
 *
 * lua_host.c -- see lua_host.h. Three nets under a hostile file: the allocator
 * refuses bytes beyond the cap; a count hook raises an error when the time is
 * up; and for the few library functions that can loop for ever inside one
 * instruction (patterns, table.move) a timer ends the process with a message.
 */
#include "lua_host.h"

#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "log.h"
#include "option.h"

/* In Lua's registry: what require() has loaded. */
#define MODULES "hone.modules"

enum { HOOK_EVERY = 100000, MOST_FILE_BYTES = 16 << 20, MOST_GLOBALS = 64 };

/* Kept behind lua_getextraspace(). */
typedef struct {
    hone_arena *arena;
    const char **folders;
    const char **chunks; /* paths of all loaded files */
    int chunk_count, chunk_cap;
    struct { const char *text; size_t bytes; } *code; /* theirs */
    int code_count, code_cap, sealed;
    size_t used_bytes;
    int depth; /* of hone_lua_call */
    double deadline;
    timer_t timer;
    int has_timer;
    const char *alarm; /* what its timer says */
} host;

static host *host_of(lua_State *L)
{
    return *(host **)lua_getextraspace(L);
}

/* ------------------------------------------------------------------- caps */

static void *alloc(void *ud, void *old, size_t old_bytes, size_t bytes)
{
    host *h = ud;
    void *p;

    if (!old)
        old_bytes = 0; /* Lua passes the kind of the new object there */
    if (!bytes) {
        free(old);
        h->used_bytes -= old_bytes;
        return NULL;
    }
    /* Outside a call nothing catches an error; what setup takes is small. */
    if (h->depth && bytes > old_bytes &&
        h->used_bytes + (bytes - old_bytes) > HONE_LUA_BYTES)
        return NULL;
    p = realloc(old, bytes);
    if (p)
        h->used_bytes += bytes - old_bytes;
    return p;
}

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Once the time is up every instruction raises, so that pcall() in the file
 * cannot go on behind it. */
static void on_count(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    if (cpu_seconds() < host_of(L)->deadline)
        return;
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    luaL_where(L, 0); /* a hook runs at the level of what it interrupts */
    lua_pushfstring(L, "ran longer than %d s; is there an endless loop?",
                    (int)HONE_LUA_SECONDS);
    lua_concat(L, 2);
    lua_error(L);
}

/* A signal handler may not make up what it says: each timer brings its own. */
static void on_alarm(int signal, siginfo_t *info, void *context)
{
    const char *text = info->si_value.sival_ptr;

    (void)signal;
    (void)context;
    if (text && write(STDERR_FILENO, text, strlen(text)) < 0)
        _exit(1);
    _exit(2);
}

/* The state cannot be left from inside a library function; the process can.
 * One second behind the hook, which catches everything else. */
static void start_timer(host *h)
{
    struct sigaction act = { .sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO };
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL,
                              .sigev_signo = SIGALRM };
    struct itimerspec when = {
        .it_value = { .tv_sec = (time_t)HONE_LUA_SECONDS + 1 }
    };

    if (!h->has_timer) {
        h->alarm = hone_format_text(
            h->arena, "hone: error: %s: one call of a string or table "
            "function ran longer than %d s\n",
            h->chunk_count ? h->chunks[0] : "Lua", (int)HONE_LUA_SECONDS);
        event.sigev_value.sival_ptr = (void *)h->alarm;
        sigaction(SIGALRM, &act, NULL);
        h->has_timer =
            timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &h->timer) == 0;
    }
    if (h->has_timer)
        timer_settime(h->timer, 0, &when, NULL);
}

static void stop_timer(host *h)
{
    struct itimerspec never = { .it_value = { 0 } };

    if (h->has_timer)
        timer_settime(h->timer, 0, &never, NULL);
}

/* ---------------------------------------------------------------- globals */

/* Local variables that the running function sees by name. */
static int local_names(lua_State *L, const char **names, int max)
{
    lua_Debug ar;
    const char *name;
    int n = 0;

    if (!lua_getstack(L, 1, &ar))
        return 0;
    for (int i = 1; n < max && (name = lua_getlocal(L, &ar, i)); i++) {
        lua_pop(L, 1);
        names[n++] = name;
    }
    lua_getinfo(L, "f", &ar);
    for (int i = 1; n < max && (name = lua_getupvalue(L, -1, i)); i++) {
        lua_pop(L, 1);
        names[n++] = name;
    }
    return n;
}

/* Upvalue 1: the table of what there is. */
static int no_global(lua_State *L)
{
    const char *names[MOST_GLOBALS];
    const char *name = lua_tostring(L, 2), *near;
    int n;

    if (!name)
        return luaL_error(L, "a global's name must be a string");
    n = local_names(L, names, MOST_GLOBALS / 2);
    lua_pushnil(L);
    while (n < MOST_GLOBALS - 1 && lua_next(L, lua_upvalueindex(1))) {
        names[n++] = lua_tostring(L, -2);
        lua_pop(L, 1);
    }
    names[n] = NULL;
    near = hone_nearest(name, names);
    if (near)
        return luaL_error(L, "'%s' is not defined, did you mean '%s'?", name,
                          near);
    return luaL_error(L, "'%s' is not defined; write: local %s = ...", name,
                      name);
}

static int no_assignment(lua_State *L)
{
    const char *name = lua_tostring(L, 2);

    return luaL_error(L, "'%s' is not a local variable; write: local %s = ...",
                      name ? name : "?", name ? name : "?");
}

/* stdout is for results: what a file prints is a message. */
static int print(lua_State *L)
{
    luaL_Buffer b;
    int n = lua_gettop(L);

    luaL_buffinit(L, &b);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&b, '\t');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    hone_log(HONE_LOG_NOTE, "%s", lua_tostring(L, -1));
    return 0;
}

static void remove_fields(lua_State *L, const char *const *names)
{
    for (; *names; names++) {
        lua_pushnil(L);
        lua_setfield(L, -2, *names);
    }
}

/* Adds library NAME, less REMOVE, to the table on top. */
static void add_library(lua_State *L, const char *name, lua_CFunction open,
                        const char *const *remove)
{
    luaL_requiref(L, name, open, 0);
    remove_fields(L, remove);
    lua_setfield(L, -2, name);
}

/* An allow-list. Metatables are left out: a __gc in one would run without a
 * hook; rawget and rawset would see behind the globals. */
static void add_base(lua_State *L)
{
    static const char *const names[] = { "assert", "error", "ipairs", "next",
                                         "pcall", "rawequal", "rawlen",
                                         "select", "tonumber", "tostring",
                                         "type", NULL };

    luaL_requiref(L, "_G", luaopen_base, 0);
    for (const char *const *name = names; *name; name++) {
        lua_getfield(L, -1, *name);
        lua_setfield(L, -3, *name);
    }
    lua_pop(L, 1);
    lua_pushcfunction(L, print);
    lua_setfield(L, -2, "print");
    lua_pushcfunction(L, hone_lua_pairs);
    lua_setfield(L, -2, "pairs");
}

static int require(lua_State *L);

/* The globals are an empty table that reads through to the allowed ones and
 * refuses every write. */
static void make_globals(lua_State *L)
{
    static const char *const nothing[] = { NULL };
    static const char *const math[] = { "random", "randomseed", NULL };
    static const char *const string[] = { "dump", NULL };

    lua_newtable(L); /* the globals */
    lua_newtable(L); /* their metatable */
    lua_newtable(L); /* what there is */
    add_base(L);
    add_library(L, "math", luaopen_math, math);
    add_library(L, "string", luaopen_string, string);
    add_library(L, "table", luaopen_table, nothing);
    add_library(L, "utf8", luaopen_utf8, nothing);
    lua_pushcfunction(L, require);
    lua_setfield(L, -2, "require");
    lua_newtable(L);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, no_global, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, no_assignment);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushnil(L); /* holds the whole base library */
    lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
}

/* ---------------------------------------------------------------- loading */

hone_status hone_lua_read(hone_arena *a, const char *path, const char **text,
                          size_t *bytes, hone_err *err)
{
    hone_file file = { .name = path };

    hone_try(hone_file_read(a, path, MOST_FILE_BYTES, &file, err));
    *text = file.text;
    *bytes = file.bytes;
    return HONE_OK;
}

/* Lua cuts long names of chunks in its messages: "...tail". Puts the whole
 * ones back and leaves one line. */
static void whole_names(const host *h, const char *from, char *to,
                        size_t bytes)
{
    enum { SHOWN = LUA_IDSIZE - 1, TAIL = LUA_IDSIZE - 4 };
    size_t at = 0;

    while (*from && at + 1 < bytes) {
        const char *name = NULL;
        for (int i = 0; i < h->chunk_count && from[0] == '.'; i++) {
            size_t n = strlen(h->chunks[i]);
            if (n > SHOWN && !strncmp(from, "...", 3) &&
                !strncmp(from + 3, h->chunks[i] + n - TAIL, TAIL))
                name = h->chunks[i];
        }
        if (name) {
            int n = snprintf(to + at, bytes - at, "%s", name);
            at += (size_t)n < bytes - at ? (size_t)n : bytes - at - 1;
            from += 3 + TAIL;
        } else {
            to[at++] = (unsigned char)*from < ' ' ? ' ' : *from;
            from++;
        }
    }
    to[at] = '\0';
}

/* Whether the message begins with the file that it is about. */
static int has_place(const host *h, const char *text)
{
    for (int i = 0; i < h->chunk_count; i++)
        if (!strncmp(text, h->chunks[i], strlen(h->chunks[i])))
            return 1;
    return 0;
}

/* Pops the error's text. C functions called from Lua may raise one without a
 * place, to have it as it is; all others name their file. */
static hone_status fail_with_top(lua_State *L, int status, hone_err *err)
{
    host *h = host_of(L);
    const char *raised = lua_tostring(L, -1);
    int as_it_is = status == LUA_ERRRUN && raised;
    char text[sizeof err->msg];

    if (status == LUA_ERRMEM)
        snprintf(text, sizeof text, "needs more than %d MiB",
                 (int)(HONE_LUA_BYTES >> 20));
    else
        whole_names(h, raised ? raised : "raised an error that is not a text",
                    text, sizeof text);
    lua_pop(L, 1);
    if (as_it_is || has_place(h, text) || !h->chunk_count)
        return hone_fail(err, HONE_EINVAL, "%s", text);
    return hone_fail(err, HONE_EINVAL, "%s: %s", h->chunks[h->chunk_count - 1],
                     text);
}

const char *hone_lua_seal(lua_State *L, size_t *bytes)
{
    host *h = host_of(L);
    char *all;

    h->sealed = 1;
    *bytes = 0;
    for (int i = 0; i < h->code_count; i++)
        *bytes += h->code[i].bytes;
    all = hone_alloc(h->arena, *bytes + 1);
    *bytes = 0;
    for (int i = 0; i < h->code_count; i++) {
        memcpy(all + *bytes, h->code[i].text, h->code[i].bytes);
        *bytes += h->code[i].bytes;
    }
    return all;
}

const char *hone_lua_lines(lua_State *L, const char *source, int first,
                           int last, size_t *bytes)
{
    const host *h = host_of(L);
    const char *at, *end, *line;

    for (int i = 0; i < h->code_count; i++) {
        if (source[0] != '@' || strcmp(h->chunks[i], source + 1))
            continue;
        at = line = h->code[i].text;
        end = at + h->code[i].bytes;
        for (int n = 1; n <= last && line < end; n++) {
            const char *next = memchr(line, '\n', (size_t)(end - line));
            at = n == first ? line : at;
            line = next ? next + 1 : end;
        }
        *bytes = (size_t)(line - at);
        return at;
    }
    return NULL;
}

hone_status hone_lua_load(lua_State *L, const char *path, hone_err *err)
{
    host *h = host_of(L);
    const char *text, *name;
    size_t bytes;
    int status;

    hone_try(hone_lua_read(h->arena, path, &text, &bytes, err));
    if (bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
        text += 3;
        bytes -= 3;
    }
    name = hone_format_text(h->arena, "@%s", path);
    hone_push(h->arena, h->chunks, h->chunk_count, h->chunk_cap);
    h->chunks[h->chunk_count++] = name + 1;
    hone_push(h->arena, h->code, h->code_count, h->code_cap);
    h->code[h->code_count].text = text;
    h->code[h->code_count++].bytes = bytes;
    if (bytes && text[0] == LUA_SIGNATURE[0])
        return hone_fail(err, HONE_EINVAL,
                         "%s: is compiled Lua; only its text is accepted",
                         path);
    h->depth++; /* the parser is protected: the cap on memory holds */
    status = luaL_loadbufferx(L, text, bytes, name, "t");
    h->depth--;
    return status == LUA_OK ? HONE_OK : fail_with_top(L, status, err);
}

void hone_lua_module(lua_State *L, const char *name)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, MODULES);
    lua_insert(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

static int is_module_name(const char *name)
{
    return name[0] && name[0] != '.' && !strstr(name, "..") &&
           !name[strspn(name, "abcdefghijklmnopqrstuvwxyz"
                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")];
}

/* Pushes the chunk of module NAME, or raises with every path tried. */
static void find_module(lua_State *L, const char *name)
{
    host *h = host_of(L);
    const char *file = luaL_gsub(L, name, ".", "/");
    luaL_Buffer tried;
    hone_err err;

    luaL_buffinit(L, &tried);
    for (const char **folder = h->folders; *folder; folder++)
        for (int i = 0; i < 2; i++) {
            const char *path = i ? hone_format_text(h->arena, "%s/lib/%s.lua",
                                                    *folder, file)
                                 : hone_format_text(h->arena, "%s/%s.lua",
                                                    *folder, file);
            if (access(path, F_OK) != 0) {
                luaL_addstring(&tried, " ");
                luaL_addstring(&tried, path);
                continue;
            }
            luaL_pushresult(&tried);
            if (hone_lua_load(L, path, &err) != HONE_OK) {
                lua_pushstring(L, err.msg);
                lua_error(L);
            }
            return;
        }
    luaL_pushresult(&tried);
    luaL_error(L, "no module '%s'; tried:%s", name, lua_tostring(L, -1));
}

static int require(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    lua_settop(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, MODULES);
    lua_getfield(L, 2, name);
    if (lua_islightuserdata(L, -1))
        return luaL_error(L, "module '%s' requires itself", name);
    if (!lua_isnil(L, -1))
        return 1;
    if (!is_module_name(name))
        return luaL_error(L, "'%s' is not the name of a module", name);
    if (host_of(L)->sealed)
        return luaL_error(L, "require '%s' in the recipe, outside of the "
                          "functions that it gives", name);
    find_module(L, name);
    lua_pushlightuserdata(L, (void *)name); /* being loaded */
    lua_setfield(L, 2, name);
    lua_call(L, 0, 1);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, name);
    return 1;
}

/* ------------------------------------------------------ opening and calls */

static int panic(lua_State *L)
{
    fprintf(stderr, "hone: Lua error outside of a call: %s\n",
            lua_tostring(L, -1));
    return 0; /* Lua aborts */
}

lua_State *hone_lua_open(hone_arena *a, const char *const *folders)
{
    host *h = hone_alloc(a, sizeof *h);
    lua_State *L;
    int n = 0;

    h->arena = a;
    while (folders[n])
        n++;
    h->folders = hone_alloc(a, sizeof *h->folders * (size_t)(n + 1));
    for (int i = 0; i < n; i++)
        h->folders[i] = hone_text(a, folders[i]);
    L = lua_newstate(alloc, h);
    if (!L)
        abort(); /* not even the few KiB of a state: as the arena does */
    *(host **)lua_getextraspace(L) = h;
    lua_atpanic(L, panic);
    make_globals(L);
    return L;
}

void hone_lua_close(lua_State *L)
{
    host *h;

    if (!L)
        return;
    h = host_of(L);
    if (h->has_timer)
        timer_delete(h->timer);
    lua_close(L);
}

hone_status hone_lua_call(lua_State *L, int nargs, int nresults, hone_err *err)
{
    host *h = host_of(L);
    int status;

    if (h->depth++ == 0) {
        h->deadline = cpu_seconds() + HONE_LUA_SECONDS;
        lua_sethook(L, on_count, LUA_MASKCOUNT, HOOK_EVERY);
        start_timer(h);
    }
    status = lua_pcall(L, nargs, nresults, 0);
    if (--h->depth == 0)
        stop_timer(h);
    return status == LUA_OK ? HONE_OK : fail_with_top(L, status, err);
}

void hone_lua_where(lua_State *L, const char **file, int *line)
{
    host *h = host_of(L);
    lua_Debug ar;

    *file = "?";
    *line = 0;
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline <= 0 || ar.source[0] != '@')
            continue;
        *line = ar.currentline;
        for (int i = 0; i < h->chunk_count; i++)
            if (!strcmp(h->chunks[i], ar.source + 1))
                *file = h->chunks[i];
        return;
    }
}

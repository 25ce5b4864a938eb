/* SPDX-License-Identifier: MIT
 *
 * family.c -- see family.h: lends a Lua file the graph and the config. There
 * is no code per op: operands and attributes come from the op's definition.
 */
#include "family.h"

#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lua_host.h"
#include "lua_json.h"
#include "model_files.h"
#include "modules.h"
#include "option.h"
#include "registry.h"

struct hone_family {
    hone_arena *arena;
    hone_family_spec spec;
    lua_State *L;
    json_t *config;
    const char *path; /* of the Lua file */
    hone_graph *g;    /* that is built */
    int layers, streamed;
    int64_t longest; /* row, in tokens */
    const char *trained; /* modules, where not all are */
};

#define TENSOR "hone.tensor"

static hone_family *self(lua_State *L)
{
    hone_family *f;

    lua_getfield(L, LUA_REGISTRYINDEX, "hone.family");
    f = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return f;
}

/* ---------------------------------------------------------------- tensors */

static void push_tensor(lua_State *L, hone_id id)
{
    *(hone_id *)lua_newuserdatauv(L, sizeof(hone_id), 0) = id;
    luaL_setmetatable(L, TENSOR);
}

static hone_id to_tensor(lua_State *L, int at)
{
    return *(hone_id *)luaL_checkudata(L, at, TENSOR);
}

static int raise(lua_State *L, const hone_err *err)
{
    return luaL_error(L, "%s", err->msg);
}

/* Codes with scales: of the weights of linears alone. */
static int is_block(hone_storage s)
{
    return hone_parts(s)[1].bytes != 0;
}

static int is_trainable(const hone_family *f, const char *name,
                        const char *alias)
{
    return f->spec.trainable || hone_module_is_saved(f->trained, name) ||
           (alias && hone_module_is_saved(f->trained, alias));
}

/* The storage that a weight is held in, once its file says what it has. */
static hone_status param_type(const hone_family *f, const char *name,
                              const char *alias, hone_type *type, hone_err *err)
{
    const hone_weights *w = f->spec.weights;
    const hone_weight *found = w ? hone_weights_find(w, name) : NULL;

    type->storage = HONE_F32;
    if (!w && is_block(f->spec.storage)) /* beside codes as kernels take them */
        type->storage = f->g->compute;
    if (w && !found && alias)
        found = hone_weights_find(w, alias);
    if (w && !found)
        return hone_fail(err, HONE_EINVAL, "%s: no tensor '%s' in the weights",
                         f->spec.model, name);
    if (found) {
        int same = found->type.rank == type->rank;
        for (int i = 0; i < type->rank && same; i++)
            same = found->type.dim[i] == type->dim[i];
        if (!same)
            return hone_fail(err, HONE_EINVAL,
                             "%s: tensor '%s' has another shape than "
                             "config.json asks for (%lld x %lld)",
                             f->spec.model, name, (long long)type->dim[0],
                             (long long)type->dim[1]);
        if (found->type.storage == HONE_BF16 || found->codes)
            type->storage = found->type.storage;
        /* Kernels want 16 bits so: rounded here and not for every call. */
        if (f->g->compute == HONE_F16 && (found->type.storage == HONE_BF16 ||
                                          found->type.storage == HONE_F16))
            type->storage = HONE_F16;
        if (found->codes && is_trainable(f, name, alias))
            return hone_fail(err, HONE_EINVAL, "%s: '%s' is quantised in the "
                             "files: it can be adapted (hone.lora), not "
                             "trained itself", f->spec.model, name);
    }
    if (f->spec.storage != HONE_NOTHING && !is_block(f->spec.storage))
        type->storage = f->spec.storage;
    return HONE_OK;
}

static int g_param(lua_State *L)
{
    hone_family *f = self(L);
    const char *name = luaL_checkstring(L, 2);
    const char *alias = luaL_optstring(L, 4, NULL);
    const char *init = luaL_optstring(L, 5, NULL);
    hone_type type = hone_type_of(HONE_F32, 1, 1, 1);
    hone_err err;
    hone_id id = hone_graph_find(f->g, name);

    luaL_checktype(L, 3, LUA_TTABLE);
    luaL_argcheck(L, !init || !strcmp(init, "zeros"), 5, "only \"zeros\"");
    type.rank = (int)lua_rawlen(L, 3);
    if (type.rank < 1 || type.rank > HONE_RANK)
        return luaL_error(L, "param %s: a shape has 1 to 4 numbers", name);
    for (int i = 0; i < type.rank; i++) {
        lua_rawgeti(L, 3, i + 1);
        type.dim[i] = luaL_checkinteger(L, -1);
        if (type.dim[i] < 1 || type.dim[i] > (int64_t)1 << 32)
            return luaL_error(L, "param %s: dimension %d is %I", name, i + 1,
                              (LUA_INTEGER)type.dim[i]);
        lua_pop(L, 1);
    }
    if (id == HONE_NONE) {
        if (param_type(f, name, alias, &type, &err) != HONE_OK)
            return raise(L, &err);
        if (is_trainable(f, name, alias))
            type.storage = f->spec.trained ? f->spec.trained : HONE_F32;
        id = hone_graph_tensor(f->g, name, type, HONE_T_PARAM);
        f->g->tensor[id].trainable = is_trainable(f, name, alias);
        f->g->tensor[id].zeros = init && !strcmp(init, "zeros");
        f->g->tensor[id].alias = alias ? hone_text(f->g->arena, alias) : NULL;
    }
    push_tensor(L, id);
    return 1;
}

static int g_const(lua_State *L)
{
    hone_family *f = self(L);
    lua_Integer n;
    float *data;
    char name[64];
    hone_id id;

    luaL_checktype(L, 2, LUA_TTABLE);
    n = (lua_Integer)lua_rawlen(L, 2);
    luaL_argcheck(L, n > 0 && n <= 1 << 20, 2, "1 to 1048576 numbers");
    data = hone_alloc(f->g->arena, (size_t)n * sizeof *data);
    for (lua_Integer i = 0; i < n; i++) {
        lua_rawgeti(L, 2, i + 1);
        data[i] = (float)luaL_checknumber(L, -1);
        lua_pop(L, 1);
    }
    for (id = 0; id < f->g->tensors; id++) { /* the same table twice is one */
        const hone_tensor *t = &f->g->tensor[id];
        if (t->kind == HONE_T_CONST && t->type.dim[0] == n &&
            !memcmp(t->data, data, (size_t)n * sizeof *data))
            break;
    }
    if (id == f->g->tensors) {
        snprintf(name, sizeof name, "const.%d", id);
        id = hone_graph_tensor(f->g, name, hone_type_of(HONE_F32, 1, n, 1),
                               HONE_T_CONST);
        f->g->tensor[id].data = data;
    }
    push_tensor(L, id);
    return 1;
}

static int g_layer(lua_State *L)
{
    hone_family *f = self(L);
    int layer = (int)luaL_optinteger(L, 2, -1);

    luaL_argcheck(L, layer >= -1 && layer < 65536, 2, "no such layer");
    f->g->layer = layer;
    if (layer >= f->layers)
        f->layers = layer + 1;
    return 0;
}

/* x through float, as Transformers does it, to the storage of activations. */
static int g_round(lua_State *L)
{
    hone_storage s = self(L)->g->compute;
    float x = (float)luaL_checknumber(L, 2);
    double bits = 0, rounded = 0;

    if (hone_convert(&bits, s, &x, HONE_F32, 1) != HONE_OK ||
        hone_convert(&rounded, HONE_F64, &bits, s, 1) != HONE_OK)
        return luaL_error(L, "round: activations are no plain numbers");
    lua_pushnumber(L, rounded);
    return 1;
}

static int g_longest(lua_State *L)
{
    lua_pushinteger(L, self(L)->longest);
    return 1;
}

/* -------------------------------------------------------------------- ops */

enum { MAX_OPERANDS = 64, MAX_ATTRS = 32 };

/* Splits {x, w, eps = 1e-5, name = "..."} at stack index AT. */
static uint32_t take_attrs(lua_State *L, int at, hone_attr *attrs,
                           const char **name)
{
    uint32_t n = 0;

    for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1)) {
        const char *key;

        if (lua_type(L, -2) != LUA_TSTRING)
            continue;
        key = lua_tostring(L, -2);
        if (!strcmp(key, "name")) {
            *name = luaL_checkstring(L, -1);
            continue;
        }
        if (n == MAX_ATTRS)
            luaL_error(L, "too many attributes");
        attrs[n] = (hone_attr){ .name = key };
        if (lua_isboolean(L, -1))
            attrs[n].num = lua_toboolean(L, -1);
        else if (lua_type(L, -1) == LUA_TSTRING)
            attrs[n].str = lua_tostring(L, -1);
        else
            attrs[n].num = luaL_checknumber(L, -1);
        n++;
    }
    return n;
}

/* The first op that begins like it ("gelu": "gelu_tanh"), or a near one. */
static int no_such_op(lua_State *L, const char *op)
{
    const char *names[256];
    const char *near, *longer = NULL;
    int n = 0;

    for (int i = 0; hone_component_at(i) && n < 255; i++) {
        const hone_component *c = hone_component_at(i);
        if (c->kind != HONE_KIND_OP)
            continue;
        names[n++] = c->name;
        if (!longer && *op && !strncmp(c->name, op, strlen(op)))
            longer = c->name;
    }
    names[n] = NULL;
    near = longer ? longer : hone_nearest(op, names);
    if (near)
        return luaL_error(L, "there is no op '%s', did you mean '%s'?", op,
                          near);
    return luaL_error(L, "there is no op '%s'; hone plugins lists them", op);
}

/* g:op("name", {...}) */
static int g_op(lua_State *L)
{
    hone_family *f = self(L);
    const char *op = luaL_checkstring(L, 2), *name = NULL;
    const hone_component *c = hone_find(HONE_KIND_OP, op);
    hone_attr attrs[MAX_ATTRS];
    hone_id in[MAX_OPERANDS], out[MAX_OPERANDS];
    uint32_t nin, nout = 0, nattrs;
    hone_err err;

    luaL_checktype(L, 3, LUA_TTABLE);
    if (!c)
        return no_such_op(L, op);
    nattrs = take_attrs(L, 3, attrs, &name);
    nin = (uint32_t)lua_rawlen(L, 3);
    if (nin > MAX_OPERANDS)
        return luaL_error(L, "op %s: too many inputs", op);
    for (uint32_t i = 0; i < nin; i++) {
        lua_rawgeti(L, 3, (int)i + 1);
        in[i] = to_tensor(L, -1);
        lua_pop(L, 1);
    }
    while (((const hone_op *)c->ops)->out[nout].name)
        out[nout++] = HONE_NONE;
    if (hone_graph_op(f->g, op, name, attrs, nattrs, in, nin, out, nout,
                      &err) != HONE_OK)
        return raise(L, &err);
    for (uint32_t i = 0; i < nout; i++)
        push_tensor(L, out[i]);
    return (int)nout;
}

/* g.NAME is an op of that name, as a method. */
static int call_op(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 2);
    return g_op(L);
}

static int g_index(lua_State *L)
{
    static const luaL_Reg methods[] = { { "param", g_param },
                                        { "const", g_const },
                                        { "layer", g_layer },
                                        { "round", g_round },
                                        { "longest", g_longest },
                                        { "op", g_op },
                                        { NULL, NULL } };
    const char *key = luaL_checkstring(L, 2);

    for (const luaL_Reg *m = methods; m->name; m++)
        if (!strcmp(m->name, key)) {
            lua_pushcfunction(L, m->func);
            return 1;
        }
    if (!hone_find(HONE_KIND_OP, key))
        return no_such_op(L, key);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, call_op, 1);
    return 1;
}

/* ----------------------------------------------------------------- config */

static void push_value(lua_State *L, const json_t *v, const char *path);

/* Upvalues: the JSON object (light), its path. Notes each key asked for. */
static int config_index(lua_State *L)
{
    const json_t *object = lua_touserdata(L, lua_upvalueindex(1));
    const char *prefix = lua_tostring(L, lua_upvalueindex(2));
    const char *key = luaL_checkstring(L, 2);
    const char *path = lua_pushfstring(L, "%s%s", prefix, key);

    lua_getfield(L, LUA_REGISTRYINDEX, "hone.read");
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, path);
    push_value(L, json_object_get(object, key),
              lua_pushfstring(L, "%s.", path));
    return 1;
}

static void push_array(lua_State *L, const json_t *v, const char *path)
{
    lua_createtable(L, (int)json_array_size(v), 0);
    for (size_t i = 0; i < json_array_size(v); i++) {
        push_value(L, json_array_get(v, i), path);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void push_value(lua_State *L, const json_t *v, const char *path)
{
    luaL_checkstack(L, 8, "config.json is nested too deeply");
    if (!v) {
        lua_pushnil(L);
        return;
    }
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        lua_newtable(L);
        lua_newtable(L);
        lua_pushlightuserdata(L, (void *)v);
        lua_pushstring(L, path);
        lua_pushcclosure(L, config_index, 2);
        lua_setfield(L, -2, "__index");
        lua_setmetatable(L, -2);
        break;
    case JSON_ARRAY:
        push_array(L, v, path);
        break;
    case JSON_NULL:
        lua_pushboolean(L, 0);
        break;
    default:
        hone_lua_push_json(L, v);
    }
}

/* Keys that say nothing about the maths of a forward pass, whatever they hold;
 * and those that do not while they hold VALUE. */
static const struct {
    const char *key;
    double value;
    int any;
} harmless[] = {
    { "architectures", 0, 1 },          { "model_type", 0, 1 },
    { "torch_dtype", 0, 1 },            { "dtype", 0, 1 },
    { "transformers_version", 0, 1 },   { "_name_or_path", 0, 1 },
    { "use_cache", 0, 1 },              { "bos_token_id", 0, 1 },
    { "eos_token_id", 0, 1 },           { "pad_token_id", 0, 1 },
    { "unk_token_id", 0, 1 },           { "initializer_range", 0, 1 },
    { "max_position_embeddings", 0, 1 }, { "max_length", 0, 1 },
    { "is_llama_config", 0, 1 },        { "tokenizer_class", 0, 1 },
    { "auto_map", 0, 1 },               { "cache_implementation", 0, 1 },
    { "transformers.js_config", 0, 1 }, { "_attn_implementation", 0, 1 },
    { "id2label", 0, 1 },               { "label2id", 0, 1 },
    { "problem_type", 0, 1 },           { "pretraining_tp", 1, 0 },
};

static int is_off(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) ||
           (json_is_number(v) && json_number_value(v) == 0);
}

/* What bitsandbytes did to the files is in the files. */
static int is_nf4_of_files(const char *key, const json_t *v)
{
    const char *type = json_string_value(json_object_get(v,
                                                         "bnb_4bit_quant_type"));

    return !strcmp(key, "quantization_config") && type && !strcmp(type, "nf4") &&
           json_is_true(json_object_get(v, "load_in_4bit"));
}

static int is_harmless(const char *key, const json_t *v)
{
    if (is_nf4_of_files(key, v))
        return 1;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (!strcmp(harmless[i].key, key) &&
            (harmless[i].any ||
             (json_is_number(v) && json_number_value(v) == harmless[i].value)))
            return 1;
    return is_off(v);
}

static hone_status check_unread(hone_family *f, json_t *object,
                                const char *prefix, hone_err *err)
{
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value) {
        char path[256];
        int was_read;

        snprintf(path, sizeof path, "%s%s", prefix, key);
        lua_getfield(f->L, LUA_REGISTRYINDEX, "hone.read");
        lua_getfield(f->L, -1, path);
        was_read = lua_toboolean(f->L, -1);
        lua_pop(f->L, 2);
        if (was_read && json_is_object(value)) {
            strncat(path, ".", sizeof path - strlen(path) - 1);
            hone_try(check_unread(f, value, path, err));
        } else if (!was_read && !is_harmless(key, value)) {
            char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
            hone_fail(err, HONE_EINVAL,
                      "%s/config.json: '%s', here %.60s, may change the maths, "
                      "and the family in %s does not know it", f->spec.model,
                      path, text ? text : "?", f->path);
            free(text);
            return HONE_EINVAL;
        }
    }
    return HONE_OK;
}

/* --------------------------------------------------------------- opening */

/* Names of the families that exist, sorted and joined, for messages. */
static const char *list_families(hone_arena *a)
{
    const char *folder = hone_format_text(a, "%s/models", hone_share_dir());
    char text[1024] = "";
    struct dirent **list = NULL;
    int count = scandir(folder, &list, NULL, alphasort);

    for (int i = 0; i < count; i++) {
        size_t n = strlen(list[i]->d_name);
        if (n > 4 && !strcmp(list[i]->d_name + n - 4, ".lua") &&
            strlen(text) + n + 3 < sizeof text) {
            strcat(text, *text ? ", " : "");
            strncat(text, list[i]->d_name, n - 4);
        }
        free(list[i]);
    }
    free(list);
    return hone_text(a, *text ? text : "none");
}

static hone_status find_file(hone_family *f, hone_err *err)
{
    const json_t *type = json_object_get(f->config, "model_type");
    const char *name = json_string_value(type);
    FILE *file;

    if (!name || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") !=
                     strlen(name))
        return hone_fail(err, HONE_EINVAL,
                         "%s/config.json: 'model_type' must name the family; "
                         "there are: %s", f->spec.model,
                         list_families(f->arena));
    f->path = hone_format_text(f->arena, "%s/models/%s.lua", hone_share_dir(),
                               name);
    file = fopen(f->path, "r");
    if (!file)
        return hone_fail(err, HONE_EINVAL,
                         "%s/config.json: no family '%s' (%s); there are: %s",
                         f->spec.model, name, f->path,
                         list_families(f->arena));
    fclose(file);
    return HONE_OK;
}

static hone_status open_state(hone_family *f, hone_err *err)
{
    const char *folders[2] = { hone_share_dir(), NULL };

    f->L = hone_lua_open(f->arena, folders);
    lua_pushlightuserdata(f->L, f);
    lua_setfield(f->L, LUA_REGISTRYINDEX, "hone.family");
    lua_newtable(f->L);
    lua_setfield(f->L, LUA_REGISTRYINDEX, "hone.read");
    luaL_newmetatable(f->L, TENSOR);
    lua_pop(f->L, 1);
    hone_try(hone_lua_load(f->L, f->path, err));
    hone_try(hone_lua_call(f->L, 0, 1, err));
    if (lua_istable(f->L, -1))
        lua_getfield(f->L, -1, "build");
    if (!lua_isfunction(f->L, -1))
        return hone_fail(err, HONE_EINVAL,
                         "%s: must return a table with a function 'build'",
                         f->path);
    lua_setfield(f->L, LUA_REGISTRYINDEX, "hone.build");
    lua_settop(f->L, 0);
    return HONE_OK;
}

hone_status hone_family_open(hone_family **out, const hone_family_spec *spec,
                             hone_arena *arena, hone_err *err)
{
    hone_family *f = hone_alloc(arena, sizeof *f);

    *out = f;
    f->arena = arena;
    f->spec = *spec;
    hone_try(hone_json_read(spec->model, "config.json", &f->config, err));
    hone_try(find_file(f, err));
    return open_state(f, err);
}

/* Calls what is on the stack. What a tail call hid, the file, is said. */
static hone_status call(hone_family *f, int arguments, int results,
                        hone_err *err)
{
    hone_err why;

    if (hone_lua_call(f->L, arguments, results, err) == HONE_OK)
        return HONE_OK;
    why = *err;
    if (!strstr(why.msg, ".lua"))
        hone_fail(err, why.code, "%s: %s", f->path, why.msg);
    return err->code;
}

static int is_tensor(lua_State *L, int at)
{
    return luaL_testudata(L, at, TENSOR) != NULL;
}

hone_status hone_family_build(hone_family *f, hone_graph *g, hone_id *hidden,
                              hone_id *head, hone_err *err)
{
    lua_State *L = f->L;

    f->g = g;
    f->layers = 0;
    lua_getfield(L, LUA_REGISTRYINDEX, "hone.build");
    lua_newtable(L);
    lua_newtable(L);
    lua_pushcfunction(L, g_index);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    push_value(L, f->config, "");
    hone_try(call(f, 2, 3, err));
    if (!is_tensor(L, -2) || !is_tensor(L, -3) ||
        !(lua_isnil(L, -1) || lua_isfunction(L, -1)))
        return hone_fail(err, HONE_EINVAL,
                         "%s: build must return the hidden states, the weight "
                         "of the LM head and, if it has one, a function of "
                         "the logits", f->path);
    *head = to_tensor(L, -2);
    *hidden = to_tensor(L, -3);
    hone_family_hold(&f->spec, g, *head, f->streamed, f->layers);
    lua_setfield(L, LUA_REGISTRYINDEX, "hone.logits");
    lua_settop(L, 0);
    g->layer = -1;
    return check_unread(f, f->config, "", err);
}

hone_status hone_family_logits(hone_family *f, hone_id *logits, hone_err *err)
{
    lua_State *L = f->L;

    if (lua_getfield(L, LUA_REGISTRYINDEX, "hone.logits") == LUA_TFUNCTION) {
        push_tensor(L, *logits);
        hone_try(call(f, 1, 1, err));
        if (!is_tensor(L, -1))
            return hone_fail(err, HONE_EINVAL, "%s: the function of the "
                             "logits must return them", f->path);
        *logits = to_tensor(L, -1);
    }
    lua_settop(L, 0);
    return HONE_OK;
}

void hone_family_train(hone_family *f, const char *modules)
{
    f->trained = modules;
}

void hone_family_stream(hone_family *f, int count)
{
    f->streamed = count;
}

void hone_family_longest(hone_family *f, int64_t tokens)
{
    f->longest = tokens;
}

double hone_family_number(const hone_family *f, const char *key, double def)
{
    const json_t *v = json_object_get(f->config, key);

    return json_is_number(v) ? json_number_value(v) : def;
}

int hone_family_layers(const hone_family *f)
{
    return f->layers;
}

void hone_family_close(hone_family *f)
{
    if (f && f->L)
        hone_lua_close(f->L);
    if (f && f->config)
        json_decref(f->config);
    if (f)
        memset(f, 0, sizeof *f);
}

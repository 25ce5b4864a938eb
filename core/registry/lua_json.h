/* SPDX-License-Identifier: MIT
 *
 * lua_json.h -- JSON values to Lua and back: rows of data files, config.json.
 */
#ifndef HONE_LUA_JSON_H
#define HONE_LUA_JSON_H

#include <jansson.h>
#include <lua.h>

#include "hone/plugin.h"

/* Pushes V, null and NULL as nil. May raise: call it inside hone_lua_call(). */
void hone_lua_push_json(lua_State *, const json_t *v);

/* The value at INDEX, a new reference; raises nothing. A table is an array if
 * its keys are 1 to n, or if it came from one; texts may be broken UTF-8. NULL
 * with a message for what JSON has not: functions, circles, NaN. */
json_t *hone_lua_to_json(lua_State *, int index, hone_err *);

/* "object", "array", "string", "number", "boolean", "null" */
const char *hone_json_type(const json_t *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * modules.c -- see modules.h.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "modules.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

static pcre2_code *compile(const char *head, const char *pattern,
                           size_t length, int *error, PCRE2_SIZE *at)
{
    char text[4608];

    snprintf(text, sizeof text, "%s(?:%.*s)$", head, (int)length, pattern);
    return pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
                         PCRE2_ANCHORED | PCRE2_DOLLAR_ENDONLY, error, at,
                         NULL);
}

static int matches(const char *head, const char *pattern, size_t length,
                   const char *path)
{
    int error;
    PCRE2_SIZE at;
    pcre2_code *code = compile(head, pattern, length, &error, &at);
    pcre2_match_data *data;
    int found;

    if (!code)
        return 0;
    data = pcre2_match_data_create_from_pattern(code, NULL);
    found = data && pcre2_match(code, (PCRE2_SPTR)path, strlen(path), 0, 0,
                                data, NULL) >= 0;
    pcre2_match_data_free(data);
    pcre2_code_free(code);
    return found;
}

hone_status hone_pattern_check(const char *pattern, size_t length,
                               hone_err *err)
{
    int error;
    PCRE2_SIZE at;
    PCRE2_UCHAR why[128];
    pcre2_code *code = compile("", pattern, length, &error, &at);

    if (code) {
        pcre2_code_free(code);
        return HONE_OK;
    }
    pcre2_get_error_message(error, why, sizeof why);
    return hone_fail(err, HONE_EINVAL, "'%.*s' is no regular expression: %s",
                     (int)length, pattern, (const char *)why);
}

const char *hone_target_next(const char **list, size_t *length)
{
    const char *start = *list, *p = start;
    int depth = 0;

    if (!*start)
        return NULL;
    for (; *p && (*p != ',' || depth > 0); p++)
        depth += (strchr("([{", *p) != NULL) - (strchr(")]}", *p) != NULL);
    *length = (size_t)(p - start);
    *list = p + (*p == ',');
    return start;
}

int hone_target_is_name(const char *target, size_t length)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";

    return strspn(target, plain) >= length;
}

int hone_target_matches(const char *target, size_t length, const char *path)
{
    size_t n = strlen(path);

    if (!hone_target_is_name(target, length))
        return matches("", target, length, path);
    return length <= n && !memcmp(target, path + n - length, length) &&
           (length == n || path[n - length - 1] == '.');
}

int hone_module_is_saved(const char *list, const char *weight)
{
    const char *one;
    size_t length;

    while (list && (one = hone_target_next(&list, &length)))
        for (const char *end = weight; (end = strchr(end, '.')); end++)
            if (length <= (size_t)(end - weight) &&
                !memcmp(end - length, one, length))
                return 1;
    return 0;
}

double hone_pattern_number(const char *patterns, const char *path, double def)
{
    for (const char *line = patterns; line && *line;) {
        const char *end = strchr(line, '\n'), *sign = end;

        while (*sign != '=')
            sign--;
        if (matches("(?:.*\\.)?", line, (size_t)(sign - line), path))
            return strtod(sign + 1, NULL);
        line = end + 1;
    }
    return def;
}

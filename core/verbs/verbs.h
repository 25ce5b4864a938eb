/* SPDX-License-Identifier: MIT
 *
 * verbs.h -- the command line. A verb is a function in the table of verbs.c;
 * it gets the arguments behind its name and returns the exit status.
 */
#ifndef HONE_VERBS_H
#define HONE_VERBS_H

#include "recipe.h"

int hone_main(int argc, char **argv);

int hone_verb_check(int argc, char **argv);
int hone_verb_explain(int argc, char **argv);
int hone_verb_plugins(int argc, char **argv);
int hone_verb_describe(int argc, char **argv);
int hone_verb_prep(int argc, char **argv);
int hone_verb_plan(int argc, char **argv);
int hone_verb_run(int argc, char **argv);
int hone_verb_eval(int argc, char **argv);
int hone_verb_generate(int argc, char **argv);
int hone_verb_export(int argc, char **argv);
int hone_verb_doctor(int argc, char **argv);

/* Runs a verb that a plugin brings. */
int hone_verb_of_plugin(const hone_component *, int argc, char **argv);

/* Options of a verb: "--name" with a value or without. */
typedef struct hone_arg {
    const char *name;   /* "--out"; a table ends with NULL */
    const char **value; /* given once: its value ("" for a flag) */
    const char **list;  /* repeatable: collected, ends with NULL, at most 63 */
    int64_t *count;     /* given once: a whole number from MIN to MAX */
    double *number;     /* or any number */
    double min, max;
    int flag; /* takes no value */
} hone_arg;

/* Splits argv into options and positional arguments (at most MAX of them,
 * ends with NULL). What is not given stays. Unknown options, with a suggestion,
 * and numbers that are none are HONE_EINVAL. */
hone_status hone_args(int argc, char **argv, const hone_arg *,
                      const char **positional, int max, hone_err *);
/* The same for VERB, one of a RECIPE, which is read, with SETS (from ARGS). 0,
 * or the exit status when all that is wrong has been said. */
int hone_verb_recipe(const char *verb, hone_recipe *, int argc, char **argv,
                     const hone_arg *args, const char *const *sets);
/* How VERB is used: the error of one that was used otherwise. */
hone_status hone_usage(const char *verb, hone_err *);

/* Exit status of a status: 0, 1, 2, 3 or 130, as the contract says. */
int hone_exit_status(hone_status);
/* Logs the error and returns its exit status. */
int hone_report_error(const hone_err *);

#endif

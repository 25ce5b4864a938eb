/* SPDX-License-Identifier: MIT
 *
 * main.c -- argv to a verb.
 */
#include "verbs.h"

int main(int argc, char **argv)
{
    return hone_main(argc, argv);
}

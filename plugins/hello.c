/* SPDX-License-Identifier: MIT
 *
 * hello.c -- the smallest plugin, to copy: a schedule named "hello", which
 * keeps the rate and multiplies it by `pace` after `after` steps.
 *
 *   copy    sed 's/hello/mine/g' hello.c > mine.c   (hone has its own hello)
 *   build   cc -std=c11 $(pkg-config --cflags hone) -shared -fPIC
 *              -fvisibility=hidden -Wl,-z,defs -o mine.so mine.c
 *   use     hone run recipe.lua --plugin-dir DIR   (DIR holds mine.so)
 *           schedule = hone.mine { after = 100, pace = 0.5 }
 *   look    hone plugins; hone describe mine --plugin-dir DIR
 *
 * pkg-config finds an installed hone by $PKG_CONFIG_PATH (its lib/pkgconfig);
 * in hone's own folder it is -I core/include.
 *
 * A plugin includes one header and links against nothing of hone.
 */
#include "hone/plugin.h"

/* 1. The options, as a struct. The engine fills it from the recipe. */
struct hello {
    int64_t after;
    double pace;
};

/* 2. The same as a table: default, range and help of each. The recipe's
 *    messages, --set and `hone describe` come from here. */
static const hone_option options[] = {
    HONE_OPT_INT(struct hello, after, 0, 0, 1e12, "steps at the full rate"),
    HONE_OPT_REAL(struct hello, pace, 0.5, 0, 1, "factor from then on"),
    HONE_OPT_END
};

/* 3. The work. A schedule is a pure function of the step (from 0), so that a
 *    resumed run goes on as if it had never stopped. */
static double hello_factor(const void *config, const void *state, int64_t step,
                           int64_t total)
{
    const struct hello *c = config;

    (void)state;
    (void)total;
    return step < c->after ? 1 : c->pace;
}

/* 4. The struct of its kind, led by its size. Optional members are NULL. */
static const hone_schedule schedule = { sizeof schedule, hello_factor, NULL };

/* 5. What a recipe can name: hone.hello. No state, nothing to open. */
static const hone_component hello = {
    sizeof hello, HONE_KIND_SCHEDULE, "hello",
    "the template: one factor after some steps", options, sizeof(struct hello),
    0, 0, NULL, NULL, &schedule
};

/* 6. The one exported function. More components: more pointers. */
HONE_PLUGIN("hello", "1.0", &hello)

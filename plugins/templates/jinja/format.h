/* SPDX-License-Identifier: MIT
 *
 * format.h -- what "%s" % x and "{}".format(x) share.
 */
#ifndef JINJA_FORMAT_H
#define JINJA_FORMAT_H

#include "jinja.h"

ji_str *ji_repr_of(ji_run *, ji_val);
/* Writes the value as SPEC says, the part behind the colon of {:>8.2f}. */
void ji_put_spec(ji_run *, ji_buf *, ji_val, const ji_str *spec);

#endif

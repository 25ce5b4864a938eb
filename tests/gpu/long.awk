# SPDX-License-Identifier: MIT
# 512 rows of more than 1,024 tokens each: for speed, they teach nothing.
BEGIN {
    print "["
    for (row = 0; row < 512; row++) {
        text = ""
        for (i = 0; i < 700; i++)
            text = text " " (row * 7919 + i * 104729) % 10007
        printf "{\"instruction\": \"Count.\", \"output\": \"%s\"}%s\n", text,
            row < 511 ? "," : ""
    }
    print "]"
}

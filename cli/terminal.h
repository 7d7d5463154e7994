/* SPDX-License-Identifier: MIT */
/* A whole-screen terminal, for the verb that needs one: lines of text in, keys out. */
#ifndef HOLDFAST_CLI_TERMINAL_H
#define HOLDFAST_CLI_TERMINAL_H

#include <stdint.h>

enum terminal_style {
    TERMINAL_PLAIN,
    TERMINAL_TITLE, /* white on black, if the rest is black on white */
    TERMINAL_HEAD,  /* bold */
    TERMINAL_ALARM, /* red */
    TERMINAL_WARN,  /* yellow */
};

struct terminal_line {
    const char *text; /* printable, of any length */
    enum terminal_style style;
};

/* Takes the terminal over; 0, or the exit code: the sentence is printed. It is given back by
 * terminal_stop(), by exit(), and by every signal that ends the program and can be caught. */
int terminal_start(void);
void terminal_stop(void);
void terminal_size(int *rows, int *columns);

/* Shows the lines, cut to what fits; only what differs from before is sent. */
void terminal_show(const struct terminal_line *lines, int count);

#define TERMINAL_GONE (-1)
/* Waits for a key: the key, 0 when the time is over, the size has changed or a signal came, or
 * TERMINAL_GONE. */
int terminal_key(uint64_t wait_ns);

#endif

/* SPDX-License-Identifier: MIT */
/* A small web server for verbs that have something to show again and again. */
#ifndef HOLDFAST_CLI_LISTEN_H
#define HOLDFAST_CLI_LISTEN_H

#include <stdio.h>

/* What is at a path of the server, made new for each request. */
struct cli_page {
    const char *path;
    const char *type; /* as in Content-Type */
    void (*write)(void *arg, FILE *out);
};

/* Prints the address of the first page, and answers requests until a signal asks the program to
 * end. `pages` end with a null path. Returns an exit code; the sentence is printed. */
int cli_listen(const char *address, const struct cli_page *pages, void *arg);

/* The option --listen. */
#define CLI_LISTEN_OPTION(address, text)                                                           \
    {                                                                                              \
        .name = "listen", .letter = 'l', .kind = CLI_TEXT, .value = &(address),                    \
        .value_name = "ADDR:PORT", .help = (text)                                                  \
    }

#endif

/* SPDX-License-Identifier: MIT */
/* The program's cli/main.c without its main(): the table of verbs, and the signals. */
#define main cli_main
int cli_main(int argc, char **argv);
#include "../../cli/main.c"

/* SPDX-License-Identifier: MIT */
/* In the place of listen.c where libmicrohttpd is missing. */
#include "listen.h"

#include "cli.h"

int cli_listen(const char *address, const struct cli_page *pages, void *arg)
{
    (void)pages;
    (void)arg;
    cli_note("--listen %s: this holdfast was built without it (meson's option listen)", address);
    return EX_UNAVAILABLE;
}

#!/bin/bash
# SPDX-License-Identifier: MIT
# What a request has made is there when its reply had to wait: see made.c.
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "nobody locks anything in $TARGET"

start 16M
run "$MADE" "$pool" "$dir"
finish

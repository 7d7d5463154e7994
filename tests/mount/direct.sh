#!/bin/bash
# SPDX-License-Identifier: MIT
# Asynchronous writes with O_DIRECT, and buffered reads beside them: see direct.c.
. "$(dirname "$0")/mount.sh" || exit 1
[ -z "${TARGET-}" ] || skip "there are no gates in $TARGET"

asynchronous=yes
start 64M
run "$DIRECT" "$pool" "$dir"
finish

#!/bin/bash
# SPDX-License-Identifier: MIT
# The tables of tests/calls on the mount, alone: some look at how many blocks are free.
. "$(dirname "$0")/mount.sh" || exit 1

options=allow_other,dev,suid
start 64M
"$CALLS" "$dir" || fail "some calls are not as on other file systems"
finish

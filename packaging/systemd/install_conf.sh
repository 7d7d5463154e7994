#!/bin/sh
# SPDX-License-Identifier: MIT
# The file that an administrator may have changed is installed only where there is none.
# usage: install_conf.sh FILE DIRECTORY
set -eu
place=${DESTDIR-}$2/$(basename "$1")
[ -e "$place" ] || install -D -m 644 "$1" "$place"

#!/bin/bash
# SPDX-License-Identifier: MIT
# A repository is cloned into the mount, worked on, packed, checked, and cloned out again.
. "$(dirname "$0")/mount.sh" || exit 1
need git

export HOME=$work GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b.c \
    GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b.c GIT_MERGE_AUTOEDIT=no
git config --global init.defaultBranch main
git config --global gc.auto 0
git config --global advice.detachedHead false

mkdir "$work/origin"
cp -r "$SOURCE_ROOT/src" "$SOURCE_ROOT/include" "$SOURCE_ROOT/man" "$work/origin"
[ "$size" = short ] || cp -r /usr/include "$work/origin/usr"
(cd "$work/origin" && git init -q && git add . && git commit -q -m begin) || fail "no repository to clone"

start "$(pick 256M 2G)"
dedup_follows
mkdir "$dir/top"
crowd top --still top/still
cd "$dir/top" || exit 1
run git clone -q --no-local "$work/origin" still
run git clone -q --no-local "$work/origin" work
cd work || exit 1

for i in $(seq "$(pick 12 60)"); do
    for file in $(git ls-files | shuf -n 5 --random-source=<(yes "$i")); do
        echo "line of commit $i" >>"$file"
    done
    git mv "$(git ls-files src | head -n 1)" "moved-$i"
    head -c 20000 /dev/urandom >"random-$i"
    git add -A && run git commit -q -m "commit $i"
done
same "$(git status --porcelain)" ""
run git fsck --full --strict

# two branches, merged; a branch put on top of another; a second working tree
run git checkout -q -b other HEAD~3
echo other >other-file && git add . && run git commit -q -m other
run git checkout -q main
run git merge -q other
run git checkout -q -b third HEAD~5
echo third >third-file && git add . && run git commit -q -m third
run git rebase -q main
run git checkout -q main
run git merge -q --ff-only third
echo dirty >>third-file
run git stash
run git stash pop
run git checkout -q third-file
run git worktree add -q ../second other
(cd ../second && echo more >another-file && git add . && run git commit -q -m more)
run git worktree remove ../second

run git repack -a -d -q
run git gc -q --prune=now
run git fsck --full --strict
same "$(git count-objects)" "0 objects, 0 kilobytes"
tree=$(git rev-parse 'HEAD^{tree}')

# hard links inside the mount, copies out of it, and a push to where git has no working tree
cd ..
run git clone -q work linked
run git clone -q work "$work/out"
run git clone -q --bare "$work/origin" bare.git
(cd work && run git push -q ../bare.git main other) || exit 1
for clone in linked bare.git "$work/out"; do
    same "$(git -C "$clone" rev-parse 'main^{tree}')" "$tree"
    run git -C "$clone" fsck --full --strict
done
(cd work && run git clean -q -f -d) # folders that were emptied: git knows of none
diff -r --no-dereference -x .git work "$work/out" || fail "the clone outside differs"
same "$(git -C linked status --porcelain)$(git -C still status --porcelain)" ""
run git -C still fsck --full --strict
cd /
finish

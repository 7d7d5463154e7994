/* SPDX-License-Identifier: MIT */
/*
 * How a walk finds an entry. With -DWHOLE the table has a root (0: no entries), and each root that the file has had
 * has its own entries. Otherwise there are only entries. FIND_ROOT comes before LOOK_UP, as a step of its own.
 */
#ifdef WHOLE
#define FIND_ROOT root = LOAD(ROOT); /* root 0: no entries */
#define LOOK_UP(page) (root -> LOAD(ENTRY_OF(root, page)) : 0)
#define ROOT_LOCAL byte root;
byte newest = 1; /* root; under the mutex */
#else
#define FIND_ROOT
#define LOOK_UP(page) LOAD(ENTRY(page))
#define ROOT_LOCAL
#endif

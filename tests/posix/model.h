/* SPDX-License-Identifier: MIT */
/*
 * What the exerciser believes: a tree of nodes in plain memory, as simple as it can be. It knows
 * nothing of the library; the exerciser applies every operation to both and compares.
 */
#ifndef HF_TESTS_MODEL_H
#define HF_TESTS_MODEL_H

#include "support.h"

#include <time.h>

/* ------------------------------------------------------------------------------ content --- */

struct model_page {
    uint64_t index;
    unsigned char *bytes; /* TEST_PAGE of them; past the end of file they are zero */
};

/* Sparse: pages that have a block, in order. */
struct model_content {
    struct model_page *pages;
    size_t count, room;
    uint64_t size;
};

bool content_has(const struct model_content *content, uint64_t page);
uint64_t content_pages_between(const struct model_content *content, uint64_t first, uint64_t end);
void content_free(struct model_content *content);
void content_read(const struct model_content *content, uint64_t off, size_t len, void *buf);
/* Gives the pages blocks; raises the size. */
void content_write(struct model_content *content, uint64_t off, size_t len, const void *buf);
/* Zero blocks for the pages that [off, off+len) touches. */
void content_allocate(struct model_content *content, uint64_t off, uint64_t len);
void content_truncate(struct model_content *content, uint64_t size);
void content_punch(struct model_content *content, uint64_t off, uint64_t len);
void content_zero(struct model_content *content, uint64_t off, uint64_t len);
void content_collapse(struct model_content *content, uint64_t off, uint64_t len);
void content_insert(struct model_content *content, uint64_t off, uint64_t len);
/* As HF_SEEK_DATA and HF_SEEK_HOLE; -ENXIO. */
int content_seek(const struct model_content *content, uint64_t off, bool data, uint64_t *out);

/* -------------------------------------------------------------------------------- nodes --- */

struct model_entry {
    char *name;
    struct model_node *node;
};

struct model_xattr {
    char *name;
    unsigned char *value;
    size_t len;
};

struct model_node {
    struct model_node *next; /* of all that ever were */
    uint64_t ino;            /* 0: not looked at yet */
    mode_t mode;
    uid_t uid;
    gid_t gid;
    dev_t rdev;
    unsigned nlink;
    unsigned opens;
    bool mtime_known, atime_known;
    struct timespec mtime, atime, ctime;
    struct model_node *parent;   /* of a directory */
    struct model_entry *entries; /* in byte order */
    size_t entry_count, entry_room;
    char *target;
    struct model_content content;
    struct model_xattr *xattrs;
    size_t xattr_count;
    /* Only these pages of a file that other processes use too are ours; 0 pages: all are. */
    uint64_t window_first, window_pages;
};

struct model {
    struct model_node *root;
    struct model_node *all;
};

void model_init(struct model *model);
void model_free(struct model *model);
/* What is made in `dir`; null: apart from the others. */
struct model_node *model_node_new(struct model *model, const struct model_node *dir, mode_t mode);
struct model_node *model_lookup(const struct model_node *dir, const char *name);
void model_enter(struct model_node *dir, const char *name, struct model_node *node);
void model_remove(struct model_node *dir, const char *name);
/* Gives the name another node, which takes the place of the old one. */
void model_replace(struct model_node *dir, const char *name, struct model_node *node);
bool model_is_ancestor(const struct model_node *ancestor, const struct model_node *dir);
/* An absolute path of a live node; false when it has no name. */
bool model_path(const struct model *model, const struct model_node *node, char *path, size_t len);

struct model_place {
    struct model_node *dir;  /* that holds the name */
    struct model_node *node; /* null: absent, could be made here */
    char name[HF_NAME_MAX + 1];
};
/* 0, also where only the last component is missing, or -errno as POSIX says. */
int model_resolve(struct model *model, const char *path, bool follow, struct model_place *out);

struct model_xattr *model_xattr_find(struct model_node *node, const char *name);
void model_xattr_put(struct model_node *node, const char *name, const void *value, size_t len);
void model_xattr_remove(struct model_node *node, const char *name);

#endif

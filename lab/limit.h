/* SPDX-License-Identifier: MIT */
/*
 * References for what a pin of one page can cost, written by hand and out of line. They have
 * structures of their own, and do the least that a protocol asks for. So the benchmark says how far
 * the library is from that on any machine. limit_pin() is the protocol of the engine slots: it
 * publishes, orders, walks and checks, and limit_unpin() releases. limit_count() is that of
 * refcount: it walks, counts and looks again.
 *
 * What they leave out, and hf_pin() does:
 *   - arguments are trusted: one page, no flags, no pieces
 *   - a signal handler must not pin, a process must not fork, and there is one pool
 *   - nodes are addresses of this process, there are no huge entries and no shared blocks, and no
 *     wrong word has to lead nowhere
 *   - a pin is released once, by the thread that made it
 *   - there is no slow path: where one would begin, null comes back
 */
#ifndef HF_LAB_LIMIT_H
#define HF_LAB_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

struct limit_file;

struct limit_pin {
    uint64_t *word;
    struct limit_file *file;
};

/* A file of `pages` pages, at most 512, of `memory`, which stays the caller's. */
struct limit_file *limit_file_new(char *memory, uint64_t pages);
void limit_file_end(struct limit_file *file);

/* The address of byte `off`, where `len` bytes of one page are pinned. A thread begins with
 * limit_thread_begin() and ends with limit_thread_end(). */
void limit_thread_begin(void);
void limit_thread_end(void);
char *limit_pin(struct limit_file *file, uint64_t off, uint64_t len, struct limit_pin *pin);
void limit_unpin(struct limit_pin *pin);

/* The same by counting. */
char *limit_count(struct limit_file *file, uint64_t off, uint64_t len, struct limit_pin *pin);
void limit_uncount(struct limit_pin *pin);

/* The side of the layout change: takes the page's entry out, and looks. True: it is pinned. */
bool limit_zap(struct limit_file *file, uint64_t page);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * What the programs of bench/ and demo/ share. supervisor.c gives each a private folder in memory,
 * which is gone afterwards whatever happens. text.c has numbers as people and programs read them. A
 * clock, random numbers, and counters that processes share are inline here.
 */
#ifndef HF_LAB_LAB_H
#define HF_LAB_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

#define LAB_PAGE UINT64_C(4096) /* HF_BLOCK_BYTES, and what a page table of the kernel maps */
#define LAB_MIB (UINT64_C(1) << 20)
#define LAB_GIB (UINT64_C(1) << 30)
#define LAB_SEC UINT64_C(1000000000)

/* ------------------------------------------------------------------------- supervisor.c -- */

/* Runs `body` in a child with a fresh private folder in memory: under $TMPDIR if that is a tmpfs,
 * else under /dev/shm. This process only watches until the child ends or dies, or a signal asks for
 * the end. Then it ends the child and all that the child started, and removes the folder and what
 * lab_also_remove() named. Returns the exit status, or dies of the signal. */
int lab_supervised(int (*body)(const char *folder, void *arg), void *arg);

/* A pool keeps its run-time segment beside it in memory, or under its uuid in /dev/shm. */
void lab_also_remove(const uint8_t uuid[16]);
/* A folder with all that is in it. */
void lab_also_remove_folder(const char *folder);

/* Also unmounts, at the end, whatever is mounted on the folder. */
void lab_also_unmount(const char *folder);
/* Unmounts it now, if anything is mounted there; a user can unmount a FUSE mount. */
void lab_unmount(const char *folder);

/* A child that runs body(arg), returns its exit status, and does not outlive this process. */
pid_t lab_fork(int (*body)(void *arg), void *arg);

/* "ended with status 3", "was killed by signal 11 (Segmentation fault)". Static. */
const char *lab_how_it_ended(int wait_status);

/* program.c: the program holdfast. In the build folder or a moved installation it lies beside this
 * program; else it is looked for in $PATH. Static. */
const char *lab_holdfast_program(void);

/* 'holdfast-demo: ...' on stderr. */
void lab_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, and ends this process with EX_SOFTWARE. */
_Noreturn void lab_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Zeroed memory, shared with children; fails loudly. */
void *lab_shared(size_t bytes);
void *lab_alloc(size_t bytes);

/* The number in text, from min to max; else prints a sentence and exits with EX_USAGE. */
uint64_t lab_number(const char *option, const char *text, uint64_t min, uint64_t max);

/* Bytes that a file in the folder may take: its file system and the memory have them free. */
uint64_t lab_room(const char *folder);

/* ------------------------------------------------------------------------------- text.c -- */

#define LAB_TEXT 32
const char *lab_count_text(char buf[LAB_TEXT], uint64_t count); /* "1,234,567" */
const char *lab_bytes_text(char buf[LAB_TEXT], double bytes);   /* "38.2 GiB" */
const char *lab_ns_text(char buf[LAB_TEXT], double ns);         /* "3.1 us" */
void lab_json_string(FILE *out, const char *text);              /* with its quotes */

/* --------------------------------------------------------------------- clock and chance -- */

static inline uint64_t lab_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * LAB_SEC + (uint64_t)now.tv_nsec;
}

/* splitmix64 */
static inline uint64_t lab_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* In [0, bound), bound > 0 and below 2^32. */
static inline uint64_t lab_below(uint64_t *state, uint64_t bound)
{
    return (lab_random(state) >> 32) * bound >> 32;
}

/* ----------------------------------------------------------- counters that others watch -- */

static inline uint64_t lab_peek(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
static inline void lab_put(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
/* For a counter that only its owner raises. */
static inline void lab_count(uint64_t *counter, uint64_t by)
{
    __atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}
/* For a word that several processes raise. */
static inline void lab_raise(uint64_t *word)
{
    __atomic_fetch_add(word, 1, __ATOMIC_ACQ_REL);
}

#endif

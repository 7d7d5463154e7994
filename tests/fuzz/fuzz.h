/* SPDX-License-Identifier: MIT */
/*
 * A fuzz target is one file with a `fuzz_target`. fuzz.c runs it in two ways. By itself it runs a
 * corpus, and then inputs that it makes of these from a seed. Under libFuzzer (-Dfuzz=true, with
 * clang) inputs that reach new code are kept. An input that crashes, hangs or breaks an expectation
 * is a finding; any other outcome is fine.
 */
#ifndef HF_TESTS_FUZZ_H
#define HF_TESTS_FUZZ_H

#include "support.h"

#include <string.h>

#define FUZZ_INPUT_MAX 1024u

struct fuzz_target {
    void (*begin)(void); /* once, before the first input; may be null */
    void (*run)(const uint8_t *input, size_t len);
};
extern const struct fuzz_target fuzz_target;

/* What is left of an input, taken from its front; past its end there are zeros. */
struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

static inline uint64_t fuzz_take(struct fuzz_input *input, size_t bytes)
{
    uint64_t value = 0;
    size_t n = input->left < bytes ? input->left : bytes;

    memcpy(&value, input->at, n);
    input->at += n;
    input->left -= n;
    return value;
}

/* image.c: the files of a pool that a killed process has left, and a pool of them again. */
void fuzz_image_make(void);
void fuzz_image_restore(void);
/* A file of the pool as it was: the bytes in which there is something. */
const unsigned char *fuzz_image_of(const char *name, size_t *bytes);
/* Writes it, changed by the edits that the input says. */
void fuzz_image_damage(const char *name, struct fuzz_input *input);
/* Opens the pool, reads and writes what can be; anything may be refused, and nothing may crash. */
void fuzz_image_use(void);
/* What must be true of any damage: fsck ends; one repair mends all that it found; what it calls
 * clean opens, reads and works. */
void fuzz_image_expect(bool records_only);

#endif

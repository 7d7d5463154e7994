/* SPDX-License-Identifier: MIT */
/*
 * Errors: a negative errno and a sentence for a person. The sentence says what was wrong and what
 * to do. Each thread has its own, which is only ever set together with a failure.
 */
#ifndef HF_BASE_ERROR_H
#define HF_BASE_ERROR_H

/* Records the sentence and returns -err (err > 0). Not async-signal-safe. */
int hf_fail(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, with ": " and the system's text for err after the sentence. */
int hf_fail_errno(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* `what` cannot be mapped: the same, but for ENOMEM, of which it says which limit that is. */
int hf_fail_map(int err, const char *what);

/* The sentence of this thread's last hf_fail(). */
const char *hf_error_sentence(void);

/* A broken invariant of Holdfast itself: prints where and aborts. Never for a caller's mistake,
 * never for a damaged medium. */
_Noreturn void hf_bug(const char *file, int line, const char *what);
#define HF_BUG_ON(condition)                                                                       \
    do {                                                                                           \
        if (__builtin_expect(!!(condition), 0))                                                    \
            hf_bug(__FILE__, __LINE__, #condition);                                                \
    } while (0)

#endif

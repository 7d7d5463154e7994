/* SPDX-License-Identifier: MIT */
#include "steps.h"

#include <fcntl.h>
#include <unistd.h>

uint64_t steps_mark(uint64_t page, unsigned extents)
{
    return page < 2 * (uint64_t)extents && page % 2 == 0 ? page + 37 : 0;
}

struct hf_file *steps_make_many(struct hf_pool *pool, unsigned extents)
{
    struct hf_file *file = test_file(pool, "/many");

    for (uint64_t page = 0; page < 2 * (uint64_t)extents; page += 2) {
        uint64_t mark = steps_mark(page, extents);

        EXPECT_EQ(hf_write(file, &mark, sizeof mark, page * TEST_PAGE), sizeof mark);
    }
    EXPECT_EQ(hf_truncate(file, 2 * extents * TEST_PAGE, NULL), 0);
    return file;
}

void steps_answer(struct steps_words *words, void (*then)(struct hf_pool *pool))
{
    struct hf_pool *pool = test_pool_open("pool");

    for (uint32_t n = 1;; n++) {
        struct hf_file *file;

        test_await(&words->asked, n);
        EXPECT_EQ(hf_open(pool, "/beside", O_RDWR | O_CREAT, 0600, &file), 0);
        EXPECT_EQ(hf_close(file), 0);
        EXPECT_EQ(hf_unlink(pool, "/beside", NULL), 0);
        then(pool);
        test_raise(&words->done, n);
    }
}

void steps_ask(struct steps_words *words)
{
    test_raise(&words->asked, test_peek(&words->asked) + 1);
    test_await(&words->done, test_peek(&words->asked));
}

void steps_stand(struct steps_words *words)
{
    test_raise(&words->stands, 1);
    for (;;)
        pause();
}

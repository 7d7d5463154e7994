/* SPDX-License-Identifier: MIT */
/* holdfast.hpp: a handle that goes out of scope is released, also by an exception. A moved one is not released twice. */
#include <holdfast/holdfast.hpp>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>
#include <type_traits>

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::cerr << __FILE__ << ":" << __LINE__ << ": not so: " #condition << std::endl;      \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

static_assert(!std::is_copy_constructible_v<holdfast::pin> && !std::is_copy_assignable_v<holdfast::pin>);
static_assert(!std::is_copy_constructible_v<holdfast::lease> && !std::is_copy_constructible_v<holdfast::file>);
static_assert(!std::is_copy_constructible_v<holdfast::pool> && !std::is_copy_constructible_v<holdfast::dir>);
static_assert(std::is_nothrow_move_constructible_v<holdfast::pin> && std::is_nothrow_move_assignable_v<holdfast::lease>);

/* The errno of what throws; 0: nothing did. */
template <typename Call> static int thrown(Call call)
{
    try {
        call();
    } catch (const holdfast::error &error) {
        EXPECT(*error.what());
        return error.code().value();
    }
    return 0;
}

static int truncate_now(holdfast::file &file)
{
    return thrown([&] { file.truncate(0, holdfast::nowait()); });
}

static void pins(holdfast::file &file)
{
    std::optional<holdfast::pin> kept;

    EXPECT(file.write("hello, world", 12, 0) == 12);
    {
        holdfast::pin pin = file.pin(0, 5);

        EXPECT(pin.size() == 5 && std::memcmp(pin.data(), "hello", 5) == 0);
        kept = std::move(pin);
    }
    EXPECT(truncate_now(file) == EBUSY);
    *kept = file.pin(7, 5); /* the old one is released */
    EXPECT(std::memcmp(kept->data(), "world", 5) == 0);
    kept->release();
    kept->release();
    EXPECT(kept->pieces().empty());
    EXPECT(thrown([&] { (void)file.pin(1 << 20, 1); }) == EFAULT);
    try {
        holdfast::pin pin = file.pin(0, 5);
        file.truncate(0, holdfast::nowait());
        EXPECT(false);
    } catch (const std::system_error &error) {
        EXPECT(error.code() == std::errc::device_or_resource_busy);
    }
    EXPECT(truncate_now(file) == 0);
}

static void in_pieces(holdfast::pool &pool, holdfast::file &file)
{
    holdfast::file other = pool.open("/other", O_CREAT | O_RDWR);
    std::vector<char> page(HF_BLOCK_BYTES);
    std::size_t len = 0;

    for (unsigned i = 0; i < 40; i++) { /* side by side */
        file.write(page.data(), page.size(), i * page.size());
        other.write(page.data(), page.size(), i * page.size());
    }
    holdfast::pin pin = file.pin(0, 40 * page.size());
    for (const iovec &piece : pin.pieces())
        len += piece.iov_len;
    EXPECT(pin.pieces().size() > 1 && len == 40 * page.size());
    try {
        (void)pin.data();
        EXPECT(false);
    } catch (const std::logic_error &) {
    }
}

static void leases(holdfast::pool &pool, holdfast::file &file)
{
    hf_lease_options options = {};
    hf_lease_token token;

    options.size = sizeof options;
    {
        holdfast::lease lease = file.lease(0, HF_BLOCK_BYTES, options);

        EXPECT(lease.state() == HF_LEASE_HELD);
        EXPECT(truncate_now(file) == EBUSY);
        EXPECT(lease.state() == HF_LEASE_RECALLED);
        token = lease.give();
    }
    EXPECT(truncate_now(file) == EBUSY); /* offered, so still held */
    {
        holdfast::lease taken = pool.take(token, options);
        holdfast::lease moved = std::move(taken);

        EXPECT(moved.size() == HF_BLOCK_BYTES);
    }
    EXPECT(thrown([&] { (void)pool.take(token, options); }) == ENOENT);
    EXPECT(truncate_now(file) == 0);
}

static void names(holdfast::pool &pool)
{
    hf_dirent entry;
    unsigned count = 0;

    pool.mkdir("/d");
    pool.open("/d/a", O_CREAT | O_RDWR).close();
    pool.rename("/d/a", "/d/b");
    holdfast::dir dir = pool.open_dir("/d");
    while (dir.next(entry))
        count++;
    EXPECT(count == 3 && std::strcmp(entry.name, "b") == 0);
    pool.unlink("/d/b", holdfast::deadline(std::chrono::milliseconds(1)));
    EXPECT(thrown([&] { (void)pool.status("/d/b"); }) == ENOENT);
    EXPECT(S_ISDIR(pool.status("/d").st_mode));
}

int main()
{
    holdfast::pool pool = holdfast::pool::anonymous(64 << 20);

    {
        holdfast::file file = pool.open("/file", O_CREAT | O_RDWR);

        pins(file);
        in_pieces(pool, file);
        leases(pool, file);
        EXPECT(thrown([&] { pool.close(); }) == EBUSY);
        EXPECT(file.status().st_size == 0);
    }
    names(pool);
    EXPECT(pool.info().files == 0);
    pool.shrink(32 << 20);
    EXPECT(pool.info().pool_bytes == 32 << 20);
    EXPECT(thrown([&] { pool.shrink(48 << 20, holdfast::nowait()); }) == EINVAL);
    pool.grow(64 << 20);
    EXPECT(pool.info().pool_bytes == 64 << 20);
    pool.close();
    EXPECT(thrown([] { holdfast::pool("/nowhere"); }) == ENOENT);
    return 0;
}

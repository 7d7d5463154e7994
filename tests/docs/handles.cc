/* SPDX-License-Identifier: MIT */
/* holdfast.hpp: a handle that goes out of scope is released, also by an exception. A moved one is not released twice. */
#include <holdfast/holdfast.hpp>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
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
static_assert(!std::is_copy_constructible_v<holdfast::put> && !std::is_copy_assignable_v<holdfast::put>);
static_assert(std::is_nothrow_move_constructible_v<holdfast::put> && std::is_nothrow_move_assignable_v<holdfast::put>);
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

static uint64_t free_bytes(const holdfast::pool &pool)
{
    return pool.info().free_bytes;
}

static std::string content(holdfast::pool &pool, const char *path)
{
    holdfast::file file = pool.open(path, O_RDONLY);
    std::string bytes(static_cast<std::size_t>(file.status().st_size), ' ');

    bytes.resize(file.read(bytes.data(), bytes.size(), 0));
    return bytes;
}

static void puts_in_place(holdfast::pool &pool)
{
    holdfast::file file = pool.open("/put", O_CREAT | O_RDWR);
    uint64_t before = free_bytes(pool);

    { /* given up by its destructor, also when it was moved */
        holdfast::put put = pool.put(file, 0, 2 * HF_BLOCK_BYTES);
        holdfast::put moved = std::move(put);

        EXPECT(put.pieces().empty() && !moved.pieces().empty());
        EXPECT(free_bytes(pool) == before - 2 * HF_BLOCK_BYTES);
        moved = pool.put(file, 0, HF_BLOCK_BYTES); /* the old one is given up */
        EXPECT(free_bytes(pool) == before - HF_BLOCK_BYTES);
    }
    EXPECT(free_bytes(pool) == before && file.status().st_size == 0);
    try {
        holdfast::put put = pool.put(file, 0, HF_BLOCK_BYTES);

        throw std::runtime_error("a device has failed");
    } catch (const std::runtime_error &) {
    }
    EXPECT(free_bytes(pool) == before);

    holdfast::put put = pool.put(file, 0, HF_BLOCK_BYTES);
    std::memcpy(put.data(), "hello, world", 12);
    EXPECT(thrown([&] { put.publish(HF_BLOCK_BYTES + 1); }) == EINVAL); /* and it goes on */
    put.publish(12);
    EXPECT(put.pieces().empty() && content(pool, "/put") == "hello, world");
    EXPECT(thrown([&] { put.publish(); }) == EINVAL);
    put.abort();
    EXPECT(thrown([&] { (void)pool.put(file, 0, 1); }) == ESTALE);
    EXPECT(thrown([&] { (void)pool.put(file, 1, 1); }) == EINVAL);
    EXPECT(thrown([&] { (void)pool.put(file, HF_BLOCK_BYTES, UINT64_C(1) << 30); }) == ENOSPC);
    put = pool.put(file, HF_BLOCK_BYTES, 1, HF_PIN_RDMA);
    put.abort();
    put.abort();
    {
        holdfast::file unnamed = pool.open("/", O_TMPFILE | O_RDWR);
        holdfast::put named = pool.put(unnamed, 0, 5);

        std::memcpy(named.data(), "other", 5);
        EXPECT(thrown([&] { named.publish_as("/put", 5, HF_RENAME_NOREPLACE); }) == EEXIST);
        named.publish_as("/put");
    }
    EXPECT(content(pool, "/put") == "other");
    file.close();
    pool.unlink("/put");
    EXPECT(free_bytes(pool) == before);
}

/* More pieces of free memory than a put may have. */
static void puts_in_pieces(holdfast::pool &pool)
{
    holdfast::file ballast = pool.open("/ballast", O_CREAT | O_RDWR), file = pool.open("/put", O_CREAT | O_RDWR);
    uint64_t bytes = free_bytes(pool);

    ballast.fallocate(0, 0, bytes);
    for (uint64_t page = 0; page < 80; page += 2)
        ballast.fallocate(HF_FALLOC_PUNCH_HOLE, page * HF_BLOCK_BYTES, HF_BLOCK_BYTES);
    EXPECT(thrown([&] { (void)pool.put(file, 0, 40 * HF_BLOCK_BYTES); }) == E2BIG);
    EXPECT(pool.put(file, 0, 32 * HF_BLOCK_BYTES).pieces().size() == 32);
    file.close();
    ballast.close();
    pool.unlink("/put");
    pool.unlink("/ballast");
    EXPECT(free_bytes(pool) == bytes);
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
        puts_in_place(pool);
        puts_in_pieces(pool);
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

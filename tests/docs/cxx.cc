// SPDX-License-Identifier: MIT
// A program in C++17 that has a variable of each type of the public headers and uses it. hf_pin,
// hf_lease, hf_pool_info, hf_pool_memory and hf_stats are names of functions too, and C++ takes the
// bare name for the function: it is "struct hf_pin" there, as in C. No other type needs the word.
#include <holdfast/cache.h>
#include <holdfast/fabric.h>
#include <holdfast/holdfast.h>
#include <holdfast/compact.h>
#include <holdfast/put.h>
#include <holdfast/serve.h>
#include <holdfast/uring.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

#define EXPECT(condition)                                                                          \
    do                                                                                             \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "line %d: " #condition ": %s\n", __LINE__,                        \
                         hf_strerror_detail());                                                    \
            std::exit(1);                                                                          \
        }                                                                                          \
    while (0)

struct close_file {
    void operator()(hf_file *file) const { EXPECT(hf_close(file) == 0); }
};
using file_ptr = std::unique_ptr<hf_file, close_file>;

file_ptr open_file(hf_pool *pool, const char *path)
{
    hf_file *file = nullptr;

    EXPECT(hf_open(pool, path, O_RDWR | O_CREAT, 0600, &file) == 0);
    return file_ptr(file);
}

// What is pinned as long as the object lives.
class pinned {
public:
    pinned(hf_file *file, uint64_t off, uint64_t len)
    {
        EXPECT(hf_pin(file, off, len, HF_PIN_READ, &piece, 1, &pin) == 1);
    }
    ~pinned()
    {
        if (held)
            EXPECT(hf_unpin(&pin) == 0);
    }
    pinned(pinned &&other) noexcept
        : pin(other.pin), piece(other.piece), held(std::exchange(other.held, false))
    {
    }
    pinned(const pinned &) = delete;
    pinned &operator=(const pinned &) = delete;
    pinned &operator=(pinned &&) = delete;
    std::string_view bytes() const
    {
        return {static_cast<const char *>(piece.iov_base), piece.iov_len};
    }

private:
    struct hf_pin pin{};
    iovec piece{};
    bool held = true;
};

void pins(hf_pool *pool, hf_file *file)
{
    std::vector<pinned> held;
    std::vector<hf_pin_info> seen;

    held.emplace_back(file, 0, 5);
    held.emplace_back(file, 7, 5);
    EXPECT(held.front().bytes() == "hello" && held.back().bytes() == "world");
    EXPECT(hf_pins(
               pool,
               [](void *arg, const hf_pin_info *info) {
                   static_cast<std::vector<hf_pin_info> *>(arg)->push_back(*info);
                   return 0;
               },
               &seen) == 0);
    EXPECT(seen.size() == 2 && seen[0].pid == getpid());

    hf_policy nowait{};
    nowait.kind = HF_POLICY_NOWAIT;
    EXPECT(hf_truncate(file, 0, &nowait) == -EBUSY);
}

void leases(hf_pool *pool, hf_file *file)
{
    hf_lease_options options{};
    struct hf_lease lease, taken;
    hf_lease_token token{};
    hf_recall recall{};
    hf_policy detach{};
    iovec piece{};

    options.size = sizeof options;
    options.flags = HF_PIN_WRITE | HF_PIN_IO_URING;
    options.recall = nullptr;
    EXPECT(hf_lease(file, 0, 12, &options, &piece, 1, &lease) == 1);
    EXPECT(hf_lease_give(&lease, &token) == 0);
    EXPECT(hf_lease_take(pool, &token, nullptr, &piece, 1, &taken) == 1);
    EXPECT(hf_lease_state(&taken) == HF_LEASE_HELD);
    detach.kind = HF_POLICY_DETACH;
    EXPECT(hf_truncate(file, 0, &detach) == 0);
    EXPECT(hf_recall_next(pool, &recall) == 1);
    EXPECT(recall.why == HF_CHANGE_TRUNCATE && recall.state == HF_LEASE_DETACHED);
    EXPECT(hf_lease_release(&recall.lease) == 0);
}

void puts_in_place(hf_pool *pool)
{
    file_ptr file = open_file(pool, "/put");
    iovec piece{};
    hf_put put{};

    EXPECT(hf_put_begin(file.get(), 0, 13, HF_PIN_CPU, &piece, 1, &put) == 1);
    std::memcpy(piece.iov_base, "hello, world\n", 13);
    EXPECT(hf_put_commit(file.get(), &put, 13) == 0);
    EXPECT(hf_put_abort(pool, &put) == -EINVAL);
    file.reset();
    EXPECT(hf_unlink(pool, "/put", nullptr) == 0);
}

void looks(hf_pool *pool, hf_file *file)
{
    struct hf_pool_info info{};
    struct hf_pool_memory memory{};
    hf_trim_result trimmed{};
    struct hf_stats stats{};
    hf_dedup_result same{};
    hf_compact_result compacted{};
    unsigned extents = 0;

    info.size = sizeof info;
    stats.size = sizeof stats;
    same.size = sizeof same;
    compacted.size = sizeof compacted;
    memory.size = sizeof memory;
    trimmed.size = sizeof trimmed;
    EXPECT(hf_pool_memory(pool, &memory) == 0 && memory.bytes <= memory.limit_bytes);
    EXPECT(hf_pool_shrink(pool, UINT64_C(4) << 20, nullptr) == -EINVAL);
    EXPECT(hf_pool_trim(pool, 0, &trimmed) == 0 && trimmed.resident_bytes > 0);
    EXPECT(hf_pool_info(pool, &info) == 0 && std::string(info.engine) == "slots");
    EXPECT(hf_stats(pool, &stats) == 0 && stats.changes > 0);
    EXPECT(hf_extents(
               pool, 0,
               [](void *arg, const hf_extent_info *extent) {
                   ++*static_cast<unsigned *>(arg);
                   return extent->len ? 0 : 1;
               },
               &extents) == 0);
    EXPECT(extents == 1);
    EXPECT(hf_dedup_range(nullptr, 0, file, 0, 13, &same) == 0 && !same.same);
    EXPECT(hf_compact(file, 0, 0, HF_COMPACT_LOOK, nullptr, &compacted) == 0 &&
           compacted.run_bytes == 0);
}

// Of cache.h only the types are looked at.
void cache_types()
{
    hfc *cache = nullptr;
    hfc_options options{};
    hfc_key key{};
    hfc_entry entry{};

    options.policy = HFC_LRU;
    EXPECT(!cache && options.capacity_bytes == 0 && key.len == 0 && entry.key_len <= HFC_KEY_MAX);
}

// The library of fabric.h may not be there: only its types are looked at.
void fabric_types()
{
    hf_fabric *fabric = nullptr;
    hf_fabric_options options{};
    hf_fabric_window window{};
    hf_fabric_piece piece{};
    hf_fabric_event event{};

    options.size = sizeof options;
    window.piece[0] = piece;
    event.kind = HF_FABRIC_REVOKE;
    EXPECT(!fabric && options.size > 0 && window.pieces == 0 && event.kind != HF_FABRIC_LOST);
}

// Nor that of uring.h.
void uring_types()
{
    hf_uring *uring = nullptr;
    hf_uring_options options{};
    hf_uring_io io{};
    hf_uring_done done{};

    options.size = sizeof options;
    io.size = sizeof io;
    io.op = HF_URING_SEND;
    io.flags = HF_URING_RECALL | HF_URING_ZERO_COPY;
    EXPECT(!uring && options.requests == 0 && io.op != HF_URING_RECV && done.flags != HF_URING_MORE);
}

void serves(hf_pool *pool, hf_file *file)
{
    hf_client client{};
    hf_watch_report report{};
    hf_dir *dir = nullptr;
    hf_dirent entry{};
    hf_clone_entry copy{};
    int entries = 0;

    copy.from = copy.dir = HF_ROOT_INO;
    copy.name = "copy";
    EXPECT(hf_clone_files(pool, &copy, 1) == 0 && copy.result == -EINVAL);
    client.size = sizeof client;
    client.flags = HF_CLIENT_NOWAIT;
    EXPECT(hf_act_for(&client) == 0 && hf_act_for(nullptr) == 0);
    EXPECT(hf_watch(file, 1) == 0 && hf_watch_next(pool, 0, &report) == 0);
    EXPECT(hf_watch(file, 0) == 0);
    EXPECT(hf_opendirat(pool, HF_ROOT_INO, "", &dir) == 0);
    while (hf_readdir(dir, &entry) == 1)
        entries++;
    EXPECT(entries == 3 && hf_closedir(dir) == 0);
}

void checks()
{
    hf_check_result result{};
    auto report = [](void *, const char *sentence) { std::puts(sentence); };
    auto progress = [](void *, uint64_t, uint64_t) {};

    result.size = sizeof result;
    EXPECT(hf_pool_check("/nowhere/at/all", 0, report, progress, nullptr, &result) == -ENOENT);
}

} // namespace

int main()
{
    hf_pool_options options{};
    hf_pool *pool = nullptr;

    options.size = sizeof options;
    options.pool_bytes = 64 << 20;
    EXPECT(hf_pool_open_anonymous(&options, &pool) == 0);
    {
        file_ptr file = open_file(pool, "/greeting");

        EXPECT(hf_write(file.get(), "hello, world\n", 13, 0) == 13);
        pins(pool, file.get());
        leases(pool, file.get());
        puts_in_place(pool);
        EXPECT(hf_write(file.get(), "hello, world\n", 13, 0) == 13);
        looks(pool, file.get());
        cache_types();
        fabric_types();
        uring_types();
        serves(pool, file.get());
    }
    EXPECT(hf_pool_close(pool) == 0);
    checks();
}

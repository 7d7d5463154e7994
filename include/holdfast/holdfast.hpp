/* SPDX-License-Identifier: MIT */
/*
 * Holdfast for C++17: handles that close themselves. Each is moved, not copied, and holds the
 * handle of holdfast.h, which get() returns for the calls that have no member here.
 *
 * A call that fails throws holdfast::error, with the errno of the library (code().value()) and its
 * sentence (what()). Destructors throw nothing. To learn of the errors of a close, call close(),
 * release() and their like before. The rules of threads, signals and forks are those of holdfast.h.
 *
 * Destroy all that came from a pool before the pool: in reverse order of construction, as the
 * language does it. A pool with open files or pins is not closed.
 */
#ifndef HOLDFAST_HPP
#define HOLDFAST_HPP

#include <holdfast/compact.h>
#include <holdfast/holdfast.h>
#include <holdfast/put.h>

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace holdfast
{

class error : public std::system_error
{
  public:
    error(int errnum, const char *sentence)
        : std::system_error(errnum, std::generic_category()), sentence_(sentence)
    {
    }
    /* The sentence: what is wrong and what to do. */
    const char *what() const noexcept override
    {
        return sentence_.c_str();
    }

  private:
    std::string sentence_;
};

/* rc, or throws. */
template <typename Integer> Integer check(Integer rc)
{
    if (rc < 0)
        throw error(static_cast<int>(-rc), hf_strerror_detail());
    return rc;
}

/* --- policies --- */

inline hf_policy wait()
{
    return {HF_POLICY_WAIT, 0, 0};
}
inline hf_policy nowait()
{
    return {HF_POLICY_NOWAIT, 0, 0};
}
inline hf_policy detach()
{
    return {HF_POLICY_DETACH, 0, 0};
}
inline hf_policy deadline(std::chrono::nanoseconds after)
{
    return {HF_POLICY_DEADLINE, 0, static_cast<uint64_t>(after.count())};
}
inline hf_policy deadline_detach(std::chrono::nanoseconds after)
{
    return {HF_POLICY_DEADLINE_DETACH, 0, static_cast<uint64_t>(after.count())};
}
/* The pool's own. */
inline hf_policy by_default()
{
    return {HF_POLICY_DEFAULT, 0, 0};
}

/* --- what is held --- */

/* Where a held range lies: its pieces, in file order. */
class memory
{
  public:
    const std::vector<iovec> &pieces() const noexcept
    {
        return pieces_;
    }
    /* The only piece, or std::logic_error. */
    void *data() const
    {
        return one().iov_base;
    }
    std::size_t size() const
    {
        return one().iov_len;
    }

  protected:
    /* Calls hold(iov, count) again with more room while it wants more, up to `most` pieces. */
    template <typename Hold> void fill(Hold hold, std::size_t most = SIZE_MAX)
    {
        int rc;

        pieces_.resize(1);
        while ((rc = hold(pieces_.data(), static_cast<int>(pieces_.size()))) == -E2BIG &&
               pieces_.size() < most)
            pieces_.resize(std::min(pieces_.size() * 16, most));
        pieces_.resize(static_cast<std::size_t>(check(rc)));
    }
    void drop() noexcept
    {
        pieces_.clear();
    }

  private:
    const iovec &one() const
    {
        if (pieces_.size() != 1)
            throw std::logic_error("the range lies in several pieces, or is not held");
        return pieces_.front();
    }
    std::vector<iovec> pieces_;
};

/* hf_pin(). Its destructor releases it. */
class pin : public memory
{
  public:
    pin(hf_file *file, uint64_t off, uint64_t len, uint32_t flags = HF_PIN_READ)
    {
        fill([&](iovec *iov, int count) { return hf_pin(file, off, len, flags, iov, count, &pin_); });
        live_ = true;
    }
    pin(pin &&other) noexcept
        : memory(std::move(other)), pin_(other.pin_), live_(std::exchange(other.live_, false))
    {
    }
    pin &operator=(pin &&other) noexcept
    {
        pin old(std::move(*this));

        memory::operator=(std::move(other));
        pin_ = other.pin_;
        live_ = std::exchange(other.live_, false);
        return *this;
    }
    ~pin()
    {
        if (live_)
            hf_unpin(&pin_);
    }
    void release()
    {
        drop();
        if (std::exchange(live_, false))
            check(hf_unpin(&pin_));
    }

  private:
    struct hf_pin pin_ = {};
    bool live_ = false;
};

/* hf_lease() and hf_lease_take(). */
class lease : public memory
{
  public:
    lease(hf_file *file, uint64_t off, uint64_t len, const hf_lease_options &options)
    {
        fill([&](iovec *iov, int count) {
            return hf_lease(file, off, len, &options, iov, count, &lease_);
        });
        live_ = true;
    }
    lease(hf_pool *pool, const hf_lease_token &token, const hf_lease_options &options)
    {
        fill([&](iovec *iov, int count) {
            return hf_lease_take(pool, &token, &options, iov, count, &lease_);
        });
        live_ = true;
    }
    lease(lease &&other) noexcept
        : memory(std::move(other)), lease_(other.lease_), live_(std::exchange(other.live_, false))
    {
    }
    lease &operator=(lease &&other) noexcept
    {
        lease old(std::move(*this));

        memory::operator=(std::move(other));
        lease_ = other.lease_;
        live_ = std::exchange(other.live_, false);
        return *this;
    }
    ~lease()
    {
        if (live_)
            hf_lease_release(&lease_);
    }
    enum hf_lease_state state() const
    {
        return static_cast<enum hf_lease_state>(check(hf_lease_state(&lease_)));
    }
    const struct hf_lease &get() const noexcept
    {
        return lease_;
    }
    void release()
    {
        drop();
        if (std::exchange(live_, false))
            check(hf_lease_release(&lease_));
    }
    /* As release(), where the device may not have stopped: hf_lease_quarantine(). */
    void quarantine()
    {
        drop();
        if (std::exchange(live_, false))
            check(hf_lease_quarantine(&lease_));
    }
    /* Offers the lease to any process of the pool; this object does not have it any more. */
    hf_lease_token give()
    {
        hf_lease_token token;

        check(hf_lease_give(&lease_, &token));
        live_ = false;
        drop();
        return token;
    }

  private:
    struct hf_lease lease_ = {};
    bool live_ = false;
};

/* hf_put_begin(): memory for bytes past end of file, which nobody sees before publish(). Its
 * destructor gives the memory back, also after the file was closed. Whatever fills the memory must
 * have stopped before publish(), publish_as(), abort() or the destructor. */
class put : public memory
{
  public:
    put(hf_pool *pool, hf_file *file, uint64_t off, uint64_t len, uint32_t flags = HF_PIN_CPU)
        : pool_(pool), file_(file), len_(len)
    {
        fill(
            [&](iovec *iov, int count) {
                return hf_put_begin(file, off, len, flags, iov, count, &put_);
            },
            32); /* it never has more pieces */
        live_ = true;
    }
    put(put &&other) noexcept
        : memory(std::move(other)), pool_(other.pool_), file_(other.file_), len_(other.len_),
          put_(other.put_), live_(std::exchange(other.live_, false))
    {
    }
    put &operator=(put &&other) noexcept
    {
        put old(std::move(*this));

        memory::operator=(std::move(other));
        pool_ = other.pool_;
        file_ = other.file_;
        len_ = other.len_;
        put_ = other.put_;
        live_ = std::exchange(other.live_, false);
        return *this;
    }
    ~put()
    {
        if (live_)
            hf_put_abort(pool_, &put_);
    }
    /* The first `len` bytes, or all, become a part of the file, which is open. When it throws, the
     * put is as it was. */
    void publish(uint64_t len)
    {
        check(hf_put_commit(file_, &put_, len));
        end();
    }
    void publish()
    {
        publish(len_);
    }
    /* The same for a file without a name, which gets this one: hf_put_commit_as(). */
    void publish_as(const std::string &path, uint64_t len, uint32_t flags = 0)
    {
        check(hf_put_commit_as(file_, &put_, len, path.c_str(), flags));
        end();
    }
    void publish_as(const std::string &path)
    {
        publish_as(path, len_);
    }
    void abort()
    {
        if (live_) {
            end();
            check(hf_put_abort(pool_, &put_));
        }
    }

  private:
    void end() noexcept
    {
        live_ = false;
        drop();
    }
    hf_pool *pool_;
    hf_file *file_;
    uint64_t len_;
    hf_put put_ = {};
    bool live_ = false;
};

/* --- files --- */

class file
{
  public:
    explicit file(hf_file *taken_over) noexcept : file_(taken_over)
    {
    }
    hf_file *get() const noexcept
    {
        return file_.get();
    }
    void close()
    {
        check(hf_close(file_.release()));
    }
    std::size_t read(void *buf, std::size_t len, uint64_t off) const
    {
        return static_cast<std::size_t>(check(hf_read(get(), buf, len, off)));
    }
    std::size_t write(const void *buf, std::size_t len, uint64_t off)
    {
        return static_cast<std::size_t>(check(hf_write(get(), buf, len, off)));
    }
    void truncate(uint64_t size, const hf_policy &policy = by_default())
    {
        check(hf_truncate(get(), size, &policy));
    }
    void fallocate(uint32_t mode, uint64_t off, uint64_t len, const hf_policy &policy = by_default())
    {
        check(hf_fallocate(get(), mode, off, len, &policy));
    }
    /* With a policy that waits, holders are waited for. */
    hf_compact_result compact(uint64_t off = 0, uint64_t len = 0, uint32_t flags = 0,
                              const hf_policy &policy = {HF_POLICY_NOWAIT, 0, 0})
    {
        hf_compact_result result{};

        result.size = sizeof result;
        check(hf_compact(get(), off, len, flags, &policy, &result));
        return result;
    }
    void sync()
    {
        check(hf_fsync(get()));
    }
    struct stat status() const
    {
        struct stat status;

        check(hf_fstat(get(), &status));
        return status;
    }
    holdfast::pin pin(uint64_t off, uint64_t len, uint32_t flags = HF_PIN_READ) const
    {
        return holdfast::pin(get(), off, len, flags);
    }
    holdfast::lease lease(uint64_t off, uint64_t len, const hf_lease_options &options) const
    {
        return holdfast::lease(get(), off, len, options);
    }

  private:
    struct closes {
        void operator()(hf_file *file) const noexcept
        {
            hf_close(file);
        }
    };
    std::unique_ptr<hf_file, closes> file_;
};

/* An entry at a time: while (dir.next(entry)) ... */
class dir
{
  public:
    explicit dir(hf_dir *taken_over) noexcept : dir_(taken_over)
    {
    }
    hf_dir *get() const noexcept
    {
        return dir_.get();
    }
    bool next(hf_dirent &entry)
    {
        return check(hf_readdir(get(), &entry)) == 1;
    }

  private:
    struct closes {
        void operator()(hf_dir *dir) const noexcept
        {
            hf_closedir(dir);
        }
    };
    std::unique_ptr<hf_dir, closes> dir_;
};

/* --- pools --- */

/* All zero except the sizes, as hf_pool_create() wants it. */
inline hf_pool_options pool_options(uint64_t pool_bytes)
{
    hf_pool_options options = {};

    options.size = sizeof options;
    options.pool_bytes = pool_bytes;
    return options;
}

class pool
{
  public:
    explicit pool(const std::string &path, uint32_t flags = 0)
    {
        hf_pool *opened;

        check(hf_pool_open(path.c_str(), flags, &opened));
        pool_.reset(opened);
    }
    explicit pool(hf_pool *taken_over) noexcept : pool_(taken_over)
    {
    }
    static void create(const std::string &path, const hf_pool_options &options)
    {
        check(hf_pool_create(path.c_str(), &options));
    }
    static pool anonymous(uint64_t pool_bytes)
    {
        hf_pool_options options = pool_options(pool_bytes);
        hf_pool *opened;

        check(hf_pool_open_anonymous(&options, &opened));
        return pool(opened);
    }
    hf_pool *get() const noexcept
    {
        return pool_.get();
    }
    /* On failure, with files or pins open, it stays open. */
    void close()
    {
        check(hf_pool_close(get()));
        (void)pool_.release();
    }
    holdfast::file open(const std::string &path, int flags, mode_t mode = 0666)
    {
        hf_file *opened;

        check(hf_open(get(), path.c_str(), flags, mode, &opened));
        return holdfast::file(opened);
    }
    holdfast::dir open_dir(const std::string &path)
    {
        hf_dir *opened;

        check(hf_opendir(get(), path.c_str(), &opened));
        return holdfast::dir(opened);
    }
    void unlink(const std::string &path, const hf_policy &policy = by_default())
    {
        check(hf_unlink(get(), path.c_str(), &policy));
    }
    void rename(const std::string &from, const std::string &to, uint32_t flags = 0)
    {
        check(hf_rename(get(), from.c_str(), to.c_str(), flags));
    }
    void mkdir(const std::string &path, mode_t mode = 0777)
    {
        check(hf_mkdir(get(), path.c_str(), mode));
    }
    struct stat status(const std::string &path, uint32_t flags = 0) const
    {
        struct stat status;

        check(hf_stat(get(), path.c_str(), flags, &status));
        return status;
    }
    void grow(uint64_t pool_bytes)
    {
        check(hf_pool_grow(get(), pool_bytes));
    }
    void shrink(uint64_t pool_bytes, const hf_policy &policy = by_default())
    {
        check(hf_pool_shrink(get(), pool_bytes, &policy));
    }
    struct hf_pool_info info() const
    {
        struct hf_pool_info info = {};

        info.size = sizeof info;
        check(hf_pool_info(get(), &info));
        return info;
    }
    holdfast::put put(const holdfast::file &file, uint64_t off, uint64_t len,
                      uint32_t flags = HF_PIN_CPU)
    {
        return holdfast::put(get(), file.get(), off, len, flags);
    }
    holdfast::lease take(const hf_lease_token &token, const hf_lease_options &options)
    {
        return holdfast::lease(get(), token, options);
    }

  private:
    struct closes {
        void operator()(hf_pool *pool) const noexcept
        {
            hf_pool_close(pool);
        }
    };
    std::unique_ptr<hf_pool, closes> pool_;
};

} // namespace holdfast

#endif

/* SPDX-License-Identifier: MIT */
/* Owns the checks of api.h, the version and the error sentence. */
#include "api/api.h"

#include "base/futex.h"

#define STRING(number) #number
#define VERSION(major, minor, patch) STRING(major) "." STRING(minor) "." STRING(patch)

const char *hf_version(void)
{
    return VERSION(HF_VERSION_MAJOR, HF_VERSION_MINOR, HF_VERSION_PATCH);
}

const char *hf_strerror_detail(void)
{
    return hf_error_sentence();
}

int api_null(const char *what)
{
    return hf_fail(EINVAL, "%s is a null pointer", what);
}

int api_forked(void)
{
    return hf_fail(ECHILD, "the handle was made before a fork: open the pool in this process");
}

int api_flags(const char *call, uint32_t flags)
{
    return hf_fail(EINVAL, "%s: flags 0x%x are not known or do not go together", call, flags);
}

int api_check_writable(const struct hf_file *file)
{
    int rc = api_check_file(file);

    if (rc || file->writable)
        return rc;
    return hf_fail(EBADF, "the file was not opened for writing");
}

int api_no_piece(const char *call, uint64_t len)
{
    return hf_fail(EINVAL, "%s: %s", call, len ? "iovcnt is below 1" : "len is 0");
}

int api_not_opened(const struct hf_file *file, const char *call)
{
    return hf_fail(EBADF, "%s: the file was not opened for %s", call,
                   file->readable ? "writing" : "reading");
}

int api_check_placed(const struct hf_file *file)
{
    int rc = api_check_writable(file);

    if (rc == 0 && file->append)
        rc = hf_fail(EBADF, "the file was opened for appending: no place in it can be chosen");
    return rc;
}

int api_policy(const struct fs *fs, const struct hf_policy *given, struct hf_policy *out)
{
    int rc = given ? dax_policy_check(given) : 0;

    if (rc)
        return rc;
    *out = given && given->kind != HF_POLICY_DEFAULT ? *given : fs->dax.policy;
    return 0;
}

struct shm_bound api_bound(const struct hf_policy *policy)
{
    struct shm_bound before = shm_bound;

    dax_policy_bound(&shm_bound, policy,
                     dax_policy_timed(policy->kind) ? dax_policy_until(policy) : HF_NEVER);
    return before;
}

int api_mode(mode_t mode)
{
    if ((mode & ~(mode_t)07777) == 0)
        return 0;
    return hf_fail(EINVAL, "mode %o has more than permission bits", (unsigned)mode);
}

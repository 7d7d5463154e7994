/* SPDX-License-Identifier: MIT */
/* Which policies are valid, for a layout change and for a new pool. Also, how long a call with a
 * policy waits for locks, and how many layout changes ended before they could begin. */
#include "dax/private.h"

#include "base/error.h"
#include "base/futex.h"

#include <errno.h>

int dax_policy_check(const struct hf_policy *policy)
{
    if (policy->kind > HF_POLICY_DEADLINE_DETACH || policy->reserved)
        return hf_fail(EINVAL, "policy kind %u or its reserved field is not known", policy->kind);
    if (policy->deadline_ns && !dax_policy_timed(policy->kind))
        return hf_fail(EINVAL, "a deadline is given with a policy that has none");
    return 0;
}

uint64_t dax_policy_until(const struct hf_policy *policy)
{
    uint64_t now = hf_now_ns();

    return policy->deadline_ns < HF_NEVER - 1 - now ? now + policy->deadline_ns : HF_NEVER - 1;
}

void dax_policy_bound(struct shm_bound *bound, const struct hf_policy *policy, uint64_t until_ns)
{
    static const enum shm_patience patience[] = {
        [HF_POLICY_WAIT] = SHM_PATIENCE_LONG,     [HF_POLICY_NOWAIT] = SHM_PATIENCE_NONE,
        [HF_POLICY_DEADLINE] = SHM_PATIENCE_LONG, [HF_POLICY_DEADLINE_DETACH] = SHM_PATIENCE_LONG,
        [HF_POLICY_DETACH] = SHM_PATIENCE_CALL,
    };

    bound->patience = patience[policy->kind];
    bound->until_ns = until_ns == HF_NEVER ? 0 : until_ns;
    bound->puts_off &= policy->kind != HF_POLICY_NOWAIT;
}

int dax_count_end(struct dax *dax, int rc)
{
    struct shm_stats *stats = &dax->shm->run->stats;
    uint64_t *count = rc == -ETIMEDOUT ? &stats->timed_out
                      : rc == -EBUSY   ? &stats->busy
                      : rc == -EINTR   ? &stats->cancelled
                      : rc == -EDEADLK ? &stats->own_pins
                                       : NULL;

    if (count)
        dax_count(count, 1);
    return rc;
}

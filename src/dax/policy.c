/* SPDX-License-Identifier: MIT */
/* What a policy may say, wherever a caller gives one: to a layout change, or to a new pool. */
#include "dax/dax.h"

#include "base/error.h"

#include <errno.h>

int dax_policy_check(const struct hf_policy *policy)
{
    if (policy->kind > HF_POLICY_DEADLINE_DETACH || policy->reserved)
        return hf_fail(EINVAL, "policy kind %u or its reserved field is not known", policy->kind);
    if (policy->deadline_ns && !dax_policy_timed(policy->kind))
        return hf_fail(EINVAL, "a deadline is given with a policy that has none");
    return 0;
}

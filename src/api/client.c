/* SPDX-License-Identifier: MIT */
/* hf_act_for(). */
#include "api/api.h"
#include "dax/client.h"

static int check_client(const struct hf_client *client)
{
    if (client->size != sizeof *client)
        return hf_fail(EINVAL, "client->size is %zu, not sizeof(struct hf_client), %zu",
                       client->size, sizeof *client);
    if (client->flags & ~(HF_CLIENT_NOWAIT | HF_CLIENT_WRITE_BACK))
        return api_flags("hf_act_for", client->flags);
    if (client->umask & ~(mode_t)0777)
        return hf_fail(EINVAL, "umask %o has more than permission bits", (unsigned)client->umask);
    if (client->pid < 0 || client->tid < 0 || (client->pid && !client->tid))
        return hf_fail(EINVAL, "pid %d and tid %d name no thread", client->pid, client->tid);
    if (client->reserved[0] || client->reserved[1])
        return hf_fail(EINVAL, "a reserved field of the client is not zero");
    return 0;
}

int hf_act_for(const struct hf_client *client)
{
    int rc = client ? check_client(client) : 0;

    if (rc)
        return rc;
    pool_watch_forks();
    dax_client_set(client ? *client : (struct hf_client){0});
    return 0;
}

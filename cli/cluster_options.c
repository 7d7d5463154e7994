/* SPDX-License-Identifier: MIT */
/* How a verb finds the members of a cluster, and what proves that it belongs to them. */
#include "cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct cluster_place cluster_place = {.etcd = {.size = sizeof(cluster_place.etcd)}};

int cluster_check_place(void)
{
    const struct hfx_etcd *etcd = &cluster_place.etcd;

    if (!etcd->urls == !cluster_place.members)
        return cli_usage("give either --etcd or --members");
    if (!etcd->urls && (etcd->prefix || etcd->ca || etcd->cert || etcd->key))
        return cli_usage("--prefix, --ca, --cert and --key are for --etcd");
    return EX_OK;
}

int cluster_read_secret(char secret[CLUSTER_SECRET_MAX])
{
    const char *path = cluster_place.secret_path;
    ssize_t len;
    int fd;

    secret[0] = '\0';
    if (!path)
        return EX_OK;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cli_fail_host(path, errno);
    len = read(fd, secret, CLUSTER_SECRET_MAX - 1);
    if (len < 0) {
        int error = errno;

        close(fd);
        return cli_fail_host(path, error);
    }
    close(fd);
    secret[len] = '\0';
    secret[strcspn(secret, "\r\n")] = '\0';
    if (secret[0] == '\0')
        return cli_fail_why(path, "its first line is empty, so it is not a secret", -EINVAL);
    return EX_OK;
}

/* SPDX-License-Identifier: MIT */
#include "etcds.h"

#include "support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t pids[ETCDS];
static char hosts[ETCDS][24], urls[256], cluster[256];
static bool with_tls;
static void (*enter_place)(unsigned index);

static bool is_installed(const char *program)
{
    char command[128];

    snprintf(command, sizeof command, "command -v %s >/dev/null", program);
    return system(command) == 0;
}

static void run_openssl(const char *command)
{
    char line[1024];

    snprintf(line, sizeof line, "cd '%s' && openssl %s 2>>openssl.log", test_folder(), command);
    if (system(line) != 0)
        FAIL("failed: %s", line);
}

/* An authority, and one certificate for all of both sides. */
static void make_certificates(void)
{
    char command[768];

    if (!is_installed("openssl"))
        test_skip("openssl is not installed");
    run_openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 3");
    run_openssl("req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=member");
    snprintf(command, sizeof command,
             "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem "
             "-days 3 -extfile names");
    FILE *names = fopen(test_path("names"), "we");

    EXPECT(names);
    fprintf(names, "subjectAltName=IP:%s,IP:%s,IP:%s\n", hosts[0], hosts[1], hosts[2]);
    EXPECT_EQ(fclose(names), 0);
    run_openssl(command);
}

const char *etcds_ca(void)
{
    return test_path("ca.pem");
}

const char *etcds_cert(void)
{
    return test_path("cert.pem");
}

const char *etcds_key(void)
{
    return test_path("key.pem");
}

const char *etcds_urls(void)
{
    return urls;
}

static _Noreturn void run_etcd(unsigned index)
{
    char name[8], data[256], client[64], peer[64];
    int log = open(test_path("etcd.log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (enter_place)
        enter_place(index);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    snprintf(name, sizeof name, "e%u", index);
    snprintf(data, sizeof data, "%s/data-%u", test_folder(), index);
    snprintf(client, sizeof client, "%s://%s:2379", with_tls ? "https" : "http", hosts[index]);
    snprintf(peer, sizeof peer, "http://%s:2380", hosts[index]);

    const char *const words[] = {"etcd",
                                 "--name",
                                 name,
                                 "--data-dir",
                                 data,
                                 "--listen-client-urls",
                                 client,
                                 "--advertise-client-urls",
                                 client,
                                 "--listen-peer-urls",
                                 peer,
                                 "--initial-advertise-peer-urls",
                                 peer,
                                 "--initial-cluster",
                                 cluster,
                                 "--heartbeat-interval",
                                 "50",
                                 "--election-timeout",
                                 "500",
                                 "--log-level",
                                 "error",
                                 with_tls ? "--client-cert-auth" : NULL,
                                 "--trusted-ca-file",
                                 etcds_ca(),
                                 "--cert-file",
                                 etcds_cert(),
                                 "--key-file",
                                 etcds_key(),
                                 NULL};

    execvp(words[0], (char *const *)words);
    _exit(127);
}

void etcds_start(unsigned index)
{
    pids[index] = fork();
    EXPECT(pids[index] >= 0);
    if (pids[index] == 0)
        run_etcd(index);
}

void etcds_kill(unsigned index)
{
    test_kill(pids[index]);
    pids[index] = 0;
}

void etcds_stop(unsigned index)
{
    EXPECT_EQ(kill(pids[index], SIGSTOP), 0);
}

void etcds_continue(unsigned index)
{
    EXPECT_EQ(kill(pids[index], SIGCONT), 0);
}

void etcds_place(const char *const addresses[ETCDS], void (*enter)(unsigned index))
{
    for (unsigned i = 0; i < ETCDS; i++)
        snprintf(hosts[i], sizeof hosts[i], "%s", addresses[i]);
    enter_place = enter;
}

void etcds_begin(bool tls)
{
    unsigned pid = (unsigned)getpid();

    if (!is_installed("etcd"))
        test_skip("etcd is not installed (Debian's etcd-server)");
    with_tls = tls;
    for (unsigned i = 0; i < ETCDS; i++) {
        if (!enter_place)
            snprintf(hosts[i], sizeof hosts[i], "127.%u.%u.%u", 1 + (pid >> 8) % 250, pid & 255,
                     1 + i + 4 * (pid >> 16) % 60);
        snprintf(urls + strlen(urls), sizeof urls - strlen(urls), "%s%s://%s:2379", i ? "," : "",
                 tls ? "https" : "http", hosts[i]);
        snprintf(cluster + strlen(cluster), sizeof cluster - strlen(cluster),
                 "%se%u=http://%s:2380", i ? "," : "", i, hosts[i]);
    }
    if (tls)
        make_certificates();
    for (unsigned i = 0; i < ETCDS; i++)
        etcds_start(i);
}

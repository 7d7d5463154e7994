/* SPDX-License-Identifier: MIT */
/*
 * Peers that are not what they should be: other versions, no secret, lengths that do not add up,
 * more requests than agreed, random bytes. A member sends them away, and serves the others.
 */
#include "peer.h"
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 300

/* A peer that speaks by hand. */
static struct stranger {
    struct peer_net net;
    struct peer peer;
    bool connected, lost, ended;
    unsigned answers;
    struct wire_hello challenge;
    struct wire_welcome welcome; /* or the refusal */
} stranger;

static struct peer *nobody_asks(struct peer_net *net)
{
    (void)net;
    return NULL;
}

static void is_connected(struct peer *peer)
{
    (void)peer;
    stranger.connected = true;
}

static void take(struct peer *peer, const struct wire_head *head)
{
    (void)peer;
    if (head->kind == WIRE_CHALLENGE)
        memcpy(&stranger.challenge, head, sizeof(stranger.challenge));
    else if (head->kind == WIRE_WELCOME || head->kind == WIRE_REFUSED)
        memcpy(&stranger.welcome, head, sizeof(stranger.welcome));
    else
        stranger.answers++;
}

static void nothing_moves(struct peer *peer, void *arg, int error)
{
    (void)peer;
    (void)arg;
    (void)error;
}

static void is_lost(struct peer *peer, const char *why)
{
    (void)peer;
    (void)why;
    stranger.lost = true;
}

static void has_ended(struct peer *peer)
{
    (void)peer;
    stranger.ended = true;
}

static const struct peer_calls calls = {.asks = nobody_asks,
                                        .connected = is_connected,
                                        .message = take,
                                        .moved = nothing_moves,
                                        .lost = is_lost,
                                        .ended = has_ended};

static void come(const struct rig *rig)
{
    memset(&stranger, 0, sizeof(stranger));
    EXPECT_EQ(peer_net_open(&stranger.net, "tcp", rig->member[0].address, false, &calls, NULL), 0);
    EXPECT_EQ(peer_connect(&stranger.net, &stranger.peer), 0);
    while (!stranger.connected && !stranger.lost)
        peer_poll(&stranger.net);
    EXPECT(stranger.connected);
}

static void go(void)
{
    peer_close(&stranger.peer);
    peer_net_close(&stranger.net);
    EXPECT(stranger.ended);
}

static void say(const void *message)
{
    EXPECT_EQ(peer_send(&stranger.peer, message), 0);
    EXPECT_EQ(peer_flush(&stranger.peer), 0);
}

static void send_hello(uint8_t version)
{
    struct wire_hello hello = {.head = {.number = 0}};

    wire_begin(&hello.head, WIRE_HELLO, 0, 0);
    hello.head.version = version;
    say(&hello.head);
}

static void send_proof(const char *secret)
{
    struct wire_hello proof = {.head = {.number = 0}};
    static const uint8_t nonce[WIRE_NONCE];

    while (!stranger.challenge.head.kind)
        peer_poll(&stranger.net);
    wire_prove(secret, "client", nonce, stranger.challenge.nonce, proof.proof);
    wire_begin(&proof.head, WIRE_PROVE, 0, 0);
    say(&proof.head);
    while (!stranger.welcome.head.kind)
        peer_poll(&stranger.net);
}

struct asked {
    struct wire_request request;
    char rest[WIRE_INLINE + HFC_KEY_MAX];
};

static void make_request(struct asked *out, enum wire_kind kind, uint64_t number)
{
    *out = (struct asked){.request = {.length = 100}};
    memcpy(out->rest, "key", 3);
    wire_begin(&out->request.head, kind, 3, 0);
    out->request.head.number = number;
}

static void await_lost(void)
{
    while (!stranger.lost)
        peer_poll(&stranger.net);
}

static void strangers(const struct rig *rig)
{
    struct asked asked;

    come(rig);
    send_hello(WIRE_VERSION + 1);
    while (!stranger.welcome.head.kind)
        peer_poll(&stranger.net);
    EXPECT_EQ(stranger.welcome.status, -EPROTONOSUPPORT);
    go();

    come(rig);
    send_hello(WIRE_VERSION);
    send_proof("another secret");
    EXPECT_EQ(stranger.welcome.status, -EACCES);
    make_request(&asked, WIRE_REMOVE, 1);
    say(&asked.request.head);
    for (unsigned i = 0; i < 1000; i++)
        peer_poll(&stranger.net);
    EXPECT_EQ(stranger.answers, 0);
    go();

    come(rig);
    send_hello(WIRE_VERSION);
    send_proof(RIG_SECRET);
    EXPECT_EQ(stranger.welcome.head.kind, WIRE_WELCOME);
    make_request(&asked, WIRE_STAT, 1);
    say(&asked.request.head);
    while (stranger.answers == 0)
        peer_poll(&stranger.net);
    go();
}

/* One that has the secret, and then says something wrong. */
static void come_in(const struct rig *rig)
{
    come(rig);
    send_hello(WIRE_VERSION);
    send_proof(RIG_SECRET);
    EXPECT_EQ(stranger.welcome.head.kind, WIRE_WELCOME);
}

static void lie(const struct rig *rig, void (*how)(struct asked *asked))
{
    struct asked asked;
    uint32_t bytes;

    come_in(rig);
    make_request(&asked, WIRE_GET, 1);
    bytes = asked.request.head.bytes;
    how(&asked);
    EXPECT(wire_check(&asked, bytes) != NULL || bytes != asked.request.head.bytes ||
           asked.request.head.kind == WIRE_PUT || asked.request.head.kind == WIRE_WELCOME);
    say(&asked.request.head);
    await_lost();
    go();
}

static void wrong_magic(struct asked *asked)
{
    asked->request.head.magic++;
}

static void wrong_kind(struct asked *asked)
{
    asked->request.head.kind = 200;
}

static void wrong_way(struct asked *asked)
{
    struct wire_welcome *welcome = (struct wire_welcome *)asked;

    wire_begin(&welcome->head, WIRE_WELCOME, 0, 0);
    welcome->head.number = 1;
}

static void long_key(struct asked *asked)
{
    asked->request.head.key_len = 400;
}

static void no_key(struct asked *asked)
{
    wire_begin(&asked->request.head, WIRE_GET, 0, 0);
    asked->request.head.number = 1;
}

static void much_inlined(struct asked *asked)
{
    asked->request.head.inlined = UINT32_MAX - 2;
}

static void wrong_space(struct asked *asked)
{
    asked->request.space = HFC_SPACES;
}

static void wrong_version(struct asked *asked)
{
    asked->request.head.version++;
}

static void wrong_place(struct asked *asked) /* memory that was never lent */
{
    wire_begin(&asked->request.head, WIRE_PUT, 3, 0);
    asked->request.head.number = 1;
    asked->request.length = 1 << 20;
    asked->request.address = 12345;
    asked->request.key = 67890;
}

/* Frames whose messages do not fill them. */
static void wrong_frames(const struct rig *rig)
{
    for (unsigned i = 0; i < 4; i++) {
        struct asked asked;
        size_t len;

        come_in(rig);
        make_request(&asked, WIRE_STAT, 1);
        len = asked.request.head.bytes;
        if (i == 0)
            len = 10;
        else if (i == 1)
            len--;
        else if (i == 2)
            asked.request.head.bytes = 0;
        else
            len = sizeof(asked);
        EXPECT_EQ(fi_send(stranger.peer.ep, &asked, len, NULL, FI_ADDR_UNSPEC, NULL), 0);
        await_lost();
        go();
    }
}

static void too_many(const struct rig *rig)
{
    struct asked asked;

    come_in(rig);
    for (uint64_t i = 1; i <= 2000 && !stranger.lost; i++) { /* puts of memory that nobody sends */
        make_request(&asked, WIRE_PUT, i);
        asked.request.length = 1 << 20;
        while (!stranger.lost && (peer_send(&stranger.peer, &asked.request.head) == -EAGAIN ||
                                  peer_flush(&stranger.peer) == -EAGAIN))
            peer_poll(&stranger.net);
    }
    await_lost();
    go();
}

static void random_bytes(const struct rig *rig, struct test_rng *rng)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct asked asked;
        uint8_t *bytes = (uint8_t *)&asked;
        unsigned changes = 1 + (unsigned)test_below(rng, 4);

        if (round % 10 == 0)
            come_in(rig);
        make_request(&asked, (enum wire_kind)(1 + test_below(rng, WIRE_KINDS - 1)), round + 1);
        for (unsigned i = 0; i < changes; i++)
            bytes[test_below(rng, sizeof(struct wire_request) + 3)] = (uint8_t)test_random(rng);
        asked.request.head.bytes = (uint32_t)(sizeof(struct wire_request) + 3);
        if (!stranger.lost)
            peer_send(&stranger.peer, &asked.request.head);
        peer_flush(&stranger.peer);
        for (unsigned i = 0; i < 50; i++)
            peer_poll(&stranger.net);
        if (round % 10 == 9)
            go();
    }
}

/* A hostile reading of wire_check() itself: what it lets through has lengths that add up. */
static void random_messages(struct test_rng *rng)
{
    static uint8_t bytes[WIRE_BYTES_MAX + 64];
    const struct wire_head *head = (const struct wire_head *)bytes;

    for (unsigned round = 0; round < 200000; round++) {
        size_t len = test_below(rng, round % 2 ? 200 : sizeof(bytes));

        for (size_t i = 0; i < 64; i += 8)
            memcpy(bytes + i, &(uint64_t){test_random(rng)}, 8);
        if (test_chance(rng, 95)) {
            wire_begin((struct wire_head *)bytes, (enum wire_kind)test_below(rng, WIRE_KINDS),
                       test_below(rng, 600), test_below(rng, 9000));
            len = test_chance(rng, 90) ? head->bytes : len;
        }
        if (len <= sizeof(bytes) && !wire_check(bytes, len))
            EXPECT(head->bytes == len && head->key_len + head->inlined + sizeof(*head) <= len);
    }
}

static void scenario(void)
{
    void (*const lies[])(struct asked *) = {wrong_magic, wrong_kind,    wrong_way,
                                            long_key,    no_key,        much_inlined,
                                            wrong_space, wrong_version, wrong_place};
    struct rig *rig = rig_new(1, TEST_MIB(8), 0);
    struct hfx *good = rig_open(rig, TEST_PATIENCE_NS), *bad;
    struct hfx_options options = {.size = sizeof(options), .members = rig->members};
    struct test_rng rng = {.state = test_seed()};
    struct rig_key key;

    rig_put(good, 1, 1, 100000);
    strangers(rig);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        lie(rig, lies[i]);
        EXPECT_EQ(rig_get(good, 1, 100000), 1);
    }
    wrong_frames(rig);
    too_many(rig);
    random_bytes(rig, &rng);
    random_messages(&rng);
    EXPECT_EQ(hfx_open(&options, &bad), 0); /* without the secret */
    EXPECT_EQ(hfx_length(bad, rig_key(&key, 1)), -EACCES);
    EXPECT(strstr(hfx_detail(), "secret") != NULL);
    EXPECT_EQ(hfx_close(bad), 0);
    rig_put(good, 1, 2, 100000); /* puts by chance may have evicted it */
    EXPECT_EQ(rig_get(good, 1, 100000), 2);
    EXPECT_EQ(hfx_close(good), 0);
    rig_end(rig);
}

TEST_SCENARIO(scenario)

/* SPDX-License-Identifier: MIT */
/*
 * The messages of a cluster. All are fixed structs, little endian, each with a head. A key, and
 * then the bytes of a small object, may follow the struct. What comes from a network may be
 * anything, so wire_check() looks at a message before anybody else does.
 *
 *   client                     server
 *   HELLO version, nonce       CHALLENGE version, nonce, proof of the secret
 *   PROOF of the secret        WELCOME its incarnation and epoch; or REFUSED with the reason
 *   GET key, place, room       the bytes by RMA into that place, then ANSWER. Small: in the ANSWER
 *   PUT key, place, length     reads that place by RMA, then ANSWER. Small: the bytes are in PUT
 *   REMOVE, STAT key           ANSWER
 *   LIST cursor                ANSWER with entries, and the next cursor
 *   COUNTS                     ANSWER with struct wire_counts
 *
 * A member that is the first owner of a key is a client of the second one:
 *
 *   MEMBER incarnation, number of this connection      none
 *   KEEP as PUT, DROP as REMOVE, COPY as GET           ANSWER
 *
 * What a server sends has its clock, and a change has its time-out by that clock. So a change that
 * its client has given up is not done.
 *
 * The place is memory of the client, registered for the server alone. So only the server moves
 * bytes, and it knows by its own completions when a transfer has ended. docs/CLUSTER.md argues what
 * follows from that.
 */
#ifndef HF_CLUSTER_WIRE_H
#define HF_CLUSTER_WIRE_H

#include <holdfast/cache.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the messages are little endian");

#define WIRE_MAGIC UINT32_C(0x58464831) /* "1HFX" */
#define WIRE_VERSION 2u
#define WIRE_DEPTH 64u    /* requests of a connection that are under way at once, at most */
#define WIRE_INLINE 8192u /* objects up to here are in the message itself */
#define WIRE_NONCE 16u
#define WIRE_PROOF 32u /* HMAC-SHA256 */
#define WIRE_NAME 64u  /* of a member, terminated */

enum wire_kind {
    WIRE_HELLO = 1,
    WIRE_CHALLENGE,
    WIRE_PROVE,
    WIRE_WELCOME,
    WIRE_REFUSED,
    WIRE_GET,
    WIRE_PUT,
    WIRE_REMOVE,
    WIRE_STAT,
    WIRE_LIST,
    WIRE_COUNTS,
    WIRE_KEEP,
    WIRE_DROP,
    WIRE_COPY,
    WIRE_MEMBER,
    WIRE_ANSWER,
    WIRE_KINDS
};

struct wire_head {
    uint32_t magic;
    uint8_t kind, version;
    uint16_t key_len; /* bytes of the key, right after the struct */
    uint32_t bytes;   /* of the whole message */
    uint32_t inlined; /* bytes after the key */
    uint64_t number;  /* of the request, and of its answer: grows by one on a connection */
    uint64_t epoch;   /* of the sender */
    uint64_t time;    /* the server's clock; of PUT and REMOVE: when it says so, it is too late */
};

struct wire_hello { /* HELLO, CHALLENGE and PROVE */
    struct wire_head head;
    uint8_t nonce[WIRE_NONCE];
    uint8_t proof[WIRE_PROOF];
};

struct wire_welcome { /* WELCOME and REFUSED */
    struct wire_head head;
    int32_t status; /* 0, or -errno of the refusal */
    uint32_t reserved;
    uint64_t incarnation;
    char name[WIRE_NAME]; /* of the server; of a refusal its reason */
};

struct wire_request {
    struct wire_head head;
    /* GET, PUT: the place, of at least `length` bytes. MEMBER: incarnation and connection */
    uint64_t address, key;
    uint64_t length; /* GET: the place's; PUT: the object's; LIST: the cursor */
    uint32_t space;
    uint32_t reserved;
};

struct wire_answer {
    struct wire_head head;
    int32_t status;   /* 0, or -errno */
    uint32_t entries; /* LIST */
    /* GET, STAT: of the object, also if it does not fit; LIST: the next cursor, 0: the end */
    uint64_t length;
};

struct wire_entry { /* of LIST; the key follows, filled up to 8 bytes */
    uint64_t length;
    uint32_t space, key_len;
};

struct wire_counts {
    uint64_t gets, hits, puts, removals, refused, given_up;
    uint64_t connections, objects, used_bytes, capacity_bytes;
};

_Static_assert(sizeof(struct wire_head) == 40, "no holes");
_Static_assert(sizeof(struct wire_hello) == 88, "no holes");
_Static_assert(sizeof(struct wire_welcome) == 120, "no holes");
_Static_assert(sizeof(struct wire_request) == 72, "no holes");
_Static_assert(sizeof(struct wire_answer) == 56, "no holes");
_Static_assert(sizeof(struct wire_entry) == 16, "no holes");

#define WIRE_BYTES_MAX (sizeof(struct wire_request) + HFC_KEY_MAX + WIRE_INLINE)

/* Null when `len` bytes are a message that makes sense, else what is wrong with them. */
const char *wire_check(const void *bytes, size_t len);
/* Fills in the head, but for number and epoch. */
void wire_begin(struct wire_head *head, enum wire_kind kind, size_t key_len, size_t inlined);

static inline const uint8_t *wire_key(const void *message, size_t struct_bytes)
{
    return (const uint8_t *)message + struct_bytes;
}

/* HMAC-SHA256 under the secret. `who` keeps a server's proof from being a client's. */
void wire_prove(const char *secret, const char *who, const uint8_t client[WIRE_NONCE],
                const uint8_t server[WIRE_NONCE], uint8_t out[WIRE_PROOF]);
bool wire_same(const uint8_t *one, const uint8_t *other, size_t len); /* in constant time */

#endif

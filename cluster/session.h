/* SPDX-License-Identifier: MIT */
/*
 * A connection that a server has accepted, and what is under way there: what server.c, kept.c and
 * turns.c share. All of it belongs to the server's thread.
 */
#ifndef HF_CLUSTER_SESSION_H
#define HF_CLUSTER_SESSION_H

#include "server.h"

#define OWN_PIECES 4

struct transfer {
    bool busy, putting;
    bool keeps;      /* of the second owner, for the first */
    bool replicated; /* of the first owner, which keeps it in the second one too */
    unsigned moving;
    int error;
    uint64_t number, remote, key, length, posted, epoch;
    uint64_t until_ns; /* of a put: its time-out */
    uint64_t off;      /* of what is posted, in iov[at] */
    int at, room, pieces;
    struct iovec own[OWN_PIECES], *iov;
    struct hfc_ref ref;
    struct hfc_put *put;
    struct hfc_key name; /* of a put; its bytes follow */
    uint8_t bytes[HFC_KEY_MAX];
};

enum session_state { SESSION_STRANGER, SESSION_CHALLENGED, SESSION_OPEN, SESSION_REFUSED };

struct session {
    struct peer peer; /* the first member */
    struct session *next;
    struct hfx_server *server;
    enum session_state state;
    const char *lost; /* to be closed */
    uint64_t last_number, moved_ns;
    uint8_t client_nonce[WIRE_NONCE], own_nonce[WIRE_NONCE];
    unsigned busy, turns; /* transfers; turns.c */
    /* Of a member that is the first owner of keys; 0: a client. */
    uint64_t first, connection;
    struct transfer transfers[WIRE_DEPTH];
};

/* What server.c does for kept.c and turns.c. */
struct session_calls {
    void (*answer)(struct session *session, uint64_t number, int status, uint64_t length);
    /* Serves a GET or STAT, if the object is there. If it is not, the answer says so only at the
     * `last` try. False: it did not answer. */
    bool (*read)(struct session *session, const struct wire_request *request, bool last);
};

static inline struct hfc_key session_key(const struct wire_request *request)
{
    return (struct hfc_key){wire_key(request, sizeof *request), request->head.key_len,
                            request->space};
}

/* ---- kept.c: what the second owner of a key does for the first ---- */

/* MEMBER: this connection is one of a member. */
void kept_greet(struct session *session, const struct wire_request *request);
/* Before what the other end of the session says by this epoch and until then; cluster_serve_end()
 * comes after it. -ESTALE: it does not obey. -ETIMEDOUT: it is too late. */
int kept_begin(struct session *session, const struct hfc_key *key, uint64_t epoch,
               uint64_t until_ns);
/* Between the two: does a KEEP of a small object, or a DROP. */
void kept_change(struct session *session, const struct wire_request *request,
                 const struct hfc_key *key);

/* ---- turns.c: requests for keys that have a second owner ---- */

/* Takes the request if it has to wait for another one of its key, or needs the second owner. */
bool turn_takes(struct session *session, const struct wire_request *request);
/* A put whose bytes have come. */
void turn_put(struct session *session, struct transfer *transfer);
/* A get or stat that has found nothing here. */
void turn_read(struct session *session, const struct wire_request *request);

/* The session is about to be freed. */
void turns_forget(struct session *session);
bool turns_poll(struct hfx_server *server);
bool turns_may_sleep(const struct hfx_server *server);
/* Fails all that are under way. */
void turns_end(struct hfx_server *server);

#endif

/* SPDX-License-Identifier: MIT */
/* Whether bytes from a network are a message, and the proof that both sides have the secret. */
#include "wire.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <string.h>

/* What comes before the key, and whether a key or further bytes may follow. */
static const struct shape {
    uint16_t bytes;
    bool has_key, may_inline;
} shapes[WIRE_KINDS] = {
    [WIRE_HELLO] = {sizeof(struct wire_hello), false, false},
    [WIRE_CHALLENGE] = {sizeof(struct wire_hello), false, false},
    [WIRE_PROVE] = {sizeof(struct wire_hello), false, false},
    [WIRE_WELCOME] = {sizeof(struct wire_welcome), false, false},
    [WIRE_REFUSED] = {sizeof(struct wire_welcome), false, false},
    [WIRE_GET] = {sizeof(struct wire_request), true, false},
    [WIRE_PUT] = {sizeof(struct wire_request), true, true},
    [WIRE_REMOVE] = {sizeof(struct wire_request), true, false},
    [WIRE_STAT] = {sizeof(struct wire_request), true, false},
    [WIRE_LIST] = {sizeof(struct wire_request), false, false},
    [WIRE_COUNTS] = {sizeof(struct wire_request), false, false},
    [WIRE_KEEP] = {sizeof(struct wire_request), true, true},
    [WIRE_DROP] = {sizeof(struct wire_request), true, false},
    [WIRE_COPY] = {sizeof(struct wire_request), true, false},
    [WIRE_MEMBER] = {sizeof(struct wire_request), false, false},
    [WIRE_ANSWER] = {sizeof(struct wire_answer), false, true},
};

static const char *check_wire_request(const struct wire_request *request)
{
    if (request->space >= HFC_SPACES || request->reserved)
        return "a request with a namespace that does not exist";
    if (request->head.kind != WIRE_PUT && request->head.kind != WIRE_KEEP)
        return NULL;
    if (request->length == 0)
        return "a put of no bytes";
    if (request->head.inlined && request->head.inlined != request->length)
        return "a put whose bytes are not as many as it says";
    return NULL;
}

static bool is_request(const struct wire_head *head)
{
    return head->kind >= WIRE_GET && head->kind <= WIRE_MEMBER;
}

const char *wire_check(const void *bytes, size_t len)
{
    const struct wire_head *head = bytes;
    const struct shape *shape;

    if (len < sizeof *head || head->magic != WIRE_MAGIC)
        return "bytes that are not a message";
    if (head->kind == 0 || head->kind >= WIRE_KINDS)
        return "a message of an unknown kind";
    /* The first message of each side is read in any version, to say which one it has. */
    if (head->version != WIRE_VERSION && head->kind != WIRE_HELLO && head->kind != WIRE_REFUSED)
        return "a message of another version";
    shape = &shapes[head->kind];
    if (head->bytes != len || head->inlined > WIRE_INLINE ||
        len != (size_t)shape->bytes + head->key_len + head->inlined)
        return "a message whose lengths do not add up";
    if (head->key_len > HFC_KEY_MAX || shape->has_key != (head->key_len > 0))
        return "a message with a key of the wrong length";
    if (head->inlined && !shape->may_inline)
        return "a message with bytes that do not belong to it";
    return is_request(head) ? check_wire_request(bytes) : NULL;
}

void wire_begin(struct wire_head *head, enum wire_kind kind, size_t key_len, size_t inlined)
{
    head->magic = WIRE_MAGIC;
    head->kind = (uint8_t)kind;
    head->version = WIRE_VERSION;
    head->key_len = (uint16_t)key_len;
    head->inlined = (uint32_t)inlined;
    head->bytes = (uint32_t)(shapes[kind].bytes + key_len + inlined);
}

void wire_prove(const char *secret, const char *who, const uint8_t client[WIRE_NONCE],
                const uint8_t server[WIRE_NONCE], uint8_t out[WIRE_PROOF])
{
    uint8_t text[16 + 2 * WIRE_NONCE] = {WIRE_VERSION};
    unsigned len = WIRE_PROOF;

    memcpy(text + 1, who, strlen(who));
    memcpy(text + 16, client, WIRE_NONCE);
    memcpy(text + 16 + WIRE_NONCE, server, WIRE_NONCE);
    HMAC(EVP_sha256(), secret, (int)strlen(secret), text, sizeof text, out, &len);
}

bool wire_same(const uint8_t *one, const uint8_t *other, size_t len)
{
    return CRYPTO_memcmp(one, other, len) == 0;
}

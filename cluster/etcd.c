/* SPDX-License-Identifier: MIT */
/*
 * etcd's JSON gateway (/v3/...), by libcurl's multi interface: one transfer for calls, one for the
 * stream of watches, both of one thread. HTTP/1.1 alone, where a transfer has a connection of its
 * own; libcurl keeps them open between calls.
 *
 * An event only says that a watched key may have changed; its content is not read. So an event that
 * comes twice, late or from an old revision does no harm. One that never comes does none either,
 * because the caller looks from time to time anyhow.
 */
#include "etcd.h"

#include "members.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define URLS_MAX 16
#define ANSWER_MAX (64u << 20)
#define LINE_MAX_BYTES (16u << 20)

struct text {
    char *bytes;
    size_t len, room, max;
};

struct etcd {
    char *urls[URLS_MAX];
    unsigned url_count, url; /* the one in use */
    CURLM *multi;
    CURL *call, *stream;
    struct curl_slist *headers;
    struct text answer, line;
    bool streams, stream_over, dirty;
    char *stream_body;
    uint64_t calls, events;
    char failure[600], curl_says[CURL_ERROR_SIZE];
};

/* ------------------------------------------------------------------------------- text ---- */

static bool text_append(struct text *text, const char *bytes, size_t len)
{
    if (len > text->max - text->len)
        return false;
    if (text->len + len + 1 > text->room) {
        size_t room = 2 * (text->len + len + 1);
        char *more = realloc(text->bytes, room);

        if (!more)
            return false;
        text->bytes = more;
        text->room = room;
    }
    memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
    text->bytes[text->len] = 0;
    return true;
}

static size_t add_to_answer(char *bytes, size_t size, size_t count, void *arg)
{
    return text_append(&((struct etcd *)arg)->answer, bytes, size * count) ? size * count : 0;
}

/* The gateway sends one object a line. Keys and values are in base64, so that only the gateway's
 * own words can look like this. */
static void look_at_line(struct etcd *etcd)
{
    if (etcd->line.len && strstr(etcd->line.bytes, "\"events\"")) {
        etcd->events++;
        etcd->dirty = true;
    }
    if (etcd->line.len &&
        (strstr(etcd->line.bytes, "\"canceled\"") || strstr(etcd->line.bytes, "\"error\"")))
        etcd->stream_over = true;
    etcd->line.len = 0;
}

static size_t take_stream(char *bytes, size_t size, size_t count, void *arg)
{
    struct etcd *etcd = arg;
    size_t len = size * count, begin = 0;

    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != '\n')
            continue;
        if (!text_append(&etcd->line, bytes + begin, i - begin))
            return 0;
        look_at_line(etcd);
        begin = i + 1;
    }
    return text_append(&etcd->line, bytes + begin, len - begin) ? len : 0;
}

/* --------------------------------------------------------------------------- opening ---- */

static int add_url(struct etcd *etcd, const char *url, size_t len)
{
    char *copy;

    if (etcd->url_count == URLS_MAX)
        return cluster_fail(-EINVAL, "there are more than %d URLs of etcd", URLS_MAX);
    while (len > 0 && url[len - 1] == '/')
        len--;
    if ((len <= 7 || strncmp(url, "http://", 7) != 0) &&
        (len <= 8 || strncmp(url, "https://", 8) != 0))
        return cluster_fail(-EINVAL, "'%.*s' is not a URL of etcd, as http://192.0.2.1:2379",
                            (int)(len > 100 ? 100 : len), url);
    copy = strndup(url, len);
    if (!copy)
        return cluster_fail(-ENOMEM, "no memory for a URL");
    etcd->urls[etcd->url_count++] = copy;
    return 0;
}

static int add_urls(struct etcd *etcd, const char *urls)
{
    int rc = 0;

    do {
        size_t len = strcspn(urls, ",");

        rc = add_url(etcd, urls, len);
        urls += len;
    } while (rc == 0 && *urls++ == ',');
    return rc;
}

static void set_options(struct etcd *etcd, CURL *easy, const struct etcd_options *options)
{
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, etcd->headers);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, etcd->curl_says);
    if (options->ca)
        curl_easy_setopt(easy, CURLOPT_CAINFO, options->ca);
    if (options->cert)
        curl_easy_setopt(easy, CURLOPT_SSLCERT, options->cert);
    if (options->key)
        curl_easy_setopt(easy, CURLOPT_SSLKEY, options->key);
}

static int make_transfers(struct etcd *etcd, const struct etcd_options *options)
{
    etcd->multi = curl_multi_init();
    etcd->call = curl_easy_init();
    etcd->stream = curl_easy_init();
    etcd->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (!etcd->multi || !etcd->call || !etcd->stream || !etcd->headers)
        return cluster_fail(-ENOMEM, "no memory for a connection to etcd");
    set_options(etcd, etcd->call, options);
    curl_easy_setopt(etcd->call, CURLOPT_WRITEFUNCTION, add_to_answer);
    curl_easy_setopt(etcd->call, CURLOPT_WRITEDATA, etcd);
    set_options(etcd, etcd->stream, options);
    curl_easy_setopt(etcd->stream, CURLOPT_WRITEFUNCTION, take_stream);
    curl_easy_setopt(etcd->stream, CURLOPT_WRITEDATA, etcd);
    curl_easy_setopt(etcd->stream, CURLOPT_TCP_KEEPALIVE, 1L);
    return 0;
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void begin_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

int etcd_open(const struct etcd_options *options, struct etcd **out)
{
    struct etcd *etcd = calloc(1, sizeof *etcd);
    int rc;

    if (!etcd)
        return cluster_fail(-ENOMEM, "no memory for a connection to etcd");
    pthread_once(&curl_once, begin_curl);
    etcd->answer.max = ANSWER_MAX;
    etcd->line.max = LINE_MAX_BYTES;
    rc = add_urls(etcd, options->urls);
    rc = rc ? rc : make_transfers(etcd, options);
    if (rc)
        etcd_close(etcd);
    else
        *out = etcd;
    return rc;
}

static void end_stream(struct etcd *etcd)
{
    if (etcd->streams)
        curl_multi_remove_handle(etcd->multi, etcd->stream);
    etcd->streams = false;
    etcd->stream_over = false;
    etcd->line.len = 0;
}

void etcd_close(struct etcd *etcd)
{
    if (etcd->stream)
        end_stream(etcd);
    curl_easy_cleanup(etcd->call);
    curl_easy_cleanup(etcd->stream);
    curl_multi_cleanup(etcd->multi);
    curl_slist_free_all(etcd->headers);
    for (unsigned i = 0; i < etcd->url_count; i++)
        free(etcd->urls[i]);
    free(etcd->answer.bytes);
    free(etcd->line.bytes);
    free(etcd->stream_body);
    free(etcd);
}

void etcd_wake(struct etcd *etcd)
{
    curl_multi_wakeup(etcd->multi);
}

/* ----------------------------------------------------------------------------- calls ---- */

static void set_url(struct etcd *etcd, CURL *easy, const char *path)
{
    char url[512];

    snprintf(url, sizeof url, "%s%s", etcd->urls[etcd->url], path);
    curl_easy_setopt(easy, CURLOPT_URL, url);
}

/* Moves all transfers on. True: the call has ended, with *result. */
static bool move_on(struct etcd *etcd, CURLcode *result)
{
    bool ended = false;
    CURLMsg *message;
    int left;

    curl_multi_perform(etcd->multi, &left);
    while ((message = curl_multi_info_read(etcd->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        if (message->easy_handle == etcd->stream) {
            etcd->stream_over = true;
        } else {
            *result = message->data.result;
            ended = true;
        }
    }
    return ended;
}

static CURLcode run_call(struct etcd *etcd)
{
    CURLcode result = CURLE_OK;

    if (curl_multi_add_handle(etcd->multi, etcd->call))
        return CURLE_OUT_OF_MEMORY;
    while (!move_on(etcd, &result))
        curl_multi_poll(etcd->multi, NULL, 0, 1000, NULL);
    curl_multi_remove_handle(etcd->multi, etcd->call);
    return result;
}

/* The answer as an object; null: what it says is a failure. */
static json_object *read_answer(struct etcd *etcd)
{
    json_object *answer = etcd->answer.len ? json_tokener_parse(etcd->answer.bytes) : NULL;
    long status = 0;

    curl_easy_getinfo(etcd->call, CURLINFO_RESPONSE_CODE, &status);
    if (answer && status == 200 && json_object_is_type(answer, json_type_object) &&
        !etcd_member(answer, "error"))
        return answer;
    snprintf(etcd->failure, sizeof etcd->failure, "%s answered %ld: %.150s", etcd->urls[etcd->url],
             status, etcd->answer.len ? etcd->answer.bytes : "");
    etcd->failure[strcspn(etcd->failure, "\n")] = 0;
    json_object_put(answer);
    return NULL;
}

json_object *etcd_call(struct etcd *etcd, const char *path, json_object *request,
                       unsigned timeout_ms)
{
    json_object *answer = NULL;
    CURLcode result;

    etcd->calls++;
    etcd->answer.len = 0;
    etcd->curl_says[0] = 0;
    set_url(etcd, etcd->call, path);
    curl_easy_setopt(etcd->call, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(etcd->call, CURLOPT_POSTFIELDS,
                     json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN));
    result = run_call(etcd);
    if (result == CURLE_OK)
        answer = read_answer(etcd);
    else
        snprintf(etcd->failure, sizeof etcd->failure, "%s: %s", etcd->urls[etcd->url],
                 etcd->curl_says[0] ? etcd->curl_says : curl_easy_strerror(result));
    json_object_put(request);
    if (answer) {
        etcd->failure[0] = 0;
    } else {
        etcd->url = (etcd->url + 1) % etcd->url_count;
        etcd->stream_over = true; /* it is with the one that failed */
    }
    return answer;
}

const char *etcd_failure(const struct etcd *etcd)
{
    return etcd->failure;
}

uint64_t etcd_calls(const struct etcd *etcd)
{
    return etcd->calls;
}

uint64_t etcd_events(const struct etcd *etcd)
{
    return etcd->events;
}

/* --------------------------------------------------------------------------- watches ---- */

void etcd_add_range(json_object *request, const char *key, bool prefix)
{
    char end[256];
    size_t len = strlen(key);

    json_object_object_add(request, "key", etcd_bytes(key));
    if (!prefix)
        return;
    memcpy(end, key, len + 1);
    end[len - 1]++; /* no key ends with 0xff */
    json_object_object_add(request, "range_end", etcd_bytes(end));
}

static char *make_body(const struct etcd_watch *watches, unsigned count, uint64_t revision)
{
    struct text body = {.max = 64 << 10};

    for (unsigned i = 0; i < count; i++) {
        json_object *line = json_object_new_object(), *create = json_object_new_object();
        char text[24];
        const char *words;

        snprintf(text, sizeof text, "%" PRIu64, revision);
        etcd_add_range(create, watches[i].key, watches[i].prefix);
        json_object_object_add(create, "start_revision", json_object_new_string(text));
        snprintf(text, sizeof text, "%u", i + 1);
        json_object_object_add(create, "watch_id", json_object_new_string(text));
        json_object_object_add(line, "create_request", create);
        words = json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN);
        if (!text_append(&body, words, strlen(words))) {
            free(body.bytes);
            body.bytes = NULL;
        }
        json_object_put(line);
    }
    return body.bytes;
}

void etcd_watch(struct etcd *etcd, const struct etcd_watch *watches, unsigned count,
                uint64_t revision)
{
    end_stream(etcd);
    free(etcd->stream_body);
    etcd->stream_body = make_body(watches, count, revision);
    if (!etcd->stream_body)
        return;
    set_url(etcd, etcd->stream, "/v3/watch");
    curl_easy_setopt(etcd->stream, CURLOPT_POSTFIELDS, etcd->stream_body);
    etcd->streams = curl_multi_add_handle(etcd->multi, etcd->stream) == CURLM_OK;
}

bool etcd_is_watching(const struct etcd *etcd)
{
    return etcd->streams && !etcd->stream_over;
}

bool etcd_wait(struct etcd *etcd, uint64_t timeout_ns)
{
    CURLcode ignored;
    bool was_watching = etcd->streams, dirty;

    move_on(etcd, &ignored);
    if (!etcd->dirty && !(was_watching && etcd->stream_over)) {
        curl_multi_poll(etcd->multi, NULL, 0, (int)((timeout_ns + 999999) / 1000000), NULL);
        move_on(etcd, &ignored);
    }
    dirty = etcd->dirty || (was_watching && etcd->stream_over);
    etcd->dirty = false;
    if (etcd->stream_over)
        end_stream(etcd);
    return dirty;
}

/* ------------------------------------------------------------------------------ JSON ---- */

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

json_object *etcd_bytes(const char *text)
{
    size_t len = strlen(text), to = 0;
    char *out = malloc((len + 2) / 3 * 4 + 1);
    json_object *object;

    if (!out)
        return NULL;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t bits = (uint32_t)(unsigned char)text[i] << 16;

        if (i + 1 < len)
            bits |= (uint32_t)(unsigned char)text[i + 1] << 8;
        if (i + 2 < len)
            bits |= (unsigned char)text[i + 2];
        out[to++] = base64[bits >> 18 & 63];
        out[to++] = base64[bits >> 12 & 63];
        out[to++] = i + 1 < len ? base64[bits >> 6 & 63] : '=';
        out[to++] = i + 2 < len ? base64[bits & 63] : '=';
    }
    object = json_object_new_string_len(out, (int)to);
    free(out);
    return object;
}

static char *decode(const char *text)
{
    size_t len = strlen(text), to = 0;
    char *out = malloc(len + 1);
    uint32_t bits = 0;
    unsigned have = 0;

    if (!out)
        return NULL;
    for (size_t i = 0; i < len && text[i] != '='; i++) {
        const char *digit = strchr(base64, text[i]);

        if (!digit)
            break;
        bits = bits << 6 | (uint32_t)(digit - base64);
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[to++] = (char)(bits >> have);
        }
    }
    out[to] = 0;
    return out;
}

json_object *etcd_member(json_object *object, const char *name)
{
    json_object *found = NULL;

    if (object && json_object_is_type(object, json_type_object))
        json_object_object_get_ex(object, name, &found);
    return found;
}

char *etcd_text(json_object *object, const char *name)
{
    json_object *found = etcd_member(object, name);

    return found && json_object_is_type(found, json_type_string)
               ? decode(json_object_get_string(found))
               : NULL;
}

uint64_t etcd_number(json_object *object, const char *name)
{
    json_object *found = etcd_member(object, name);

    return found ? strtoull(json_object_get_string(found), NULL, 10) : 0;
}

/* SPDX-License-Identifier: MIT */
/* Queues of requests, and the end of one. */
#include "client.h"

void queue_init(struct queue *queue)
{
    queue->first = NULL;
    queue->last = &queue->first;
}

void queue_add(struct queue *queue, struct request *request)
{
    request->next = NULL;
    *queue->last = request;
    queue->last = &request->next;
}

struct request *queue_take(struct queue *queue)
{
    struct request *request = queue->first;

    if (!request)
        return NULL;
    queue->first = request->next;
    if (!queue->first)
        queue->last = &queue->first;
    return request;
}

void request_end(struct request *request, int64_t result, const char *why)
{
    struct hfx *cluster = request->cluster;

    request->result = result;
    request->why = why;
    request->done = true;
    if (request->begun)
        queue_add(&cluster->results, request);
    if (cluster->waiters)
        pthread_cond_broadcast(&cluster->moved);
}

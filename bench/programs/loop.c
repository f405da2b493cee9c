/* Stands in for the core when the way from C to a Python handler and back is measured: the functions that a
 * worker thread calls, over one event block at a fixed address. Knows no driver and no session. */
#include "cbprocess.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

static _Alignas(8) unsigned char block[CBP_EVENT_SIZE_INLINE];

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t) time.tv_sec * 1000000000u + (uint64_t) time.tv_nsec;
}

static uint32_t append(struct cbp_event *event, const char *text, uint32_t size)
{
    uint32_t offset = event->size;
    memcpy(block + offset, text, size);
    block[offset + size] = 0;
    event->size += size + 1;
    return offset;
}

static void make_event(void)
{
    static const char name[] = "/usr/lib/git-core/git-remote-https";
    static const char arguments[] = "git\0remote-https\0--progress\0https://example.org/a/b.git";
    struct cbp_event *event = (struct cbp_event *) block;
    memset(event, 0, sizeof *event);
    event->size = sizeof *event;
    event->type = CBP_PROC_EVT_PROCESS_CREATION;
    event->flags = CBP_EVENT_FLAG_HELD | CBP_EVENT_FLAG_REFUSABLE;
    event->process_name_size = sizeof name - 1;
    event->process_name_offset = append(event, name, event->process_name_size);
    event->image_file_name_size = event->process_name_size;
    event->image_file_name_offset = event->process_name_offset;
    event->arguments_size = sizeof arguments;
    event->arguments_offset = append(event, arguments, event->arguments_size);
}

/* What the core keeps of a worker, as far as this loop needs it. */
struct cbp_worker {
    const struct cbp_callbacks *callbacks;
    cbp_event_callback callback; /* its own, or the session's */
    uint64_t count;
    uint64_t spent_ns;
    uint64_t answered_count;
};

CBP_API uint32_t cbp_worker_bind(struct cbp_worker *worker, cbp_event_callback callback,
                                 struct cbp_event **event)
{
    worker->callback = callback;
    *event = (struct cbp_event *) block;
    return 0;
}

CBP_API uint32_t cbp_worker_bind_type(struct cbp_worker *worker, uint32_t type, cbp_event_callback callback)
{
    if (type == CBP_PROC_EVT_PROCESS_CREATION)
        worker->callback = callback;
    return 0;
}

CBP_API void cbp_worker_run(struct cbp_worker *worker)
{
    struct cbp_event *event = (struct cbp_event *) block;
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < worker->count; i++) {
        event->sequence = i;
        event->process_id = (uint32_t) (1000 + (i & 0x3fff));
        event->result_code = 0;
        worker->callback(event);
        worker->answered_count += event->result_code == 0;
    }
    worker->spent_ns = now_ns() - start;
}

static void *run_worker(void *argument)
{
    struct cbp_worker *worker = argument;
    worker->callbacks->worker(worker->callbacks->context, worker);
    return NULL;
}

/* Runs one worker over count events in a new thread, which Python does not know, and waits for it.
 * *spent_ns is what the events took; *answered_count, those that came back with the result code 0. 0, or an
 * errno. */
CBP_API int loop_run(const struct cbp_callbacks *callbacks, uint64_t count, uint64_t *spent_ns,
                     uint64_t *answered_count)
{
    struct cbp_worker worker = {.callbacks = callbacks, .callback = callbacks->event, .count = count};
    pthread_t thread;
    make_event();
    int error = pthread_create(&thread, NULL, run_worker, &worker);
    if (error == 0)
        error = pthread_join(thread, NULL);
    *spent_ns = worker.spent_ns;
    *answered_count = worker.answered_count;
    return error;
}

/* Stands in for the core's workers when the way from C to a Python handler and back is measured: a C thread,
 * and a loop over one event block at a fixed address, as a worker has it. Knows no driver and no session. */
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

static struct cbp_event *make_event(void)
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
    return event;
}

/* Calls callback for count events and returns the nanoseconds it took; *answers counts those that came back
 * with the result code 0. */
CBP_API uint64_t loop_events(cbp_event_callback callback, uint64_t context, uint64_t count, uint64_t *answers)
{
    struct cbp_event *event = make_event();
    uint64_t answered = 0;
    event->context = context;
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        event->sequence = i;
        event->process_id = (uint32_t) (1000 + (i & 0x3fff));
        event->result_code = 0;
        callback(event);
        answered += event->result_code == 0;
    }
    uint64_t spent = now_ns() - start;
    *answers = answered;
    return spent;
}

struct body {
    cbp_worker_callback callback;
    uint64_t context;
};

static void *run_body(void *argument)
{
    struct body *body = argument;
    body->callback(body->context, NULL);
    return NULL;
}

/* Runs callback in a new thread that Python does not know, and waits for it. 0, or an errno. */
CBP_API int loop_thread(cbp_worker_callback callback, uint64_t context)
{
    struct body body = {callback, context};
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run_body, &body);
    return error != 0 ? error : pthread_join(thread, NULL);
}

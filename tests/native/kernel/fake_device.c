/* Implements fake_device.h and native/src/drivers/kernel/device.h. One lock is around everything. */
#include "fake_device.h"

#include "cbp_message_check.h"
#include "device.h"
#include "errors.h"
#include "fake_messages.h"
#include "platform.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_MAX 40000u
#define PORT_MAX 8192u
#define TOKEN 0x1234u

struct message {
    struct cbp_event_message *bytes;
    struct cbpi_kernel_device *device;
    enum { QUEUED, SENT, SENT_IN_PART, OVER } state;
    bool is_held;
    uint64_t deadline_ns;
};

struct cbpi_kernel_device {
    struct cbpi_kernel_device *next;
    uint32_t opening;
    bool has_session;
    uint32_t session_id;
    uint32_t next_message; /* none before it is queued */
    uint64_t sequence;
    uint64_t refused;
    struct cbpi_kernel_receive *waiting[PORT_MAX]; /* receives, oldest first */
    uint32_t waiting_count;
    struct cbpi_kernel_receive *complete[PORT_MAX]; /* NULL: a wake-up */
    uint32_t complete_count;
};

struct fake_settings fake;
static struct fake_seen seen;
static struct message messages[MESSAGE_MAX];
static uint32_t message_count;
static struct cbpi_kernel_device *devices;
static bool has_vanished;
static uint32_t random_state = 1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

static void lock(void)
{
    pthread_mutex_lock(&mutex);
}

static void unlock(void)
{
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

/* ---- The test's side ---- */

void fake_reset(void)
{
    lock();
    for (uint32_t i = 0; i < message_count; i++)
        free(messages[i].bytes);
    memset(messages, 0, sizeof messages);
    message_count = 0;
    memset(&seen, 0, sizeof seen);
    memset(&fake, 0, sizeof fake);
    has_vanished = false;
    unlock();
}

struct fake_seen fake_look(void)
{
    lock();
    struct fake_seen copy = seen;
    unlock();
    return copy;
}

static void complete(struct cbpi_kernel_device *device, struct cbpi_kernel_receive *receive)
{
    if (receive)
        receive->system[0] = receive;
    device->complete[device->complete_count++] = receive;
}

/* Puts a message into a receive, which then is complete. */
static void give(struct message *message, struct cbpi_kernel_receive *receive)
{
    uint32_t size = message->bytes->header.size;
    bool fits = size <= receive->buffer_size;
    receive->size = fits ? size : (uint32_t) sizeof *message->bytes;
    receive->error = fits ? 0 : CBP_ERROR_INSUFFICIENT_BUFFER;
    memcpy(receive->buffer, message->bytes, receive->size);
    message->state = !fits ? SENT_IN_PART : message->is_held ? SENT : OVER;
}

static struct message *next_message(struct cbpi_kernel_device *device)
{
    for (; device->next_message < message_count; device->next_message++) {
        struct message *message = &messages[device->next_message];
        if (message->device == device && message->state == QUEUED)
            return message;
    }
    return NULL;
}

/* The oldest message goes to the oldest receive. */
static void pair(struct cbpi_kernel_device *device, struct message *message)
{
    if (!message || device->waiting_count == 0)
        return;
    struct cbpi_kernel_receive *receive = device->waiting[0];
    memmove(device->waiting, device->waiting + 1, --device->waiting_count * sizeof device->waiting[0]);
    give(message, receive);
    complete(device, receive);
}

uint64_t fake_post_to(uint32_t opening, const struct fake_event *event)
{
    uint64_t id = 0;
    lock();
    struct cbpi_kernel_device *device = devices;
    while (device && opening != 0 && device->opening != opening)
        device = device->next;
    if (device && message_count < MESSAGE_MAX) {
        struct message *message = &messages[message_count++];
        id = message_count;
        message->device = device;
        message->bytes = fake_message_make(event, device->session_id, device->sequence + 1, id);
        device->sequence += event->item_count;
        message->is_held = (event->flags & CBP_EVENT_FLAG_HELD) != 0;
        message->deadline_ns = message->bytes->header.deadline_ns;
        pair(device, next_message(device));
    }
    unlock();
    return id;
}

uint64_t fake_post(const struct fake_event *event)
{
    return fake_post_to(0, event);
}

static void cancel(struct cbpi_kernel_device *device)
{
    for (uint32_t i = 0; i < device->waiting_count; i++) {
        device->waiting[i]->error = CBP_ERROR_OPERATION_ABORTED;
        device->waiting[i]->size = 0;
        complete(device, device->waiting[i]);
    }
    device->waiting_count = 0;
}

void fake_cancel(void)
{
    lock();
    for (struct cbpi_kernel_device *device = devices; device; device = device->next)
        cancel(device);
    unlock();
}

void fake_forget_sessions(void)
{
    lock();
    for (struct cbpi_kernel_device *device = devices; device; device = device->next) {
        device->has_session = false;
        cancel(device);
    }
    unlock();
}

void fake_vanish(void)
{
    lock();
    has_vanished = true;
    unlock();
}

static uint32_t backlog_of(const struct cbpi_kernel_device *device)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < message_count; i++)
        count += messages[i].state == QUEUED && (!device || messages[i].device == device);
    return count;
}

uint32_t fake_backlog(void)
{
    lock();
    uint32_t count = backlog_of(NULL);
    unlock();
    return count;
}

/* ---- Requests ---- */

/* Finds a held message that is not over, or says why there is none. */
static uint32_t find(const struct cbpi_kernel_device *device, uint64_t id, struct message **found)
{
    if (id == 0 || id > message_count || messages[id - 1].device != device || !device->has_session)
        return CBP_ERROR_NOT_FOUND;
    *found = &messages[id - 1];
    if ((*found)->state == OVER || (*found)->state == QUEUED)
        return CBP_ERROR_NOT_FOUND;
    return (*found)->deadline_ns != 0 && cbpi_now_ns() >= (*found)->deadline_ns ? CBP_ERROR_TIMEOUT : 0;
}

static uint32_t answer(struct cbpi_kernel_device *device, const struct cbp_kernel_answer *request)
{
    struct message *message;
    uint32_t error = find(device, request->header.id, &message);
    if (error == CBP_ERROR_NOT_FOUND)
        return error;
    message->state = OVER;
    if (error != 0) {
        seen.late_answers++;
        return error;
    }
    seen.answers++;
    for (uint32_t i = 0; i < request->item_count; i++) {
        seen.refused += (&request->item0)[i].result_code != 0;
        seen.stripped += (&request->item0)[i].desired_access != 0x1f;
        device->refused += (&request->item0)[i].result_code != 0;
    }
    return 0;
}

static uint32_t move_deadline(struct cbpi_kernel_device *device, const struct cbp_kernel_deadline *request,
                              uint64_t *deadline_ns)
{
    struct message *message;
    uint32_t error = find(device, request->header.id, &message);
    if (error == 0 && request->moves)
        message->deadline_ns = request->timeout_ms ? cbpi_now_ns() + request->timeout_ms * CBP_NS_PER_MS : 0;
    *deadline_ns = error == 0 ? message->deadline_ns : 0;
    return error;
}

static uint32_t open_session(struct cbpi_kernel_device *device, const struct cbp_session_settings *settings)
{
    seen.sessions += !device->has_session;
    seen.events = settings->events;
    seen.session_altitude = settings->altitude;
    seen.settings_count++;
    device->has_session = true;
    device->session_id = settings->session_id;
    return 0;
}

static uint32_t take_altitude(const struct cbp_kernel_session *request)
{
    if (fake.altitude_status != 0)
        return fake.altitude_status;
    seen.strict = request->is_strict;
    memset(seen.altitude, 0, sizeof seen.altitude);
    memcpy(seen.altitude, (const char *) request + request->altitude_offset, request->altitude_size);
    return 0;
}

static uint32_t set_worker(const struct cbp_kernel_worker *request)
{
    static _Thread_local bool is_worker;
    if (fake.worker_status != 0)
        return fake.worker_status;
    if (is_worker == (request->is_worker != 0))
        abort(); /* each thread becomes one and ceases to be one, by turns */
    is_worker = request->is_worker;
    seen.workers += is_worker ? 1u : UINT32_MAX;
    seen.workers_ever += is_worker;
    return 0;
}

static uint32_t announce(const struct cbp_launch *request)
{
    seen.announced_rule = request->rule_id;
    seen.announced_thread = request->thread_id;
    seen.announcements++;
    return 0;
}

static uint32_t serve(struct cbpi_kernel_device *device, const void *request, uint64_t *value)
{
    struct message *message;
    switch (((const struct cbp_message_header *) request)->type) {
    case CBP_MESSAGE_HELLO:
        return fake.hello_status;
    case CBP_MESSAGE_SESSION:
        return open_session(device, request);
    case CBP_MESSAGE_SESSION_CLOSE:
        seen.sessions_closed++;
        device->has_session = false;
        cancel(device);
        return 0;
    case CBP_MESSAGE_RULES:
    case CBP_MESSAGE_LAUNCH_FORGET:
        return 0;
    case CBP_MESSAGE_LAUNCH:
        return announce(request);
    case CBP_MESSAGE_KERNEL_SESSION:
        return take_altitude(request);
    case CBP_MESSAGE_KERNEL_WORKER:
        return set_worker(request);
    case CBP_MESSAGE_KERNEL_ANSWER:
        return answer(device, request);
    case CBP_MESSAGE_KERNEL_DEADLINE:
        return move_deadline(device, request, value);
    case CBP_MESSAGE_KERNEL_TOKEN:
        *value = TOKEN;
        return find(device, ((const struct cbp_message_header *) request)->id, &message);
    default:
        return CBP_ERROR_NOT_SUPPORTED;
    }
}

static void count(const struct cbpi_kernel_device *device, struct cbp_kernel_counts *counts)
{
    seen.beats++;
    *counts =
        (struct cbp_kernel_counts){.header = {.size = sizeof *counts, .type = CBP_MESSAGE_KERNEL_COUNTS},
                                   .status = device->has_session ? 0 : CBP_ERROR_NOT_FOUND,
                                   .version = CBP_PROTOCOL_VERSION,
                                   .refused = device->refused,
                                   .backlog = backlog_of(device)};
}

uint32_t cbpi_kernel_device_request(struct cbpi_kernel_device *device, const void *request, size_t size,
                                    void *reply, uint32_t reply_size)
{
    const struct cbp_message_header *header = request;
    bool is_beat = header->type == CBP_MESSAGE_KERNEL_BEAT;
    uint64_t value = 0;
    CBP_ALIGNAS(8) unsigned char copy[256];
    if (header->size > sizeof copy || header->size > size)
        abort();
    memcpy(copy, request, header->size);
    if (cbpd_message_check(copy, header->size, header->type) != 0 ||
        reply_size != (is_beat ? sizeof(struct cbp_kernel_counts) : sizeof(struct cbp_reply)))
        abort(); /* the core sends nothing malformed */
    lock();
    bool is_gone = has_vanished;
    if (!is_gone && is_beat)
        count(device, reply);
    else if (!is_gone)
        *(struct cbp_reply *) reply =
            (struct cbp_reply){.header = {.size = reply_size, .type = CBP_MESSAGE_REPLY, .id = header->id},
                               .status = serve(device, copy, &value),
                               .version = CBP_PROTOCOL_VERSION,
                               .value = value};
    unlock();
    return is_gone ? cbpi_fail(CBP_ERROR_BROKEN_PIPE, "the device has gone") : 0;
}

uint32_t cbpi_kernel_device_fetch(struct cbpi_kernel_device *device, const struct cbp_kernel_receive *request,
                                  void *message, uint32_t size)
{
    struct message *found;
    lock();
    uint32_t error = fake.is_vanishing ? CBP_ERROR_NOT_FOUND : find(device, request->header.id, &found);
    if (error != CBP_ERROR_NOT_FOUND) {
        error =
            found->state == SENT_IN_PART && size == found->bytes->header.size ? 0 : CBP_ERROR_INVALID_DATA;
        memcpy(message, found->bytes, error == 0 ? size : 0);
        found->state = found->is_held ? SENT_IN_PART : OVER;
        seen.fetched++;
    }
    unlock();
    return error;
}

/* ---- Receives ---- */

uint32_t cbpi_kernel_device_receive(struct cbpi_kernel_device *device, struct cbpi_kernel_receive *receive)
{
    uint32_t error = 0;
    lock();
    if (has_vanished || !device->has_session)
        error = CBP_ERROR_BROKEN_PIPE;
    else if (fake.has_no_room)
        error = CBP_ERROR_NO_SYSTEM_RESOURCES;
    if (error == 0) {
        receive->system[0] = NULL;
        device->waiting[device->waiting_count++] = receive;
        pair(device, next_message(device));
    }
    unlock();
    return error;
}

bool cbpi_kernel_device_is_complete(const struct cbpi_kernel_receive *receive)
{
    lock();
    bool is_complete = receive->system[0] == receive;
    unlock();
    return is_complete;
}

static struct timespec time_of(uint32_t timeout_ms)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    uint64_t ns = (uint64_t) time.tv_nsec + (uint64_t) timeout_ms * CBP_NS_PER_MS;
    time.tv_sec += (time_t) (ns / CBP_NS_PER_S);
    time.tv_nsec = (long) (ns % CBP_NS_PER_S);
    return time;
}

uint32_t cbpi_kernel_device_take(struct cbpi_kernel_device *device, uint32_t timeout_ms,
                                 struct cbpi_kernel_receive **receive)
{
    struct timespec end = time_of(timeout_ms);
    int timed_out = timeout_ms == 0;
    lock();
    while (device->complete_count == 0 && !timed_out)
        timed_out = timeout_ms == UINT32_MAX ? pthread_cond_wait(&changed, &mutex)
                                             : pthread_cond_timedwait(&changed, &mutex, &end);
    bool has_one = device->complete_count > 0;
    if (has_one) {
        uint32_t at = fake.shuffles ? draw(device->complete_count) : 0;
        *receive = device->complete[at];
        memmove(device->complete + at, device->complete + at + 1,
                (--device->complete_count - at) * sizeof device->complete[0]);
    }
    unlock();
    return has_one ? 0 : CBP_ERROR_TIMEOUT;
}

void cbpi_kernel_device_wake(struct cbpi_kernel_device *device)
{
    lock();
    if (device->complete_count < PORT_MAX / 2)
        complete(device, NULL);
    unlock();
}

void cbpi_kernel_device_cancel(struct cbpi_kernel_device *device)
{
    lock();
    cancel(device);
    unlock();
}

/* ---- Opening ---- */

uint32_t cbpi_kernel_device_open(struct cbpi_kernel_device **device)
{
    if (fake.absent != 0)
        return cbpi_fail(fake.absent, "the device is absent");
    struct cbpi_kernel_device *made = calloc(1, sizeof *made);
    lock();
    made->opening = ++seen.opened;
    made->next = devices;
    devices = *device = made;
    unlock();
    return 0;
}

void cbpi_kernel_device_close(struct cbpi_kernel_device *device)
{
    lock();
    struct cbpi_kernel_device **at = &devices;
    while (*at != device)
        at = &(*at)->next;
    *at = device->next;
    seen.closed++;
    for (uint32_t i = 0; i < message_count; i++)
        if (messages[i].device == device)
            messages[i].device = NULL;
    unlock();
    free(device);
}

bool cbpi_kernel_device_has_gone(const struct cbpi_kernel_device *device)
{
    (void) device;
    lock();
    bool is_gone = has_vanished;
    unlock();
    return is_gone;
}

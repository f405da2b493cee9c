/* Speaks the control protocol as the core does, for one controller: opens the device, sessions, rules. Knows no
 * event. Requests are sent in the calling thread, which plays one of the controller's. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbp_kernel_control.h"
#include "ruleset_build.h"
#include "stage.h"

enum { SLOWNESS_US = 300 };

void controller_open(struct controller *controller, uint32_t pid)
{
    NTSTATUS status;
    pthread_mutex_init(&controller->lock, NULL);
    controller->process = process_create(pid, 400, "\\Device\\HarddiskVolume2\\controller.exe");
    controller->thread = thread_create(pid + 4, controller->process);
    actor_set(controller->thread);
    controller->file = io_open(CBP_KERNEL_DEVICE_NAME, &status);
    controller->is_dead = controller->is_slow = false;
}

struct io_file *controller_hold(struct controller *controller)
{
    pthread_mutex_lock(&controller->lock);
    struct io_file *file = controller->is_dead ? NULL : controller->file;
    if (file)
        io_hold(file);
    pthread_mutex_unlock(&controller->lock);
    return file;
}

static struct cbp_message_header header_of(uint32_t type, uint32_t size, uint64_t id)
{
    return (struct cbp_message_header){.size = size, .type = type, .id = id};
}

/* A request ends at once, and never with a status of failure if it is well-formed. */
static uint32_t request(struct controller *controller, const void *message, uint32_t size, void *reply,
                        uint32_t reply_size)
{
    const struct cbp_message_header *header = message;
    struct cbp_message_header *back = reply;
    uint64_t information;
    struct io_file *file = controller_hold(controller);
    if (!file)
        return CODE_CLOSED;
    if (controller->is_slow) /* the handle may be closed before the driver gets the request */
        usleep(SLOWNESS_US);
    struct io_request *sent = io_send(file, CBP_KERNEL_REQUEST, message, size, reply, reply_size);
    if (!io_is_complete(sent))
        wrong("a REQUEST of type %u does not end at once", header->type);
    NTSTATUS status = io_finish(sent, &information);
    io_release(file);
    if (status != STATUS_SUCCESS || information != reply_size)
        wrong("a REQUEST of type %u ends with 0x%x and %llu bytes", header->type, (unsigned) status,
              (unsigned long long) information);
    if (back->id != header->id || back->size != reply_size)
        wrong("the reply to a REQUEST of type %u has id %llu", header->type, (unsigned long long) back->id);
    return 0;
}

uint32_t controller_request(struct controller *controller, const void *message, uint32_t size,
                            struct cbp_reply *reply)
{
    struct cbp_reply own;
    if (!reply)
        reply = &own;
    uint32_t error = request(controller, message, size, reply, sizeof *reply);
    return error != 0 ? error : reply->status;
}

uint32_t controller_hello(struct controller *controller)
{
    struct cbp_hello hello = {.header = header_of(CBP_MESSAGE_HELLO, sizeof hello, 1),
                              .magic = CBP_PROTOCOL_MAGIC,
                              .version = CBP_PROTOCOL_VERSION,
                              .clock_ns = time_now_ns() - 1000,
                              .process_id = process_id(controller->process)};
    return controller_request(controller, &hello, sizeof hello, NULL);
}

uint32_t controller_session(struct controller *controller, const struct session_wish *wish)
{
    struct cbp_session_settings settings = {.header = header_of(CBP_MESSAGE_SESSION, sizeof settings, 2),
                                            .session_id = wish->session_id,
                                            .events = wish->events,
                                            .timeout_ms = wish->timeout_ms,
                                            .timeout_action = wish->timeout_action,
                                            .altitude = wish->altitude};
    return controller_request(controller, &settings, sizeof settings, NULL);
}

/* Changes one bit of the block, and says what becomes of it: what its own check says of it. */
static uint32_t spoil(unsigned char *block, size_t size, struct random *random)
{
    uint32_t bit = random_below(random, (uint32_t) size * 8);
    block[bit / 8] = (unsigned char) (block[bit / 8] ^ 1u << bit % 8);
    return cbpd_ruleset_validate(block, size);
}

uint32_t controller_rule_all(struct controller *controller, uint32_t session_id, uint32_t action,
                             struct random *spoiling, uint32_t *expected)
{
    const struct cbpi_rule rule = {.rule_id = 1, .match = CBP_RULE_MATCH_ALL, .action = action};
    struct cbp_ruleset *block;
    size_t size;
    if (cbpi_ruleset_build(CBP_COMPARE_UTF16, &rule, 1, &block, &size) != 0)
        wrong("the rules cannot be built");
    struct cbp_rules *rules = calloc(1, sizeof *rules + size);
    *rules = (struct cbp_rules){.header = header_of(CBP_MESSAGE_RULES, sizeof *rules, 3),
                                .session_id = session_id,
                                .block_size = size};
    if (spoiling)
        *expected = spoil((unsigned char *) block, size, spoiling);
    memcpy(rules + 1, block, size);
    uint32_t error = controller_request(controller, rules, (uint32_t) (sizeof *rules + size), NULL);
    free(rules);
    free(block);
    return error;
}

uint32_t controller_ask_all(struct controller *controller, uint32_t session_id)
{
    return controller_rule_all(controller, session_id, CBP_ACTION_ASK, NULL, NULL);
}

uint32_t controller_arm(struct controller *controller, uint32_t session_id, const char *altitude,
                        bool is_strict)
{
    struct {
        struct cbp_kernel_session session;
        char altitude[32];
    } message = {.session.session_id = session_id,
                 .session.is_strict = is_strict,
                 .session.altitude_offset = sizeof message.session,
                 .session.altitude_size = (uint32_t) strlen(altitude)};
    uint32_t size = (uint32_t) (sizeof message.session + strlen(altitude));
    message.session.header = header_of(CBP_MESSAGE_KERNEL_SESSION, size, 4);
    memcpy(message.altitude, altitude, strlen(altitude));
    return controller_request(controller, &message, size, NULL);
}

uint32_t controller_beat(struct controller *controller, uint32_t session_id, struct cbp_kernel_counts *counts)
{
    struct cbp_kernel_beat beat = {.header = header_of(CBP_MESSAGE_KERNEL_BEAT, sizeof beat, 5),
                                   .session_id = session_id};
    uint32_t error = request(controller, &beat, sizeof beat, counts, sizeof *counts);
    return error != 0 ? error : counts->status;
}

uint32_t controller_close_session(struct controller *controller, uint32_t session_id)
{
    struct cbp_session_close close = {.header = header_of(CBP_MESSAGE_SESSION_CLOSE, sizeof close, 6),
                                      .session_id = session_id};
    return controller_request(controller, &close, sizeof close, NULL);
}

static struct io_file *take_file(struct controller *controller)
{
    pthread_mutex_lock(&controller->lock);
    struct io_file *file = controller->file;
    controller->file = NULL;
    pthread_mutex_unlock(&controller->lock);
    return file;
}

void controller_close_file(struct controller *controller)
{
    struct io_file *file = take_file(controller);
    if (file)
        io_close(file);
}

/* The last thread of the process ends, and then its handles are closed. If another process has a copy of the
 * handle (is_file_kept), that happens later. */
void controller_die(struct controller *controller, bool is_file_kept)
{
    callback_thread(controller->process, thread_id(controller->thread), false);
    process_end(controller->process, STATUS_SUCCESS);
    callback_process_ended(controller->process);
    if (!is_file_kept)
        controller_close_file(controller);
}

void controller_forget(struct controller *controller)
{
    process_end(controller->process, STATUS_SUCCESS);
    process_forget(controller->process);
    thread_forget(controller->thread);
    pthread_mutex_destroy(&controller->lock);
}

/* Does what actor.h says. Knows the protocol and the shim, and nothing of the driver's inside. */
#include "actor.h"

#include <time.h>

#include "cbp_message_check.h"
#include "test.h"

enum { WAIT_MAX_MS = 251 /* a slice, rounded up */, ROOM = 4096, TID_STEP = 4 };

/* ---- The machine ---- */

void machine_begin(void)
{
    shim_wait_max_ms = WAIT_MAX_MS;
    shim_processes_init();
    shim_link_drive(L"\\??\\C:", L"\\Device\\HarddiskVolume2");
    shim_process_add(&(struct shim_process_plan){
        CONTROLLER_PID, 4, L"\\Device\\HarddiskVolume2\\control\\python.exe", SHIM_ADMINISTRATOR});
    shim_process_add(
        &(struct shim_process_plan){SHELL_PID, 4, L"\\Device\\HarddiskVolume2\\Windows\\cmd.exe", SHIM_USER});
    shim_process_add(&(struct shim_process_plan){VICTIM_PID, SHELL_PID,
                                                 L"\\Device\\HarddiskVolume2\\tools\\bank.exe", SHIM_USER});
    shim_process_add(&(struct shim_process_plan){USER_PID, SHELL_PID,
                                                 L"\\Device\\HarddiskVolume2\\tools\\user.exe", SHIM_USER});
    shim_thread_add(SHELL_PID, SHELL_TID);
    shim_thread_add(VICTIM_PID, VICTIM_TID);
    shim_become(SHELL_PID, SHELL_TID);
}

void machine_start(void)
{
    machine_begin();
    CHECK_EQ(shim_load(DriverEntry), STATUS_SUCCESS);
}

void machine_stop(void)
{
    CHECK_EQ(shim_registered(), 0);
    shim_unload();
    shim_link_drive(L"\\??\\C:", NULL);
    shim_processes_free();
}

void sleep_ms(uint32_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long) (ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0)
        ;
}

/* ---- A controller ---- */

void actor_open(struct actor *actor, uint32_t pid, uint32_t tid)
{
    *actor = (struct actor){.pid = pid, .tid = tid};
    shim_become(pid, tid);
    CHECK_EQ(shim_open(L"\\DosDevices\\CBProcess", NULL, FILE_READ_DATA | FILE_WRITE_DATA, &actor->file),
             STATUS_SUCCESS);
    CHECK_EQ(actor_hello(actor), 0);
}

void actor_close(struct actor *actor)
{
    shim_become(actor->pid, actor->tid);
    shim_close(actor->file);
    actor->file = NULL;
}

NTSTATUS actor_send(struct actor *actor, const void *message, size_t message_size, void *reply, size_t *size)
{
    struct shim_call *call = shim_call_start(actor->file, CBP_KERNEL_REQUEST, message, message_size, *size);
    CHECK(shim_call_wait(call, WAIT_MS));
    NTSTATUS status = shim_call_status(call);
    const void *output = shim_call_output(call, size);
    if (*size > 0)
        memcpy(reply, output, *size);
    shim_call_free(call);
    return status;
}

uint32_t actor_request(struct actor *actor, void *message, struct cbp_reply *given)
{
    struct cbp_message_header *header = message;
    struct cbp_reply reply = {0};
    size_t size = sizeof reply;
    shim_become(actor->pid, actor->tid);
    if (header->id == 0)
        header->id = ++actor->last_id;
    CHECK_EQ(actor_send(actor, message, header->size, &reply, &size), STATUS_SUCCESS);
    CHECK_EQ(size, sizeof reply);
    CHECK_EQ(reply.header.size, sizeof reply);
    CHECK_EQ(reply.header.type, CBP_MESSAGE_REPLY);
    CHECK_EQ(reply.header.id, header->id);
    CHECK_EQ(reply.version, CBP_PROTOCOL_VERSION);
    if (given)
        *given = reply;
    return reply.status;
}

#define HEADER(structure, kind)                                                                              \
    {                                                                                                        \
        .size = sizeof(struct cbp_##structure), .type = CBP_MESSAGE_##kind                                   \
    }

uint32_t actor_hello(struct actor *actor)
{
    struct cbp_hello hello = {.header = HEADER(hello, HELLO),
                              .magic = CBP_PROTOCOL_MAGIC,
                              .version = CBP_PROTOCOL_VERSION,
                              .clock_ns = shim_now_ns(),
                              .process_id = actor->pid};
    return actor_request(actor, &hello, NULL);
}

uint32_t actor_settings(struct actor *actor, const struct cbp_session_settings *settings)
{
    struct cbp_session_settings message = *settings;
    message.header = (struct cbp_message_header) HEADER(session_settings, SESSION);
    return actor_request(actor, &message, NULL);
}

uint32_t actor_altitude(struct actor *actor, uint32_t session_id, const char *altitude, bool is_strict)
{
    struct {
        struct cbp_kernel_session session;
        char text[256];
    } message = {.session = {.header = HEADER(kernel_session, KERNEL_SESSION),
                             .session_id = session_id,
                             .is_strict = is_strict,
                             .altitude_offset = sizeof(struct cbp_kernel_session),
                             .altitude_size = (uint32_t) strlen(altitude)}};
    memcpy(message.text, altitude, strlen(altitude));
    message.session.header.size += message.session.altitude_size;
    return actor_request(actor, &message, NULL);
}

void actor_session(struct actor *actor, uint32_t session_id, uint32_t events, uint32_t timeout_ms,
                   uint32_t timeout_action)
{
    struct cbp_session_settings settings = {.session_id = session_id,
                                            .events = events,
                                            .timeout_ms = timeout_ms,
                                            .timeout_action = timeout_action,
                                            .altitude = 385000 - session_id};
    CHECK_EQ(actor_settings(actor, &settings), 0);
    CHECK_EQ(actor_altitude(actor, session_id, "385201.5", false), 0);
}

uint32_t actor_session_close(struct actor *actor, uint32_t session_id)
{
    struct cbp_session_close message = {.header = HEADER(session_close, SESSION_CLOSE),
                                        .session_id = session_id};
    return actor_request(actor, &message, NULL);
}

uint32_t actor_worker(struct actor *actor, uint32_t session_id, bool is_worker)
{
    struct cbp_kernel_worker message = {
        .header = HEADER(kernel_worker, KERNEL_WORKER), .session_id = session_id, .is_worker = is_worker};
    return actor_request(actor, &message, NULL);
}

uint32_t actor_launch(struct actor *actor, uint32_t session_id, uint32_t rule_id, uint32_t tid)
{
    struct cbp_launch message = {
        .header = HEADER(launch, LAUNCH), .session_id = session_id, .rule_id = rule_id, .thread_id = tid};
    return actor_request(actor, &message, NULL);
}

uint32_t actor_beat(struct actor *actor, uint32_t session_id, struct cbp_kernel_counts *counts)
{
    struct cbp_kernel_beat message = {.header = HEADER(kernel_beat, KERNEL_BEAT), .session_id = session_id};
    size_t size = sizeof *counts;
    shim_become(actor->pid, actor->tid);
    message.header.id = ++actor->last_id;
    CHECK_EQ(actor_send(actor, &message, sizeof message, counts, &size), STATUS_SUCCESS);
    CHECK_EQ(size, sizeof *counts);
    CHECK_EQ(counts->header.type, CBP_MESSAGE_KERNEL_COUNTS);
    CHECK_EQ(counts->header.id, message.header.id);
    return counts->status;
}

uint32_t actor_block(struct actor *actor, const struct cbp_rules *request, const void *block, size_t size,
                     NTSTATUS *status)
{
    struct cbp_reply reply = {0};
    size_t reply_size = sizeof reply, total = sizeof *request + size;
    char *message = malloc(total);
    memcpy(message, request, sizeof *request);
    memcpy(message + sizeof *request, block, size);
    shim_become(actor->pid, actor->tid);
    NTSTATUS got = actor_send(actor, message, total, &reply, &reply_size);
    free(message);
    if (status)
        *status = got;
    else
        CHECK_EQ(got, STATUS_SUCCESS);
    return reply.status;
}

uint32_t actor_rules(struct actor *actor, uint32_t session_id, const struct cbpi_rule *rules, uint32_t count)
{
    struct cbp_ruleset *block;
    size_t size;
    CHECK_EQ(cbpi_ruleset_build(CBP_COMPARE_UTF16, rules, count, &block, &size), 0);
    struct cbp_rules request = {.header = HEADER(rules, RULES), .session_id = session_id, .block_size = size};
    request.header.id = ++actor->last_id;
    uint32_t error = actor_block(actor, &request, block, size, NULL);
    free(block);
    return error;
}

/* ---- Messages ---- */

struct shim_call *actor_receive(struct actor *actor, uint32_t session_id, uint64_t id, size_t room)
{
    struct cbp_kernel_receive message = {.header = HEADER(kernel_receive, KERNEL_RECEIVE),
                                         .session_id = session_id};
    message.header.id = id;
    shim_become(actor->pid, actor->tid);
    return shim_call_start(actor->file, CBP_KERNEL_RECEIVE, &message, sizeof message, room);
}

struct cbp_event_message *actor_taken(struct shim_call *call, NTSTATUS *status)
{
    struct cbp_event_message *message = NULL;
    size_t size;
    *status = shim_call_status(call);
    const void *output = shim_call_output(call, &size);
    if (size > 0) {
        message = malloc(size);
        memcpy(message, output, size);
        CHECK(size >= sizeof *message);
        CHECK_EQ(message->header.type, CBP_MESSAGE_EVENT);
        CHECK(*status == STATUS_BUFFER_OVERFLOW || cbpd_message_check(message, size, CBP_MESSAGE_EVENT) == 0);
    }
    shim_call_free(call);
    return message;
}

struct cbp_event_message *actor_next(struct actor *actor, uint32_t session_id, NTSTATUS *status)
{
    struct shim_call *call = actor_receive(actor, session_id, 0, ROOM);
    CHECK(shim_call_wait(call, WAIT_MS));
    return actor_taken(call, status);
}

struct cbp_event_message *actor_expect(struct actor *actor, uint32_t session_id, uint32_t type, uint32_t pid)
{
    NTSTATUS status;
    struct cbp_event_message *message = actor_next(actor, session_id, &status);
    CHECK_EQ(status, STATUS_SUCCESS);
    CHECK_EQ(message->item0.type, type);
    CHECK_EQ(message->process_id, pid);
    CHECK_EQ(message->session_id, session_id);
    return message;
}

bool actor_has_nothing(struct actor *actor, uint32_t session_id)
{
    struct shim_call *call = actor_receive(actor, session_id, 0, ROOM);
    bool is_pended = !shim_call_wait(call, 20);
    shim_call_free(call);
    return is_pended;
}

static struct cbp_kernel_answer answer_to(const struct cbp_event_message *message)
{
    struct cbp_kernel_answer answer = {.header = HEADER(kernel_answer, KERNEL_ANSWER),
                                       .session_id = message->session_id,
                                       .item_count = message->item_count,
                                       .item0 = message->item0,
                                       .item1 = message->item1,
                                       .item2 = message->item2,
                                       .item3 = message->item3};
    answer.header.id = message->header.id;
    return answer;
}

uint32_t actor_answer(struct actor *actor, const struct cbp_event_message *message, uint32_t result_code)
{
    struct cbp_kernel_answer answer = answer_to(message);
    answer.item0.result_code = result_code;
    return actor_request(actor, &answer, NULL);
}

uint32_t actor_answer_access(struct actor *actor, const struct cbp_event_message *message, uint32_t access)
{
    struct cbp_kernel_answer answer = answer_to(message);
    answer.item0.desired_access = access;
    return actor_request(actor, &answer, NULL);
}

uint32_t actor_deadline(struct actor *actor, const struct cbp_event_message *message, bool moves,
                        uint32_t timeout_ms, uint64_t *deadline_ns)
{
    struct cbp_kernel_deadline request = {.header = HEADER(kernel_deadline, KERNEL_DEADLINE),
                                          .session_id = message->session_id,
                                          .moves = moves,
                                          .timeout_ms = timeout_ms};
    struct cbp_reply reply;
    request.header.id = message->header.id;
    uint32_t error = actor_request(actor, &request, &reply);
    *deadline_ns = reply.value;
    return error;
}

uint32_t actor_token(struct actor *actor, const struct cbp_event_message *message, uint64_t *handle)
{
    struct cbp_kernel_token request = {.header = HEADER(kernel_token, KERNEL_TOKEN),
                                       .session_id = message->session_id};
    struct cbp_reply reply;
    request.header.id = message->header.id;
    uint32_t error = actor_request(actor, &request, &reply);
    *handle = reply.value;
    return error;
}

/* ---- Deeds ---- */

void deed_run(struct deed *deed)
{
    shim_become(deed->pid, deed->tid);
    switch (deed->kind) {
    case CREATE_PROCESS:
        deed->status = shim_create_process(&deed->creation);
        break;
    case END_PROCESS:
        shim_end_process(deed->subject_pid, (NTSTATUS) deed->exit_status);
        break;
    case CREATE_THREAD:
        shim_create_thread(deed->subject_pid, deed->subject_tid);
        break;
    case END_THREAD:
        shim_end_thread(deed->subject_pid, deed->subject_tid);
        break;
    case OPEN_HANDLE:
        deed->access_left = shim_open_object(&deed->opening);
        break;
    }
    __atomic_store_n(&deed->is_done, true, __ATOMIC_SEQ_CST);
}

static void *do_deed(void *deed)
{
    deed_run(deed);
    return NULL;
}

void deed_start(struct deed *deed)
{
    if (deed->pid == 0) {
        deed->pid = SHELL_PID;
        deed->tid = SHELL_TID;
    }
    CHECK_EQ(pthread_create(&deed->thread, NULL, do_deed, deed), 0);
}

void deed_end(struct deed *deed)
{
    CHECK_EQ(pthread_join(deed->thread, NULL), 0);
}

bool deed_is_done(struct deed *deed)
{
    return __atomic_load_n(&deed->is_done, __ATOMIC_SEQ_CST);
}

struct deed creation_of(uint32_t pid, const wchar_t *image, const wchar_t *command_line)
{
    return (struct deed){.kind = CREATE_PROCESS,
                         .creation = {.process = {pid, SHELL_PID, image, SHIM_USER},
                                      .command_line = command_line,
                                      .open_name_is_known = true}};
}

struct deed opening_of(uint32_t pid, uint32_t access)
{
    return (struct deed){.kind = OPEN_HANDLE, .opening = {.id = pid, .access = access}};
}

NTSTATUS create_program(uint32_t pid, const wchar_t *image)
{
    struct deed deed = creation_of(pid, image, L"program argument");
    struct shim_thread before = *shim_self();
    deed.pid = SHELL_PID;
    deed.tid = SHELL_TID;
    deed_run(&deed);
    shim_become(before.pid, before.tid);
    return deed.status;
}

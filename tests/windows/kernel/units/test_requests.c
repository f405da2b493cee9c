/* Tests the boundary: malformed requests get a clear error and change nothing. */
#include "actor.h"
#include "test.h"

#define EVENTS_ALL 0x3fu

static struct actor actor;

static void begin(void)
{
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    actor_session(&actor, 0, EVENTS_ALL, 0, CBP_TIMEOUT_ACTION_ALLOW);
}

static void end(void)
{
    actor_close(&actor);
    machine_stop();
}

/* ---- The device ---- */

TEST(only_administrators_open_the_device)
{
    static const struct {
        uint32_t pid, access;
        NTSTATUS status;
    } rows[] = {{4, 3, STATUS_SUCCESS},
                {CONTROLLER_PID, 3, STATUS_SUCCESS},
                {CONTROLLER_PID, 1, STATUS_SUCCESS},
                {USER_PID, 1, STATUS_ACCESS_DENIED},
                {USER_PID, 2, STATUS_ACCESS_DENIED},
                {USER_PID, 0x20000, STATUS_ACCESS_DENIED},
                {SHELL_PID, 3, STATUS_ACCESS_DENIED}};
    machine_start();
    for (size_t i = 0; i < ARRAYSIZE(rows); i++) {
        struct shim_file *file;
        shim_become(rows[i].pid, 4);
        CHECK_EQ(shim_open(L"\\DosDevices\\CBProcess", NULL, rows[i].access, &file), rows[i].status);
        if (file)
            shim_close(file);
    }
    machine_stop();
}

TEST(the_device_has_no_names_in_it)
{
    struct shim_file *file;
    machine_start();
    shim_become(CONTROLLER_PID, CONTROLLER_TID);
    CHECK(!NT_SUCCESS(shim_open(L"\\Device\\CBProcess", L"\\a", 3, &file)));
    CHECK(!NT_SUCCESS(shim_open(L"\\Device\\CBProcess", L"\\", 3, &file)));
    machine_stop();
}

TEST(other_kinds_of_requests_are_refused)
{
    begin();
    for (uint32_t major = 0; major <= IRP_MJ_MAXIMUM_FUNCTION; major++)
        if (major != IRP_MJ_CREATE && major != IRP_MJ_CLEANUP && major != IRP_MJ_CLOSE &&
            major != IRP_MJ_DEVICE_CONTROL)
            CHECK_EQ(shim_major(actor.file, (UCHAR) major), STATUS_INVALID_DEVICE_REQUEST);
    end();
}

/* ---- Control codes ---- */

static NTSTATUS send(uint32_t code, const void *input, size_t input_size, size_t output_max)
{
    struct shim_call *call = shim_call_start(actor.file, code, input, input_size, output_max);
    CHECK(shim_call_wait(call, WAIT_MS));
    NTSTATUS status = shim_call_status(call);
    size_t size;
    shim_call_output(call, &size);
    CHECK(NT_SUCCESS(status) || size == 0);
    shim_call_free(call);
    return status;
}

TEST(each_bit_of_a_control_code_counts)
{
    static const uint32_t codes[] = {CBP_KERNEL_REQUEST, CBP_KERNEL_RECEIVE};
    struct cbp_kernel_beat beat = {.header = {.size = sizeof beat, .type = CBP_MESSAGE_KERNEL_BEAT}};
    begin();
    for (size_t i = 0; i < ARRAYSIZE(codes); i++)
        for (uint32_t bit = 0; bit < 32; bit++)
            CHECK_EQ(send(codes[i] ^ 1u << bit, &beat, sizeof beat, 4096), STATUS_INVALID_DEVICE_REQUEST);
    for (uint32_t code = 0; code < 0x10000; code += 7)
        CHECK_EQ(send(CBP_KERNEL_DEVICE_TYPE << 16 | code, &beat, sizeof beat, 4096),
                 code == (CBP_KERNEL_REQUEST & 0xffff)
                     ? STATUS_SUCCESS
                     : (code == (CBP_KERNEL_RECEIVE & 0xffff) ? STATUS_INVALID_PARAMETER
                                                              : STATUS_INVALID_DEVICE_REQUEST));
    end();
}

TEST(a_handle_without_write_access_sends_no_request)
{
    struct cbp_kernel_beat beat = {.header = {.size = sizeof beat, .type = CBP_MESSAGE_KERNEL_BEAT}};
    machine_start();
    shim_become(CONTROLLER_PID, CONTROLLER_TID);
    for (uint32_t access = 0; access < 3; access++) {
        CHECK_EQ(shim_open(L"\\Device\\CBProcess", NULL, access, &actor.file), STATUS_SUCCESS);
        CHECK_EQ(send(CBP_KERNEL_REQUEST, &beat, sizeof beat, 4096), STATUS_ACCESS_DENIED);
        CHECK_EQ(send(CBP_KERNEL_RECEIVE, &beat, sizeof beat, 4096), STATUS_ACCESS_DENIED);
        shim_close(actor.file);
    }
    machine_stop();
}

/* ---- Messages ---- */

/* The messages that a REQUEST may carry, their reply's size, and a field that has to be 0 (0: none). */
static const struct row {
    uint32_t type;
    size_t size, reply_size;
    size_t reserved;
} rows[] = {
#define ROW(kind, structure, reply, field)                                                                   \
    {                                                                                                        \
        CBP_MESSAGE_##kind, sizeof(struct cbp_##structure), reply, field                                     \
    }
#define REPLY sizeof(struct cbp_reply)
#define AT(structure, field) offsetof(struct cbp_##structure, field)
    ROW(HELLO, hello, REPLY, AT(hello, reserved)),
    ROW(SESSION, session_settings, REPLY, 0),
    ROW(SESSION_CLOSE, session_close, REPLY, AT(session_close, reserved)),
    ROW(RULES, rules, REPLY, AT(rules, section_handle)),
    ROW(LAUNCH_FORGET, launch_forget, REPLY, 0),
    ROW(LAUNCH, launch, REPLY, AT(launch, reserved)),
    ROW(PROCESS_QUERY, process_query, REPLY, AT(process_query, reserved)),
    ROW(KERNEL_SESSION, kernel_session, REPLY, 0),
    ROW(KERNEL_WORKER, kernel_worker, REPLY, 0),
    ROW(KERNEL_ANSWER, kernel_answer, REPLY, 0),
    ROW(KERNEL_DEADLINE, kernel_deadline, REPLY, AT(kernel_deadline, reserved)),
    ROW(KERNEL_TOKEN, kernel_token, REPLY, AT(kernel_token, reserved)),
    ROW(KERNEL_BEAT, kernel_beat, sizeof(struct cbp_kernel_counts), AT(kernel_beat, reserved)),
};

/* A message of that kind which is well-formed, and concerns a session that does not exist. */
static size_t make_message(const struct row *row, uint64_t *words, size_t size)
{
    memset(words, 0, 512);
    struct cbp_message_header *header = (struct cbp_message_header *) words;
    *header = (struct cbp_message_header){.size = (uint32_t) size, .type = row->type, .id = 77};
    if (row->type != CBP_MESSAGE_HELLO && row->type != CBP_MESSAGE_PROCESS_QUERY)
        ((struct cbp_session_close *) words)->session_id = 9;
    return size;
}

TEST(a_message_of_a_wrong_size_is_malformed)
{
    uint64_t words[64];
    begin();
    for (size_t i = 0; i < ARRAYSIZE(rows); i++) {
        for (size_t size = 0; size < 200; size++) {
            make_message(&rows[i], words, rows[i].size);
            NTSTATUS status = send(CBP_KERNEL_REQUEST, words, size, 4096);
            CHECK_EQ(status, size == rows[i].size ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER);
            make_message(&rows[i], words, size); /* its header says that size */
            bool may_be_longer = rows[i].type == CBP_MESSAGE_KERNEL_SESSION && size > rows[i].size;
            if (size >= sizeof(struct cbp_message_header) && size != rows[i].size && !may_be_longer)
                CHECK_EQ(send(CBP_KERNEL_REQUEST, words, size, 4096), STATUS_INVALID_PARAMETER);
        }
    }
    end();
}

TEST(an_output_buffer_that_is_too_small_is_refused_before_anything_is_done)
{
    uint64_t words[64];
    begin();
    for (size_t i = 0; i < ARRAYSIZE(rows); i++)
        for (size_t room = 0; room <= rows[i].reply_size; room++) {
            make_message(&rows[i], words, rows[i].size);
            CHECK_EQ(send(CBP_KERNEL_REQUEST, words, rows[i].size, room),
                     room == rows[i].reply_size ? STATUS_SUCCESS : STATUS_BUFFER_TOO_SMALL);
        }
    struct cbp_session_close close_message = {
        .header = {.size = sizeof close_message, .type = CBP_MESSAGE_SESSION_CLOSE}};
    CHECK_EQ(send(CBP_KERNEL_REQUEST, &close_message, sizeof close_message, 47), STATUS_BUFFER_TOO_SMALL);
    CHECK_EQ(shim_registered(), 3); /* the session is still open */
    end();
}

TEST(reserved_fields_are_zero)
{
    uint64_t words[64];
    begin();
    for (size_t i = 0; i < ARRAYSIZE(rows); i++)
        for (uint32_t bit = 0; rows[i].reserved != 0 && bit < 32; bit++) {
            make_message(&rows[i], words, rows[i].size);
            *(uint32_t *) ((char *) words + rows[i].reserved) = 1u << bit;
            CHECK_EQ(send(CBP_KERNEL_REQUEST, words, rows[i].size, 4096), STATUS_INVALID_PARAMETER);
        }
    end();
}

TEST(unknown_types_and_those_of_other_transports_are_malformed)
{
    uint64_t words[64];
    begin();
    for (uint32_t type = 0; type < 100; type++) {
        bool is_known = false;
        for (size_t i = 0; i < ARRAYSIZE(rows); i++)
            is_known |= rows[i].type == type;
        struct row row = {.type = type};
        for (size_t size = 24; !is_known && size <= 256; size += 8)
            CHECK_EQ(send(CBP_KERNEL_REQUEST, words, make_message(&row, words, size), 4096),
                     STATUS_INVALID_PARAMETER);
    }
    struct row row = {.type = 0x80000001u};
    CHECK_EQ(send(CBP_KERNEL_REQUEST, words, make_message(&row, words, 48), 4096), STATUS_INVALID_PARAMETER);
    end();
}

TEST(fields_have_known_values_only)
{
    static const struct {
        uint32_t type;
        size_t size, offset;
        uint32_t good, bad;
    } fields[] = {
#define BAD(kind, structure, field, good, bad)                                                               \
    {CBP_MESSAGE_##kind, sizeof(struct cbp_##structure), AT(structure, field), good, bad}
        BAD(SESSION, session_settings, session_id, 15, 16),
        BAD(SESSION, session_settings, session_id, 15, 0xffffffffu),
        BAD(SESSION, session_settings, timeout_action, 1, 2),
        BAD(SESSION, session_settings, refuse_with, 1, 2),
        BAD(SESSION, session_settings, flags, 15, 16),
        BAD(SESSION_CLOSE, session_close, session_id, 15, 16),
        BAD(LAUNCH, launch, session_id, 15, 16),
        BAD(LAUNCH_FORGET, launch_forget, session_id, 15, 16),
        BAD(RULES, rules, part, 1, 2),
        BAD(RULES, rules, session_id, 15, 16),
        BAD(KERNEL_WORKER, kernel_worker, is_worker, 1, 2),
        BAD(KERNEL_WORKER, kernel_worker, session_id, 15, 16),
        BAD(KERNEL_ANSWER, kernel_answer, item_count, 4, 5),
        BAD(KERNEL_ANSWER, kernel_answer, session_id, 15, 16),
        BAD(KERNEL_DEADLINE, kernel_deadline, moves, 1, 2),
        BAD(KERNEL_DEADLINE, kernel_deadline, session_id, 15, 16),
        BAD(KERNEL_TOKEN, kernel_token, session_id, 15, 16),
        BAD(KERNEL_BEAT, kernel_beat, session_id, 15, 16),
        BAD(KERNEL_SESSION, kernel_session, is_strict, 1, 2),
        BAD(KERNEL_SESSION, kernel_session, session_id, 15, 16),
    };
    uint64_t words[64];
    begin();
    for (size_t i = 0; i < ARRAYSIZE(fields); i++)
        for (int is_bad = 0; is_bad < 2; is_bad++) {
            struct row row = {.type = fields[i].type};
            make_message(&row, words, fields[i].size);
            *(uint32_t *) ((char *) words + fields[i].offset) = is_bad ? fields[i].bad : fields[i].good;
            CHECK_EQ(send(CBP_KERNEL_REQUEST, words, fields[i].size, 4096),
                     is_bad ? STATUS_INVALID_PARAMETER : STATUS_SUCCESS);
        }
    end();
}

TEST(an_altitude_lies_within_its_message_and_is_a_decimal)
{
    static const char *const bad[] = {"",   ".",  "1.",  ".1", "1..2",      "-1",   "1e5",
                                      " 1", "1 ", "1,5", "a",  "385201.5x", "0x10", "\x80\x81"};
    struct {
        struct cbp_kernel_session session;
        char text[300];
    } message = {.session = {.header = {.type = CBP_MESSAGE_KERNEL_SESSION}}};
    const uint32_t fixed = sizeof message.session;
    const struct {
        uint32_t offset, size, total;
    } lies[] = {{fixed, 9, fixed + 8},
                {fixed + 8, 1, fixed + 8},
                {fixed - 1, 4, fixed + 8},
                {0, 4, fixed + 8},
                {8, 4, fixed + 8},
                {0xffffffffu, 4, fixed + 8},
                {fixed, 0xffffffffu, fixed},
                {0xfffffff0u, 0x20, fixed + 8},
                {fixed, 0x80000000u, fixed + 8}};
    begin();
    memset(message.text, '1', sizeof message.text);
    for (size_t i = 0; i < ARRAYSIZE(lies); i++) {
        message.session.altitude_offset = lies[i].offset;
        message.session.altitude_size = lies[i].size;
        message.session.header.size = lies[i].total;
        CHECK_EQ(send(CBP_KERNEL_REQUEST, &message, lies[i].total, 4096), STATUS_INVALID_PARAMETER);
    }
    for (size_t i = 0; i < ARRAYSIZE(bad); i++)
        CHECK_EQ(actor_altitude(&actor, 0, bad[i], false), CBP_ERROR_INVALID_PARAMETER);
    char text[251];
    memset(text, '1', sizeof text);
    text[250] = 0;
    CHECK_EQ(actor_altitude(&actor, 0, text, false), CBP_ERROR_INVALID_PARAMETER);
    end();
}

TEST(a_hello_of_another_version_is_refused)
{
    begin();
    struct cbp_hello hello = {.header = {.size = sizeof hello, .type = CBP_MESSAGE_HELLO},
                              .magic = CBP_PROTOCOL_MAGIC,
                              .version = CBP_PROTOCOL_VERSION + 1};
    CHECK_EQ(actor_request(&actor, &hello, NULL), CBP_ERROR_INVALID_KERNEL_INFO_VERSION);
    hello.version = CBP_PROTOCOL_VERSION;
    hello.magic ^= 1;
    CHECK_EQ(actor_request(&actor, &hello, NULL), CBP_ERROR_INVALID_KERNEL_INFO_VERSION);
    hello.magic ^= 1;
    struct cbp_reply reply;
    CHECK_EQ(actor_request(&actor, &hello, &reply), 0);
    CHECK_EQ(reply.value, CBP_KERNEL_CAPABILITIES);
    end();
}

/* ---- Sessions that are not there ---- */

static void check_not_found(uint32_t session_id)
{
    uint64_t words[64];
    for (size_t i = 0; i < ARRAYSIZE(rows); i++) {
        struct cbp_reply reply;
        if (rows[i].type == CBP_MESSAGE_HELLO || rows[i].type == CBP_MESSAGE_SESSION ||
            rows[i].type == CBP_MESSAGE_KERNEL_BEAT || rows[i].type == CBP_MESSAGE_KERNEL_SESSION)
            continue;
        make_message(&rows[i], words, rows[i].size);
        if (rows[i].type != CBP_MESSAGE_PROCESS_QUERY)
            ((struct cbp_session_close *) words)->session_id = session_id;
        CHECK_EQ(actor_request(&actor, words, &reply), CBP_ERROR_NOT_FOUND);
        CHECK_EQ(reply.value, 0);
    }
    struct cbp_kernel_counts counts;
    CHECK_EQ(actor_beat(&actor, session_id, &counts), CBP_ERROR_NOT_FOUND);
    CHECK_EQ(actor_altitude(&actor, session_id, "385000", false), CBP_ERROR_NOT_FOUND);
    struct shim_call *call = actor_receive(&actor, session_id, 0, 4096);
    CHECK(shim_call_wait(call, 0));
    CHECK_EQ(shim_call_status(call), STATUS_CANCELLED);
    shim_call_free(call);
}

TEST(a_closed_session_is_not_found)
{
    begin();
    actor_session(&actor, 3, EVENTS_ALL, 0, 0);
    CHECK_EQ(actor_session_close(&actor, 3), 0);
    CHECK_EQ(actor_session_close(&actor, 3), CBP_ERROR_NOT_FOUND);
    check_not_found(3);
    check_not_found(8);
    end();
}

TEST(a_controller_sees_no_sessions_of_another)
{
    struct actor other;
    machine_start();
    shim_process_add(
        &(struct shim_process_plan){1100, 4, L"\\Device\\HarddiskVolume2\\other.exe", SHIM_ADMINISTRATOR});
    actor_open(&other, 1100, 1104);
    actor_session(&other, 2, EVENTS_ALL, 0, 0);
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    actor_session(&actor, 0, EVENTS_ALL, 0, 0);
    check_not_found(2);
    actor_close(&other);
    end();
}

/* ---- Receives ---- */

TEST(a_malformed_receive_is_refused)
{
    struct {
        struct cbp_kernel_receive receive;
        char more[8];
    } message;
    begin();
    for (size_t size = 0; size <= sizeof message; size++) {
        message.receive = (struct cbp_kernel_receive){
            .header = {.size = sizeof message.receive, .type = CBP_MESSAGE_KERNEL_RECEIVE}};
        message.receive.header.size = (uint32_t) size;
        if (size != sizeof message.receive)
            CHECK_EQ(send(CBP_KERNEL_RECEIVE, &message, size, 4096), STATUS_INVALID_PARAMETER);
    }
    for (uint32_t bit = 0; bit < 32; bit++) {
        message.receive = (struct cbp_kernel_receive){
            .header = {.size = sizeof message.receive, .type = CBP_MESSAGE_KERNEL_RECEIVE},
            .reserved = 1u << bit};
        CHECK_EQ(send(CBP_KERNEL_RECEIVE, &message, sizeof message.receive, 4096), STATUS_INVALID_PARAMETER);
    }
    message.receive.reserved = 0;
    for (size_t room = 0; room < sizeof(struct cbp_event_message); room++)
        CHECK_EQ(send(CBP_KERNEL_RECEIVE, &message, sizeof message.receive, room), STATUS_BUFFER_TOO_SMALL);
    message.receive.session_id = 16;
    CHECK_EQ(send(CBP_KERNEL_RECEIVE, &message, sizeof message.receive, 4096), STATUS_INVALID_PARAMETER);
    message.receive.session_id = 0;
    message.receive.header.id = 12345; /* stale, or never given */
    CHECK_EQ(send(CBP_KERNEL_RECEIVE, &message, sizeof message.receive, 4096), STATUS_NOT_FOUND);
    end();
}

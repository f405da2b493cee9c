/* Tests answers, deadlines and the heartbeat: an operation is held until its answer, and never longer than its
 * deadline or its controller lives. */
#include "actor.h"
#include "test.h"

#define NS_PER_MS 1000000ull
#define EVENTS_ALL 0x3fu
#define PROGRAM L"\\Device\\HarddiskVolume2\\tools\\evil.exe"

static struct actor actor;

static void begin(uint32_t timeout_ms, uint32_t timeout_action)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_ASK, 0);
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    actor_session(&actor, 0, EVENTS_ALL, timeout_ms, timeout_action);
    CHECK_EQ(actor_rules(&actor, 0, &rule, 1), 0);
}

static void end(void)
{
    actor_close(&actor);
    machine_stop();
}

static struct cbp_event_message *ask(struct deed *deed)
{
    static uint32_t pid = 5000;
    pid += 4;
    *deed = creation_of(pid, PROGRAM, L"evil");
    deed_start(deed);
    return actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, pid);
}

static void finish(struct deed *deed, struct cbp_event_message *message, NTSTATUS status)
{
    deed_end(deed);
    CHECK_EQ((uint32_t) deed->status, (uint32_t) status);
    free(message);
}

TEST(an_answer_counts_once)
{
    struct deed deed;
    begin(0, 0);
    struct cbp_event_message *message = ask(&deed);
    CHECK_EQ(actor_answer(&actor, message, 5), 0);
    CHECK_EQ(actor_answer(&actor, message, 0), CBP_ERROR_NOT_FOUND);
    finish(&deed, message, STATUS_ACCESS_DENIED);
    end();
}

TEST(an_answer_to_a_message_that_never_was_changes_nothing)
{
    struct deed deed;
    begin(0, 0);
    struct cbp_event_message *message = ask(&deed), wrong;
    for (uint32_t bit = 0; bit < 64; bit++) {
        wrong = *message;
        wrong.header.id ^= 1ull << bit;
        if (wrong.header.id == 0) /* actor_request() would give it one */
            continue;
        CHECK_EQ(actor_answer(&actor, &wrong, 5), CBP_ERROR_NOT_FOUND);
    }
    wrong = *message;
    wrong.item_count = 2;
    CHECK_EQ(actor_answer(&actor, &wrong, 5), CBP_ERROR_INVALID_DATA);
    wrong.item_count = 0;
    CHECK_EQ(actor_answer(&actor, &wrong, 5), CBP_ERROR_INVALID_DATA);
    CHECK(!deed_is_done(&deed));
    CHECK_EQ(actor_answer(&actor, message, 0), 0);
    finish(&deed, message, STATUS_SUCCESS);
    end();
}

TEST(nobody_answers_the_messages_of_another)
{
    struct deed deed;
    struct actor other;
    uint64_t value;
    begin(0, 0);
    struct cbp_event_message *message = ask(&deed), wrong = *message;
    shim_process_add(
        &(struct shim_process_plan){1100, 4, L"\\Device\\HarddiskVolume2\\other.exe", SHIM_ADMINISTRATOR});
    actor_open(&other, 1100, 1104);
    actor_session(&other, 0, EVENTS_ALL, 0, 0);
    actor_session(&actor, 1, EVENTS_ALL, 0, 0);
    wrong.session_id = 1;
    CHECK_EQ(actor_answer(&other, message, 5), CBP_ERROR_NOT_FOUND);
    CHECK_EQ(actor_answer(&actor, &wrong, 5), CBP_ERROR_NOT_FOUND);
    CHECK_EQ(actor_deadline(&other, message, true, 1, &value), CBP_ERROR_NOT_FOUND);
    CHECK_EQ(actor_token(&other, message, &value), CBP_ERROR_NOT_FOUND);
    CHECK_EQ(value, 0);
    CHECK(!deed_is_done(&deed));
    CHECK_EQ(actor_answer(&actor, message, 0), 0);
    finish(&deed, message, STATUS_SUCCESS);
    actor_close(&other);
    end();
}

/* ---- Deadlines ---- */

TEST(a_deadline_lets_a_creation_go_on_or_refuses_it)
{
    for (uint32_t action = CBP_TIMEOUT_ACTION_ALLOW; action <= CBP_TIMEOUT_ACTION_DENY; action++) {
        struct deed deed;
        struct cbp_kernel_counts counts;
        begin(3000, action);
        struct cbp_event_message *message = ask(&deed);
        uint64_t now = shim_now_ns();
        CHECK(message->header.deadline_ns > now && message->header.deadline_ns <= now + 3000 * NS_PER_MS);
        shim_clock_advance(2000 * NS_PER_MS);
        CHECK_EQ(actor_beat(&actor, 0, &counts), 0);
        sleep_ms(300);
        CHECK(!deed_is_done(&deed));
        shim_clock_advance(1000 * NS_PER_MS);
        CHECK_EQ(actor_answer(&actor, message, 0), CBP_ERROR_TIMEOUT);
        deed_end(&deed);
        CHECK_EQ((uint32_t) deed.status,
                 action == CBP_TIMEOUT_ACTION_DENY ? 0xc0070000 | CBP_ERROR_TIMEOUT : 0);
        CHECK_EQ(actor_answer(&actor, message, 0), CBP_ERROR_TIMEOUT);
        CHECK_EQ(actor_beat(&actor, 0, &counts), 0);
        CHECK_EQ(counts.timed_out, 1);
        CHECK_EQ(counts.refused, action == CBP_TIMEOUT_ACTION_DENY);
        CHECK_EQ(counts.lost, 0);
        free(message);
        CHECK(actor_has_nothing(&actor, 0));
        end();
    }
}

TEST(what_nobody_receives_in_time_is_told_late)
{
    begin(3000, CBP_TIMEOUT_ACTION_ALLOW);
    struct deed deed = creation_of(5000, PROGRAM, NULL);
    deed_start(&deed);
    sleep_ms(50);
    shim_clock_advance(3001 * NS_PER_MS);
    deed_end(&deed);
    CHECK_EQ(deed.status, STATUS_SUCCESS);
    struct cbp_event_message *message = actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 5000);
    CHECK_EQ(message->item0.flags & (CBP_EVENT_FLAG_TIMED_OUT | CBP_EVENT_FLAG_HELD),
             CBP_EVENT_FLAG_TIMED_OUT);
    free(message);
    end();
}

TEST(a_deadline_can_be_moved_and_taken_away)
{
    struct deed deed;
    struct cbp_kernel_counts counts;
    uint64_t deadline, moved;
    begin(3000, CBP_TIMEOUT_ACTION_DENY);
    struct cbp_event_message *message = ask(&deed);
    CHECK_EQ(actor_deadline(&actor, message, false, 99, &deadline), 0);
    CHECK_EQ(deadline, message->header.deadline_ns);
    CHECK_EQ(actor_deadline(&actor, message, true, 10000, &moved), 0);
    CHECK(moved > deadline);
    for (int i = 0; i < 3; i++) {
        shim_clock_advance(2000 * NS_PER_MS);
        CHECK_EQ(actor_beat(&actor, 0, &counts), 0);
    }
    sleep_ms(300);
    CHECK(!deed_is_done(&deed));
    CHECK_EQ(actor_deadline(&actor, message, true, 0, &moved), 0);
    CHECK_EQ(moved, 0);
    for (int i = 0; i < 10; i++) {
        shim_clock_advance(2000 * NS_PER_MS);
        CHECK_EQ(actor_beat(&actor, 0, &counts), 0);
    }
    CHECK(!deed_is_done(&deed));
    uint64_t before = shim_now_ns();
    CHECK_EQ(actor_deadline(&actor, message, true, 1, &moved), 0); /* sooner: the operation wakes up for it */
    deed_end(&deed);
    CHECK(shim_now_ns() - before < 200 * NS_PER_MS);
    CHECK_EQ((uint32_t) deed.status, 0xc0070000 | CBP_ERROR_TIMEOUT);
    CHECK_EQ(actor_deadline(&actor, message, true, 1000, &moved), CBP_ERROR_TIMEOUT);
    free(message);
    end();
}

TEST(a_silent_controller_holds_nothing)
{
    struct deed deed;
    begin(0, CBP_TIMEOUT_ACTION_ALLOW);
    struct cbp_event_message *message = ask(&deed);
    shim_clock_advance((CBP_HEARTBEAT_LIMIT_MS - 1000) * NS_PER_MS);
    sleep_ms(300);
    CHECK(!deed_is_done(&deed));
    shim_clock_advance(2000 * NS_PER_MS);
    finish(&deed, message, STATUS_SUCCESS);
    CHECK_EQ(create_program(7000, PROGRAM), STATUS_SUCCESS); /* not held at all */
    message = actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 7000);
    CHECK_EQ(message->item0.flags & CBP_EVENT_FLAG_HELD, 0);
    free(message);
    struct cbp_kernel_counts counts;
    CHECK_EQ(actor_beat(&actor, 0, &counts), 0);
    message = ask(&deed); /* it lives again */
    CHECK_EQ(actor_answer(&actor, message, 5), 0);
    finish(&deed, message, STATUS_ACCESS_DENIED);
    end();
}

/* ---- Large messages ---- */

TEST(a_message_that_is_too_large_is_fetched_by_its_id)
{
    static wchar_t line[20000];
    for (size_t i = 0; i < ARRAYSIZE(line) - 1; i++)
        line[i] = 0x4e00; /* three bytes each */
    NTSTATUS status;
    begin(0, 0);
    struct deed deed = creation_of(5000, PROGRAM, line);
    deed_start(&deed);
    struct shim_call *call = actor_receive(&actor, 0, 0, sizeof(struct cbp_event_message));
    CHECK(shim_call_wait(call, WAIT_MS));
    struct cbp_event_message *head = actor_taken(call, &status);
    CHECK_EQ(status, STATUS_BUFFER_OVERFLOW);
    CHECK(head->header.size > 3 * 19000);
    call = actor_receive(&actor, 0, head->header.id, head->header.size - 1);
    CHECK(shim_call_wait(call, WAIT_MS));
    free(actor_taken(call, &status));
    CHECK_EQ(status, STATUS_BUFFER_OVERFLOW);
    call = actor_receive(&actor, 0, head->header.id, head->header.size);
    CHECK(shim_call_wait(call, WAIT_MS));
    struct cbp_event_message *message = actor_taken(call, &status);
    CHECK_EQ(status, STATUS_SUCCESS);
    CHECK_EQ(message->header.id, head->header.id);
    CHECK_EQ(message->arguments_size, 3 * 19999);
    call = actor_receive(&actor, 0, head->header.id, head->header.size); /* it is given already */
    CHECK(shim_call_wait(call, WAIT_MS));
    CHECK_EQ(shim_call_status(call), STATUS_NOT_FOUND);
    shim_call_free(call);
    CHECK_EQ(actor_answer(&actor, message, 5), 0);
    deed_end(&deed);
    CHECK_EQ(deed.status, STATUS_ACCESS_DENIED);
    free(head);
    free(message);
    end();
}

/* Nothing waits for this message, so the driver forgets it with the answer. */
TEST(a_large_message_that_nobody_wants_is_forgotten)
{
    static wchar_t line[20000];
    for (size_t i = 0; i < ARRAYSIZE(line) - 1; i++)
        line[i] = 'x';
    const struct cbpi_rule rule = rule_by_name(2, "evil.exe", CBP_ACTION_ALLOW, 0);
    NTSTATUS status;
    begin(0, 0);
    CHECK_EQ(actor_rules(&actor, 0, &rule, 1), 0);
    struct deed deed = creation_of(5000, PROGRAM, line);
    deed_start(&deed);
    deed_end(&deed);
    struct shim_call *call = actor_receive(&actor, 0, 0, sizeof(struct cbp_event_message));
    CHECK(shim_call_wait(call, WAIT_MS));
    struct cbp_event_message *head = actor_taken(call, &status);
    CHECK_EQ(status, STATUS_BUFFER_OVERFLOW);
    CHECK_EQ(head->item0.flags & CBP_EVENT_FLAG_HELD, 0);
    CHECK_EQ(actor_answer(&actor, head, 0), 0);
    CHECK_EQ(actor_answer(&actor, head, 0), CBP_ERROR_NOT_FOUND);
    call = actor_receive(&actor, 0, head->header.id, head->header.size);
    CHECK(shim_call_wait(call, WAIT_MS));
    CHECK_EQ(shim_call_status(call), STATUS_NOT_FOUND);
    shim_call_free(call);
    free(head);
    end();
}

/* ---- Tokens ---- */

TEST(the_originator_token_is_a_handle_of_the_controller)
{
    struct deed deed;
    uint64_t handle;
    enum shim_kind kind;
    uint32_t token_pid;
    begin(0, 0);
    struct cbp_event_message *message = ask(&deed);
    CHECK_EQ(actor_token(&actor, message, &handle), 0);
    CHECK_EQ(shim_handle_access(CONTROLLER_PID, handle, &kind, &token_pid),
             TOKEN_QUERY | TOKEN_DUPLICATE | TOKEN_IMPERSONATE);
    CHECK_EQ(kind, SHIM_TOKEN);
    CHECK_EQ(token_pid, SHELL_PID);
    CHECK(shim_handle_close(CONTROLLER_PID, handle));
    CHECK_EQ(actor_answer(&actor, message, 0), 0);
    CHECK_EQ(actor_token(&actor, message, &handle), CBP_ERROR_NOT_FOUND);
    finish(&deed, message, STATUS_SUCCESS);
    end();
}

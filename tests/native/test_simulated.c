/* The simulated driver under many threads: operations at once, deferrals completed elsewhere, duplicates,
 * stops in the middle, recordings written meanwhile and read again. What it decides is tested in
 * tests/contract. */
#include "script_messages.h"

#include <pthread.h>

static struct {
    uint64_t handled;
    uint64_t errors;
    uint32_t last_error;
    uint64_t tickets[4096];
    uint32_t ticket_count;
} seen;

static void CBP_CALL on_error(uint64_t context, uint32_t code, const char *text)
{
    CHECK(context == 0 && text[0] != '\0');
    cbp_store_u32(&seen.last_error, code);
    cbp_add_u64(&seen.errors, 1);
}

/* The answer depends on the event alone. */
static void CBP_CALL answer_by_id(struct cbp_event *event)
{
    cbp_add_u64(&seen.handled, 1);
    if (event->flags & CBP_EVENT_FLAG_REFUSABLE && event->process_id % 3 == 0)
        event->result_code = event->process_id % 100 + 1;
    if (event->process_id % 5 == 0)
        test_sleep_ms(1);
}

static void CBP_CALL defer_all(struct cbp_event *event)
{
    uint32_t index = cbp_add_u32(&seen.ticket_count, 1);
    uint64_t ticket;
    (void) event;
    CHECK(index < 4096);
    CHECK_OK(cbp_event_defer(&ticket));
    cbp_store_u64(&seen.tickets[index], ticket);
    cbp_add_u64(&seen.handled, 1);
}

static void reset(void)
{
    memset(&seen, 0, sizeof seen);
}

/* ---- Many at once ---- */

enum { COUNT = 1500 };

static void fill(struct script *script)
{
    script->size = 0;
    for (uint32_t i = 1; i <= COUNT; i++)
        script_event(script, i, CBP_PROC_EVT_PROCESS_CREATION, 1000 + i % 97, "/bin/program");
}

static void play_once(struct cbp_verdict *verdicts)
{
    static struct script script;
    reset();
    struct cbp_session *session = script_session(answer_by_id, on_error);
    CHECK_OK(cbp_session_start(session, 0));
    fill(&script);
    script_play(session, &script);
    CHECK_OK(cbp_script_wait(session, 60000));
    for (uint32_t i = 0; i < COUNT; i++) {
        struct cbp_verdict verdict = script_verdict(session);
        CHECK(verdict.header.id >= 1 && verdict.header.id <= COUNT);
        verdict.time_ns = 0;
        verdicts[verdict.header.id - 1] = verdict;
    }
    CHECK(cbp_load_u64(&seen.handled) == COUNT);
    CHECK_CODE(CBP_ERROR_TIMEOUT, cbp_script_next_verdict(session, 1, &verdicts[0], sizeof verdicts[0]));
    CHECK_OK(cbp_session_destroy(session));
}

static void test_the_same_every_time(void)
{
    static struct cbp_verdict first[COUNT], second[COUNT];
    play_once(first);
    play_once(second);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t process_id = 1000 + (i + 1) % 97;
        CHECK(first[i].sequence == i + 1 && first[i].state == CBP_VERDICT_ANSWERED);
        CHECK(first[i].result_code0 == (process_id % 3 == 0 ? process_id % 100 + 1 : 0));
    }
    CHECK(memcmp(first, second, sizeof first) == 0);
}

/* ---- Answers from elsewhere ---- */

static void *complete_all(void *argument)
{
    const uint32_t *range = argument;
    for (uint32_t i = range[0]; i < range[1]; i++)
        CHECK_OK(cbp_event_complete(seen.tickets[i], i % 2 ? 5 : 0, UINT32_MAX));
    return NULL;
}

static void test_a_thousand_held_at_once(void)
{
    static struct script script;
    uint32_t ranges[2][2] = {{0, 500}, {500, 1000}};
    pthread_t threads[2];
    reset();
    struct cbp_session *session = script_session(defer_all, on_error);
    CHECK_OK(cbp_session_set_config(session, "MaxWorkerThreadCount", "4"));
    CHECK_OK(cbp_session_start(session, 0));
    for (uint32_t i = 1; i <= 1000; i++)
        script_event(&script, i, CBP_PROC_EVT_PROCESS_CREATION, i, "/bin/program");
    script_play(session, &script);
    WAIT_FOR(cbp_load_u64(&seen.handled) == 1000);
    CHECK(test_statistics(session).deferred == 1000 && test_statistics(session).workers <= 4);
    CHECK_CODE(CBP_ERROR_TIMEOUT, cbp_script_wait(session, 10));
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, complete_all, ranges[i]) == 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    CHECK_OK(cbp_script_wait(session, 20000));
    CHECK(test_statistics(session).refused == 500);
    for (int i = 0; i < 1000; i++) {
        struct cbp_verdict verdict = script_verdict(session);
        CHECK(verdict.deferred_items == 1 && verdict.state == CBP_VERDICT_ANSWERED);
    }
    CHECK_OK(cbp_session_destroy(session));
}

/* ---- Ends in the middle ---- */

static void test_stop_lets_everything_go(void)
{
    static struct script script;
    reset();
    struct cbp_session *session = script_session(defer_all, on_error);
    for (int round = 0; round < 20; round++) {
        struct cbp_verdict verdict;
        cbp_store_u32(&seen.ticket_count, 0);
        CHECK_OK(cbp_session_start(session, 3000));
        for (uint32_t i = 1; i <= 50; i++) {
            script_step(&script, CBP_SCRIPT_DUPLICATE, 1);
            script_event(&script, i, CBP_PROC_EVT_PROCESS_CREATION, i % 40 + 1, "/bin/program");
        }
        script_play(session, &script);
        if (round % 2)
            WAIT_FOR(cbp_load_u32(&seen.ticket_count) >= 10);
        CHECK_OK(cbp_session_stop(session, 0));
        while (cbp_script_next_verdict(session, 1, &verdict, sizeof verdict) == 0)
            CHECK(verdict.state == CBP_VERDICT_LET_GO);
        CHECK_CODE(CBP_ERROR_NOT_READY, cbp_script_wait(session, 1));
    }
    CHECK_OK(cbp_session_destroy(session));
}

static void test_death_of_the_driver(void)
{
    static struct script script;
    uint32_t active = 1;
    reset();
    struct cbp_session *session = script_session(answer_by_id, on_error);
    CHECK_OK(cbp_session_start(session, 0));
    script_event(&script, 1, CBP_PROC_EVT_PROCESS_CREATION, 1, "/bin/program");
    script_step(&script, CBP_SCRIPT_DRIVER_DEATH, 0);
    script_event(&script, 2, CBP_PROC_EVT_PROCESS_CREATION, 2, "/bin/program");
    script_play(session, &script);
    for (int i = 0; i < 5000 && active; i++) {
        CHECK_OK(cbp_session_is_active(session, &active));
        test_sleep_ms(1);
    }
    CHECK(!active);
    WAIT_FOR(cbp_load_u32(&seen.last_error) == CBP_ERROR_BROKEN_PIPE);
    CHECK(cbp_load_u64(&seen.handled) == 1);
    CHECK_OK(cbp_session_destroy(session));
}

/* ---- Arguments ---- */

static void test_wrong_calls(void)
{
    static struct script script;
    struct cbp_verdict verdict;
    struct cbp_session *session = script_session(answer_by_id, on_error);
    CHECK_CODE(CBP_ERROR_NOT_READY, cbp_script_play(session, "", 0));
    CHECK_CODE(CBP_ERROR_NOT_READY, cbp_script_wait(session, 1));
    CHECK_OK(cbp_session_start(session, 0));
    CHECK_OK(cbp_script_play(session, NULL, 0));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_script_play(session, NULL, 8));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_script_next_verdict(session, 1, &verdict, 8));
    CHECK_CODE(CBP_ERROR_INVALID_DATA, cbp_script_play(session, "12345678", 8));
    script_event(&script, 1, CBP_PROC_EVT_PROCESS_CREATION, 1, "/bin/program");
    script_event(&script, 2, CBP_PROC_EVT_PROCESS_CREATION, 2, "/bin/program")->item_count = 5;
    CHECK_CODE(CBP_ERROR_INVALID_DATA, cbp_script_play(session, script.bytes, script.size));
    CHECK(strncmp(cbp_error_detail(), "offset 208", 10) == 0);
    CHECK_OK(cbp_script_wait(session, 1000)); /* nothing of it is played */
    CHECK(test_statistics(session).delivered == 0);
    CHECK_CODE(CBP_ERROR_CONNECTION_ACTIVE, cbp_session_set_config(session, "Script", "/x"));
    CHECK_CODE(CBP_ERROR_CONNECTION_ACTIVE, cbp_session_set_config(session, "RecordTo", "/x"));
    CHECK_OK(cbp_session_destroy(session));
}

/* ---- Recordings ---- */

static const char *recording_path(void)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/cbp-test-recording-%u", (unsigned) getpid());
    return path;
}

static void count_messages(uint64_t *event_count, uint64_t *verdict_count)
{
    struct cbp_recording_file *file;
    const void *message;
    uint64_t size;
    uint32_t error;
    *event_count = *verdict_count = 0;
    CHECK_OK(cbp_recording_open(recording_path(), &file, &message, &size));
    CHECK(((const struct cbp_message_header *) message)->type == CBP_MESSAGE_RECORDING);
    while ((error = cbp_recording_next(file, &message, &size)) == 0) {
        const struct cbp_message_header *header = message;
        CHECK(header->size == size);
        *event_count += header->type == CBP_MESSAGE_EVENT;
        *verdict_count += header->type == CBP_MESSAGE_VERDICT;
    }
    CHECK(error == CBP_ERROR_NOT_FOUND);
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_recording_next(file, &message, &size));
    cbp_recording_close(file);
}

static void test_recording_and_replay(void)
{
    static struct script script;
    uint64_t event_count, verdict_count;
    reset();
    struct cbp_session *session = script_session(answer_by_id, on_error);
    CHECK_OK(cbp_session_set_config(session, "RecordTo", recording_path()));
    CHECK_OK(cbp_session_start(session, 0));
    fill(&script);
    script_play(session, &script);
    CHECK_OK(cbp_script_wait(session, 60000));
    CHECK_OK(cbp_session_stop(session, 0));
    count_messages(&event_count, &verdict_count);
    CHECK(event_count == COUNT && verdict_count == COUNT);

    struct cbp_statistics recorded = test_statistics(session);
    CHECK_OK(cbp_session_set_config(session, "RecordTo", ""));
    CHECK_OK(cbp_session_set_config(session, "Script", recording_path()));
    CHECK_OK(cbp_session_start(session, 0));
    CHECK_OK(cbp_script_wait(session, 60000));
    CHECK(test_statistics(session).delivered == recorded.delivered);
    CHECK(test_statistics(session).refused == recorded.refused);
    CHECK(cbp_load_u64(&seen.handled) == 2 * COUNT && cbp_load_u64(&seen.errors) == 0);
    CHECK_OK(cbp_session_destroy(session));
    unlink(recording_path());
}

static void test_a_recording_that_cannot_be_written(void)
{
    static struct script script;
    reset();
    struct cbp_session *session = script_session(answer_by_id, on_error);
    CHECK_OK(cbp_session_set_config(session, "RecordTo", "/nonexistent/file"));
    CHECK_CODE(CBP_ERROR_FILE_NOT_FOUND, cbp_session_start(session, 0));
    CHECK_OK(cbp_session_set_config(session, "RecordTo", "/dev/full"));
    CHECK_OK(cbp_session_start(session, 0));
    script_event(&script, 1, CBP_PROC_EVT_PROCESS_CREATION, 1, "/bin/program");
    script_play(session, &script);
    CHECK_OK(cbp_script_wait(session, 20000));
    WAIT_FOR(cbp_load_u64(&seen.errors) == 1);
    CHECK_OK(cbp_session_destroy(session));
    CHECK(cbp_load_u64(&seen.errors) == 1 && cbp_load_u32(&seen.last_error) == CBP_ERROR_GEN_FAILURE);
}

int main(void)
{
    test_the_same_every_time();
    test_a_thousand_held_at_once();
    test_stop_lets_everything_go();
    test_death_of_the_driver();
    test_wrong_calls();
    test_recording_and_replay();
    test_a_recording_that_cannot_be_written();
    return 0;
}

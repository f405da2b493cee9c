/* A sixth driver, of a folder of its own (list/), joins by its row in cmake/native_tests.cmake: it has a name, its
 * events come to handlers, answers go back to it, and what it has not is an error and not a crash. */
#include "support.h"

#define ALLOWED 101u
#define REFUSED 102u
#define DEFERRED 103u

static struct {
    uint32_t creations, ends; /* atomic, as is the rest; bits: 1 << process id - ALLOWED */
    uint64_t ticket;
} seen;

static uint32_t bit_of(uint32_t process_id)
{
    return 1u << (process_id - ALLOWED);
}

static void on_event(struct cbp_event *event)
{
    uint64_t ticket;
    CHECK(event->context == (uintptr_t) &seen);
    CHECK(strncmp(cbp_event_process_name(event), "/list/", 6) == 0);
    if (event->type == CBP_PROC_EVT_PROCESS_TERMINATION) {
        CHECK(cbp_load_u32(&seen.creations) & bit_of(event->process_id));
        cbp_add_u32(&seen.ends, bit_of(event->process_id));
        return;
    }
    if (event->process_id == REFUSED)
        event->result_code = CBP_ERROR_ACCESS_DENIED;
    if (event->process_id == DEFERRED) {
        CHECK_OK(cbp_event_defer(&ticket));
        cbp_store_u64(&seen.ticket, ticket);
    }
    cbp_add_u32(&seen.creations, bit_of(event->process_id));
}

static void on_error(uint64_t context, uint32_t code, const char *text)
{
    (void) context;
    fprintf(stderr, "error %u: %s\n", code, text);
    abort();
}

static void check_names(void)
{
    uint32_t capabilities;
    char reason[100], text[300];
    CHECK_OK(cbp_driver_probe("list", &capabilities, reason, sizeof reason));
    CHECK(capabilities == (CBP_CAP_SEE_PROCESS_CREATION | CBP_CAP_HOLD_PROCESS_CREATION));
    CHECK_OK(cbp_driver_probe("simulated", &capabilities, reason, sizeof reason));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_driver_probe("lists", &capabilities, reason, sizeof reason));
    struct cbp_session *session = test_session(on_event, on_error, &seen);
    CHECK_OK(cbp_session_get_config(session, "Driver", text, sizeof text, NULL));
    CHECK(strcmp(text, "auto") == 0);
    CHECK_OK(cbp_session_set_config(session, "Driver", "List"));
    CHECK_OK(cbp_session_get_config(session, "Driver", text, sizeof text, NULL));
    CHECK(strcmp(text, "list") == 0);
    CHECK_OK(cbp_session_get_config(session, "BuildInfo", text, sizeof text, NULL));
    CHECK(strstr(text, " list"));
    CHECK_OK(cbp_session_destroy(session));
}

/* A refused process does not end, and a deferred one as soon as the answer says so: the driver has the answers. */
static void check_events(struct cbp_session *session)
{
    memset(&seen, 0, sizeof seen);
    CHECK_OK(cbp_rule_add_name(session, "/list/*", 7, 0, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_session_start(session, 0));
    WAIT_FOR(cbp_load_u32(&seen.creations) == 7 && cbp_load_u32(&seen.ends) == bit_of(ALLOWED));
    WAIT_FOR(test_statistics(session).refused == 1 && test_statistics(session).deferred == 1);
    CHECK_OK(cbp_event_complete(cbp_load_u64(&seen.ticket), 0, 0));
    WAIT_FOR(cbp_load_u32(&seen.ends) == (bit_of(ALLOWED) | bit_of(DEFERRED)));
    WAIT_FOR(test_statistics(session).delivered == 5);
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_event_complete(cbp_load_u64(&seen.ticket), 0, 0));
}

static void check_what_it_has_not(struct cbp_session *session)
{
    struct cbp_launch_handle *launch;
    int32_t launcher_fd;
    uint32_t capabilities;
    CHECK_CODE(CBP_ERROR_NOT_SUPPORTED,
               cbp_launch_begin(session, "a", "/bin/true", 10, 1, &launcher_fd, &launch));
    CHECK(strcmp(cbp_error_detail(), "the list driver cannot start programs") == 0);
    CHECK_CODE(CBP_ERROR_NOT_SUPPORTED, cbp_launch_enter(session, 1, &launch));
    CHECK_CODE(CBP_ERROR_NOT_SUPPORTED, cbp_script_play(session, NULL, 0));
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_session_process_capabilities(session, ALLOWED, &capabilities));
    CHECK_OK(cbp_rule_add_process(session, (uint32_t) getpid(), 0, CBP_ACTION_ASK, 0)); /* the machine's */
    CHECK_CODE(CBP_ERROR_NOT_SUPPORTED, cbp_rule_add_name(session, "*", 1, 0, CBP_ACTION_DENY, 5));
    CHECK_OK(cbp_session_stop(session, 0));
    CHECK(test_statistics(session).refused == 1);
    CHECK_OK(cbp_session_set_config(session, "ReplaySpeed", "recorded"));
    CHECK_CODE(CBP_ERROR_NOT_SUPPORTED, cbp_session_start(session, 0));
    CHECK_OK(cbp_session_set_config(session, "ReplaySpeed", "max"));
}

int main(void)
{
    check_names();
    struct cbp_session *session = test_session(on_event, on_error, &seen);
    CHECK_OK(cbp_session_set_config(session, "Driver", "list"));
    check_events(session);
    check_what_it_has_not(session);
    check_events(session);
    CHECK_OK(cbp_session_destroy(session));
    return 0;
}

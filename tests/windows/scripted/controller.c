/* See controller.h. */
#include "controller.h"

#include <string.h>

#include "cbp_atomic.h"

#define LAUNCH_RULE 1000u

static struct debugger whole;
struct debugger *const self = &whole;

/* One turn of the helper's loop. */
void turn(void)
{
    cbpd_handle_debug_events(self);
    cbpd_serve_control(self);
    cbpd_collect_answers(&self->helper);
    cbpd_expire_operations(&self->helper);
    cbpd_apply_settled(self);
    cbpd_settle_unclaimed(self);
    cbpd_look_for_strays(self);
    cbpd_forget_ended(self);
}

/* As if nothing else happened for so long; workers are alive. */
void pass(uint64_t ms)
{
    for (uint64_t slice = 100; ms > 0; ms -= slice < ms ? slice : ms) {
        script_time(slice < ms ? slice : ms);
        cbp_store_u64(&cbpd_channel_of(&self->helper, 0)->heartbeat_ns, cbpd_now_ns());
        turn();
    }
}

/* ---- The controller ---- */

struct cbp_launch_result *result;

void begin(void)
{
    unsigned char *memory =
        VirtualAlloc(NULL, CBP_DEBUG_SECTION_SIZE, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    struct cbp_session_settings settings = {.events = UINT32_MAX};
    CHECK(memory != NULL);
    self->helper.channel = (struct cbp_channel *) (void *) memory;
    self->control = (struct cbp_debug_control *) (void *) (memory + CBP_DEBUG_CONTROL_OFFSET);
    self->controller_pid = CONTROLLER;
    self->request_event = CreateEventW(NULL, FALSE, FALSE, NULL);
    self->reply_event = CreateEventW(NULL, FALSE, FALSE, NULL);
    self->controller = CreateEventW(NULL, TRUE, FALSE, NULL); /* it lives */
    CHECK(cbpd_prepare_rule_loading());
    CHECK(cbpd_helper_init(&self->helper, &cbpd_helper_host, &cbpd_policy_host));
    uint64_t value = 0;
    CHECK(cbpd_serve_request(&self->helper, CBP_MESSAGE_SESSION, &settings, &value) == 0);
}

uint32_t request(const void *message, uint32_t size)
{
    memcpy(self->control->request, message, size);
    cbp_store_relaxed_u32(&self->control->request_size, size);
    SetEvent(self->request_event);
    cbpd_serve_control(self);
    return self->control->reply.status;
}

uint32_t claim(uint32_t pid)
{
    HANDLE section = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, sizeof *result, NULL);
    struct cbp_launch_process message = {
        .header = {.size = sizeof message, .type = CBP_MESSAGE_LAUNCH_PROCESS},
        .rule_id = LAUNCH_RULE,
        .process_id = pid,
        .section_handle = (uint64_t) (uintptr_t) section,
        .event_handle = (uint64_t) (uintptr_t) CreateEventW(NULL, TRUE, FALSE, NULL)};
    result = MapViewOfFile(section, FILE_MAP_ALL_ACCESS, 0, 0, 0);
    return request(&message, sizeof message);
}

void set_launch_count(uint32_t count)
{
    cbp_store_u32(&self->control->launch_count, count);
}

uint32_t install(const struct cbpi_rule *rules, uint32_t count)
{
    struct cbp_ruleset *block;
    struct cbpd_rule_set *set;
    uint64_t failed = 0;
    struct cbp_rules message = {.part = CBP_RULES_PART_MAIN, .attach_rule_id = CBP_ATTACH_ALL};
    size_t size;
    CHECK(cbpi_ruleset_build(CBP_COMPARE_UTF16, rules, count, &block, &size) == 0);
    CHECK(cbpd_make_rule_set(&cbpd_policy_host, block, size, &set) == 0);
    return cbpd_serve_rules(&self->helper, &message, set, &failed);
}

void set_rules(const struct cbpi_rule *rules, uint32_t count)
{
    CHECK(install(rules, count) == 0);
}

void deny(const char *pattern)
{
    const struct cbpi_rule rule = {.rule_id = 1,
                                   .match = CBP_RULE_MATCH_NAME,
                                   .action = CBP_ACTION_DENY,
                                   .action_value = CBP_ERROR_ACCESS_DENIED,
                                   .pattern = pattern,
                                   .pattern_size = (uint32_t) strlen(pattern)};
    set_rules(&rule, 1);
}

/* The next message, which stays unanswered; NULL: none. */
static struct cbp_slot *taken;
const struct cbp_event_message *next_message(void)
{
    struct cbp_channel_session *ring = cbpd_channel_of(&self->helper, 0);
    if (ring->head == ring->tail)
        return NULL;
    taken = cbp_channel_slot(self->helper.channel, ring->ring[ring->head++ & 4095u]);
    return &taken->message;
}

void answer(uint32_t result_code)
{
    uint32_t number = 0;
    while (cbp_channel_slot(self->helper.channel, number) != taken)
        number++;
    taken->message.item0.result_code = result_code;
    cbp_store_u32(&taken->decision, CBP_DECISION_ANSWERED);
    taken->next = self->helper.channel->answers;
    cbp_store_u32(&self->helper.channel->answers, number + 1);
    turn();
}

/* The next message, of that process, asks for its creation. */
const struct cbp_event_message *asked(uint32_t pid)
{
    const struct cbp_event_message *message = next_message();
    CHECK(message != NULL && message->process_id == pid);
    CHECK(message->item0.type == CBP_PROC_EVT_PROCESS_CREATION);
    CHECK(message->item0.flags & CBP_EVENT_FLAG_HELD);
    return message;
}

/* A launched program that runs. */
struct scripted *launch(void)
{
    struct scripted *root = script_process(100, CONTROLLER, ROOT);
    set_launch_count(1);
    script_creation(root);
    turn();
    CHECK(claim(100) == 0);
    set_launch_count(0);
    CHECK(asked(100)->originator_process_id == CONTROLLER);
    answer(0);
    CHECK(root->continued_with == DBG_CONTINUE && root->is_hidden && result->status == 0);
    return root;
}

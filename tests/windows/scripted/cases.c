/* What the debug helper does in orders of events that Wine hides and that Windows may choose. Each case has a
 * name, the only argument; without one it prints the names. A case that fails says where and ends with status
 * 1. */
#include "controller.h"

#include <string.h>

/* ---- Who created whom ---- */

static void creator_ends_first(void)
{
    struct scripted *root = launch(), *child = script_process(101, 100, CHILD);
    script_end(root);
    script_creation(child);
    turn();
    CHECK(next_message()->item0.type == CBP_PROC_EVT_THREAD_TERMINATION);
    answer(0);
    CHECK(asked(101)->originator_process_id == 100);
    answer(CBP_ERROR_ACCESS_DENIED);
    CHECK(child->is_killed && child->kill_status == DENIED_STATUS && !child->is_let_go);
}

static void creator_was_forgotten(void)
{
    struct scripted *root = launch(), *other, *child = script_process(101, 100, CHILD);
    script_end(root);
    turn();
    (void) next_message();
    answer(0);
    other = script_process(102, 100, CHILD); /* and the id is used again: that one is no parent of 101 */
    script_creation(child);
    turn();
    (void) asked(101);
    answer(0);
    CHECK(other->start_time > child->start_time && child->continued_with == DBG_CONTINUE);
}

static void another_parent(void)
{
    struct scripted *child;
    (void) launch();
    child = script_process(101, 999, CHILD);
    script_creation(child);
    turn();
    const struct cbp_event_message *message = asked(101); /* the launch's rule holds for it too */
    CHECK(message->originator_process_id == 0 && message->parent_process_id == 999);
    CHECK(cbpd_channel_of(&self->helper, 0)->guessed == 1);
    pass(30000);
    CHECK(!child->is_let_go && child->continued_with == NO_CONTINUATION);
    answer(CBP_ERROR_ACCESS_DENIED);
    CHECK(child->is_killed);
}

/* No rule denies anything: a handler might. */
static void no_memory_to_ask(void)
{
    struct scripted *child;
    (void) launch();
    uint64_t lost = cbpd_channel_of(&self->helper, 0)->lost;
    child = script_process(101, 100, CHILD);
    script_creation(child);
    script_memory(false);
    turn();
    CHECK(next_message() == NULL && child->is_killed && cbpd_channel_of(&self->helper, 0)->lost == lost + 1);
    script_memory(true);
    child = script_process(102, 100, CHILD);
    script_creation(child);
    turn();
    (void) asked(102);
    answer(0);
    CHECK(!child->is_killed && child->continued_with == DBG_CONTINUE);
}

static void another_parent_against_a_rule(void)
{
    struct scripted *child;
    (void) launch();
    deny("*\\child.exe");
    child = script_process(101, CONTROLLER, CHILD);
    script_creation(child);
    turn();
    CHECK(child->is_killed && child->kill_status == DENIED_STATUS);
}

/* Whose exemption it would be nobody knows. */
static void another_parent_inherits_no_exemption(void)
{
    const struct cbpi_rule rules[] = {{.rule_id = 1,
                                       .match = CBP_RULE_MATCH_NAME,
                                       .flags = CBP_RULE_FLAG_CHILDREN,
                                       .action = CBP_ACTION_ALLOW,
                                       .pattern = "*\\free.exe",
                                       .pattern_size = 10}};
    struct scripted *child;
    (void) launch();
    set_rules(rules, 1);
    script_creation(script_process(102, 100, "C:\\tools\\free.exe"));
    turn();
    while (next_message() != NULL)
        answer(0);
    child = script_process(101, 999, CHILD);
    script_creation(child);
    turn();
    (void) asked(101);
}

static void the_controller_as_parent_while_it_launches(void)
{
    struct scripted *child;
    (void) launch();
    set_launch_count(1);
    child = script_process(101, CONTROLLER, CHILD);
    script_creation(child);
    pass(60000);
    CHECK(next_message() == NULL && child->continued_with == NO_CONTINUATION && !child->is_let_go);
    set_launch_count(0);
    turn();
    (void) asked(101);
}

static void another_parent_during_a_launch_without_end(void)
{
    struct scripted *child;
    (void) launch();
    set_launch_count(1);
    child = script_process(101, 999, CHILD);
    script_creation(child);
    pass(11000);
    (void) asked(101);
    answer(0);
    CHECK(child->continued_with == DBG_CONTINUE);
}

static void the_controller_stalls(void)
{
    struct scripted *root = script_process(100, CONTROLLER, ROOT);
    deny("*\\root.exe");
    set_launch_count(1);
    script_creation(root);
    pass(60000);
    CHECK(!root->is_let_go && !root->is_killed && root->continued_with == NO_CONTINUATION);
    CHECK(claim(100) == 0);
    CHECK(root->is_killed && root->kill_status == DENIED_STATUS);
    CHECK(result->status == 0 && result->os_error == CBP_ERROR_ACCESS_DENIED);
}

static void a_claim_of_what_never_comes(void)
{
    CHECK(claim(555) == 0);
    script_time(11000);
    cbpd_expire_claims();
    CHECK(result->status == CBP_ERROR_NOT_FOUND);
}

/* ---- Descendants that are not told of ---- */

static void a_child_with_a_debugger_of_its_own(void)
{
    struct scripted *child;
    (void) launch();
    child = script_process(101, 100, CHILD);
    script_exists(child, DEBUGGER_ANOTHER);
    pass(600);
    CHECK(child->is_killed && child->kill_status == BUSY_STATUS && !child->is_taken);
    const struct cbp_event_message *message = next_message();
    CHECK(message != NULL && message->process_id == 101 && message->originator_process_id == 100);
    CHECK(message->item0.result_code == CBP_ERROR_BUSY);
    CHECK(!(message->item0.flags & CBP_EVENT_FLAG_HELD) && cbpd_channel_of(&self->helper, 0)->refused == 1);
    pass(600);
    CHECK(next_message() == NULL && cbpd_channel_of(&self->helper, 0)->refused == 1);
}

static void a_child_of_one_that_has_ended(void)
{
    struct scripted *root = launch(), *child = script_process(101, 100, CHILD);
    script_end(root);
    turn();
    (void) next_message();
    answer(0);
    CHECK(self->helper.policy.process_count == 0);
    script_exists(child, DEBUGGER_ANOTHER);
    pass(600);
    CHECK(child->is_killed);
}

static void a_child_that_nobody_debugs(void)
{
    struct scripted *child;
    (void) launch();
    child = script_process(101, 100, CHILD);
    script_exists(child, DEBUGGER_NOBODY);
    pass(600);
    CHECK(child->is_taken && asked(101)->originator_process_id == 100);
    answer(CBP_ERROR_ACCESS_DENIED);
    CHECK(child->is_killed);
}

static void a_suspended_child_is_left_alone(void)
{
    struct scripted *child;
    (void) launch();
    child = script_process(101, 100, CHILD);
    script_exists(child, DEBUGGER_OURSELVES);
    pass(3000);
    CHECK(!child->is_killed && !child->is_taken && next_message() == NULL &&
          cbpd_channel_of(&self->helper, 0)->lost == 0);
    script_creation(child);
    turn();
    (void) asked(101);
}

static void what_cannot_be_known_is_counted_once(void)
{
    (void) launch();
    script_exists(script_process(101, 100, CHILD), DEBUGGER_UNKNOWN);
    pass(3000);
    CHECK(cbpd_channel_of(&self->helper, 0)->lost == 1);
}

/* Also: the debugger's mark is taken off. */
static void attaching_leaves_older_children_alone(void)
{
    struct scripted *parent = script_process(200, 1, ROOT), *older = script_process(201, 200, CHILD),
                    *younger;
    const struct cbpi_rule rule = {.rule_id = 1,
                                   .match = CBP_RULE_MATCH_PROCESS,
                                   .flags = CBP_RULE_FLAG_ATTACH,
                                   .action = CBP_ACTION_ASK,
                                   .process_id = 200,
                                   .start_time = parent->start_time};
    script_exists(parent, DEBUGGER_NOBODY);
    script_exists(older, DEBUGGER_NOBODY);
    script_time(1);
    set_rules(&rule, 1);
    CHECK(parent->is_taken && parent->is_hidden);
    pass(1000);
    CHECK(!older->is_taken);
    younger = script_process(202, 200, CHILD);
    script_exists(younger, DEBUGGER_NOBODY);
    pass(1000);
    CHECK(younger->is_taken && !older->is_taken);
}

/* To have found nobody is no success where nobody could be found. */
static void attaching_without_a_list_of_processes(void)
{
    struct scripted *running = script_process(200, 1, ROOT);
    const struct cbpi_rule by_name = {.rule_id = 1,
                                      .match = CBP_RULE_MATCH_NAME,
                                      .flags = CBP_RULE_FLAG_ATTACH,
                                      .action = CBP_ACTION_ASK,
                                      .pattern = ROOT,
                                      .pattern_size = sizeof ROOT - 1};
    const struct cbpi_rule by_id = {.rule_id = 1,
                                    .match = CBP_RULE_MATCH_PROCESS,
                                    .flags = CBP_RULE_FLAG_ATTACH | CBP_RULE_FLAG_CHILDREN,
                                    .action = CBP_ACTION_ASK,
                                    .process_id = 200,
                                    .start_time = running->start_time};
    script_exists(running, DEBUGGER_NOBODY);
    script_listing(false);
    CHECK(install(&by_name, 1) == CBP_ERROR_NOT_ENOUGH_MEMORY && !running->is_taken);
    CHECK(install(&by_id, 1) == CBP_ERROR_NOT_ENOUGH_MEMORY);
    script_listing(true);
    set_rules(&by_name, 1);
    CHECK(running->is_taken);
}

/* ---- Names and facts that nobody knows ---- */

static void without_a_name(void)
{
    struct scripted *child;
    (void) launch();
    child = script_process(101, 100, NULL);
    script_creation(child);
    turn();
    CHECK(asked(101)->process_name_size == 0);
    answer(0);
    CHECK(child->continued_with == DBG_CONTINUE && !child->is_killed);
}

static void without_a_name_against_a_rule(void)
{
    struct scripted *child;
    (void) launch();
    deny("*\\nc.exe");
    child = script_process(101, 100, NULL);
    script_creation(child);
    turn();
    CHECK(child->is_killed && child->kill_status == DENIED_STATUS);
    CHECK(next_message()->item0.result_code == CBP_ERROR_ACCESS_DENIED &&
          cbpd_channel_of(&self->helper, 0)->refused == 1);
}

static void without_facts_against_a_rule(void)
{
    struct scripted *child;
    (void) launch();
    deny("*\\nc.exe");
    child = script_process(101, 100, CHILD);
    child->is_unknowable = true;
    script_creation(child);
    turn();
    CHECK(child->is_killed && child->continued_with == DBG_CONTINUE);
    CHECK(cbpd_channel_of(&self->helper, 0)->lost == 1 && cbpd_channel_of(&self->helper, 0)->refused == 1);
}

/* ---- Exceptions, and many events ---- */

static DWORD answer_to(struct scripted *process, DWORD code, uint64_t address, bool is_first_chance)
{
    script_exception(process, code, address, is_first_chance);
    turn();
    return process->continued_with;
}

static void exceptions_are_the_programs_own(void)
{
    static const DWORD codes[] = {0x80000003u, 0x80000004u, 0xc0000005u, 0x406d1388u,
                                  0x40010005u, 0xe06d7363u, 0xc0000008u, 0xc0000235u};
    struct scripted *root = launch();
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        CHECK(answer_to(root, codes[i], 0x1000, true) == DBG_EXCEPTION_NOT_HANDLED);
        CHECK(answer_to(root, codes[i], SCRIPTED_RAISING_FUNCTION, false) == DBG_EXCEPTION_NOT_HANDLED);
    }
    script_other(root, OUTPUT_DEBUG_STRING_EVENT);
    turn();
    CHECK(root->continued_with == DBG_EXCEPTION_NOT_HANDLED && next_message() == NULL);
}

static void closing_a_wrong_handle_only_fails(void)
{
    struct scripted *root = launch();
    CHECK(answer_to(root, 0xc0000008u, SCRIPTED_RAISING_FUNCTION + 0x3a, true) == DBG_CONTINUE);
    CHECK(answer_to(root, 0xc0000235u, SCRIPTED_RAISING_FUNCTION + 0x3a, true) == DBG_CONTINUE);
    root->is_strict = true;
    CHECK(answer_to(root, 0xc0000008u, SCRIPTED_RAISING_FUNCTION + 0x3a, true) == DBG_EXCEPTION_NOT_HANDLED);
}

static void a_storm_of_events_is_served_in_parts(void)
{
    struct scripted *root = launch();
    for (int i = 0; i < 1000; i++)
        script_other(root, LOAD_DLL_DEBUG_EVENT);
    cbpd_handle_debug_events(self);
    CHECK(scripted_events_left() > 800);
    struct cbp_process_query query = {.header = {.size = sizeof query, .type = CBP_MESSAGE_PROCESS_QUERY},
                                      .process_id = 100};
    CHECK(request(&query, sizeof query) == 0 && scripted_events_left() > 800);
    pass(10000);
    CHECK(scripted_events_left() == 0);
}

#define CASES(X)                                                                                             \
    X(creator_ends_first)                                                                                    \
    X(creator_was_forgotten)                                                                                 \
    X(another_parent)                                                                                        \
    X(another_parent_against_a_rule)                                                                         \
    X(no_memory_to_ask)                                                                                      \
    X(another_parent_inherits_no_exemption)                                                                  \
    X(the_controller_as_parent_while_it_launches)                                                            \
    X(another_parent_during_a_launch_without_end)                                                            \
    X(the_controller_stalls)                                                                                 \
    X(a_claim_of_what_never_comes)                                                                           \
    X(a_child_with_a_debugger_of_its_own)                                                                    \
    X(a_child_of_one_that_has_ended)                                                                         \
    X(a_child_that_nobody_debugs)                                                                            \
    X(a_suspended_child_is_left_alone)                                                                       \
    X(what_cannot_be_known_is_counted_once)                                                                  \
    X(attaching_leaves_older_children_alone)                                                                 \
    X(attaching_without_a_list_of_processes)                                                                 \
    X(without_a_name)                                                                                        \
    X(without_a_name_against_a_rule)                                                                         \
    X(without_facts_against_a_rule)                                                                          \
    X(exceptions_are_the_programs_own)                                                                       \
    X(closing_a_wrong_handle_only_fails)                                                                     \
    X(a_storm_of_events_is_served_in_parts)

#define ENTRY(name) {#name, name},
static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {CASES(ENTRY)};

int main(int count, char **arguments)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (count < 2) {
            printf("%s\n", cases[i].name);
        } else if (strcmp(arguments[1], cases[i].name) == 0) {
            begin();
            cases[i].run();
            return 0;
        }
    }
    return count < 2 ? 0 : 2;
}

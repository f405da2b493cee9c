/* Is a host of the policy as a driver in a kernel is one: linked with nothing else. A test says which
 * sessions and processes there are, what operations happen, and when an answer comes. The test brings the
 * memory. Knows no driver and no clock. */
#include "policy.h"

static struct cbpd_policy policy;
static void *(*from_test)(size_t count, size_t size);

/* ---- The functions that compilers call ---- */

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *one, const void *other, size_t size);

/* volatile: a compiler would make a call of the function itself out of its loop. */
void *memcpy(void *to, const void *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((volatile uint8_t *) to)[i] = ((const uint8_t *) from)[i];
    return to;
}

void *memset(void *to, int value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((volatile uint8_t *) to)[i] = (uint8_t) value;
    return to;
}

int memcmp(const void *one, const void *other, size_t size)
{
    const volatile uint8_t *a = one, *b = other;
    for (size_t i = 0; i < size; i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

static uint32_t size_of(const char *text)
{
    uint32_t size = 0;
    while (text[size] != '\0')
        size++;
    return size;
}

/* ---- Sessions and rules ---- */

static struct cbpd_host host = {.process_size = sizeof(struct cbpd_process),
                                .name_comparison = CBP_COMPARE_BYTES};

static void *allocate(size_t size, bool surely)
{
    (void) surely;
    return from_test(1, size);
}

void alone_begin(void *(*zeroed)(size_t count, size_t size), void (*release)(void *memory));
uint32_t alone_session(uint64_t controller, uint32_t id, uint32_t events, uint32_t timeout_ms,
                       uint32_t timeout_action);
uint32_t alone_close(uint64_t controller, uint32_t id);
uint32_t alone_install(uint64_t controller, uint32_t id, const void *block, size_t size);
void alone_free(void);
struct cbpd_process *alone_add(uint32_t pid, uint64_t start_time, struct cbpd_process *parent);
bool alone_execute(struct cbpd_process *process, const char *path, const char *given);
void alone_end(struct cbpd_process *process);

void alone_begin(void *(*zeroed)(size_t count, size_t size), void (*release)(void *memory))
{
    from_test = zeroed;
    host.allocate = allocate;
    host.release = release;
    memset(&policy, 0, sizeof policy);
    (void) cbpd_policy_init(&policy, &host);
}

uint32_t alone_session(uint64_t controller, uint32_t id, uint32_t events, uint32_t timeout_ms,
                       uint32_t timeout_action)
{
    const struct cbp_session_settings settings = {
        .session_id = id, .events = events, .timeout_ms = timeout_ms, .timeout_action = timeout_action};
    uint32_t place;
    return cbpd_set_session(&policy, controller, &settings, &place);
}

uint32_t alone_close(uint64_t controller, uint32_t id)
{
    uint32_t place, error = cbpd_find_session(&policy, controller, id, &place);
    if (error == 0)
        cbpd_close_session(&policy, place);
    return error;
}

uint32_t alone_install(uint64_t controller, uint32_t id, const void *block, size_t size)
{
    const struct cbp_rules request = {.part = CBP_RULES_PART_MAIN, .attach_rule_id = CBP_ATTACH_NONE};
    struct cbpd_rule_set *set;
    uint32_t place, error = cbpd_find_session(&policy, controller, id, &place);
    if (error != 0)
        return error;
    error = cbpd_make_rule_set(&host, memcpy(allocate(size, false), block, size), size, &set);
    if (error == 0)
        error = cbpd_can_install(&policy, &request, place, set);
    if (error == 0)
        cbpd_install_rules(&policy, &request, place, set);
    return error;
}

void alone_free(void)
{
    cbpd_policy_free(&policy);
}

/* ---- Processes ---- */

struct cbpd_process *alone_add(uint32_t pid, uint64_t start_time, struct cbpd_process *parent)
{
    struct cbpd_process *process = cbpd_add_process(&policy, pid, parent);
    if (!process)
        return NULL;
    process->reference_count = 1;
    process->start_time = start_time;
    if (parent) {
        process->creator_tenure = parent->tenure;
        process->image = cbpd_share_image(parent->image);
        cbpd_inherit_rules(&policy, process, parent);
    }
    return process;
}

static struct cbpd_image *make_image(const char *path, const char *given)
{
    const struct cbpd_image_file file = {
        .path = path, .path_size = size_of(path), .given = given, .given_size = size_of(given)};
    return cbpd_make_image(&policy, &file, 1, false);
}

bool alone_execute(struct cbpd_process *process, const char *path, const char *given)
{
    struct cbpd_image *image = make_image(path, given);
    if (image)
        cbpd_execute(&policy, process, image, NULL);
    return image;
}

void alone_end(struct cbpd_process *process)
{
    cbpd_end_process(&policy, process);
    cbpd_release_process(&policy, process);
}

/* ---- Operations ---- */

/* An operation, and the answer that a handler gives if it is asked. */
struct question {
    uint64_t controller;
    struct cbpd_process *originator, *subject;
    const char *path, *given; /* of what is executed; NULL: nothing is */
    uint64_t since_ns, answered_ns;
    uint32_t session_id, type, access;
    uint32_t answer_code, answer_access;
};

struct outcome {
    uint32_t is_told, is_asked, is_decided, is_answered, is_timed_out, is_stripped;
    uint32_t code, access, refused_count;
};

uint32_t alone_operate(const struct question *question, struct outcome *outcome);

static void settle(const struct question *question, const struct cbpd_selection *selection,
                   struct cbpd_operation *operation, struct outcome *outcome)
{
    const struct cbp_event_item answers[CBP_BATCH_MAX] = {
        {.result_code = question->answer_code, .desired_access = question->answer_access}};
    uint64_t deadline_ns = cbpd_deadline_of(&policy, selection->place, question->since_ns);
    outcome->is_timed_out = deadline_ns != 0 && question->answered_ns >= deadline_ns;
    outcome->is_answered = !outcome->is_timed_out;
    if (outcome->is_timed_out) {
        bool is_creation = selection->answerable.is_creation;
        uint32_t code = cbpd_timeout_code(&policy, selection->place, is_creation);
        cbpd_refuse(&policy, selection->place, code, operation);
        outcome->refused_count += code != 0;
        return;
    }
    outcome->refused_count +=
        cbpd_apply_answer(&policy, selection->place, &selection->answerable, answers, operation);
    if (selection->answerable.refusable_items & 1u)
        outcome->access &= question->answer_access;
}

static void operate(const struct question *question, uint32_t place, struct cbpd_request *request,
                    struct outcome *outcome)
{
    struct cbpd_selection selection;
    struct cbpd_refusal refusal = {0};
    struct cbpd_operation operation = {0};
    cbpd_select(&policy, request, place, &selection, &refusal);
    cbpd_refuse_by_rules(&policy, &refusal, &operation);
    outcome->is_told = selection.item_count > 0;
    outcome->is_asked = selection.asked;
    outcome->is_decided = selection.decided_items != 0;
    outcome->refused_count = selection.refused_count;
    outcome->access = request->access;
    if (outcome->is_decided)
        outcome->access &= ~cbpd_decide(request, place, 0).strip_mask;
    if (selection.asked && operation.result_code == 0 && !operation.is_stripped)
        settle(question, &selection, &operation, outcome);
    outcome->code = operation.result_code;
    outcome->is_stripped = operation.is_stripped;
}

uint32_t alone_operate(const struct question *question, struct outcome *outcome)
{
    static struct cbp_stance stances[CBP_SESSION_MAX];
    struct cbpd_request request = {.item_count = 1, .types = {question->type}, .access = question->access};
    uint32_t place, error = cbpd_find_session(&policy, question->controller, question->session_id, &place);
    *outcome = (struct outcome){0};
    if (error != 0)
        return error;
    request.subject = cbpd_stances_of(&policy, question->subject);
    if (question->path) {
        struct cbpd_image *image = make_image(question->path, question->given);
        cbpd_stances_under_image(&policy, question->subject, image, stances);
        cbpd_release_image(&policy, image);
        request.subject = stances;
    }
    bool is_end = question->type == CBP_PROC_EVT_PROCESS_TERMINATION ||
                  question->type == CBP_PROC_EVT_THREAD_TERMINATION;
    request.originator = is_end ? request.subject : cbpd_stances_of(&policy, question->originator);
    if (question->type & CBPD_HANDLE_OPERATIONS) {
        cbpd_begin_search(&policy, question->originator);
        request.is_by_creator = cbpd_is_protected_creator(&policy, question->originator, question->subject);
    }
    operate(question, place, &request, outcome);
    return 0;
}

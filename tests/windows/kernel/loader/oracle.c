/* Knows what every step was, what each session was told of it, what was answered, and what the thread got; says
 * whether they fit. Everything it knows comes from the players. It must not ask the driver, and must not know
 * how the driver does it: the expectations are those of docs/windows.md and the protocol. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbp_message_check.h"
#include "stage.h"

enum { PID_BASE = 0x100000, PID_STEP = 16, ORIGINATOR_BASE = 0x1000, NAME_SIZE = 64 };
/* The rights that a driver may take: of processes and of threads (OB_PRE_CREATE_HANDLE_INFORMATION). */
#define TAKEN_OF_PROCESS 0x0bebu
#define TAKEN_OF_THREAD 0x07b3u

static struct plan plan;
static unsigned story_count;
static struct step_record *records;         /* by story and step */
static struct told *told_of[SESSIONS_MAX];  /* likewise */
static uint32_t session_over[SESSIONS_MAX]; /* atomic */
static uint32_t foreign_of[SESSIONS_MAX];   /* atomic: events of processes that are in no story */
static uint32_t timeouts_of[SESSIONS_MAX], refusals_of[SESSIONS_MAX];
static unsigned long delivery_total, answer_total, timeout_total, step_total;

void oracle_open(const struct plan *wanted)
{
    plan = *wanted;
    story_count = plan.originators * plan.stories;
    records = calloc((size_t) story_count * STEP_COUNT, sizeof *records);
    for (unsigned i = 0; i < SESSIONS_MAX; i++) {
        told_of[i] = calloc((size_t) story_count * STEP_COUNT, sizeof *told_of[i]);
        session_over[i] = foreign_of[i] = timeouts_of[i] = refusals_of[i] = 0;
    }
}

void oracle_close(void)
{
    free(records);
    for (unsigned i = 0; i < SESSIONS_MAX; i++)
        free(told_of[i]);
}

const struct plan *oracle_plan(void)
{
    return &plan;
}

struct step_record *oracle_step(unsigned story, enum step step)
{
    return &records[(size_t) story * STEP_COUNT + step];
}

static struct told *told_at(unsigned session, unsigned story, enum step step)
{
    return &told_of[session][(size_t) story * STEP_COUNT + step];
}

uint32_t story_pid(unsigned story)
{
    return PID_BASE + story * PID_STEP;
}

uint32_t story_tid(unsigned story)
{
    return story_pid(story) + 4;
}

uint32_t originator_pid(unsigned originator)
{
    return ORIGINATOR_BASE + originator * PID_STEP;
}

void oracle_session_ends(unsigned session)
{
    __atomic_store_n(&session_over[session], 1, __ATOMIC_SEQ_CST);
}

bool oracle_session_has_ended(unsigned session)
{
    return __atomic_load_n(&session_over[session], __ATOMIC_SEQ_CST) != 0;
}

/* ---- Messages ---- */

static bool step_of(const struct cbp_event_message *message, enum step *step)
{
    bool is_copy = (message->item0.flags & CBP_EVENT_FLAG_DUPLICATION) != 0;
    switch (message->item0.type) {
    case CBP_PROC_EVT_PROCESS_CREATION:
        *step = STEP_CREATION;
        return true;
    case CBP_PROC_EVT_PROCESS_TERMINATION:
        *step = STEP_END;
        return true;
    case CBP_PROC_EVT_THREAD_CREATION:
        *step = STEP_THREAD;
        return true;
    case CBP_PROC_EVT_THREAD_TERMINATION:
        *step = STEP_THREAD_END;
        return true;
    case CBP_PROC_EVT_PROCESS_HANDLE_OPERATION:
        *step = is_copy ? STEP_DUPLICATE : STEP_OPEN;
        return true;
    case CBP_PROC_EVT_THREAD_HANDLE_OPERATION:
        *step = STEP_OPEN_THREAD;
        return true;
    default:
        return false;
    }
}

static void check_text(const struct cbp_event_message *message, const char *what, uint32_t offset,
                       uint32_t size, const char *expected)
{
    const char *text = (const char *) message + offset;
    if (size != strlen(expected) || memcmp(text, expected, size) != 0)
        wrong("process %u: the %s is '%.*s', and should be '%s'", message->process_id, what, (int) size, text,
              expected);
}

/* The texts are the story's own, so that bytes of another message are noticed. */
static void check_texts(const struct cbp_event_message *message, unsigned story, enum step step)
{
    char name[NAME_SIZE], arguments[NAME_SIZE];
    snprintf(name, sizeof name, "C:\\stories\\p%u.exe", story);
    snprintf(arguments, sizeof arguments, "p%u --story", story);
    check_text(message, "name", message->process_name_offset, message->process_name_size, name);
    if (step == STEP_CREATION)
        check_text(message, "command line", message->arguments_offset, message->arguments_size, arguments);
}

static void check_ids(const struct cbp_event_message *message, unsigned story, enum step step)
{
    unsigned originator = story / plan.stories;
    bool is_own_act = step == STEP_THREAD_END || step == STEP_END;
    uint32_t pid = is_own_act ? story_pid(story) : originator_pid(originator);
    uint32_t tid = is_own_act ? story_tid(story) : originator_pid(originator) + 4;
    const struct step_record *record = oracle_step(story, step);
    if (message->originator_process_id != pid || message->originator_thread_id != tid)
        wrong("process %u, step %d: the originator is %u, %u, and should be %u, %u", message->process_id,
              step, message->originator_process_id, message->originator_thread_id, pid, tid);
    if (step == STEP_CREATION && message->parent_process_id != pid)
        wrong("process %u: the parent is %u", message->process_id, message->parent_process_id);
    if (message->original_desired_access != record->access)
        wrong("process %u, step %d: the access is 0x%x, and should be 0x%x", message->process_id, step,
              message->original_desired_access, record->access);
    if (step == STEP_END && message->exit_status != story % 200)
        wrong("process %u: the exit status is %u", message->process_id, message->exit_status);
    if (step == STEP_DUPLICATE && message->source_process_id != pid)
        wrong("process %u: the handle's source is %u", message->process_id, message->source_process_id);
}

struct told *oracle_deliver(unsigned session, const struct cbp_event_message *message, uint64_t size,
                            bool is_partial)
{
    enum step step;
    unsigned story = (message->process_id - PID_BASE) / PID_STEP;
    if (!is_partial &&
        (size != message->header.size || cbpd_message_check(message, (size_t) size, CBP_MESSAGE_EVENT) != 0))
        wrong("a message of %llu bytes is malformed", (unsigned long long) size);
    if (is_partial && size != sizeof *message)
        wrong("the fixed part of a message has %llu bytes", (unsigned long long) size);
    if (message->session_id != session || message->item_count != 1 || !step_of(message, &step))
        wrong("session %u gets %u items of session %u", session, message->item_count, message->session_id);
    if (message->process_id < PID_BASE || story >= story_count) {
        __atomic_add_fetch(&foreign_of[session], 1, __ATOMIC_RELAXED);
        return NULL;
    }
    check_ids(message, story, step);
    if (!is_partial)
        check_texts(message, story, step);
    struct told *told = told_at(session, story, step);
    if (__atomic_add_fetch(&told->deliveries, 1, __ATOMIC_SEQ_CST) > 1)
        wrong("process %u, step %d is told twice", message->process_id, step);
    told->sequence = message->sequence;
    told->flags = message->item0.flags;
    __atomic_add_fetch(&delivery_total, 1, __ATOMIC_RELAXED);
    return told;
}

/* ---- Decisions ---- */

static uint32_t mixed(uint32_t a, uint32_t b)
{
    uint64_t value = (plan.seed * UINT64_C(0x9e3779b97f4a7c15)) ^ ((uint64_t) a << 32 | b);
    value ^= value >> 29;
    value *= UINT64_C(0xbf58476d1ce4e5b9);
    return (uint32_t) (value >> 32);
}

void oracle_decide(unsigned session, const struct cbp_event_message *message, uint32_t *code,
                   uint32_t *access)
{
    static const uint32_t codes[] = {CBP_ERROR_ACCESS_DENIED, CBP_ERROR_FILE_NOT_FOUND,
                                     CBP_ERROR_GEN_FAILURE};
    uint32_t draw = mixed(message->process_id, message->item0.type << 8 | session);
    bool is_refusable = (message->item0.flags & CBP_EVENT_FLAG_REFUSABLE) != 0;
    *code = 0;
    *access = message->item0.desired_access;
    if (!plan.refuses || !is_refusable)
        return;
    if (draw % 8 == 0)
        *code = codes[draw / 8 % 3];
    else if (draw % 8 < 4)
        *access &= draw >> 8;
}

void oracle_answered(struct told *told, uint32_t code, uint32_t access)
{
    told->code = code;
    told->access = access;
    if (__atomic_add_fetch(&told->accepted, 1, __ATOMIC_SEQ_CST) > 1)
        wrong("two answers to one message are accepted");
    __atomic_add_fetch(&answer_total, 1, __ATOMIC_RELAXED);
}

/* ---- Checking ---- */

static NTSTATUS status_of(uint32_t code)
{
    if (code == 0)
        return STATUS_SUCCESS;
    return code == CBP_ERROR_ACCESS_DENIED ? STATUS_ACCESS_DENIED : STATUS(0xC0070000u | code);
}

/* The refusal of the highest session counts. If one has closed meanwhile, it may have lost its rank. */
static void check_creation(unsigned story, const struct step_record *record)
{
    bool fits = false, is_first = true, is_any_over = false;
    for (unsigned i = 0; i < plan.sessions; i++)
        is_any_over |= record->is_over[i];
    for (unsigned i = 0; i < plan.sessions; i++) {
        const struct told *told = told_at(i, story, STEP_CREATION);
        if (told->accepted == 0 || told->code == 0)
            continue;
        fits |= (is_first || is_any_over) && record->status == status_of(told->code);
        is_first = false;
    }
    if (is_first) /* nobody has refused */
        fits = record->status == STATUS_SUCCESS;
    if (!fits)
        wrong("process %u: the creation ends with 0x%x, which is not what was answered", story_pid(story),
              (unsigned) record->status);
}

static void check_handle(unsigned story, enum step step, const struct step_record *record)
{
    uint32_t removable = step == STEP_OPEN_THREAD ? TAKEN_OF_THREAD : TAKEN_OF_PROCESS, lost = 0;
    for (unsigned i = 0; i < plan.sessions; i++) {
        const struct told *told = told_at(i, story, step);
        if (told->accepted > 0)
            lost |= told->code != 0 ? removable : record->access & ~told->access & removable;
    }
    if (record->left != (record->access & ~lost))
        wrong("process %u, step %d: of the rights 0x%x 0x%x are left, and should be 0x%x", story_pid(story),
              step, record->access, record->left, record->access & ~lost);
}

static bool is_refusal(enum step step, const struct told *told, const struct step_record *record)
{
    if (step != STEP_CREATION && step != STEP_OPEN && step != STEP_OPEN_THREAD && step != STEP_DUPLICATE)
        return false;
    uint32_t removable = step == STEP_OPEN_THREAD ? TAKEN_OF_THREAD : TAKEN_OF_PROCESS;
    return told->code != 0 || (step != STEP_CREATION && (record->access & removable & ~told->access) != 0);
}

/* Each step is told once. If nothing closed, it was answered, or its deadline has passed. */
static void check_told(unsigned session, unsigned story, enum step step, const struct step_record *record)
{
    const struct told *told = told_at(session, story, step);
    if (told->deliveries > 0 && !record->is_done)
        wrong("process %u, step %d is told, and has not happened", story_pid(story), step);
    if (told->accepted > 0 && is_refusal(step, told, record))
        refusals_of[session]++;
    if (!record->is_done || record->is_over[session] || !plan.counts_exactly)
        return;
    if (told->deliveries == 0)
        wrong("process %u, step %d is lost for session %u", story_pid(story), step, session);
    if (told->accepted == 0) {
        timeouts_of[session]++;
        timeout_total++;
    }
}

static void check_order(unsigned session, unsigned story)
{
    uint64_t last = 0;
    for (enum step step = 0; step < STEP_COUNT; step++) {
        const struct told *told = told_at(session, story, step);
        if (told->deliveries == 0)
            continue;
        if (told->sequence <= last)
            wrong("process %u, step %d has sequence %llu after %llu", story_pid(story), step,
                  (unsigned long long) told->sequence, (unsigned long long) last);
        last = told->sequence;
    }
}

/* The numbers of a session's events have no gap and no double, unless it closed before it had got all. */
static void check_sequences(unsigned session)
{
    size_t count = (size_t) story_count * STEP_COUNT, seen_count = 0;
    uint64_t highest = 0;
    uint8_t *seen = calloc(1, 2 * count + 4096);
    for (size_t i = 0; i < count; i++) {
        const struct told *told = &told_of[session][i];
        if (told->deliveries == 0)
            continue;
        if (told->sequence == 0 || told->sequence >= 2 * count + 4096 || seen[told->sequence])
            wrong("session %u has the sequence number %llu twice, or it is none", session,
                  (unsigned long long) told->sequence);
        seen[told->sequence] = 1;
        seen_count++;
        if (told->sequence > highest)
            highest = told->sequence;
    }
    free(seen);
    seen_count += foreign_of[session];
    if (plan.counts_exactly && highest > seen_count)
        wrong("session %u has got %zu events, and the last one has number %llu", session, seen_count,
              (unsigned long long) highest);
}

void oracle_check(void)
{
    for (unsigned story = 0; story < story_count; story++)
        for (enum step step = 0; step < STEP_COUNT; step++) {
            const struct step_record *record = oracle_step(story, step);
            for (unsigned i = 0; i < plan.sessions; i++)
                check_told(i, story, step, record);
            if (!record->is_done)
                continue;
            step_total++;
            if (step == STEP_CREATION)
                check_creation(story, record);
            else if (step == STEP_OPEN || step == STEP_OPEN_THREAD || step == STEP_DUPLICATE)
                check_handle(story, step, record);
        }
    for (unsigned i = 0; i < plan.sessions; i++) {
        for (unsigned story = 0; story < story_count; story++)
            check_order(i, story);
        check_sequences(i);
    }
}

void oracle_check_counts(unsigned session, const struct cbp_kernel_counts *counts)
{
    if (counts->lost != 0 || counts->timed_out != timeouts_of[session] ||
        counts->refused != refusals_of[session])
        wrong("session %u counts %llu lost, %llu timed out, %llu refused; it should be 0, %u, %u", session,
              (unsigned long long) counts->lost, (unsigned long long) counts->timed_out,
              (unsigned long long) counts->refused, timeouts_of[session], refusals_of[session]);
}

unsigned long oracle_deliveries(void)
{
    return delivery_total;
}

unsigned long oracle_answers(void)
{
    return answer_total;
}

unsigned long oracle_timeouts(void)
{
    return timeout_total;
}

unsigned long oracle_steps(void)
{
    return step_total;
}

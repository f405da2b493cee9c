/* Lets a thread of a controller that hears of its own requests open a process: as anybody, as a worker, and again
 * as anybody. The session is told of the first and the last one. */
#include <stdio.h>
#include <string.h>

#include "cbp_kernel_control.h"
#include "solo.h"

enum { STRANGER_PID = 0x9000, SYSTEM_PID = 4, ACCESS = 0x1fffff, TIMEOUT_MS = 3000 };

static void expect(uint32_t code, const char *what)
{
    if (code != 0)
        wrong("%s ends with %u", what, code);
}

static uint32_t open_session(struct controller *controller)
{
    struct cbp_session_settings settings = {.header = {sizeof settings, CBP_MESSAGE_SESSION, 2, 0},
                                            .session_id = SOLO_SESSION,
                                            .events = CBP_PROC_EVT_PROCESS_HANDLE_OPERATION,
                                            .flags = CBP_SESSION_FLAG_OWN_REQUESTS,
                                            .timeout_ms = TIMEOUT_MS};
    return controller_request(controller, &settings, sizeof settings, NULL);
}

static uint32_t become_worker(struct controller *controller, uint32_t is_worker)
{
    struct cbp_kernel_worker worker = {.header = {sizeof worker, CBP_MESSAGE_KERNEL_WORKER, 7, 0},
                                       .session_id = SOLO_SESSION,
                                       .is_worker = is_worker};
    return controller_request(controller, &worker, sizeof worker, NULL);
}

static void open_stranger(struct nt_process *stranger)
{
    if (callback_handle(&(struct handle_operation){.object = stranger, .access = ACCESS}) != ACCESS)
        wrong("rights are lost that nobody has taken");
}

/* Gives the sequence of the next message, which is about the stranger. */
static uint64_t next(struct controller *controller)
{
    union solo_message message;
    NTSTATUS status = solo_receive(controller, &message);
    if (status != STATUS_SUCCESS || message.message.process_id != STRANGER_PID)
        wrong("a receive ends with 0x%x and process %u", (unsigned) status, message.message.process_id);
    return message.message.sequence;
}

void exempt_run(struct image *image, const struct options *options)
{
    struct controller controller;
    struct cbp_kernel_counts counts;
    struct nt_thread *self = actor();
    (void) options;
    solo_open(image, &controller);
    struct nt_process *stranger =
        process_create(STRANGER_PID, SYSTEM_PID, "\\Device\\HarddiskVolume2\\stranger.exe");
    expect(open_session(&controller), "SESSION");
    expect(controller_ask_all(&controller, SOLO_SESSION), "RULES");
    expect(controller_arm(&controller, SOLO_SESSION, "385201", true), "KERNEL_SESSION");
    open_stranger(stranger);
    uint64_t sequence = next(&controller);
    expect(become_worker(&controller, 1), "KERNEL_WORKER");
    open_stranger(stranger);
    expect(become_worker(&controller, 0), "KERNEL_WORKER");
    open_stranger(stranger);
    bool is_next = next(&controller) == sequence + 1;
    expect(controller_beat(&controller, SOLO_SESSION, &counts), "BEAT");
    if (!is_next || counts.backlog != 0)
        wrong("the session is told of what a worker does");
    process_end(stranger, STATUS_SUCCESS);
    process_forget(stranger);
    solo_close(&controller, self);
    printf("exempt: what a worker does is not told\n");
}

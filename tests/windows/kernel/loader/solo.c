/* Plays one controller whose requests a test sends one by one, and creations that wait for it. */
#include <stdlib.h>
#include <string.h>

#include "cbp_kernel_control.h"
#include "solo.h"

enum { CONTROLLER_PID = 0x8000, ORIGINATOR_PID = 0x7000, SYSTEM_PID = 4 };

void solo_open(struct image *image, struct controller *controller)
{
    NTSTATUS status = io_load(image);
    if (!NT_SUCCESS(status))
        wrong("DriverEntry ends with 0x%x", (unsigned) status);
    controller_open(controller, CONTROLLER_PID);
    if (!controller->file || controller_hello(controller) != 0)
        wrong("the device cannot be opened, or does not speak this protocol");
}

void solo_close(struct controller *controller, struct nt_thread *self)
{
    controller_close_file(controller);
    controller_forget(controller);
    actor_set(self);
    io_unload();
    objects_clear();
}

static void create(struct player *player)
{
    struct solo_operation *operation = player->context;
    struct nt_process *process =
        process_create(operation->pid, ORIGINATOR_PID, "\\Device\\HarddiskVolume2\\solo.exe");
    UNICODE_STRING *name = text_make("\\??\\C:\\solo.exe");
    PS_CREATE_NOTIFY_INFO info = {.Size = sizeof info,
                                  .Flags = 1,
                                  .ParentProcessId = ORIGINATOR_PID,
                                  .CreatingProcess = ORIGINATOR_PID,
                                  .CreatingThread = ORIGINATOR_PID + 4,
                                  .ImageFileName = name,
                                  .CommandLine = name};
    operation->began_ns = time_now_ns();
    operation->status = callback_process_created(process, &info);
    operation->took_ns = time_now_ns() - operation->began_ns;
    __atomic_store_n(&operation->is_over, 1, __ATOMIC_SEQ_CST);
    process_end(process, STATUS_SUCCESS);
    process_forget(process);
    free(name);
}

void solo_create(struct solo_operation *operation, uint32_t pid)
{
    memset(operation, 0, sizeof *operation);
    operation->pid = pid;
    operation->originator =
        process_create(ORIGINATOR_PID, SYSTEM_PID, "\\Device\\HarddiskVolume2\\originator.exe");
    operation->player.self = thread_create(ORIGINATOR_PID + 4, operation->originator);
    operation->player.context = operation;
    operation->player.play = create;
    players_start(&operation->player, 1);
}

bool solo_is_over(const struct solo_operation *operation)
{
    return __atomic_load_n(&operation->is_over, __ATOMIC_SEQ_CST) != 0;
}

void solo_join(struct solo_operation *operation)
{
    players_join(&operation->player, 1);
    thread_forget(operation->player.self);
    process_end(operation->originator, STATUS_SUCCESS);
    process_forget(operation->originator);
}

NTSTATUS solo_receive(struct controller *controller, union solo_message *message)
{
    struct cbp_kernel_receive receive = {.header = {sizeof receive, CBP_MESSAGE_KERNEL_RECEIVE, 0, 0},
                                         .session_id = SOLO_SESSION};
    struct io_file *file = controller_hold(controller);
    if (!file)
        return STATUS_CANCELLED;
    NTSTATUS status =
        io_control(file, CBP_KERNEL_RECEIVE, &receive, sizeof receive, message, sizeof *message, NULL);
    io_release(file);
    return status;
}

uint32_t solo_answer(struct controller *controller, const union solo_message *message, uint32_t code)
{
    struct cbp_kernel_answer answer = {
        .header = {sizeof answer, CBP_MESSAGE_KERNEL_ANSWER, message->message.header.id, 0},
        .session_id = SOLO_SESSION,
        .item_count = message->message.item_count,
        .item0 = message->message.item0};
    answer.item0.result_code = code;
    return controller_request(controller, &answer, sizeof answer, NULL);
}

uint32_t solo_move_deadline(struct controller *controller, const union solo_message *message,
                            uint32_t timeout_ms)
{
    struct cbp_kernel_deadline deadline = {
        .header = {sizeof deadline, CBP_MESSAGE_KERNEL_DEADLINE, message->message.header.id, 0},
        .session_id = SOLO_SESSION,
        .moves = 1,
        .timeout_ms = timeout_ms};
    return controller_request(controller, &deadline, sizeof deadline, NULL);
}

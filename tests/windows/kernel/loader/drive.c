/* Drives any driver a little, as the test drivers of violations/ need it: two control requests at once, some
 * processes, some handles, unload. Knows no protocol. */
#include <stdio.h>
#include <string.h>

#include "scenario.h"

enum { TURNS = 2, OUTPUT_SIZE = 64, ROOM = 64, CONTROL_CODE = 0x8000u << 16 | 0x801u << 2, PROCESSES = 3 };

static struct io_file *file;
static struct io_request *requests[TURNS];

static void send_one(struct player *player)
{
    static uint8_t outputs[TURNS][OUTPUT_SIZE];
    uint8_t input = (uint8_t) player->index;
    requests[player->index] =
        io_send(file, CONTROL_CODE, &input, sizeof input, outputs[player->index], OUTPUT_SIZE);
    io_cancel(requests[player->index]);
}

static void fire(uint32_t pid)
{
    struct nt_process *process = process_create(pid, process_id(thread_process(actor())), "\\Device\\a.exe");
    UNICODE_STRING name = {0};
    PS_CREATE_NOTIFY_INFO info = {.Size = sizeof info, .ImageFileName = &name, .CommandLine = &name};
    callback_process_created(process, &info);
    callback_thread(process, pid + 1, true);
    for (unsigned i = 0; i < 4; i++)
        callback_handle(&(struct handle_operation){.object = process,
                                                   .is_duplication = i / 2 != 0,
                                                   .is_kernel_handle = i % 2 != 0,
                                                   .access = 0x401,
                                                   .source = process,
                                                   .target = process});
    callback_thread(process, pid + 1, false);
    callback_process_ended(process);
    process_end(process, STATUS_SUCCESS);
    process_forget(process);
}

void drive_run(struct image *image, const struct options *options)
{
    struct player players[TURNS] = {0};
    NTSTATUS status = io_load(image);
    (void) options;
    if (!NT_SUCCESS(status))
        wrong("DriverEntry gives 0x%x", (unsigned) status);
    file = io_open("\\Device\\Violation", &status);
    if (!file)
        wrong("the device cannot be opened: 0x%x", (unsigned) status);
    for (unsigned i = 0; i < TURNS; i++)
        players[i].play = send_one;
    players_start(players, TURNS);
    players_join(players, TURNS);
    for (uint32_t i = 0; i < PROCESSES; i++)
        fire(1000 + i * 8);
    io_close(file);
    for (unsigned i = 0; i < TURNS; i++)
        io_finish(requests[i], NULL);
    io_unload();
}

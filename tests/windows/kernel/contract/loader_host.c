/* Carries the contract test to the loader: loads the test's driver as it is built for Windows, and makes its calls.
 *
 *     loader_host nt_contract.sys */
#include <stdio.h>
#include <stdlib.h>

#include "loader.h"
#include "nt_contract.h"

enum { SYSTEM_PID = 4, PID = 1000, TID = 1004, LIMIT_S = 120, PAUSE_NS = 1000000 };

struct call {
    struct io_request *request;
    uint64_t information;
    NTSTATUS status;
    bool is_finished;
};

static void *open_device(void)
{
    NTSTATUS status;
    return io_open(CONTRACT_DEVICE, &status);
}

static void close_file(void *file)
{
    io_close(file);
}

static void *start(void *file, uint32_t code, const void *input, uint32_t input_size, void *output,
                   uint32_t output_size)
{
    struct call *call = calloc(1, sizeof *call);
    call->request = io_send(file, code, input, input_size, output, output_size);
    return call;
}

static int wait_for(void *memory, uint32_t ms, uint32_t *status, uint32_t *information)
{
    struct call *call = memory;
    uint32_t word = 0;
    for (uint32_t i = 0; !call->is_finished && i < ms && !io_is_complete(call->request); i++)
        (void) wait_on_word_for(&word, 0, PAUSE_NS);
    if (!call->is_finished && !io_is_complete(call->request))
        return 0;
    if (!call->is_finished)
        call->status = io_finish(call->request, &call->information);
    call->is_finished = true;
    *status = (uint32_t) call->status;
    *information = NT_ERROR(call->status) ? 0 : (uint32_t) call->information;
    return 1;
}

static void cancel(void *memory)
{
    io_cancel(((struct call *) memory)->request);
}

static void release(void *memory)
{
    struct call *call = memory;
    uint32_t status, information;
    (void) wait_for(call, 0, &status, &information);
    free(call);
}

static void say(const char *what)
{
    printf("loader: does not hold: %s\n", what);
}

int main(int count, char **arguments)
{
    static const struct contract_host host = {open_device, close_file, start, wait_for, cancel, release, say};
    struct image image;
    uint32_t checks, failures;
    if (count != 2 || !image_read(&image, arguments[1]))
        return 2;
    verdicts_open(LIMIT_S);
    facts_print(true);
    actor_set(thread_create(SYSTEM_PID + 4, process_create(SYSTEM_PID, 0, "")));
    NTSTATUS status = io_load(&image);
    actor_set(thread_create(TID, process_create(PID, SYSTEM_PID, "\\Device\\HarddiskVolume2\\c.exe")));
    facts_volume('C', "\\Device\\HarddiskVolume2");
    if (!NT_SUCCESS(status)) {
        printf("loader: the driver is not loaded: %#x\n", (unsigned) status);
        return 1;
    }
    failures = contract_calls(&host, &checks);
    io_unload();
    printf("loader: %u checks, %u do not hold\n", (unsigned) checks, (unsigned) failures);
    return failures != 0;
}

/* Carries the contract test to the shim: loads the test's driver, and makes its calls. */
#include <stdio.h>
#include <stdlib.h>

#include "nt_contract.h"
#include "shim.h"

DRIVER_INITIALIZE DriverEntry;

enum { PID = 1000, TID = 1004 };

struct call {
    struct shim_call *call;
    void *output;
    bool is_done;
    uint32_t status, information;
};

static void *open_device(void)
{
    struct shim_file *file;
    shim_become(PID, TID);
    return NT_SUCCESS(shim_open(L"\\DosDevices\\CBContract", NULL, 3, &file)) ? file : NULL;
}

static int wait_for(void *memory, uint32_t ms, uint32_t *status, uint32_t *information)
{
    struct call *call = memory;
    size_t size;
    if (!call->is_done && shim_call_wait(call->call, ms)) {
        const void *output = shim_call_output(call->call, &size);
        memcpy(call->output, output, size);
        call->is_done = true;
        call->status = (uint32_t) shim_call_status(call->call);
        call->information = (uint32_t) size;
    }
    *status = call->status;
    *information = call->information;
    return call->is_done;
}

static void close_file(void *file)
{
    shim_close(file);
}

static void *start(void *file, uint32_t code, const void *input, uint32_t input_size, void *output,
                   uint32_t output_size)
{
    struct call *call = calloc(1, sizeof *call);
    call->output = output;
    call->call = shim_call_start(file, code, input, input_size, output_size);
    return call;
}

static void cancel(void *memory)
{
    shim_call_cancel(((struct call *) memory)->call);
}

static void release(void *memory)
{
    shim_call_free(((struct call *) memory)->call);
    free(memory);
}

static void say(const char *what)
{
    printf("shim: does not hold: %s\n", what);
}

int main(void)
{
    static const struct contract_host host = {open_device, close_file, start, wait_for, cancel, release, say};
    uint32_t checks, failures;
    setenv("SHIM_DEBUG_OUTPUT", "1", 1);
    shim_processes_init();
    shim_process_add(
        &(struct shim_process_plan){PID, 4, L"\\Device\\HarddiskVolume2\\c.exe", SHIM_ADMINISTRATOR});
    shim_thread_add(PID, TID);
    if (!NT_SUCCESS(shim_load(DriverEntry)))
        return 1;
    failures = contract_calls(&host, &checks);
    shim_unload();
    shim_processes_free();
    printf("shim: %u checks, %u do not hold\n", checks, failures);
    return failures != 0;
}

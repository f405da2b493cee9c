/* Speaks with cbpfire.sys. Knows no system call that is watched. */
#include "world.h"

static HANDLE device;

bool world_open(void)
{
    static WCHAR path[] = FIRE_NT_PATH;
    UNICODE_STRING name = {sizeof path - sizeof *path, sizeof path, path};
    OBJECT_ATTRIBUTES attributes = {
        .Length = sizeof attributes, .ObjectName = &name, .Attributes = OBJ_CASE_INSENSITIVE};
    IO_STATUS_BLOCK block;
    return NtCreateFile(&device, GENERIC_READ | GENERIC_WRITE, &attributes, &block, NULL, 0,
                        FILE_SHARE_READ | FILE_SHARE_WRITE, FILE_OPEN, 0, NULL, 0) == 0;
}

uint32_t world_control(uint32_t code, const void *in, uint32_t in_size, void *out, uint32_t out_size)
{
    IO_STATUS_BLOCK block = {0};
    HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);
    NTSTATUS status = NtDeviceIoControlFile(device, event, NULL, NULL, &block, code, (void *) (uintptr_t) in,
                                            in_size, out, out_size);
    if (status == STATUS_PENDING) {
        (void) NtWaitForSingleObject(event, FALSE, NULL);
        status = block.Status;
    }
    CloseHandle(event);
    return (uint32_t) status;
}

bool world_tell(const struct fire_operation *operation, struct fire_outcome *outcome)
{
    return world_control(FIRE_OPERATION, operation, sizeof *operation, outcome, sizeof *outcome) == 0;
}

/* Implements driver_file.h. */
#include "driver_file.h"

#include "cbprocess.h"
#include "errors.h"
#include "package.h"

#include <stdio.h>

#define OLD_FILES_MAX 100u
#define REMOVE_LOOKS 10u
#define REMOVE_LOOK_MS 20u

/* Sets path to the place of the old file with this number. */
static bool old_path(struct cbpi_path *path, const WCHAR *folder, unsigned number)
{
    WCHAR name[32];
    swprintf(name, 32, CBPI_DRIVER_FILE L".old%u", number);
    return cbpi_path_join(path, folder, name);
}

/* A copy that is not on the disk yet must not be what the system loads after a power failure. */
static bool flush(const WCHAR *path)
{
    HANDLE file = CreateFileW(path, GENERIC_WRITE, 0, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return false;
    bool is_done = FlushFileBuffers(file);
    DWORD os_error = GetLastError();
    CloseHandle(file);
    SetLastError(os_error);
    return is_done;
}

uint32_t cbpi_driver_file_write(struct cbpi_driver_file *file, const WCHAR *source, const WCHAR *folder)
{
    unsigned number = 0;
    if (!cbpi_path_join(&file->target, folder, CBPI_DRIVER_FILE) ||
        !cbpi_path_join(&file->incoming, folder, CBPI_DRIVER_FILE L".new"))
        return cbpi_fail(CBP_ERROR_PATH_NOT_FOUND, "the path of the driver's folder is too long");
    while (number < OLD_FILES_MAX && old_path(&file->outgoing, folder, number) &&
           cbpi_path_exists(&file->outgoing))
        number++;
    if (number == OLD_FILES_MAX)
        return cbpi_fail(CBP_ERROR_NO_SYSTEM_RESOURCES,
                         "too many old drivers wait for the next start of the system");
    file->is_written = true;
    if (!CopyFileW(source, file->incoming.text, FALSE) || !flush(file->incoming.text))
        return cbpi_fail_file(GetLastError(), "the driver cannot be written into its folder");
    return 0;
}

uint32_t cbpi_driver_file_place(struct cbpi_driver_file *file)
{
    if (cbpi_path_exists(&file->target)) {
        if (!MoveFileExW(file->target.text, file->outgoing.text, MOVEFILE_WRITE_THROUGH))
            return cbpi_fail_file(GetLastError(), "the old driver cannot be moved out of the way");
        file->is_set_aside = true;
    }
    if (!MoveFileExW(file->incoming.text, file->target.text, MOVEFILE_WRITE_THROUGH))
        return cbpi_fail_file(GetLastError(), "the driver cannot be put into its place");
    file->is_placed = true;
    return 0;
}

void cbpi_driver_file_undo(struct cbpi_driver_file *file)
{
    if (file->is_placed && !DeleteFileW(file->target.text))
        MoveFileExW(file->target.text, file->incoming.text, MOVEFILE_REPLACE_EXISTING);
    if (file->is_set_aside)
        MoveFileExW(file->outgoing.text, file->target.text, MOVEFILE_REPLACE_EXISTING);
    if (file->is_written && cbpi_path_exists(&file->incoming))
        cbpi_driver_file_remove(&file->incoming);
    file->is_placed = file->is_set_aside = file->is_written = false;
}

void cbpi_driver_file_commit(struct cbpi_driver_file *file)
{
    if (file->is_set_aside)
        cbpi_driver_file_remove(&file->outgoing);
}

/* A file that was just unloaded, or that a scanner looks at, can be removed a moment later. */
void cbpi_driver_file_remove(const struct cbpi_path *path)
{
    for (unsigned look = 0; look < REMOVE_LOOKS; look++) {
        if (DeleteFileW(path->text) || GetLastError() == ERROR_FILE_NOT_FOUND)
            return;
        Sleep(REMOVE_LOOK_MS);
    }
    MoveFileExW(path->text, NULL, MOVEFILE_DELAY_UNTIL_REBOOT);
}

void cbpi_driver_file_remove_old(const WCHAR *folder)
{
    struct cbpi_path path;
    for (unsigned number = 0; number < OLD_FILES_MAX && old_path(&path, folder, number); number++)
        if (cbpi_path_exists(&path))
            cbpi_driver_file_remove(&path);
}

/* Tells what has been executed already: of a process that runs, by /proc, and of a record. See execution.h. */
#include "execution.h"

#include "cbp_constants.h"
#include "execution_reading.h"
#include "running.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- A process that runs ---- */

/* Reads /proc/PID/cmdline to the list. False: it is gone, too long, or memory is lacking. */
static bool read_command_line(uint32_t thread_id, struct text *list)
{
    int fd = cbpd_open_proc(thread_id, "cmdline", O_RDONLY);
    ssize_t got = 1;
    list->size = 0;
    while (fd >= 0 && got > 0 && list->size <= CBP_ARGUMENTS_SIZE_MAX &&
           text_reserve(list, list->size + TASK_PAGE_SIZE)) {
        got = read(fd, list->bytes + list->size, list->capacity - list->size);
        list->size += got > 0 ? (size_t) got : 0;
    }
    if (fd >= 0)
        close(fd);
    return fd >= 0 && got == 0 && list->size > 0 && list->bytes[list->size - 1] == 0;
}

bool cbpi_execution_look(struct cbpi_executions *executions, uint32_t process_id, bool wants_arguments,
                         struct cbpi_execution *execution)
{
    struct cbpi_execution_reading *reading = &executions->reading;
    struct chain *chain = &reading->chain;
    uint32_t thread_id = cbpd_living_thread(process_id);
    const struct place place = {.pid = process_id, .tid = thread_id};
    bool has_given = cbpd_read_execfn(&reading->lists.window, thread_id, &reading->path);
    cbpd_read_running_chain(chain, &place, has_given ? reading->path.bytes : "");
    if (chain->file_count == 0 || chain->files[chain->file_count - 1].path_size == 0)
        return false;
    reading->are_arguments_known = wants_arguments && read_command_line(thread_id, &reading->lists.list);
    cbpi_fill_execution(reading, process_id, thread_id, execution);
    return true;
}

/* ---- A record ---- */

/* The texts of a record, each with a NUL of its own. */
struct record_texts {
    struct text *given;
    char path[PATH_MAX];
    const char *folder;
    uint32_t path_size, folder_size;
};

static bool read_texts(const struct cbp_machine_exec *record, struct text *given, struct record_texts *texts)
{
    const char *text = (const char *) (record + 1);
    texts->path_size = record->path_size < PATH_MAX ? record->path_size : 0;
    memcpy(texts->path, text, texts->path_size);
    texts->path[texts->path_size] = 0;
    texts->folder = text + record->path_size + record->given_size;
    texts->folder_size = record->folder_size;
    texts->given = given;
    given->size = 0;
    return text_append(given, text + record->path_size, record->given_size) && text_append(given, "", 1);
}

/* Appends the parts of a path, without "." and what ".." takes back. Gives the new size; 0: too long. */
static size_t append_parts(char path[PATH_MAX], size_t size, const char *parts, size_t parts_size)
{
    for (size_t at = 0, length; at < parts_size; at += length + 1) {
        const char *part = parts + at, *end = memchr(part, '/', parts_size - at);
        length = end ? (size_t) (end - part) : parts_size - at;
        if (length == 2 && memcmp(part, "..", 2) == 0) {
            while (size > 0 && path[--size] != '/')
                continue;
        } else if (length > 0 && !(length == 1 && *part == '.')) {
            if (size + length + 1 >= PATH_MAX)
                return 0;
            path[size++] = '/';
            memcpy(path + size, part, length);
            size += length;
        }
    }
    return size;
}

/* Makes the path of a file that cannot be looked up any more of names alone: links in it are not followed. */
static size_t path_by_names(const struct record_texts *texts, char path[PATH_MAX])
{
    size_t size = 0;
    if (texts->given->size <= 1 || (texts->given->bytes[0] != '/' && texts->folder_size == 0))
        return 0;
    if (texts->given->bytes[0] != '/')
        size = append_parts(path, 0, texts->folder, texts->folder_size);
    return append_parts(path, size, texts->given->bytes, texts->given->size - 1);
}

/* Makes the chain of a script that cannot be looked up: itself, and the program. */
static bool name_script(struct chain *chain, const struct record_texts *texts,
                        const struct executable *executable)
{
    struct located_file script = {.path_size = 0};
    script.path_size = path_by_names(texts, script.path);
    cbpd_chain_clear(chain);
    return cbpd_chain_add(chain, &script, texts->given->bytes) &&
           cbpd_chain_add(chain, &executable->file, executable->file.path) && script.path_size > 0;
}

/* Takes off the arguments what is before the script's path. */
static void begin_with_script(struct seen_arguments *seen, const char *given)
{
    const char *at = seen->bytes, *end = seen->bytes + seen->size;
    while (at < end && strcmp(at, given) != 0)
        at += strlen(at) + 1;
    if (at < end) {
        seen->size = (uint32_t) (end - at);
        seen->bytes = at;
    }
}

/* Reads the arguments of a process that still runs what the record tells of, if the record has only a part. */
static void read_cut_arguments(const struct cbp_machine_exec *record, struct text *list,
                               struct seen_arguments *seen)
{
    struct file_identity identity;
    if (cbpd_read_program_identity(record->record.thread_id, &identity, NULL) &&
        identity.inode == record->inode && read_command_line(record->record.thread_id, list))
        *seen = (struct seen_arguments){list->bytes, (uint32_t) list->size, true};
}

void cbpi_execution_of_record(struct cbpi_executions *executions, const struct cbp_machine_exec *record,
                              const char *arguments, uint32_t arguments_size, bool are_arguments_whole,
                              struct cbpi_execution *execution)
{
    struct record_texts texts;
    struct cbpi_execution_reading *reading = &executions->reading;
    struct chain *chain = &reading->chain;
    const struct place place = {.pid = record->record.process_id, .tid = record->record.thread_id};
    struct seen_arguments seen = {arguments, arguments_size, are_arguments_whole};
    struct executable executable = {.tid = place.tid, .is_known = record->path_size > 0};
    bool is_known = read_texts(record, &reading->name, &texts);
    if (!are_arguments_whole)
        read_cut_arguments(record, &reading->lists.list, &seen);
    memcpy(executable.file.path, texts.path, sizeof texts.path);
    executable.file.path_size = texts.path_size;
    executable.file.is_deleted = record->link_count == 0;
    if (!(record->record.flags & CBP_MACHINE_FLAG_SCRIPT)) {
        executable.file.identity = (struct file_identity){record->device, record->inode};
        is_known = cbpd_name_program(chain, &executable, reading->name.bytes) && is_known;
    } else if (!cbpd_find_chain(chain, &place, &executable, reading->name.bytes, &seen)) {
        /* A script that runs already may have removed itself; one that is held has not. */
        bool is_held = (record->record.flags & CBP_MACHINE_FLAG_HELD) != 0;
        is_known = name_script(chain, &texts, &executable) && is_known && !is_held;
        if (seen.is_complete)
            begin_with_script(&seen, reading->name.bytes);
    }
    reading->are_arguments_known = false;
    cbpi_fill_execution(reading, place.pid, place.tid, execution);
    execution->is_vague = !is_known || texts.path_size == 0;
    execution->arguments = seen.bytes;
    execution->arguments_size = seen.size;
    execution->are_arguments_whole = seen.is_complete;
    execution->user_id = record->record.user_id;
    execution->start_ns = record->record.start_ns;
    execution->device = record->device;
    execution->inode = record->inode;
}

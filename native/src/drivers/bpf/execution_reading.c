/* Reads what an execution that waits in fanotify is about; see execution_reading.h. The kernel has looked up the
 * file and checked the caller's permission by then. Before Linux 6.8 it has copied the arguments, too; later it
 * copies them after the answer. Knows no rules and no answers. */
#include "execution_reading.h"

#include "cbp_time.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void cbpi_free_reading(struct cbpi_execution_reading *reading)
{
    struct text *texts[] = {&reading->chain.names, &reading->chain.prefix,     &reading->path,
                            &reading->name,        &reading->lists.list,       &reading->lists.scratch,
                            &reading->composed,    &reading->lists.beginnings, &reading->chain.loader_path};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]->bytes);
}

bool cbpi_describe_file(int descriptor, struct cbpi_opened_file *file)
{
    struct stat status;
    if (fstat(descriptor, &status) != 0)
        return false;
    file->descriptor = descriptor;
    file->version.identity = (struct file_identity){status.st_dev, status.st_ino};
    file->version.change_ns =
        (uint64_t) status.st_ctim.tv_sec * CBP_NS_PER_S + (uint64_t) status.st_ctim.tv_nsec;
    file->version.size = (uint64_t) status.st_size;
    return true;
}

/* ---- The call ---- */

static bool is_by_descriptor_call(const struct cbp_machine_look *look)
{
    return (look->flags & CBP_MACHINE_LOOK_EXECVEAT) != 0;
}

/* Gives the arguments from the path on. */
static const uint64_t *places_of(const struct cbp_machine_look *look)
{
    return look->arguments + (is_by_descriptor_call(look) ? 1 : 0);
}

static bool read_path(struct cbpi_execution_reading *reading, const struct cbp_machine_look *look)
{
    const char *end = memchr(look->given, 0, look->given_size);
    reading->path.size = 0;
    if (end)
        return text_append(&reading->path, look->given, (size_t) (end - look->given) + 1);
    return cbpd_read_string(&reading->lists.window, look->thread_id, places_of(look)[0], &reading->path);
}

bool cbpi_read_call(struct cbpi_execution_reading *reading, const struct cbp_machine_look *look)
{
    struct cbpi_call *call = &reading->call;
    memset(call, 0, sizeof *call);
    reading->is_by_kernel = look->stack_pointer == 0;
    if (reading->is_by_kernel)
        return true;
    if ((look->flags & (CBP_MACHINE_LOOK_EXECVE | CBP_MACHINE_LOOK_EXECVEAT)) == 0)
        return false;
    if (is_by_descriptor_call(look) && ((int) look->arguments[4] & ~EXECVEAT_FLAGS) != 0)
        return false;
    if (!read_path(reading, look))
        return false;
    call->number = look->call;
    memcpy(call->arguments, look->arguments, sizeof call->arguments);
    call->stack_pointer = look->stack_pointer;
    call->path = cbpd_digest_of(reading->path.bytes, reading->path.size);
    return true;
}

bool cbpi_is_same_call(const struct cbpi_call *a, const struct cbpi_call *b)
{
    return a->number == b->number && a->stack_pointer == b->stack_pointer &&
           memcmp(a->arguments, b->arguments, sizeof a->arguments) == 0 &&
           cbpd_digest_equals(a->path, b->path);
}

/* ---- Names ---- */

/* Makes the name that the kernel gives to the program. */
static bool read_name(struct cbpi_execution_reading *reading, const struct cbp_machine_look *look,
                      bool *is_by_descriptor)
{
    int fd = is_by_descriptor_call(look) ? (int) (int32_t) look->arguments[0] : AT_FDCWD;
    *is_by_descriptor = false;
    if (!reading->is_by_kernel)
        return cbpd_compose_name(&reading->path, fd, &reading->name, is_by_descriptor);
    reading->name.size = 0;
    return text_append(&reading->name, look->path + look->path_begin, look->path_size) &&
           text_append(&reading->name, "", 1);
}

/* Adds the opened file under a given name; NULL: under its path. */
static bool add_file(struct cbpi_execution_reading *reading, const struct cbp_machine_look *look,
                     const struct cbpi_opened_file *file, const char *given)
{
    struct located_file located = {.changed_ns = 0};
    if (look->path_size == 0 || look->path_size >= sizeof located.path)
        return false;
    located.path_size = look->path_size;
    memcpy(located.path, look->path + look->path_begin, look->path_size);
    located.path[located.path_size] = 0;
    located.identity = file->version.identity;
    located.is_deleted = (look->flags & CBP_MACHINE_LOOK_DELETED) != 0;
    return cbpd_chain_add(&reading->chain, &located, given ? given : located.path);
}

/* Follows the chain from its last file, which is this one. */
static enum resolution follow(struct cbpi_execution_reading *reading, struct cbpi_known_programs *programs,
                              const struct cbp_machine_look *look, const struct cbpi_opened_file *file,
                              const char *given)
{
    struct chain *chain = &reading->chain;
    const struct place place = {.pid = look->process_id, .tid = look->thread_id};
    uint32_t file_count = chain->file_count;
    const struct cbpi_known_program *known = cbpi_find_program(programs, &file->version);
    chain->has_loader = known && known->has_loader;
    chain->loader = known ? known->loader : (struct file_identity){0, 0};
    if (known)
        return RESOLVED;
    chain->wants_loader = true;
    enum resolution resolution = cbpd_follow_chain(&place, file->descriptor, given, chain);
    if (resolution == RESOLVED && chain->file_count == file_count && !chain->is_unreadable) {
        const struct cbpi_known_program program = {file->version, chain->has_loader, chain->loader,
                                                   chain->has_loader ? chain->loader_path.bytes : NULL};
        cbpi_remember_program(programs, &program);
    }
    return resolution;
}

/* ---- Arguments ---- */

/* Counts the pointers before NULL. False: it is not among those that the look has read. */
static bool count_pointers(const struct cbp_machine_look *look, bool is_narrow, size_t *count)
{
    size_t all = look->pointers_size / (is_narrow ? 4 : 8);
    for (size_t i = 0; i < all; i++) {
        if (cbpd_word_at(look->pointers, i, is_narrow) == 0) {
            *count = i;
            return true;
        }
    }
    return false;
}

static bool read_arguments(struct cbpi_execution_reading *reading, const struct cbp_machine_look *look)
{
    const uint64_t *places = places_of(look);
    bool is_narrow = (look->flags & CBP_MACHINE_LOOK_NARROW) != 0;
    size_t count;
    if (count_pointers(look, is_narrow, &count) &&
        cbpd_read_few_arguments(&reading->lists, look->thread_id, look->pointers, count, is_narrow))
        return true;
    const struct argument_places lists = {.arguments = places[1],
                                          .environment = places[2],
                                          .is_32bit = is_narrow,
                                          .name_size = reading->name.size,
                                          .prefix_size = reading->chain.prefix.size};
    return cbpd_read_argument_list(&reading->lists, look->thread_id, &lists);
}

/* Completes the arguments: the kernel adds an empty one to an empty list. */
static bool complete_arguments(struct cbpi_execution_reading *reading)
{
    struct text *list = &reading->lists.list;
    return cbpd_compose_arguments(&reading->chain, list, &reading->composed) &&
           (list->size > 0 || text_append(list, "", 1));
}

/* ---- All of it ---- */

void cbpi_fill_execution(const struct cbpi_execution_reading *reading, uint32_t process_id,
                         uint32_t thread_id, struct cbpi_execution *execution)
{
    const struct chain *chain = &reading->chain;
    *execution = (struct cbpi_execution){
        .process_id = process_id, .thread_id = thread_id, .file_count = chain->file_count, .arguments = ""};
    for (uint32_t i = 0; i < chain->file_count; i++) {
        const struct chain_file *file = &chain->files[i];
        execution->files[i] = (struct cbpd_image_file){.path = chain->names.bytes + file->path_at,
                                                       .path_size = file->path_size,
                                                       .given = chain->names.bytes + file->given_at,
                                                       .given_size = file->given_size,
                                                       .device = file->device,
                                                       .inode = file->inode,
                                                       .is_deleted = file->is_deleted};
    }
    execution->are_arguments_whole = reading->are_arguments_known;
    if (reading->are_arguments_known) {
        execution->arguments = reading->lists.list.bytes;
        execution->arguments_size = (uint32_t) reading->lists.list.size;
    }
}

enum cbpi_reading_result cbpi_read_execution(struct cbpi_execution_reading *reading,
                                             struct cbpi_known_programs *programs,
                                             const struct cbp_machine_look *look,
                                             const struct cbpi_opened_file *file)
{
    struct chain *chain = &reading->chain;
    bool is_first = chain->file_count == 0, is_by_descriptor = false;
    reading->are_arguments_known = false;
    chain->is_foreign = false;
    if (is_first && !read_name(reading, look, &is_by_descriptor))
        return CBPI_READING_VAGUE;
    if (!add_file(reading, look, file, is_first ? reading->name.bytes : NULL))
        return CBPI_READING_VAGUE;
    const char *given = chain->names.bytes + chain->files[chain->file_count - 1].given_at;
    enum resolution resolution = follow(reading, programs, look, file, given);
    if (resolution == UNKNOWN && chain->is_foreign)
        return CBPI_READING_FOREIGN;
    if (resolution == BOUND_TO_FAIL ||
        (is_by_descriptor && chain->dropped > 0 &&
         cbpd_closes_on_execution(look->thread_id, (int) (int32_t) look->arguments[0])))
        return CBPI_READING_NO_EXECUTION;
    if (!reading->is_by_kernel) {
        if (!read_arguments(reading, look))
            return CBPI_READING_NO_EXECUTION;
        reading->are_arguments_known = complete_arguments(reading);
    }
    return resolution == RESOLVED && !chain->is_unreadable ? CBPI_READING_DONE : CBPI_READING_VAGUE;
}

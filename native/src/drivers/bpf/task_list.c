/* Implements task_list.h. */
#define _GNU_SOURCE
#include "task_list.h"

#include "cbp_machine.h"
#include "errors.h"
#include "os_error.h"
#include "process_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BPF_COMMAND_ITERATOR_CREATE 33 /* BPF_ITER_CREATE, which older headers lack */
#define TICK_NS 10000000u              /* /proc counts in hundredths of a second everywhere */
#define TITLE_SIZE_MAX 4096u
#define FIRST_PROCESS_ID 1u

/* A read with room for all that the kernel has at a time gives whole records. */
#define READ_SIZE (2u * CBP_MACHINE_LISTED_SIZE_MAX)

struct list {
    bool with_arguments;
    bool is_begun;
    uint32_t (*visit)(void *context, const struct cbpi_listed *listed);
    void *context;
    struct cbpi_listed *from_proc; /* the one that /proc is asked about */
    char title[TITLE_SIZE_MAX + 1];
    char bytes[READ_SIZE];
};

static int open_iterator(int link)
{
    struct {
        uint32_t link, flags;
    } attributes = {.link = (uint32_t) link};
    return (int) syscall(SYS_bpf, BPF_COMMAND_ITERATOR_CREATE, &attributes, sizeof attributes);
}

/* A later process can have the id by now. It has started after the list was begun, and is left out. */
static uint32_t visit_read(void *context, const struct cbpi_process_facts *facts)
{
    struct list *list = context;
    if (facts->start_time != list->from_proc->facts.start_time && facts->process_id != FIRST_PROCESS_ID)
        return 0;
    list->from_proc->facts = *facts;
    list->from_proc->start_ns =
        list->from_proc->start_ns ? list->from_proc->start_ns : facts->start_time * TICK_NS;
    return list->visit(list->context, list->from_proc);
}

static uint32_t visit_through_proc(struct list *list, struct cbpi_listed *listed)
{
    list->from_proc = listed;
    return cbpi_process_visit(listed->facts.process_id, list->with_arguments, visit_read, list);
}

/* Kernels that guard the machine's first process leave it out of their list. */
static uint32_t visit_first_process(struct list *list, const struct cbp_machine_listed *first)
{
    struct cbpi_listed listed = {.facts.process_id = FIRST_PROCESS_ID};
    bool is_missing = !list->is_begun && first->process_id != FIRST_PROCESS_ID;
    list->is_begun = true;
    return is_missing ? visit_through_proc(list, &listed) : 0;
}

/* A title ends with its first NUL, or has none. */
static void take_title(struct list *list, struct cbpi_process_facts *facts)
{
    size_t size = facts->arguments_size < TITLE_SIZE_MAX ? facts->arguments_size : TITLE_SIZE_MAX;
    size = strnlen(facts->arguments, size);
    memcpy(list->title, facts->arguments, size);
    list->title[size] = '\0';
    facts->arguments = list->title;
    facts->arguments_size = size + 1;
}

static uint32_t visit_record(struct list *list, const struct cbp_machine_listed *record, const char *texts)
{
    struct cbpi_listed listed = {.facts = {.process_id = record->process_id,
                                           .parent_process_id = record->parent_process_id,
                                           .thread_count = record->thread_count,
                                           .start_time = record->start_ns / TICK_NS,
                                           .user_id = record->effective_user_id,
                                           .name = texts,
                                           .name_size = record->name_size,
                                           .arguments = texts + record->name_size},
                                 .start_ns = record->start_ns,
                                 .execution_count = record->execution_count,
                                 .real_user_id = record->user_id};
    uint32_t unknown = CBP_MACHINE_LISTED_NO_NAME;
    if (list->with_arguments)
        unknown |= CBP_MACHINE_LISTED_NO_ARGUMENTS;
    if (record->flags & unknown)
        return visit_through_proc(list, &listed);
    if (record->flags & CBP_MACHINE_LISTED_NAME)
        listed.facts.flags |= CBP_SNAPSHOT_FLAG_SHORT_NAME;
    if (record->flags & CBP_MACHINE_LISTED_DELETED)
        listed.facts.flags |= CBP_SNAPSHOT_FLAG_IMAGE_DELETED;
    if (record->flags & CBP_MACHINE_LISTED_ENDED)
        listed.facts.flags |= CBP_SNAPSHOT_FLAG_ENDED;
    if (list->with_arguments)
        listed.facts.arguments_size = record->arguments_size;
    if (list->with_arguments && (record->flags & CBP_MACHINE_LISTED_TITLE))
        take_title(list, &listed.facts);
    return list->visit(list->context, &listed);
}

static uint32_t visit_records(struct list *list, size_t size)
{
    struct cbp_machine_listed record;
    uint32_t error = 0;
    for (size_t at = 0; error == 0 && at < size; at += record.size) {
        if (size - at < sizeof record)
            return cbpi_fail(CBP_ERROR_GEN_FAILURE, "the kernel's list of processes ends in a record");
        memcpy(&record, list->bytes + at, sizeof record);
        uint64_t whole = (uint64_t) sizeof record + record.name_size + record.arguments_size;
        if (record.size != whole || whole > size - at)
            return cbpi_fail(CBP_ERROR_GEN_FAILURE, "the kernel's list of processes has a malformed record");
        error = visit_first_process(list, &record);
        if (error == 0)
            error = visit_record(list, &record, list->bytes + at + sizeof record);
    }
    return error;
}

uint32_t cbpi_task_list_read(int link, bool with_arguments,
                             uint32_t (*visit)(void *context, const struct cbpi_listed *listed),
                             void *context)
{
    struct list *list = malloc(sizeof *list);
    int iterator = list ? open_iterator(link) : -1;
    uint32_t error = 0;
    ssize_t got = 1;
    if (iterator < 0) {
        error = cbpi_fail_os(list ? errno : ENOMEM, "the kernel's list of processes cannot be read");
        goto cleanup;
    }
    list->with_arguments = with_arguments;
    list->is_begun = false;
    list->visit = visit;
    list->context = context;
    while (error == 0 && got > 0) {
        got = read(iterator, list->bytes, sizeof list->bytes);
        if (got > 0)
            error = visit_records(list, (size_t) got);
        else if (got < 0 && (errno == EAGAIN || errno == EINTR)) /* the kernel has passed a million threads */
            got = 1;
        else if (got < 0)
            error = cbpi_fail_os(errno, "the kernel's list of processes cannot be read");
    }

cleanup:
    if (iterator >= 0)
        close(iterator);
    free(list);
    return error;
}

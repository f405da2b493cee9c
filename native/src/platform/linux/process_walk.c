/* Walks over all processes (platform.h) through /proc. Where there are many processes and several processors,
 * other threads read a part of them ahead of the visits, which stay in this thread and in order. Knows no
 * drivers. */
#define _GNU_SOURCE
#include "cbp_atomic.h"
#include "errors.h"
#include "folder_entry.h"
#include "memory.h"
#include "new_syscalls.h"
#include "os_error.h"
#include "proc_state.h"
#include "process_list.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CREW_MAX 4u   /* threads that read, this one counted */
#define TURN_SIZE 16u /* a thread takes so many processes at once */
#define CREW_FROM 8u  /* so many turns are worth more threads */
#define LIST_SIZE 4096u
#define STACK_SIZE (128u * 1024u)

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif

enum reading { NOT_READ, IS_READ, IS_GONE };

struct place {
    uint32_t process_id;
    enum reading reading;
    struct cbpi_process_facts facts; /* if IS_READ; its texts stand at the offset in those of the member */
    const struct member *member;
    uint64_t offset;
};

/* Goes to one thread as a whole. */
struct turn {
    struct turn *next;
    uint32_t count;
    struct place places[TURN_SIZE];
};

/* A thread of the crew, and what it has read. */
struct member {
    struct crew *crew;
    struct cbpi_thread thread;
    struct cbpi_process_reader reader;
    char *texts;
    uint64_t texts_size, texts_capacity;
};

/* The first member is the thread that walks. It lists the ids, while the others read already. */
struct crew {
    struct member *members[CREW_MAX];
    uint32_t member_count;
    struct place own;     /* this process, read while it has no thread that reads; the first member's */
    struct turn *filling; /* gets the next ids; likewise */
    uint32_t turn_count;  /* likewise */
    struct cbpi_mutex mutex;
    struct cbpi_condition condition; /* of the mutex, which guards the rest */
    struct turn *first, *last;       /* in the order of the ids */
    struct turn *untaken;            /* the first one that no thread has taken */
    bool is_listed;                  /* no more turns come */
    bool is_short;                   /* somebody had no memory, so the walk fails */
};

static bool keep(struct member *member, struct place *place)
{
    const struct cbpi_process_facts *facts = &place->facts;
    uint64_t size = member->texts_size + facts->name_size + facts->arguments_size;
    char *texts = cbpi_grow(member->texts, 1, size, &member->texts_capacity);
    if (!texts)
        return false;
    member->texts = texts;
    memcpy(texts + member->texts_size, facts->name, facts->name_size);
    memcpy(texts + member->texts_size + facts->name_size, facts->arguments, facts->arguments_size);
    place->member = member;
    place->offset = member->texts_size;
    member->texts_size = size;
    return true;
}

static void fall_short(struct crew *crew)
{
    cbpi_mutex_lock(&crew->mutex);
    crew->is_short = true;
    cbpi_mutex_unlock(&crew->mutex);
}

/* Says whether the thread can go on. A place that could not be read for another reason than want of memory is
 * left to the visits, which meet the error again and tell it. */
static bool read_place(struct member *member, struct place *place)
{
    place->facts = (struct cbpi_process_facts){.process_id = place->process_id};
    uint32_t error = cbpi_process_read(&member->reader, &place->facts);
    if (error == CBP_ERROR_NOT_FOUND) {
        place->reading = IS_GONE;
        return true;
    }
    if (error == 0 && !keep(member, place))
        error = CBP_ERROR_NOT_ENOUGH_MEMORY;
    if (error == CBP_ERROR_NOT_ENOUGH_MEMORY)
        fall_short(member->crew);
    if (error == 0)
        place->reading = IS_READ;
    return error == 0;
}

static struct turn *take_turn(struct crew *crew)
{
    cbpi_mutex_lock(&crew->mutex);
    while (!crew->untaken && !crew->is_listed)
        cbpi_condition_wait_until(&crew->condition, &crew->mutex, cbpi_now_ns() + CBP_NS_PER_S);
    struct turn *turn = crew->untaken;
    if (turn)
        crew->untaken = turn->next;
    cbpi_mutex_unlock(&crew->mutex);
    return turn;
}

static void read_ahead(struct member *member)
{
    struct turn *turn;
    while ((turn = take_turn(member->crew)))
        for (uint32_t i = 0; i < turn->count; i++)
            if (!read_place(member, &turn->places[i]))
                return;
}

/* A table of descriptors of its own keeps the thread from waiting for another one at each open and close, and
 * from counting references at each read. It holds none of the program's descriptors: those that are closed
 * meanwhile are closed. Without the call (Linux before 5.9) the threads share one. */
static void member_body(void *argument)
{
    struct member *member = argument;
    syscall(SYS_close_range, 0u, ~0u, CLOSE_RANGE_UNSHARE);
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0)
        return;
    member->reader.proc = proc;
    read_ahead(member);
    close(proc);
}

static struct member *new_member(struct crew *crew, int proc, uint32_t with_arguments)
{
    struct member *member = calloc(1, sizeof *member);
    if (!member) {
        fall_short(crew);
        return NULL;
    }
    member->crew = crew;
    member->reader.proc = proc;
    member->reader.with_arguments = with_arguments;
    crew->members[crew->member_count++] = member;
    return member;
}

static uint32_t processors_allowed(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t) CPU_COUNT(&set) : 1;
}

/* Starts the other members, as many as can be had; the walk does not depend on them. */
static void start_crew(struct crew *crew)
{
    uint32_t wanted = processors_allowed();
    wanted = wanted < CREW_MAX ? wanted : CREW_MAX;
    while (crew->member_count < wanted) {
        struct member *member = new_member(crew, AT_FDCWD, crew->members[0]->reader.with_arguments);
        if (!member)
            return;
        if (cbpi_thread_start(&member->thread, member_body, member, STACK_SIZE) != 0) {
            free(crew->members[--crew->member_count]);
            return;
        }
    }
}

/* Lets the crew have the turn that has been filled, if there is one. */
static void hand_over(struct crew *crew)
{
    struct turn *turn = crew->filling;
    if (!turn)
        return;
    crew->filling = NULL;
    cbpi_mutex_lock(&crew->mutex);
    if (crew->last)
        crew->last->next = turn;
    else
        crew->first = turn;
    crew->last = turn;
    if (!crew->untaken)
        crew->untaken = turn;
    cbpi_condition_signal(&crew->condition);
    cbpi_mutex_unlock(&crew->mutex);
    if (++crew->turn_count == CREW_FROM)
        start_crew(crew);
}

static bool add_place(struct crew *crew, uint32_t process_id)
{
    if (!crew->filling)
        crew->filling = calloc(1, sizeof *crew->filling);
    if (!crew->filling)
        return false;
    crew->filling->places[crew->filling->count++].process_id = process_id;
    if (crew->filling->count == TURN_SIZE)
        hand_over(crew);
    return true;
}

/* Small reads of the folder let the others begin soon. */
static uint32_t list_processes(struct crew *crew, int proc)
{
    _Alignas(struct folder_entry) char entries[LIST_SIZE];
    long size;
    while ((size = syscall(SYS_getdents64, proc, entries, sizeof entries)) > 0)
        for (const char *at = entries; at < entries + size;) {
            const struct folder_entry *entry = (const void *) at;
            bool is_process = entry->name[0] >= '1' && entry->name[0] <= '9';
            if (is_process && !add_place(crew, (uint32_t) strtoul(entry->name, NULL, 10)))
                return cbpi_fail_os(ENOMEM, "cannot list the processes");
            at += entry->size;
        }
    hand_over(crew);
    return size < 0 ? cbpi_fail_os(errno, "cannot list the processes") : 0;
}

/* Has all turns read, if there is a crew; without one each process is read at its visit. */
static void finish_crew(struct crew *crew)
{
    cbpi_mutex_lock(&crew->mutex);
    crew->is_listed = true;
    cbpi_condition_broadcast(&crew->condition);
    cbpi_mutex_unlock(&crew->mutex);
    if (crew->member_count > 1)
        read_ahead(crew->members[0]);
    for (uint32_t i = 1; i < crew->member_count; i++)
        cbpi_thread_join(&crew->members[i]->thread);
}

static uint32_t visit_place(struct crew *crew, struct place *place, cbpi_process_visitor *visit,
                            void *context)
{
    struct cbpi_process_facts *facts = &place->facts;
    if (place->reading == IS_GONE)
        return 0;
    if (place->reading == IS_READ) {
        facts->name = place->member->texts + place->offset;
        facts->arguments = facts->name + facts->name_size;
    } else {
        facts->process_id = place->process_id;
        uint32_t error = cbpi_process_read(&crew->members[0]->reader, facts);
        if (error != 0)
            return error == CBP_ERROR_NOT_FOUND ? 0 : error;
    }
    return visit(context, facts);
}

static uint32_t visit_all(struct crew *crew, cbpi_process_visitor *visit, void *context)
{
    uint32_t error = 0;
    for (struct turn *turn = crew->first; turn; turn = turn->next)
        for (uint32_t i = 0; i < turn->count && error == 0; i++) {
            struct place *place = &turn->places[i];
            bool is_own = crew->own.reading == IS_READ && place->process_id == crew->own.process_id;
            error = visit_place(crew, is_own ? &crew->own : place, visit, context);
        }
    return error;
}

static void free_crew(struct crew *crew)
{
    for (struct turn *turn = crew->first, *next; turn; turn = next) {
        next = turn->next;
        free(turn);
    }
    free(crew->filling);
    for (uint32_t i = 0; i < crew->member_count; i++) {
        free(crew->members[i]->reader.arguments);
        free(crew->members[i]->texts);
        free(crew->members[i]);
    }
    cbpi_condition_destroy(&crew->condition);
    cbpi_mutex_destroy(&crew->mutex);
}

/* Makes the first member, or falls short. */
static bool begin(struct crew *crew, int proc, uint32_t with_arguments)
{
    cbpi_mutex_init(&crew->mutex);
    cbpi_condition_init(&crew->condition);
    struct member *first = new_member(crew, proc, with_arguments);
    crew->own.process_id = (uint32_t) getpid();
    if (first)
        read_place(first, &crew->own);
    return first;
}

uint32_t cbpi_processes_visit(uint32_t with_arguments, cbpi_process_visitor *visit, void *context)
{
    struct crew crew = {0};
    const char *obstacle = cbpd_proc_obstacle();
    if (obstacle)
        return cbpi_fail(CBP_ERROR_GEN_FAILURE, "cannot list the processes: %s", obstacle);
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0)
        return cbpi_fail_os(errno, "cannot list the processes");
    uint32_t error = begin(&crew, proc, with_arguments) ? list_processes(&crew, proc) : 0;
    finish_crew(&crew);
    if (crew.is_short)
        error = cbpi_fail_os(ENOMEM, "cannot list the processes");
    if (error == 0)
        error = visit_all(&crew, visit, context);
    free_crew(&crew);
    close(proc);
    return error;
}

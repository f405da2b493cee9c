/* Implements listing.h. The iterators are loaded by a guard of their own, which has ended before they are used
 * first; what remains in this process are their two links. They go with it. */
#define _GNU_SOURCE
#include "listing.h"

#include "cbp_atomic.h"
#include "cbp_machine.h"
#include "errors.h"
#include "guard_process.h"
#include "installation_bpf.h"
#include "task_list.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Loading costs as much as several walks through /proc: a program that takes one or two snapshots has none. */
#define CALLS_THROUGH_PROC 2u

/* The kernel gives the first namespaces these numbers (Linux: include/linux/proc_ns.h). */
#define FIRST_PID_NAMESPACE 0xeffffffcu
#define FIRST_TIME_NAMESPACE 0xeffffffau

static struct {
    struct cbpi_mutex mutex;
    bool was_tried;
    uint32_t error; /* of the try, and its sentence */
    char sentence[256];
    int links[CBP_GUARD_TASKS_FD_COUNT]; /* valid if it succeeded */
} state = {.mutex = CBPI_MUTEX_INITIALIZER};

static uint32_t call_count;

struct visiting {
    cbpi_process_visitor *visit;
    void *context;
};

static uint32_t visit_facts(void *context, const struct cbpi_listed *listed)
{
    const struct visiting *visiting = context;
    return visiting->visit(visiting->context, &listed->facts);
}

/* A kernel without time namespaces has no such file. */
static bool is_first_namespace(const char *path, uint64_t number)
{
    struct stat file;
    return stat(path, &file) != 0 || file.st_ino == number;
}

/* The kernel's list is the machine's. /proc shows a part of it to most, and under other numbers to some. */
static uint32_t check_place(void)
{
    const char *missing = cbpi_bpf_missing_capability();
    if (missing)
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED,
                         "the kernel does not list processes for this one: it has no %s", missing);
    if (!is_first_namespace("/proc/self/ns/pid", FIRST_PID_NAMESPACE) ||
        !is_first_namespace("/proc/self/ns/time", FIRST_TIME_NAMESPACE))
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED,
                         "the kernel does not list processes for this one: it runs in a namespace of its own "
                         "for process ids or times");
    return 0;
}

static uint32_t load(int links[CBP_GUARD_TASKS_FD_COUNT])
{
    char folder[PATH_MAX];
    uint32_t error = cbpi_helper_path("cbprocess-guard", folder, sizeof folder);
    if (error != 0)
        return error;
    *strrchr(folder, '/') = '\0';
    error = cbpi_guard_list_tasks(folder, links);
    if (error == 0 && links[CBP_GUARD_TASKS_FD_COMMAND_LINES] < 0) {
        close(links[CBP_GUARD_TASKS_FD_PROCESSES]);
        error = cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "the kernel does not list command lines: that needs 6.1");
    }
    return error;
}

/* Says whether a later try may succeed. */
static bool is_passing(uint32_t error)
{
    return error == CBP_ERROR_TOO_MANY_OPEN_FILES || error == CBP_ERROR_NOT_ENOUGH_MEMORY ||
           error == CBP_ERROR_NO_SYSTEM_RESOURCES || error == CBP_ERROR_SERVICE_REQUEST_TIMEOUT;
}

/* Loads the iterators once. What went wrong for good goes wrong every time. The mutex is held. */
static uint32_t load_once(void)
{
    if (!state.was_tried) {
        uint32_t error = load(state.links);
        if (is_passing(error))
            return error;
        state.was_tried = true;
        state.error = error;
        if (error != 0)
            strncpy(state.sentence, cbp_error_detail(), sizeof state.sentence - 1);
    }
    return state.error ? cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "%s", state.sentence) : 0;
}

static uint32_t prepare(int links[CBP_GUARD_TASKS_FD_COUNT])
{
    cbpi_mutex_lock(&state.mutex);
    uint32_t error = load_once();
    memcpy(links, state.links, sizeof state.links);
    cbpi_mutex_unlock(&state.mutex);
    return error;
}

uint32_t cbpi_bpf_list_processes(bool with_arguments, bool is_asked_for, cbpi_process_visitor *visit,
                                 void *context)
{
    struct visiting visiting = {.visit = visit, .context = context};
    int links[CBP_GUARD_TASKS_FD_COUNT];
    if (!is_asked_for && cbp_add_u32(&call_count, 1) < CALLS_THROUGH_PROC)
        return CBP_ERROR_NOT_SUPPORTED;
    uint32_t error = check_place();
    if (error == 0)
        error = prepare(links);
    if (error != 0)
        return is_asked_for ? error : CBP_ERROR_NOT_SUPPORTED;
    int link = links[with_arguments ? CBP_GUARD_TASKS_FD_COMMAND_LINES : CBP_GUARD_TASKS_FD_PROCESSES];
    return cbpi_task_list_read(link, with_arguments, visit_facts, &visiting);
}

void cbpi_bpf_listing_forget(void)
{
    cbpi_mutex_init(&state.mutex); /* another thread of the parent may have held it */
    if (state.was_tried && state.error == 0)
        for (unsigned i = 0; i < CBP_GUARD_TASKS_FD_COUNT; i++)
            close(state.links[i]);
    state.was_tried = false;
}

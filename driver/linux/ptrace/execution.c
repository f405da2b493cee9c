/* Programs being executed: decided at the entry of execve where the tree has our seccomp filter (a refusal is
 * then an errno of that call), and else at the stop after it, before the new program's first instruction (a
 * refusal then ends the process). Runs in the tracer thread only.
 *
 * What was decided at the entry is compared with what is executed: another thread may change the path or the
 * arguments in between. If they differ, the execution is asked about again at the stop after it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cbp_atomic.h"
#include "supervisor.h"
#include "syscalls.h"

/* Source: the meaning of the Win32 codes; whatever has no counterpart is "not permitted". */
int errno_of_code(uint32_t code)
{
    switch (code) {
    case CBP_ERROR_FILE_NOT_FOUND:
    case CBP_ERROR_PATH_NOT_FOUND:
        return ENOENT;
    case CBP_ERROR_TOO_MANY_OPEN_FILES:
        return EMFILE;
    case CBP_ERROR_ACCESS_DENIED:
        return EACCES;
    case CBP_ERROR_NOT_ENOUGH_MEMORY:
        return ENOMEM;
    case CBP_ERROR_BAD_FORMAT:
        return ENOEXEC;
    case CBP_ERROR_INVALID_PARAMETER:
        return EINVAL;
    case CBP_ERROR_BUSY:
        return EBUSY;
    case CBP_ERROR_NO_SYSTEM_RESOURCES:
        return EAGAIN;
    default:
        return EPERM;
    }
}

static bool creations_are_wanted(void)
{
    if (self.rules.counts[CBP_ACTION_DENY] > 0 && !self.leaving)
        return true;
    for (uint32_t id = 0; id < CBP_SESSION_MAX && !self.leaving; id++)
        if (self.sessions[id].open &&
            (self.sessions[id].events & (CBP_PROC_EVT_PROCESS_CREATION | CBP_PROC_EVT_THREAD_CREATION)))
            return true;
    return false;
}

/* Who creates: whoever forked the process, for the first execution after the fork; later the process itself.
 */
static void report_creation(struct report *report, struct task *task, const struct cbp_stance *old_stances)
{
    struct process *process = task->process;
    start_report(report, task);
    if (process->executed) {
        report->originator_pid = process->pid;
        report->originator_tid = task->execution_tid != 0 ? task->execution_tid : task->tid;
        report->originator = old_stances;
    } else {
        report->originator_pid = process->creator_pid;
        report->originator_tid = process->creator_tid;
        report->originator = process->parent != NULL ? stances_of(process->parent) : NULL;
    }
}

/* ---- At the entry of execve ---- */

static struct text path_text, entry_arguments, list_text;

/* The argument list that the program will get, to be compared with what it got: a script's header stands
 * before it and replaces its first. */
static bool compose_arguments(const struct target *target)
{
    entry_arguments.size = 0;
    size_t skip = 0;
    for (uint32_t i = 0; i < target->dropped && skip < list_text.size; i++)
        skip += strlen(list_text.bytes + skip) + 1;
    if (!text_append(&entry_arguments, target->prefix.bytes, target->prefix.size) ||
        !text_append(&entry_arguments, list_text.bytes + skip, list_text.size - skip))
        return false;
    return entry_arguments.size > 0 || text_append(&entry_arguments, "", 1); /* as the kernel adds one */
}

/* The name by which the kernel will call the program: as given, or by the descriptor it was opened as. */
static bool compose_given(const struct task *task, const struct syscall_entry *entry, bool is_at,
                          struct text *given)
{
    int fd = is_at ? (int) (int32_t) entry->arguments[0] : AT_FDCWD;
    (void) task;
    given->size = 0;
    if (path_text.bytes[0] != '/' && fd != AT_FDCWD) {
        char prefix[32];
        int size = snprintf(prefix, sizeof prefix, "/dev/fd/%d%s", fd, path_text.size > 1 ? "/" : "");
        if (!text_append(given, prefix, (size_t) size))
            return false;
    }
    return text_append(given, path_text.bytes, path_text.size - 1);
}

/* Reads what the task wants to execute. Anything but RESOLVED is left to the kernel and to the stop after it.
 */
static enum resolution read_entry(const struct task *task, const struct syscall_entry *entry,
                                  struct target *target, struct text *given)
{
    bool is_at = syscall_kind(entry->architecture, entry->number) == SYSCALL_EXECVEAT;
    const uint64_t *arguments = entry->arguments + (is_at ? 1 : 0);
    int folder_fd = is_at ? (int) (int32_t) entry->arguments[0] : AT_FDCWD;
    int flags = is_at ? (int) entry->arguments[4] : 0;
    if (!read_string(task->tid, arguments[0], &path_text))
        return BOUND_TO_FAIL;
    enum resolution resolution = resolve_target(task, folder_fd, path_text.bytes, flags, target);
    if (resolution != RESOLVED)
        return resolution;
    if (!read_argument_list(task, arguments[1], entry->is_32bit, &list_text))
        return UNKNOWN;
    return compose_arguments(target) && compose_given(task, entry, is_at, given) ? RESOLVED : UNKNOWN;
}

/* Asks about a program that is about to be executed. */
static void ask_at_entry(struct task *task, struct image *image, const struct target *target)
{
    struct cbp_stance stances[CBP_SESSION_MAX];
    struct approval approval = {.valid = true, .device = target->device, .inode = target->inode};
    approval.arguments = digest_of(entry_arguments.bytes, entry_arguments.size);
    stances_under_image(task->process, image, stances);
    struct report report;
    report_creation(&report, task, stances_of(task->process));
    report.image = image;
    report.subject = stances;
    report.arguments = list_text.size > 0 ? list_text.bytes : "";
    report.arguments_size =
        list_text.size > 0 ? (uint32_t) list_text.size : 1; /* the kernel adds an empty one */
    add_item(&report, CBP_PROC_EVT_PROCESS_CREATION, 0);
    if (task->first_unreported)
        add_item(&report, CBP_PROC_EVT_THREAD_CREATION, 0);
    task->first_unreported = false;
    task->process->is_launcher = false;
    uint32_t refusal = 0;
    struct operation *operation = NULL;
    post_report(&report, &operation, &refusal, NULL, approval.sequences);
    if (operation == NULL) {
        struct operation nobody_asked = {.approval = approval};
        finish_execution(task, OPERATION_ENTRY, &nobody_asked, refusal);
        return;
    }
    operation->task = task;
    operation->kind = OPERATION_ENTRY;
    operation->approval = approval;
    task->operation = operation;
}

void handle_execution_entry(struct task *task, const struct syscall_entry *entry)
{
    static struct target target;
    static struct text given;
    note_failed_execution(task);
    if (!creations_are_wanted() || read_entry(task, entry, &target, &given) != RESOLVED) {
        resume_task(task, 0);
        return;
    }
    struct image *image = make_image(target.path, target.path_size, given.bytes, (uint32_t) given.size);
    if (image == NULL) {
        resume_task(task, 0);
        return;
    }
    image->device = target.device;
    image->inode = target.inode;
    ask_at_entry(task, image, &target);
    release_image(image);
}

/* An execution that was allowed at its entry has not happened: the system refused it itself. */
void note_failed_execution(struct task *task)
{
    if (!task->approval.valid)
        return;
    task->approval.valid = false;
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (self.sessions[id].open && task->approval.sequences[id] != 0) {
            cbp_store_u64(&self.channel->sessions[id].failed_sequence, task->approval.sequences[id]);
            cbp_add_u64(&self.channel->sessions[id].failed_after, 1);
        }
}

/* ---- After execve ---- */

static bool is_what_was_approved(const struct task *task, const struct new_stack *stack)
{
    char link[64];
    struct stat status;
    snprintf(link, sizeof link, "/proc/%u/exe", task->tid);
    return task->approval.valid && stack->complete && stat(link, &status) == 0 &&
           status.st_dev == task->approval.device && status.st_ino == task->approval.inode &&
           digest_equals(digest_of(stack->arguments, stack->arguments_size), task->approval.arguments);
}

/* The list that the caller gave, where the kernel has put a script's interpreters before it: the given path
 * and what follows it. The caller's own first argument is lost; the path stands for it. Source: execve(2). */
static void take_off_interpreters(const struct task *task, struct new_stack *stack)
{
    enum { PLACES_MAX = 12 }; /* two for each interpreter, at most five deep, and one */
    const char *argument = stack->arguments, *end = stack->arguments + stack->arguments_size;
    if (!stack->complete || stack->given == NULL || argument == NULL)
        return;
    for (int place = 0; place < PLACES_MAX && argument < end; place++, argument += strlen(argument) + 1) {
        bool is_given = place > 0 && strlen(argument) == stack->given_size &&
                        memcmp(argument, stack->given, stack->given_size) == 0;
        if (is_given && is_script(task, argument)) {
            stack->arguments = argument;
            stack->arguments_size = (uint32_t) (end - argument);
            return;
        }
    }
}

/* The process goes by its new image from now on. Without memory it keeps the name of the old one. */
static void change_image(struct process *process, uint32_t tid, const struct new_stack *stack)
{
    char path[PATH_MAX];
    uint32_t path_size = read_executable(tid, path, sizeof path);
    struct image *image = make_image(path, path_size, stack->given, stack->given_size);
    leave_legacy(process); /* a thread that the execution has ended may have been creating */
    if (image != NULL) {
        identify_image(image, tid);
        release_image(process->image);
        process->image = image;
    }
    process->user_id = stack->user_id;
    process->executed = true;
    process->is_launcher = false;
    rename_standing(process);
}

void handle_execution_stop(struct task *task)
{
    struct process *process = task->process;
    struct cbp_stance old_stances[CBP_SESSION_MAX];
    struct new_stack stack;
    struct report report;
    read_new_stack(task, &stack);
    bool approved = is_what_was_approved(task, &stack);
    bool changed = task->approval.valid && !approved;
    task->approval.valid = false;
    memcpy(old_stances, stances_of(process), sizeof old_stances);
    report_creation(&report, task, old_stances);
    task->execution_tid = 0;
    change_image(process, task->tid, &stack);
    report.subject = stances_of(process);
    uint32_t refusal = 0;
    struct operation *operation = NULL;
    if (!approved) {
        take_off_interpreters(task, &stack);
        report.image = process->image;
        report.user_id = process->user_id;
        report.arguments = stack.arguments;
        report.arguments_size = stack.arguments_size;
        add_item(&report, CBP_PROC_EVT_PROCESS_CREATION,
                 (changed ? (uint32_t) CBP_EVENT_FLAG_CHANGED : 0) |
                     (stack.complete ? 0 : (uint32_t) CBP_EVENT_FLAG_ARGUMENTS_TRUNCATED));
        if (task->first_unreported)
            add_item(&report, CBP_PROC_EVT_THREAD_CREATION, 0);
        task->first_unreported = false;
        post_report(&report, &operation, &refusal, NULL, NULL);
    }
    if (operation == NULL) {
        finish_execution(task, OPERATION_EXECUTION, NULL, refusal);
        return;
    }
    operation->task = task;
    operation->kind = OPERATION_EXECUTION;
    task->operation = operation;
}

/* ---- Carrying out what was decided ---- */

void finish_execution(struct task *task, enum operation_kind kind, const struct operation *operation,
                      uint32_t result_code)
{
    if (kind == OPERATION_ENTRY) {
        if (result_code != 0)
            (void) fail_syscall(task, errno_of_code(result_code));
        else
            task->approval = operation->approval;
        resume_task(task, 0);
        return;
    }
    if (task->launch != NULL)
        finish_launch(task, 0, result_code != 0 ? errno_of_code(result_code) : 0);
    if (result_code != 0)
        (void) kill((pid_t) task->process->pid, SIGKILL);
    resume_kept_creator(task);
    resume_task(task, 0);
}

/* Implements transport.h for the ptrace driver: what this machine lets it do. The rest is made of the two
 * halves in drivers/helper. */
#define _GNU_SOURCE
#include "cbp_message.h"
#include "channel_session.h"
#include "errors.h"
#include "new_syscalls.h"
#include "proc_files.h"
#include "proc_state.h"
#include "ptrace_launch.h"
#include "ptrace_link.h"

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>

/* These numbers belong to the kernel's interface, and are younger than the headers that this is built with.
 */
enum { LANDLOCK_CREATE_RULESET_VERSION = 1, LANDLOCK_VERSION_OF_LINKS = 2, LANDLOCK_VERSION_OF_SCOPES = 6 };

/* ---- What could be done here ---- */

static bool has_pidfd(void)
{
    int fd = (int) syscall(SYS_pidfd_open, getpid(), 0);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Says whether ptrace is forbidden. There is no process 0, and ESRCH tells that to every process that may
 * trace at all. */
static bool ptrace_is_forbidden(void)
{
    return ptrace(PTRACE_CONT, 0, 0, 0) != 0 && errno != ESRCH;
}

static bool has_trace_filter(void)
{
    uint32_t action = SECCOMP_RET_TRACE;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

/* Says whether the capability is effective in this process's user namespace, where its own processes live. */
static bool has_trace_capability(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & 1u << CAP_SYS_PTRACE) != 0;
}

static int yama_scope(void)
{
    char text[16]; /* empty where there is no such file */
    (void) cbpd_read_file("/proc/sys/kernel/yama/ptrace_scope", text, sizeof text);
    return atoi(text);
}

/* Says whether the kernel lets this process attach to processes that have not asked for it. */
static bool may_attach_to_all(void)
{
    return yama_scope() == 0 || has_trace_capability();
}

/* Says why no process can be traced here; NULL if it is possible. */
static const char *tracing_obstacle(void)
{
    if (yama_scope() >= 3)
        return "kernel.yama.ptrace_scope is 3: nobody may trace, and only a restart changes that";
    if (yama_scope() == 2 && !has_trace_capability())
        return "kernel.yama.ptrace_scope is 2: tracing needs CAP_SYS_PTRACE; run as root, or set it to 1";
    if (ptrace_is_forbidden())
        return "a sandbox (a container's seccomp profile, say) forbids ptrace; a container gets it with "
               "--cap-add=SYS_PTRACE, or a profile that allows it";
    return NULL;
}

/* Says why the driver cannot run here at all; NULL if it can. */
static const char *obstacle(void)
{
    char path[PATH_MAX];
    if (cbpi_helper_path(CBPI_PTRACE_HELPER_NAME, path, sizeof path) != 0)
        return "the program cbprocess-ptrace is missing from the package";
    if (!has_pidfd())
        return "the kernel has no pidfd_open (Linux 5.3), or a sandbox forbids it";
    if (cbpd_proc_obstacle())
        return cbpd_proc_obstacle();
    return tracing_obstacle();
}

/* Gives the version of Landlock's interface, below 1 where there is none. */
static long landlock_version(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

#define IS_STARTED                                                                                           \
    "and \"landlock\" among the security modules that the kernel starts with); this kernel cannot"

/* These functions say why a setting is not possible here; "": it is. */
static const char *signals_obstacle(void)
{
    return landlock_version() >= LANDLOCK_VERSION_OF_SCOPES
               ? ""
               : "ScopeSignals needs Landlock that can scope signals (Linux 6.12, " IS_STARTED;
}

static const char *proc_files_obstacle(void)
{
    return landlock_version() >= LANDLOCK_VERSION_OF_LINKS
               ? ""
               : "ScopeProcFiles needs Landlock that lets files leave their folders (Linux 5.19, " IS_STARTED;
}

/* Joins the reasons that there are to one sentence; the buffer may be too small, or missing. */
static void join_reasons(const char *const *reasons, size_t count, char *text, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < count; i++)
        if (*reasons[i] && length < size)
            length +=
                (size_t) snprintf(text + length, size - length, "%s%s", length > 0 ? "; " : "", reasons[i]);
    if (length == 0 && size > 0)
        text[0] = 0;
}

static uint32_t probe(char *reason, uint64_t size)
{
    const char *why = obstacle();
    const char *no_filter = "", *no_attach = "";
    uint32_t capabilities = CBP_PTRACE_CAPABILITIES;
    if (why) {
        snprintf(reason, (size_t) size, "%s", why);
        return 0;
    }
    if (!has_trace_filter()) {
        no_filter =
            "no seccomp filters: executions are refused by ending the process, not with an error, and "
            "handle operations are not seen";
        capabilities &= ~(uint32_t) CBP_PTRACE_FILTER_CAPABILITIES;
    }
    if (!may_attach_to_all()) {
        no_attach =
            "kernel.yama.ptrace_scope is 1: programs are supervised from their start (popen, cbprocess "
            "run); running processes cannot be attached to without CAP_SYS_PTRACE, unless they allow it";
        capabilities &= ~(uint32_t) CBP_CAP_ATTACH;
    }
    const char *const all[] = {no_filter, no_attach, signals_obstacle(), proc_files_obstacle()};
    join_reasons(all, sizeof all / sizeof all[0], reason, (size_t) size);
    return capabilities;
}

/* ---- Sessions ---- */

static uint32_t check_settings(const struct cbpi_session_settings *settings)
{
    const char *why = settings->policy.flags & CBP_SESSION_FLAG_SCOPE_SIGNALS ? signals_obstacle() : "";
    if (!*why && settings->policy.flags & CBP_SESSION_FLAG_SCOPE_PROC_FILES)
        why = proc_files_obstacle();
    return *why ? cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "%s", why) : 0;
}

/* Says what is in the way, and what can be done about it. */
static const char *attach_obstacle(uint32_t error)
{
    if (error == CBP_ERROR_BUSY)
        return "it, or a descendant, has another tracer (a debugger, strace, another controller), which has "
               "to "
               "let go of it first";
    if (error != CBP_ERROR_ACCESS_DENIED)
        return NULL;
    return may_attach_to_all()
               ? "it, or a descendant, belongs to another user or has privileges that this process has not; "
                 "run "
                 "as its user, or hold CAP_SYS_PTRACE"
               : "kernel.yama.ptrace_scope is 1, which protects what runs already; start the program with "
                 "popen(), set the sysctl to 0, or hold CAP_SYS_PTRACE";
}

static const struct cbpi_helper_driver helper_driver = {
    .link_ops = &cbpi_ptrace_link_ops,
    .check_settings = check_settings,
    .attach_obstacle = attach_obstacle,
};

static uint32_t open_session(const struct cbpi_session_settings *settings, struct cbpi_transport **transport)
{
    const char *why = cbpd_proc_obstacle();
    if (why)
        return cbpi_fail(CBP_ERROR_GEN_FAILURE, "%s", why);
    why = tracing_obstacle();
    if (why)
        return cbpi_fail(CBP_ERROR_PRIVILEGE_NOT_HELD, "%s", why);
    return cbpi_channel_open(&helper_driver, settings, transport);
}

const struct cbpi_driver cbpi_ptrace_driver = {
    .name = "ptrace",
    .probe = probe,
    .open = open_session,
    .forget_after_fork = cbpi_link_forget_after_fork,
    .launches = &cbpi_ptrace_launch_ops,
};

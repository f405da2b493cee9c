/* Implements probe_bpf.h. Without a running guard it estimates the guard's abilities by what the kernel shows;
 * the programs themselves are loaded by the guard alone. */
#include "probe_bpf.h"

#include "abilities.h"
#include "cbp_machine.h"
#include "installation_bpf.h"
#include "machine.h"
#include "proc_files.h"
#include "proc_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/utsname.h>
#include <unistd.h>

#define FIRST_PID_NAMESPACE "pid:[4026531836]" /* PROC_PID_INIT_INO of every Linux */

/* ---- What the kernel shows ---- */

static uint32_t kernel_version(void)
{
    struct utsname name;
    unsigned major = 0, minor = 0;
    if (uname(&name) == 0)
        (void) sscanf(name.release, "%u.%u", &major, &minor);
    return major << 16 | minor;
}

#define VERSION(major, minor) ((major) << 16 | (minor))

/* Says whether BPF programs of security modules take effect. Where the list cannot be read they do not. */
static bool has_bpf_lsm(void)
{
    char list[512];
    size_t size = cbpd_read_file("/sys/kernel/security/lsm", list, sizeof list);
    const char *found = size > 0 ? strstr(list, "bpf") : NULL;
    return found && (found == list || found[-1] == ',') &&
           (found[3] == '\0' || found[3] == ',' || found[3] == '\n');
}

static bool has_permission_events(void)
{
    int group = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);
    bool has =
        group >= 0 && fanotify_mark(group, FAN_MARK_ADD, FAN_OPEN_EXEC_PERM, AT_FDCWD, "/proc/self/exe") == 0;
    if (group >= 0)
        close(group);
    return has;
}

static uint32_t likely_abilities(void)
{
    uint32_t abilities = CBP_GUARD_CAN_OBSERVE | CBP_GUARD_CAN_SEE_HANDLES;
    bool has_gate = kernel_version() >= VERSION(6u, 18u) && sysconf(_SC_PAGESIZE) == CBP_MACHINE_SLOT_SIZE &&
                    access("/dev/fuse", R_OK | W_OK) == 0;
    if (has_gate)
        abilities |= CBP_GUARD_CAN_GATE;
    if (has_bpf_lsm())
        abilities |= CBP_GUARD_CAN_ENFORCE_HANDLES | (has_gate ? CBP_GUARD_CAN_GATE_HANDLES : 0);
    if (has_permission_events())
        abilities |= CBP_GUARD_CAN_HOLD_FILES;
    return abilities;
}

/* ---- Sentences ---- */

static bool is_first_pid_namespace(void)
{
    char name[64];
    ssize_t size = readlink("/proc/self/ns/pid", name, sizeof name - 1);
    if (size < 0)
        return false;
    name[size] = '\0';
    return strcmp(name, FIRST_PID_NAMESPACE) == 0;
}

/* Says why the driver cannot run here; NULL if it can. */
static const char *obstacle(char *room, size_t size)
{
    const char *missing = cbpi_bpf_missing_capability();
    if (kernel_version() < VERSION(5u, 8u))
        return "the kernel is older than Linux 5.8";
    if (missing) {
        snprintf(room, size, "%s is missing: run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN",
                 missing);
        return room;
    }
    if (access("/sys/kernel/btf/vmlinux", R_OK) != 0)
        return "the kernel does not describe its types (CONFIG_DEBUG_INFO_BTF): there is no "
               "/sys/kernel/btf/vmlinux";
    if (cbpd_proc_obstacle())
        return cbpd_proc_obstacle();
    if (!is_first_pid_namespace())
        return "this is not the first PID namespace, which a driver for the whole machine has to run in";
    return cbpi_bpf_missing_file();
}

static void explain(uint32_t abilities, char *reason, uint64_t size)
{
    const char *handles =
        abilities & CBP_GUARD_CAN_ENFORCE_HANDLES
            ? ""
            : "handle operations are observed only: boot with \"bpf\" in the kernel's lsm= list";
    const char *gate =
        abilities & CBP_GUARD_CAN_GATE
            ? ""
            : "only executions are held: the rest takes Linux 6.18, pages of 4 KiB and /dev/fuse";
    const char *files = abilities & CBP_GUARD_CAN_HOLD_FILES ? "" : "fanotify has no permission events here";
    snprintf(reason, (size_t) size, "%s%s%s%s%s", handles, *handles && *gate ? "; " : "", gate,
             (*handles || *gate) && *files ? "; " : "", files);
}

uint32_t cbpi_bpf_probe(char *reason, uint64_t size)
{
    char room[160];
    const char *text = obstacle(room, sizeof room);
    if (text) {
        snprintf(reason, (size_t) size, "%s", text);
        return 0;
    }
    uint32_t abilities = cbpi_machine_abilities();
    if (abilities == 0)
        abilities = likely_abilities();
    explain(abilities, reason, size);
    return cbpi_bpf_capabilities_of(abilities);
}

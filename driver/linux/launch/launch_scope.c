/* Makes the domain of launch_steps.h. The kernel checks the file that an open has found, whatever path led
 * there and whatever changes it. Landlock has no "all but": all that is beside /proc in the root folder can
 * be written. No port is restricted. Source: landlock(7). */
#include "launch_steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "bare_system.h"
#include "cbp_message.h"
#include "folder_entry.h"

/* These numbers of the kernel's interface are younger than the headers of some builds. */
enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446, RULE_PATH_BENEATH = 1, SCOPE_SIGNAL = 2 };

/* A domain that restricts files keeps them in their folders, unless REFER is allowed. */
enum { WRITE_FILE = 1 << 1, REFER = 1 << 13 };

enum { LISTING_SIZE = 4096 };

struct ruleset_attributes {
    uint64_t handled_access_files;
    uint64_t handled_access_network;
    uint64_t scoped;
};

struct __attribute__((packed)) path_rule {
    uint64_t allowed_access;
    int32_t parent;
};

static void close_file(long fd)
{
    (void) call_system(SYS_close, fd, 0, 0, 0, 0, 0);
}

static bool is_proc(long fd)
{
    struct statfs system = {0};
    return call_system(SYS_fstatfs, fd, address_of(&system), 0, 0, 0, 0) == 0 &&
           system.f_type == PROC_SUPER_MAGIC;
}

/* Allows writing below a name in the root folder. Links are skipped: targets have their own names. */
static int allow(long ruleset, long root, const char *name)
{
    struct stat status = {0};
    if (name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0)))
        return 0;
    long fd = call_system(SYS_openat, root, address_of(name), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, 0, 0);
    if (fd < 0)
        return fd == -ENOENT || fd == -EACCES ? 0 : (int) -fd;
    long result = call_system(SYS_fstat, fd, address_of(&status), 0, 0, 0, 0);
    if (result == 0 && !S_ISLNK(status.st_mode) && !is_proc(fd)) {
        const struct path_rule rule = {
            .allowed_access = S_ISDIR(status.st_mode) ? WRITE_FILE | REFER : WRITE_FILE,
            .parent = (int32_t) fd,
        };
        result = call_system(ADD_RULE, ruleset, RULE_PATH_BENEATH, address_of(&rule), 0, 0, 0);
    }
    close_file(fd);
    return (int) -result;
}

static int allow_all_but_proc(long ruleset)
{
    static union {
        struct folder_entry first;
        char bytes[LISTING_SIZE];
    } listing;
    int error = 0;
    long size = 0;
    long root =
        call_system(SYS_openat, AT_FDCWD, address_of("/"), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
    if (root < 0)
        return (int) -root;
    while (error == 0 &&
           (size = call_system(SYS_getdents64, root, address_of(&listing), LISTING_SIZE, 0, 0, 0)) > 0)
        for (long at = 0; error == 0 && at < size;) {
            const struct folder_entry *entry = (const void *) (listing.bytes + at);
            error = allow(ruleset, root, entry->name);
            at += entry->size;
        }
    close_file(root);
    return error != 0 ? error : (int) -size;
}

int cbpd_enter_scope(uint32_t flags)
{
    bool keeps_files = (flags & CBP_LAUNCH_FLAG_SCOPE_PROC_FILES) != 0;
    const struct ruleset_attributes attributes = {
        .handled_access_files = keeps_files ? WRITE_FILE | REFER : 0,
        .scoped = (flags & CBP_LAUNCH_FLAG_SCOPE_SIGNALS) != 0 ? SCOPE_SIGNAL : 0,
    };
    long ruleset = call_system(CREATE_RULESET, address_of(&attributes), sizeof attributes, 0, 0, 0, 0);
    if (ruleset < 0)
        return (int) -ruleset;
    long result = keeps_files ? -allow_all_but_proc(ruleset) : 0;
    if (result == 0)
        result = call_system(RESTRICT_SELF, ruleset, 0, 0, 0, 0, 0);
    /* Without CAP_SYS_ADMIN the kernel demands this, as for a filter. */
    if (result == -EPERM && call_system(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0) == 0)
        result = call_system(RESTRICT_SELF, ruleset, 0, 0, 0, 0, 0);
    close_file(ruleset);
    return (int) -result;
}

/* What an execve would execute, and whether it is bound to fail: path, permission and header are looked at as
 * the kernel will, in the caller's root and working directory. Knows nothing of rules or events.
 *
 * A wrong guess is harmless: what is called UNKNOWN or BOUND_TO_FAIL and executes all the same is asked about
 * at the stop after execve, and what is RESOLVED wrongly is found to differ there. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor.h"

enum { HEADER_SIZE = 4096, SCRIPT_HEADER_SIZE = 256, SCRIPT_DEPTH_MAX = 5 };

#if defined(__x86_64__)
enum { NATIVE_MACHINE = EM_X86_64, COMPATIBLE_MACHINE = EM_386 };
#else
enum { NATIVE_MACHINE = EM_AARCH64, COMPATIBLE_MACHINE = EM_ARM };
#endif

static int open_folder(uint32_t tid, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%u/%s", tid, name);
    return open(path, O_PATH | O_CLOEXEC);
}

/* An absolute path, with its links, as seen from the task's root. */
static int open_in_root(uint32_t tid, const char *path, uint64_t flags)
{
    int root = open_folder(tid, "root");
    if (root < 0)
        return -1;
    struct open_how how = {.flags = O_PATH | O_CLOEXEC | flags, .resolve = RESOLVE_IN_ROOT};
    int fd = (int) syscall(SYS_openat2, root, path, &how, sizeof how);
    int error = errno;
    if (fd < 0 && error == ENOSYS) {
        fd = open(path, O_PATH | O_CLOEXEC | (int) flags);
        error = errno;
    }
    close(root);
    errno = error;
    return fd;
}

/* /proc/self means the task, not the supervisor; such links lead where no root-bound look-up may follow. */
static int open_proc_path(uint32_t tid, const char *path, uint64_t flags)
{
    static const char *const prefixes[] = {"/proc/self/", "/proc/thread-self/"};
    char own[PATH_MAX];
    for (size_t i = 0; i < 2; i++)
        if (strncmp(path, prefixes[i], strlen(prefixes[i])) == 0) {
            snprintf(own, sizeof own, "/proc/%u/%s", tid, path + strlen(prefixes[i]));
            return open(own, O_PATH | O_CLOEXEC | (int) flags);
        }
    return open(path, O_PATH | O_CLOEXEC | (int) flags);
}

static int open_path(uint32_t tid, int folder_fd, const char *path, int at_flags)
{
    uint64_t flags = at_flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0;
    char name[32] = "cwd";
    if (strncmp(path, "/proc/", 6) == 0)
        return open_proc_path(tid, path, flags);
    if (path[0] == '/')
        return open_in_root(tid, path, flags);
    if (folder_fd != AT_FDCWD)
        snprintf(name, sizeof name, "fd/%d", folder_fd);
    if (path[0] == 0 && (at_flags & AT_EMPTY_PATH))
        return open_folder(tid, name);
    int folder = open_folder(tid, name);
    if (folder < 0)
        return -1;
    int fd = openat(folder, path, O_PATH | O_CLOEXEC | (int) flags);
    int error = errno;
    close(folder);
    errno = error;
    return fd;
}

static enum resolution judge_open_error(void)
{
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
    case EACCES:
    case ENAMETOOLONG:
        return BOUND_TO_FAIL;
    default:
        return UNKNOWN;
    }
}

/* Permission: exact where the supervisor is the same user; root looks at the mode alone. */
static bool may_execute(int fd, const struct stat *status, const char *link)
{
    struct statvfs system;
    if (!S_ISREG(status->st_mode) || (status->st_mode & 0111) == 0)
        return false;
    if (fstatvfs(fd, &system) == 0 && (system.f_flag & ST_NOEXEC))
        return false;
    return faccessat(AT_FDCWD, link, X_OK, AT_EACCESS) == 0;
}

static bool other_formats_are_registered(void)
{
    char state[16] = "";
    int fd = open("/proc/sys/fs/binfmt_misc/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, state, sizeof state - 1);
    close(fd);
    return size > 0 && strncmp(state, "enabled", 7) == 0;
}

/* The offset and size of PT_INTERP's text; the phdr layouts of the two classes differ. */
static bool find_loader(const unsigned char *header, size_t size, size_t *offset, size_t *length)
{
    bool is_64bit = header[EI_CLASS] == ELFCLASS64;
    Elf64_Ehdr wide;
    Elf32_Ehdr narrow;
    memcpy(&wide, header, sizeof wide);
    memcpy(&narrow, header, sizeof narrow);
    size_t at = is_64bit ? (size_t) wide.e_phoff : narrow.e_phoff;
    size_t step = is_64bit ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    size_t count = is_64bit ? wide.e_phnum : narrow.e_phnum;
    for (size_t i = 0; i < count && at <= size && step <= size - at; i++, at += step) {
        Elf64_Phdr wide_segment;
        Elf32_Phdr narrow_segment;
        memcpy(&wide_segment, header + at, is_64bit ? sizeof wide_segment : 0);
        memcpy(&narrow_segment, header + at, sizeof narrow_segment);
        if ((is_64bit ? wide_segment.p_type : narrow_segment.p_type) != PT_INTERP)
            continue;
        *offset = is_64bit ? (size_t) wide_segment.p_offset : narrow_segment.p_offset;
        *length = is_64bit ? (size_t) wide_segment.p_filesz : narrow_segment.p_filesz;
        return *offset<size && * length> 1 && *length <= size - *offset && header[*offset + *length - 1] == 0;
    }
    return false;
}

static enum resolution judge_elf(const struct task *task, const unsigned char *header, size_t size)
{
    size_t offset, length;
    Elf64_Half machine;
    memcpy(&machine, header + offsetof(Elf64_Ehdr, e_machine), sizeof machine);
    if (machine != NATIVE_MACHINE && machine != COMPATIBLE_MACHINE)
        return other_formats_are_registered() ? UNKNOWN : BOUND_TO_FAIL;
    if (!find_loader(header, size, &offset, &length))
        return RESOLVED;
    int loader = open_path(task->tid, AT_FDCWD, (const char *) header + offset, 0);
    if (loader < 0)
        return judge_open_error();
    close(loader);
    return RESOLVED;
}

/* A script's first line: "#!", interpreter, optionally one argument. Source: execve(2), "Interpreter
 * scripts". */
static enum resolution parse_script(char *line, char **interpreter, char **argument)
{
    char *end = strchr(line, '\n');
    char *text = line + 2 + strspn(line + 2, " \t");
    if (end == NULL && text[strcspn(text, " \t")] == 0 && strlen(line) >= SCRIPT_HEADER_SIZE - 1)
        return BOUND_TO_FAIL; /* the interpreter's name is cut off */
    if (end != NULL)
        *end = 0;
    for (end = line + strlen(line); end > text && (end[-1] == ' ' || end[-1] == '\t'); end--)
        end[-1] = 0;
    if (*text == 0)
        return BOUND_TO_FAIL;
    *interpreter = text;
    text += strcspn(text, " \t");
    if (*text != 0) {
        *text++ = 0;
        text += strspn(text, " \t");
    }
    *argument = *text != 0 ? text : NULL;
    return RESOLVED;
}

/* Puts texts, each with its NUL, before what the prefix holds already. */
static bool prepend(struct text *prefix, const char *first, const char *second, const char *third)
{
    struct text longer = {0};
    const char *texts[] = {first, second, third};
    bool done = true;
    for (size_t i = 0; i < 3; i++)
        done = done && (texts[i] == NULL || text_append(&longer, texts[i], strlen(texts[i]) + 1));
    done = done && text_append(&longer, prefix->size > 0 ? prefix->bytes : "", prefix->size);
    if (!done) {
        free(longer.bytes);
        return false;
    }
    free(prefix->bytes);
    *prefix = longer;
    return true;
}

static void drop_first(struct text *texts)
{
    size_t size = strlen(texts->bytes) + 1;
    texts->size -= size;
    memmove(texts->bytes, texts->bytes + size, texts->size);
}

/* Reads the head of a file. Gives 0 for a file that may be executed but not read. */
static size_t read_header(const char *link, unsigned char *header)
{
    int fd = open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t size = fd >= 0 ? read(fd, header, HEADER_SIZE) : 0;
    if (fd >= 0)
        close(fd);
    return size > 0 ? (size_t) size : 0;
}

static void name_target(struct target *target, const struct stat *status, const char *link)
{
    ssize_t size = readlink(link, target->path, sizeof target->path);
    target->path_size = size > 0 ? (uint32_t) size : 0;
    target->device = status->st_dev;
    target->inode = status->st_ino;
}

/* One file of the chain script -> interpreter -> ...; its header is the caller's to read on. */
static enum resolution judge_file(const struct task *task, int fd, struct target *target,
                                  unsigned char *header, size_t *header_size)
{
    char link[64];
    struct stat status;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (fstat(fd, &status) != 0)
        return UNKNOWN;
    if (!may_execute(fd, &status, link))
        return BOUND_TO_FAIL;
    name_target(target, &status, link);
    memset(header, 0, HEADER_SIZE + 1);
    *header_size = read_header(link, header);
    if (*header_size == 0)
        return status.st_size == 0 ? BOUND_TO_FAIL : RESOLVED;
    if (header[0] == '#' && header[1] == '!')
        return RESOLVED;
    if (*header_size >= sizeof(Elf64_Ehdr) && memcmp(header, ELFMAG, SELFMAG) == 0)
        return judge_elf(task, header, *header_size);
    return other_formats_are_registered() ? UNKNOWN : BOUND_TO_FAIL;
}

bool is_script(const struct task *task, const char *path)
{
    char link[64], start[2] = "";
    int fd = open_path(task->tid, AT_FDCWD, path, 0);
    if (fd < 0)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int readable = open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t size = readable >= 0 ? read(readable, start, sizeof start) : 0;
    if (readable >= 0)
        close(readable);
    close(fd);
    return size == 2 && memcmp(start, "#!", 2) == 0;
}

enum resolution resolve_target(const struct task *task, int folder_fd, const char *path, int flags,
                               struct target *target)
{
    static unsigned char header[HEADER_SIZE + 1];
    static char current[PATH_MAX];
    target->prefix.size = 0;
    target->dropped = 0;
    if (strlen(path) >= sizeof current || (path[0] == 0 && !(flags & AT_EMPTY_PATH)))
        return BOUND_TO_FAIL;
    snprintf(current, sizeof current, "%s", path);
    for (int depth = 0; depth <= SCRIPT_DEPTH_MAX; depth++) {
        size_t header_size;
        int fd = open_path(task->tid, folder_fd, current, flags);
        if (fd < 0)
            return judge_open_error();
        enum resolution resolution = judge_file(task, fd, target, header, &header_size);
        close(fd);
        if (resolution != RESOLVED || header_size < 2 || header[0] != '#' || header[1] != '!')
            return resolution;
        if (current[0] != '/' && folder_fd != AT_FDCWD)
            return UNKNOWN; /* a script by descriptor: the kernel makes up its name */
        char *interpreter, *argument;
        header[SCRIPT_HEADER_SIZE - 1] = 0;
        if (parse_script((char *) header, &interpreter, &argument) != RESOLVED)
            return BOUND_TO_FAIL;
        /* What the list starts with so far is this file's own name: it comes again, behind its interpreter.
         */
        if (target->dropped != 0)
            drop_first(&target->prefix);
        if (!prepend(&target->prefix, interpreter, argument, current))
            return UNKNOWN;
        target->dropped = 1;
        if (strlen(interpreter) >= sizeof current)
            return BOUND_TO_FAIL;
        memmove(current, interpreter, strlen(interpreter) + 1);
        folder_fd = AT_FDCWD;
        flags = 0;
    }
    return BOUND_TO_FAIL;
}

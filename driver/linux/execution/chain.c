/* Finds out what an execve would execute, and whether it is bound to fail. Path, permission and header are
 * checked as the kernel will check them, in the caller's root and working directory, for every file on the
 * way with all its names. Any thread, with a chain of its own. Knows no rules and no events.
 *
 * A wrong guess is harmless, because what has been executed is looked at, too: an UNKNOWN or BOUND_TO_FAIL
 * execution that succeeds is asked about then, and a RESOLVED one that was resolved wrongly differs. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cbp_time.h"
#include "chain.h"
#include "deleted.h"

enum { SCRIPT_HEADER_SIZE = 256, SCRIPT_DEPTH_MAX = 5, SEGMENTS_SIZE_MAX = 65536 };

#if defined(__x86_64__)
enum { NATIVE_MACHINE = EM_X86_64, COMPATIBLE_MACHINE = EM_386 };
#else
enum { NATIVE_MACHINE = EM_AARCH64, COMPATIBLE_MACHINE = EM_ARM };
#endif

static enum resolution judge_open_error(void)
{
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
    case EACCES:
    case EBADF:
    case ELOOP:
    case ENAMETOOLONG:
        return BOUND_TO_FAIL;
    default:
        return UNKNOWN;
    }
}

/* Checks permission: exactly if the helper is the same user; for root only the mode counts. The kernel also says
 * no to a file on a mount that forbids executions. Linux before 5.8 lacks the call, and a container's older
 * profile forbids it as unknown; C libraries then fail, too. Source: access(2), the kernel's do_faccessat(). */
static bool may_execute(int fd, const struct stat *status, const struct own_link *link)
{
    if (!S_ISREG(status->st_mode) || (status->st_mode & 0111) == 0)
        return false;
    if (syscall(SYS_faccessat2, fd, "", X_OK, AT_EACCESS | AT_EMPTY_PATH) == 0)
        return true;
    if (errno != ENOSYS && errno != EPERM)
        return false;
    return syscall(SYS_faccessat, link->folder, link->name, X_OK) == 0;
}

static bool other_formats_are_registered(void)
{
    char state[16];
    (void) cbpd_read_file("/proc/sys/fs/binfmt_misc/status", state, sizeof state);
    return strncmp(state, "enabled", 7) == 0;
}

/* Judges a file that is neither a script nor a program of this machine: it may have its own interpreter. */
static enum resolution judge_other_format(struct chain *chain)
{
    chain->is_foreign = other_formats_are_registered();
    return chain->is_foreign ? UNKNOWN : BOUND_TO_FAIL;
}

/* An ELF file has such headers of segments. Its two classes have different ones. */
struct segments {
    bool is_64bit;
    size_t offset, step, count; /* in the file */
};

/* Gives the headers' place as the kernel takes it. False: it refuses the file. */
static bool find_segments(const unsigned char *header, struct segments *segments)
{
    Elf64_Ehdr wide;
    Elf32_Ehdr narrow;
    memcpy(&wide, header, sizeof wide);
    memcpy(&narrow, header, sizeof narrow);
    segments->is_64bit = header[EI_CLASS] == ELFCLASS64;
    segments->offset = segments->is_64bit ? (size_t) wide.e_phoff : narrow.e_phoff;
    segments->step = segments->is_64bit ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    segments->count = segments->is_64bit ? wide.e_phnum : narrow.e_phnum;
    return segments->count > 0 && segments->count * segments->step <= SEGMENTS_SIZE_MAX;
}

/* Finds offset and size of the text of PT_INTERP, the loader's path, in the file. False: there is none. */
static bool find_loader(const unsigned char *table, const struct segments *segments, size_t *offset,
                        size_t *length)
{
    for (size_t i = 0; i < segments->count; i++, table += segments->step) {
        Elf64_Phdr wide;
        Elf32_Phdr narrow;
        memcpy(&wide, table, segments->is_64bit ? sizeof wide : 0);
        memcpy(&narrow, table, sizeof narrow);
        if ((segments->is_64bit ? wide.p_type : narrow.p_type) != PT_INTERP)
            continue;
        *offset = segments->is_64bit ? (size_t) wide.p_offset : narrow.p_offset;
        *length = segments->is_64bit ? (size_t) wide.p_filesz : narrow.p_filesz;
        return true;
    }
    return false;
}

/* Gives bytes of the file, from its header if they are there, else read to room. NULL: they are not there. */
static const unsigned char *bytes_at(const struct chain *chain, int fd, size_t header_size, size_t offset,
                                     size_t size, unsigned char *room)
{
    if (offset <= header_size && size <= header_size - offset)
        return chain->header + offset;
    return offset <= INT64_MAX && pread(fd, room, size, (off_t) offset) == (ssize_t) size ? room : NULL;
}

/* Copies the loader's path. RESOLVED with an empty one: the program has no loader. */
static enum resolution read_loader(const struct chain *chain, int fd, size_t header_size,
                                   char loader[PATH_MAX])
{
    unsigned char few[PATH_MAX], *many = NULL;
    struct segments segments;
    size_t offset, length;
    enum resolution resolution = BOUND_TO_FAIL;
    loader[0] = 0;
    if (!find_segments(chain->header, &segments))
        return BOUND_TO_FAIL;
    size_t size = segments.count * segments.step;
    if (size > sizeof few && !(many = malloc(size)))
        return UNKNOWN;
    const unsigned char *table = bytes_at(chain, fd, header_size, segments.offset, size, many ? many : few);
    if (table && !find_loader(table, &segments, &offset, &length)) {
        resolution = RESOLVED;
    } else if (table && length > 1 && length <= PATH_MAX) {
        const unsigned char *path = bytes_at(chain, fd, header_size, offset, length, few);
        if (path && path[length - 1] == 0) {
            memcpy(loader, path, length);
            resolution = RESOLVED;
        }
    }
    free(many);
    return resolution;
}

static enum resolution look_up_loader(const struct place *place, const char *path, struct chain *chain)
{
    struct stat status;
    if (path[0] == 0)
        return RESOLVED;
    int loader = cbpd_look_up(place, AT_FDCWD, path, 0);
    if (loader < 0)
        return judge_open_error();
    chain->has_loader = true;
    if (chain->wants_loader && fstat(loader, &status) == 0)
        chain->loader = (struct file_identity){status.st_dev, status.st_ino};
    close(loader);
    chain->loader_path.size = 0;
    return !chain->wants_loader || text_append(&chain->loader_path, path, strlen(path) + 1) ? RESOLVED
                                                                                            : UNKNOWN;
}

static enum resolution judge_elf(const struct place *place, int fd, size_t header_size, struct chain *chain)
{
    char path[PATH_MAX];
    Elf64_Half machine;
    memcpy(&machine, chain->header + offsetof(Elf64_Ehdr, e_machine), sizeof machine);
    if (machine != NATIVE_MACHINE && machine != COMPATIBLE_MACHINE)
        return judge_other_format(chain);
    enum resolution resolution = read_loader(chain, fd, header_size, path);
    if (resolution == BOUND_TO_FAIL)
        return judge_other_format(chain);
    if (resolution != RESOLVED)
        return resolution;
    cbpd_remember_header(chain->headers, &chain->status, path);
    return look_up_loader(place, path, chain);
}

static bool is_blank(char character)
{
    return character == ' ' || character == '\t';
}

/* Gives the first character that is no blank, up to last. NULL: there is none. */
static char *skip_blanks(char *at, const char *last)
{
    while (at <= last && is_blank(*at))
        at++;
    return at <= last ? at : NULL;
}

/* Gives the first blank or NUL, up to last. NULL: there is none. */
static char *find_separator(char *at, const char *last)
{
    while (at <= last && *at != 0 && !is_blank(*at))
        at++;
    return at <= last ? at : NULL;
}

/* Parses a script's first line: "#!", the interpreter, and maybe one argument, which is empty if a NUL or the
 * end of the file follows a blank. Source: execve(2), "Interpreter scripts"; the kernel's load_script(). */
static enum resolution parse_script(char line[SCRIPT_HEADER_SIZE], char **interpreter, char **argument)
{
    char *last = line + SCRIPT_HEADER_SIZE - 1;
    char *end = memchr(line, '\n', strnlen(line, SCRIPT_HEADER_SIZE));
    if (!end) {
        char *name = skip_blanks(line + 2, last);
        if (!name || !find_separator(name, last))
            return BOUND_TO_FAIL; /* the interpreter's name is cut off */
        end = last;
    }
    while (is_blank(end[-1]))
        end--;
    char *name = skip_blanks(line + 2, end);
    if (!name || name == end || *name == 0)
        return BOUND_TO_FAIL;
    char *separator = find_separator(name, end);
    *argument = separator && *separator != 0 ? skip_blanks(separator, end) : NULL;
    *interpreter = name;
    *end = 0;
    if (*argument)
        *separator = 0;
    return RESOLVED;
}

/* Puts texts, each with its NUL, before the present prefix. */
static bool prepend(struct text *prefix, const char *first, const char *second, const char *third)
{
    struct text longer = {0};
    const char *texts[] = {first, second, third};
    bool done = true;
    for (size_t i = 0; i < 3; i++)
        done = done && (!texts[i] || text_append(&longer, texts[i], strlen(texts[i]) + 1));
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

/* Takes what has been read from a link, which has that path, too. */
static bool take_path(const char *link, uint32_t tid, ssize_t size, struct located_file *file)
{
    bool is_whole = size > 0 && size < (ssize_t) sizeof file->path;
    file->path_size = size > 0 ? (size_t) size : 0;
    file->is_deleted = is_whole && cbpd_take_off_deleted(link, tid, file->path, &file->path_size);
    return is_whole;
}

bool cbpd_locate(const char *link, uint32_t tid, struct located_file *file)
{
    return take_path(link, tid, readlink(link, file->path, sizeof file->path), file);
}

static bool locate_own(const struct own_link *link, uint32_t tid, struct located_file *file)
{
    ssize_t size = readlinkat(link->folder, link->name, file->path, sizeof file->path);
    return take_path(link->path, tid, size, file);
}

static bool add_name(struct chain *chain, const char *name, size_t size, uint32_t *at, uint32_t *name_size)
{
    *at = (uint32_t) chain->names.size;
    *name_size = (uint32_t) size;
    return text_append(&chain->names, name, size) && text_append(&chain->names, "", 1);
}

bool cbpd_chain_add(struct chain *chain, const struct located_file *found, const char *given)
{
    if (chain->file_count == CHAIN_FILE_MAX)
        return false;
    struct chain_file *file = &chain->files[chain->file_count];
    if (!add_name(chain, found->path, found->path_size, &file->path_at, &file->path_size) ||
        !add_name(chain, given, strlen(given), &file->given_at, &file->given_size))
        return false;
    file->device = found->identity.device;
    file->inode = found->identity.inode;
    file->changed_ns = found->changed_ns;
    file->is_deleted = found->is_deleted;
    chain->file_count++;
    return true;
}

/* Adds one file of a chain script -> interpreter -> ..., named as given, and opens it for reading. *opened is
 * -1 for a file that can be executed but not read. */
static enum resolution add_file(const struct place *place, int fd, const char *given, struct chain *chain,
                                int *opened)
{
    struct own_link link;
    struct located_file file;
    struct stat *status = &chain->status;
    cbpd_name_own(fd, &link);
    *opened = -1;
    if (fstat(fd, status) != 0)
        return UNKNOWN;
    if (!may_execute(fd, status, &link))
        return BOUND_TO_FAIL;
    file.identity = (struct file_identity){status->st_dev, status->st_ino};
    file.changed_ns = status->st_ctim.tv_sec * (int64_t) CBP_NS_PER_S + status->st_ctim.tv_nsec;
    if (!locate_own(&link, place->tid, &file) || !cbpd_chain_add(chain, &file, given))
        return UNKNOWN;
    chain->known = cbpd_find_header(chain->headers, status);
    if (chain->known)
        return RESOLVED;
    *opened = openat(link.folder, link.name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*opened < 0 && status->st_size == 0)
        return BOUND_TO_FAIL;
    return RESOLVED;
}

/* Judges a file by its header, which is read to the chain. *is_script: more of the chain follows. */
static enum resolution judge_header(const struct place *place, int fd, struct chain *chain, bool *is_script)
{
    unsigned char *header = chain->header;
    *is_script = false;
    if (chain->known)
        return look_up_loader(place, chain->known->loader, chain);
    memset(header, 0, sizeof chain->header);
    ssize_t got = fd >= 0 ? pread(fd, header, CHAIN_HEADER_SIZE, 0) : -1;
    size_t size = got > 0 ? (size_t) got : 0;
    *is_script = size >= 2 && header[0] == '#' && header[1] == '!';
    if (*is_script)
        return RESOLVED;
    if (got < 0) {
        chain->is_unreadable = true;
        return RESOLVED;
    }
    if (size >= sizeof(Elf64_Ehdr) && memcmp(header, ELFMAG, SELFMAG) == 0)
        return judge_elf(place, fd, size, chain);
    return size == 0 ? BOUND_TO_FAIL : judge_other_format(chain);
}

void cbpd_chain_clear(struct chain *chain)
{
    chain->file_count = 0;
    chain->names.size = 0;
    chain->prefix.size = 0;
    chain->dropped = 0;
    chain->known = NULL;
    chain->is_foreign = chain->is_unreadable = chain->has_loader = false;
    chain->loader = (struct file_identity){0, 0};
}

/* Takes what a script's first line says to the prefix, and gives the interpreter's path. */
static enum resolution take_first_line(struct chain *chain, char given[PATH_MAX])
{
    char *interpreter, *argument;
    if (parse_script((char *) chain->header, &interpreter, &argument) != RESOLVED)
        return BOUND_TO_FAIL;
    /* The prefix begins with this file's own name, which comes again behind its interpreter. */
    if (chain->dropped != 0)
        drop_first(&chain->prefix);
    if (!prepend(&chain->prefix, interpreter, argument, given))
        return UNKNOWN;
    chain->dropped = 1;
    snprintf(given, PATH_MAX, "%s", interpreter);
    return RESOLVED;
}

enum resolution cbpd_follow_chain(const struct place *place, int fd, const char *name, struct chain *chain)
{
    char given[PATH_MAX];
    int opened = -1;
    bool is_script = false;
    snprintf(given, sizeof given, "%s", name);
    enum resolution resolution = judge_header(place, fd, chain, &is_script);
    for (int depth = 0; resolution == RESOLVED && is_script; depth++) {
        resolution = depth < SCRIPT_DEPTH_MAX ? take_first_line(chain, given) : BOUND_TO_FAIL;
        if (resolution != RESOLVED)
            break;
        int found = cbpd_look_up(place, AT_FDCWD, given, 0);
        if (found < 0)
            return judge_open_error();
        resolution = add_file(place, found, given, chain, &opened);
        close(found);
        if (resolution == RESOLVED)
            resolution = judge_header(place, opened, chain, &is_script);
        if (opened >= 0)
            close(opened);
    }
    return resolution;
}

enum resolution cbpd_read_chain(const struct place *place, int folder_fd, const char *path, int flags,
                                const char *name, struct chain *chain)
{
    int opened = -1;
    cbpd_chain_clear(chain);
    if (strlen(path) >= PATH_MAX || strlen(name) >= PATH_MAX)
        return BOUND_TO_FAIL;
    int fd = cbpd_look_up(place, folder_fd, path, flags);
    if (fd < 0)
        return judge_open_error();
    enum resolution resolution = add_file(place, fd, name, chain, &opened);
    close(fd);
    if (resolution == RESOLVED)
        resolution = cbpd_follow_chain(place, opened, name, chain);
    if (opened >= 0)
        close(opened);
    return resolution;
}

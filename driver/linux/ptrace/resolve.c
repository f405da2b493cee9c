/* Finds out what an execve would execute, and whether it is bound to fail. Path, permission and header are
 * checked as the kernel will check them, in the caller's root and working directory, for every file on the
 * way with all its names. Any thread, with a chain of its own. Knows no rules and no events.
 *
 * A wrong guess is harmless. If an UNKNOWN or BOUND_TO_FAIL execution succeeds, the stop after execve asks
 * about it. If a RESOLVED one was resolved wrongly, that stop finds the difference. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "deleted.h"
#include "reading.h"

enum { SCRIPT_HEADER_SIZE = 256, SCRIPT_DEPTH_MAX = 5 };

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

/* Checks permission: exactly if the helper is the same user; for root only the mode counts. */
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

/* Finds offset and size of PT_INTERP's text. The two classes have different program headers. */
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

static enum resolution judge_elf(const struct place *place, struct chain *chain, size_t size)
{
    size_t offset, length;
    Elf64_Half machine;
    const unsigned char *header = chain->header;
    memcpy(&machine, header + offsetof(Elf64_Ehdr, e_machine), sizeof machine);
    if (machine != NATIVE_MACHINE && machine != COMPATIBLE_MACHINE)
        return judge_other_format(chain);
    if (!find_loader(header, size, &offset, &length))
        return RESOLVED;
    int loader = cbpd_look_up(place, AT_FDCWD, (const char *) header + offset, 0);
    if (loader < 0)
        return judge_open_error();
    close(loader);
    return RESOLVED;
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

/* Reads the beginning of a file. Gives 0 for a file that can be executed but not read. */
static size_t read_header(const char *link, unsigned char header[CHAIN_HEADER_SIZE])
{
    int fd = open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t size = fd >= 0 ? read(fd, header, CHAIN_HEADER_SIZE) : 0;
    if (fd >= 0)
        close(fd);
    return size > 0 ? (size_t) size : 0;
}

bool cbpd_locate(const char *link, uint32_t tid, struct located_file *file)
{
    ssize_t size = readlink(link, file->path, sizeof file->path);
    bool is_whole = size > 0 && size < (ssize_t) sizeof file->path;
    file->path_size = size > 0 ? (size_t) size : 0;
    file->is_deleted = is_whole && cbpd_take_off_deleted(link, tid, file->path, &file->path_size);
    return is_whole;
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
    file->is_deleted = found->is_deleted;
    chain->file_count++;
    return true;
}

/* Judges one file of a chain script -> interpreter -> ..., named as given. The caller reads its header. */
static enum resolution judge_file(const struct place *place, int fd, const char *given, struct chain *chain,
                                  size_t *header_size)
{
    char link[64];
    struct located_file file;
    struct stat status;
    unsigned char *header = chain->header;
    snprintf(link, sizeof link, "%s/%d", cbpd_own_descriptors(), fd);
    if (fstat(fd, &status) != 0)
        return UNKNOWN;
    if (!may_execute(fd, &status, link))
        return BOUND_TO_FAIL;
    file.identity = (struct file_identity){status.st_dev, status.st_ino};
    if (!cbpd_locate(link, place->tid, &file) || !cbpd_chain_add(chain, &file, given))
        return UNKNOWN;
    memset(header, 0, sizeof chain->header);
    *header_size = read_header(link, header);
    if (*header_size == 0) {
        chain->is_unreadable = true;
        return status.st_size == 0 ? BOUND_TO_FAIL : RESOLVED;
    }
    if (header[0] == '#' && header[1] == '!')
        return RESOLVED;
    if (*header_size >= sizeof(Elf64_Ehdr) && memcmp(header, ELFMAG, SELFMAG) == 0)
        return judge_elf(place, chain, *header_size);
    return judge_other_format(chain);
}

void cbpd_chain_clear(struct chain *chain)
{
    chain->file_count = 0;
    chain->names.size = 0;
    chain->prefix.size = 0;
    chain->dropped = 0;
    chain->is_foreign = chain->is_unreadable = false;
}

enum resolution cbpd_read_chain(const struct place *place, int folder_fd, const char *path, int flags,
                                const char *name, struct chain *chain)
{
    char given[PATH_MAX];
    cbpd_chain_clear(chain);
    if (strlen(path) >= sizeof given || strlen(name) >= sizeof given)
        return BOUND_TO_FAIL;
    snprintf(given, sizeof given, "%s", name);
    for (int depth = 0; depth <= SCRIPT_DEPTH_MAX; depth++) {
        size_t header_size = 0;
        int fd = depth == 0 ? cbpd_look_up(place, folder_fd, path, flags)
                            : cbpd_look_up(place, AT_FDCWD, given, 0);
        if (fd < 0)
            return judge_open_error();
        enum resolution resolution = judge_file(place, fd, given, chain, &header_size);
        close(fd);
        if (resolution != RESOLVED || header_size < 2 || chain->header[0] != '#' || chain->header[1] != '!')
            return resolution;
        char *interpreter, *argument;
        if (parse_script((char *) chain->header, &interpreter, &argument) != RESOLVED)
            return BOUND_TO_FAIL;
        /* The prefix begins with this file's own name, which comes again behind its interpreter. */
        if (chain->dropped != 0)
            drop_first(&chain->prefix);
        if (!prepend(&chain->prefix, interpreter, argument, given))
            return UNKNOWN;
        chain->dropped = 1;
        snprintf(given, sizeof given, "%s", interpreter);
    }
    return BOUND_TO_FAIL;
}

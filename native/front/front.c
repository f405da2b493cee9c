/* Implements the command `cbprocess` of an installed Python package. It notes two facts about its caller that
 * CPython's start would destroy, and becomes Python, which finds the note (cbprocess/cli/caller.py). The
 * facts are which signals are ignored, because CPython ignores SIGPIPE and SIGXFSZ for itself, and which are
 * blocked, because SIGINT stays blocked until Python is ready for it.
 *
 * It executes the script `cbprocess-python` in its own folder, where an installer has put both. The first line
 * of the script says which Python it is for. The command has no C library (bare_system.h), so it changes nothing
 * else. It knows nothing of the command line and of the library. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "bare_system.h"

enum {
    EXIT_OWN_FAILURE = 125,
    STANDARD_ERROR = 2,
    PATH_SIZE = 4096, /* PATH_MAX, which a compiler without a C library does not know */
    SCRIPT_BEGIN_SIZE = 2 * PATH_SIZE,
    NUMBER_SIZE = 2 * sizeof(uint64_t)
};

static const char script_name[] = "cbprocess-python";
static const char note_name[] = "CBPROCESS_CALLER=";
/* The kernel does not find an interpreter whose path has a blank or is longer than it reads. Some installers
 * begin a script with a shell then, others write the path all the same. */
static const char path_begin[] = "#!/";
static const char shell_begin[] = "#!/bin/sh\n'''exec' ";
static const char shell_end[] = " \"$0\" \"$@\"\n";

static char script[PATH_SIZE + sizeof script_name];
static char script_begin[SCRIPT_BEGIN_SIZE];
static char note[sizeof note_name + 3 * (1 + NUMBER_SIZE)];

static bool begins_with(const char *text, const char *beginning)
{
    while (*beginning != 0)
        if (*text++ != *beginning++)
            return false;
    return true;
}

static void append(char **end, const char *text)
{
    while (*text != 0)
        *(*end)++ = *text++;
    **end = 0;
}

static void append_number(char **end, uint64_t number)
{
    for (unsigned digit = NUMBER_SIZE; digit-- > 0;)
        *(*end)++ = "0123456789abcdef"[number >> 4 * digit & 15];
    **end = 0;
}

static int fail(const char *what, long error)
{
    static char text[PATH_SIZE + 128];
    char *end = text;
    append(&end, "cbprocess: ");
    append(&end, what);
    append(&end, " cannot be executed");
    append(&end, error == ENOENT ? ": it is not there, or its Python is not\n" : "\n");
    (void) call_system(SYS_write, STANDARD_ERROR, address_of(text), end - text, 0, 0, 0);
    return EXIT_OWN_FAILURE;
}

/* Gives the path by which this program was executed, which the kernel leaves behind the environment. */
static const char *executed_path(char **environment)
{
    while (*environment)
        environment++;
    for (const unsigned long *entry = (unsigned long *) (environment + 1); entry[0] != AT_NULL; entry += 2)
        if (entry[0] == AT_EXECFN)
            return (const char *) entry[1];
    return "";
}

/* Finds the script beside this program's own file, wherever the links lead that it was called by. */
static void find_script(char **environment)
{
    long length = call_system(SYS_readlinkat, AT_FDCWD, address_of("/proc/self/exe"), address_of(script),
                              PATH_SIZE, 0, 0);
    char *end = script;
    if (length <= 0) {
        const char *path = executed_path(environment);
        if (length_of(path) < PATH_SIZE)
            append(&end, path);
        length = end - script;
    }
    end = script + length;
    while (end > script && end[-1] != '/')
        end--;
    append(&end, script_name);
}

static void read_script(void)
{
    long fd = call_system(SYS_openat, AT_FDCWD, address_of(script), O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0)
        return;
    (void) call_system(SYS_read, fd, address_of(script_begin), sizeof script_begin - 1, 0, 0, 0);
    (void) call_system(SYS_close, fd, 0, 0, 0, 0, 0);
}

/* Gives all that stands in a script's first line as one path, which may be another than the kernel's; NULL:
 * it has none. */
static const char *python_of_line(void)
{
    if (!begins_with(script_begin, path_begin))
        return NULL;
    char *end = script_begin;
    while (*end != 0 && *end != '\n')
        end++;
    if (*end == 0)
        return NULL;
    *end = 0;
    return script_begin + 2;
}

/* Gives the Python of a script that begins as shell_begin says; NULL: it does not. The shell that would run in
 * between would change the environment. */
static const char *python_of_shell(void)
{
    if (!begins_with(script_begin, shell_begin))
        return NULL;
    char *path = script_begin + sizeof shell_begin - 1;
    const bool is_quoted = *path == '"';
    if (is_quoted)
        path++;
    char *end = path;
    while ((unsigned char) *end > ' ' || (is_quoted && *end == ' ')) {
        /* The shell would make something else of these characters. */
        if (*end == '$' || *end == '`' || *end == '\\' || *end == '\'' || *end == '"')
            break;
        end++;
    }
    if (*path != '/' || (is_quoted && *end != '"') || !begins_with(end + is_quoted, shell_end))
        return NULL;
    *end = 0;
    return path;
}

static void write_note(void)
{
    uint64_t block = 1ULL << (SIGINT - 1), mask = 0, ignored = 0;
    (void) call_system(SYS_rt_sigprocmask, SIG_BLOCK, address_of(&block), address_of(&mask), SIGNAL_SET_SIZE,
                       0, 0);
    for (long number = 1; number <= SIGNAL_MAX; number++) {
        struct kernel_action action = {0};
        (void) call_system(SYS_rt_sigaction, number, 0, address_of(&action), SIGNAL_SET_SIZE, 0, 0);
        if (action.handler == (uint64_t) (uintptr_t) SIG_IGN)
            ignored |= 1ULL << (number - 1);
    }
    char *end = note;
    append(&end, note_name);
    /* The note begins with this process's id, so that a process that inherits it does not believe it. */
    append_number(&end, (uint64_t) call_system(SYS_getpid, 0, 0, 0, 0, 0, 0));
    append(&end, " ");
    append_number(&end, mask);
    append(&end, " ");
    append_number(&end, ignored);
}

static size_t count_of(char **list)
{
    size_t count = 0;
    while (list[count])
        count++;
    return count;
}

int cbpd_bare_main(int argument_count, char **arguments, char **environment)
{
    find_script(environment);
    read_script();
    const char *python = python_of_shell();
    const char *other = python ? NULL : python_of_line();
    size_t count = count_of(environment);
    size_t size = ((size_t) argument_count + count + 8) * sizeof(char *);
    long memory =
        call_system(SYS_mmap, 0, (long) size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory >= -4095)
        return fail(script, -memory);
    char **line = (char **) memory;
    size_t at = 0;
    line[at++] = (char *) (uintptr_t) (python ? python : other);
    line[at++] = script;
    for (int i = 1; i < argument_count; i++)
        line[at++] = arguments[i];
    char **surroundings = line + ++at;
    /* The note stands first, so that it counts whatever the environment says. */
    surroundings[0] = note;
    for (size_t i = 0; i < count; i++)
        surroundings[i + 1] = environment[i];
    write_note();
    if (other)
        (void) call_system(SYS_execve, address_of(other), address_of(line), address_of(surroundings), 0, 0,
                           0);
    if (!python) {
        /* The kernel finds the interpreter of the script. */
        python = script;
        line++;
    }
    long error =
        call_system(SYS_execve, address_of(python), address_of(line), address_of(surroundings), 0, 0, 0);
    return fail(script, -error);
}

/* Executions of fanotify events, read from /proc and from the memory of tasks: which file begins one, with which
 * names and arguments, which one is a part, and what an exchange of files in between makes of it. Holds only
 * executions on a file system of its own, which nobody else sees. Root only; else the test is skipped. */
#include "cbp_compiler.h"
#include "execution.h"
#include "support.h"

#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { SKIPPED = 77, STORY_SIZE = 1 << 16, PROGRAM_SIZE_MAX = 1 << 22, REFUSED_STATUS = 9 };

/* The place is short, because the loader's path in a program is replaced by one that lies there. */
static char folder[] = "/tmp/cbpXXXXXX";
static int group;
static struct cbpi_executions *executions;
static char story[STORY_SIZE]; /* what has been read, a line for each event */
static char given[PATH_MAX];
static char *arguments[] = {"zero", "one two", "", NULL};
static char **volatile no_list = NULL, **volatile bad_address = (char **) 8; // NOLINT: no address
static void (*on_new)(const struct cbpi_execution *execution);
static bool refuses;

/* ---- The place ---- */

static const char *in_folder(const char *name)
{
    static char paths[8][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return path;
}

static size_t read_whole(const char *path, char *bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    ssize_t size = read(fd, bytes, PROGRAM_SIZE_MAX);
    CHECK(size > 0 && size < PROGRAM_SIZE_MAX);
    close(fd);
    return (size_t) size;
}

static void write_whole(const char *name, const char *bytes, size_t size)
{
    int fd = open(in_folder(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t) size && fchmod(fd, 0755) == 0);
    close(fd);
}

static void write_script(const char *name, const char *interpreter, const char *rest)
{
    char text[2 * PATH_MAX];
    snprintf(text, sizeof text, "#!%s%s\n", interpreter, rest);
    write_whole(name, text, strlen(text));
}

/* Copies /bin/true, whose loader is then `ld` in the folder, and that loader. */
static void make_program(void)
{
    static char bytes[PROGRAM_SIZE_MAX];
    Elf64_Ehdr header;
    Elf64_Phdr segment = {.p_type = PT_NULL};
    size_t size = read_whole("/bin/true", bytes);
    memcpy(&header, bytes, sizeof header);
    for (int i = 0; i < header.e_phnum && segment.p_type != PT_INTERP; i++)
        memcpy(&segment, bytes + header.e_phoff + (size_t) i * sizeof segment, sizeof segment);
    CHECK(segment.p_type == PT_INTERP && strlen(in_folder("ld")) < segment.p_filesz);
    char loader[PATH_MAX];
    snprintf(loader, sizeof loader, "%s", bytes + segment.p_offset);
    snprintf(bytes + segment.p_offset, segment.p_filesz, "%s", in_folder("ld"));
    write_whole("true", bytes, size);
    write_whole("ld", bytes, read_whole(loader, bytes));
}

static void make_place(void)
{
    CHECK(mkdtemp(folder) && mount("cbprocess-test", folder, "tmpfs", 0, NULL) == 0);
    group =
        fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_REPORT_TID, O_RDONLY | O_LARGEFILE | O_CLOEXEC);
    CHECK(group >= 0);
    CHECK(fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN_EXEC_PERM, AT_FDCWD, folder) ==
          0);
    make_program();
    write_script("script", in_folder("true"), " -x y ");
    write_script("script of script", in_folder("script"), "");
    write_script("no interpreter", in_folder("absent"), "");
    write_whole("no format", "text\n", 5);
}

/* ---- What is read ---- */

CBP_PRINTF(1, 2)
static void tell(const char *format, ...)
{
    va_list list;
    size_t size = strlen(story);
    va_start(list, format);
    vsnprintf(story + size, sizeof story - size, format, list);
    va_end(list);
}

/* Tells a name without the folder. */
static void tell_name(const char *before, const char *name)
{
    size_t size = strlen(folder);
    tell("%s%s", before, strncmp(name, folder, size) == 0 ? name + size + 1 : name);
}

static void tell_execution(const struct cbpi_execution *execution)
{
    tell("new%s%s%s", execution->is_vague ? " vague" : "", execution->is_changed ? " changed" : "",
         execution->has_failed_before ? " after a failure" : "");
    for (uint32_t i = 0; i < execution->file_count; i++) {
        tell_name(i > 0 ? " -> " : ": ", execution->files[i].path);
        if (strcmp(execution->files[i].given, execution->files[i].path) != 0)
            tell_name(" as ", execution->files[i].given);
        tell("%s", execution->files[i].is_deleted ? " (deleted)" : "");
    }
    tell(" with");
    for (uint32_t at = 0; at < execution->arguments_size && execution->arguments_size < 1000;
         at += (uint32_t) strlen(execution->arguments + at) + 1)
        tell_name(" ", execution->arguments + at);
    if (execution->arguments_size >= 1000)
        tell(" %u bytes", execution->arguments_size);
    tell("%s\n", execution->are_arguments_whole ? "" : " and more");
}

static void answer_one(void)
{
    struct fanotify_event_metadata metadata;
    struct cbpi_execution execution;
    CHECK(read(group, &metadata, sizeof metadata) == sizeof metadata);
    const struct cbpi_file_event event = {.descriptor = metadata.fd, .thread_id = (uint32_t) metadata.pid};
    enum cbpi_execution_kind kind = cbpi_execution_read(executions, &event, &execution);
    static const char *const words[] = {[CBPI_EXECUTION_PART] = "part\n",
                                        [CBPI_EXECUTION_NOTHING] = "nothing\n",
                                        [CBPI_EXECUTION_UNKNOWN] = "unknown\n"};
    bool is_refused = kind == CBPI_EXECUTION_NEW && refuses;
    if (kind == CBPI_EXECUTION_NEW) {
        CHECK(execution.thread_id == event.thread_id && execution.user_id == getuid());
        tell_execution(&execution);
        cbpi_execution_decided(executions, execution.thread_id, is_refused);
        if (on_new)
            on_new(&execution);
    } else {
        tell("%s", words[kind]);
    }
    const struct fanotify_response response = {metadata.fd, is_refused ? FAN_DENY : FAN_ALLOW};
    CHECK(write(group, &response, sizeof response) == sizeof response);
    close(metadata.fd);
}

/* Runs the way in a process of its own, answers its executions, and gives its exit status; the story is kept. */
static int watch(void (*way)(void))
{
    story[0] = 0;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(
            group); /* else the death of this test would leave the child waiting for an answer of its own group */
        way();
        _exit(errno == EPERM ? REFUSED_STATUS : 100);
    }
    struct pollfd waits[] = {{.fd = group, .events = POLLIN},
                             {.fd = (int) syscall(SYS_pidfd_open, child, 0), .events = POLLIN}};
    CHECK(waits[1].fd >= 0);
    do {
        CHECK(poll(waits, 2, 20000) > 0);
        if (waits[0].revents != 0)
            answer_one();
    } while (waits[0].revents != 0 || waits[1].revents == 0);
    close(waits[1].fd);
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    if (cbpi_execution_over(executions, (uint32_t) child))
        tell("failed\n"); /* nobody has told of the execution itself here, so this is said of each one */
    return WEXITSTATUS(status);
}

static void check_story(int line, const char *expected)
{
    if (strcmp(story, expected) == 0)
        return;
    fprintf(stderr, "line %d: this was read:\n%sand this was expected:\n%s", line, story, expected);
    abort();
}

#define CHECK_STORY(expected) check_story(__LINE__, expected)

static void execute(const char *path)
{
    snprintf(given, sizeof given, "%s", path);
    execve(given, arguments, NULL);
}

/* ---- Names and arguments ---- */

static void by_path(void)
{
    execute(in_folder("true"));
}

static void by_relative_path(void)
{
    CHECK(chdir(folder) == 0);
    execute("./true");
}

static void by_link(void)
{
    CHECK(symlink("true", in_folder("link")) == 0);
    execute(in_folder("link"));
}

static void by_descriptor(void)
{
    int fd = open(in_folder("true"), O_PATH);
    CHECK(dup2(fd, 7) == 7);
    syscall(SYS_execveat, 7, "", arguments, NULL, AT_EMPTY_PATH);
}

static void by_folder(void)
{
    CHECK(dup2(open(folder, O_PATH), 7) == 7);
    syscall(SYS_execveat, 7, "script", arguments, NULL, 0);
}

static void deleted(void)
{
    CHECK(link(in_folder("true"), in_folder("gone")) == 0 && dup2(open(in_folder("gone"), O_PATH), 7) == 7);
    CHECK(unlink(in_folder("gone")) == 0);
    syscall(SYS_execveat, 7, "", arguments, NULL, AT_EMPTY_PATH);
}

static void script(void)
{
    execute(in_folder("script"));
}

static void script_of_script(void)
{
    execute(in_folder("script of script"));
}

static void without_arguments(void)
{
    execve(in_folder("true"), no_list, NULL);
}

static void with_many_arguments(void)
{
    static char *many[1001];
    for (int i = 0; i < 1000; i++)
        many[i] = strdup("an argument of forty bytes, with its NUL..");
    execve(in_folder("true"), many, NULL);
}

/* Both lists end where the memory does. */
static void at_the_end_of_memory(void)
{
    char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t size = strlen(in_folder("true")) + 1;
    CHECK(memory != MAP_FAILED && munmap(memory + 4096, 4096) == 0);
    char *path = memcpy(memory + 4096 - size, in_folder("true"), size);
    char **list = (char **) (void *) (memory + (4096 - size) / 8 * 8 - 24);
    list[0] = path;
    list[1] = path + size - 5;
    list[2] = NULL;
    execve(path, list, NULL);
}

static void *execute_here(void *path)
{
    execute(path);
    return NULL;
}

static void by_a_thread(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, execute_here, (void *) (uintptr_t) in_folder("true")) == 0);
    pthread_join(thread, NULL);
}

static void test_names(void)
{
    static const struct {
        void (*way)(void);
        const char *story;
    } cases[] = {
        {by_path, "new: true with zero one two \npart\nfailed\n"},
        {by_relative_path, "new: true as ./true with zero one two \npart\nfailed\n"},
        {by_link, "new: true as link with zero one two \npart\nfailed\n"},
        {by_descriptor, "new: true as /dev/fd/7 with zero one two \npart\nfailed\n"},
        {by_folder, "new: script as /dev/fd/7/script -> true with zero one two \npart\npart\nfailed\n"},
        {deleted, "new: gone as /dev/fd/7 (deleted) with zero one two \npart\nfailed\n"},
        {script, "new: script -> true with zero one two \npart\npart\nfailed\n"},
        {script_of_script,
         "new: script of script -> script -> true with zero one two \npart\npart\npart\nfailed\n"},
        {without_arguments, "new: true with \npart\nfailed\n"},
        {with_many_arguments, "new: true with 43000 bytes\npart\nfailed\n"},
        {at_the_end_of_memory, "new: true with true true\npart\nfailed\n"},
        {by_a_thread, "new: true with zero one two \npart\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK(watch(cases[i].way) == 0);
        check_story((int) i, cases[i].story);
    }
}

/* ---- Failures ---- */

static void absent(void)
{
    execute(in_folder("absent"));
}

static void no_interpreter(void)
{
    execute(in_folder("no interpreter"));
}

static void no_format(void)
{
    execute(in_folder("no format"));
}

static void bad_list(void)
{
    execve(in_folder("true"), bad_address, NULL);
}

static void only_checked(void)
{
    enum { ONLY_CHECK = 0x10000 };
    syscall(SYS_execveat, AT_FDCWD, in_folder("true"), arguments, NULL, ONLY_CHECK);
}

/* A file that is open for writing fails, after everything has been looked up; then comes the loader itself, from
 * the same place with the same pointers. */
static void written_to(void)
{
    int fd = open(in_folder("true"), O_RDWR);
    const char *paths[] = {in_folder("true"), in_folder("ld")};
    for (int i = 0; i < 2; i++)
        execute(paths[i]);
    close(fd);
}

static void again(void)
{
    int fd = open(in_folder("script"), O_RDWR);
    for (int i = 0; i < 2; i++) {
        execute(in_folder("script"));
        close(fd);
    }
}

static void test_failures(void)
{
    void (*const bound_to_fail[])(void) = {no_interpreter, no_format, bad_list};
    for (size_t i = 0; i < sizeof bound_to_fail / sizeof bound_to_fail[0]; i++) {
        CHECK(watch(bound_to_fail[i]) == 100);
        CHECK_STORY("nothing\n");
    }
    CHECK(watch(absent) == 100);
    CHECK_STORY("");
    (void) watch(only_checked); /* before Linux 6.14 it is refused before the file is opened */
    CHECK(strcmp(story, "nothing\n") == 0 || strcmp(story, "") == 0);
    (void) watch(written_to); /* the loader has no program "one two" to load */
    CHECK_STORY("new: true with zero one two \nnew after a failure: ld with zero one two \nfailed\n");
    CHECK(watch(again) == 0);
    CHECK_STORY("new: script -> true with zero one two \n"
                "new after a failure: script -> true with zero one two \npart\npart\nfailed\n");
}

static void test_refusal(void)
{
    refuses = true;
    CHECK(watch(script) == REFUSED_STATUS);
    CHECK_STORY("new: script -> true with zero one two \n");
    refuses = false;
}

/* ---- Exchanges ---- */

static void exchange_program(const struct cbpi_execution *execution)
{
    (void) execution;
    on_new = NULL;
    CHECK(link(in_folder("ld"), in_folder("other")) == 0);
    CHECK(rename(in_folder("true"), in_folder("kept")) == 0);
    CHECK(rename(in_folder("other"), in_folder("true")) == 0);
}

/* The interpreter is another file by the time that the kernel opens it. */
static void test_exchange(void)
{
    on_new = exchange_program;
    (void) watch(script);
    CHECK_STORY(
        "new: script -> true with zero one two \nnew changed: script -> true with zero one two \nfailed\n");
    CHECK(rename(in_folder("kept"), in_folder("true")) == 0);
}

/* ---- What has been executed ---- */

struct told {
    struct cbp_machine_exec record;
    char texts[2 * PATH_MAX];
};

static enum cbpi_execution_outcome happened(uint32_t thread_id, const char *path, const char *name,
                                            uint64_t inode, const char *list, uint32_t list_size)
{
    static struct told told;
    struct stat status;
    CHECK(stat(in_folder("true"), &status) == 0);
    memset(&told, 0, sizeof told);
    told.record.old_thread_id = thread_id;
    told.record.device = status.st_dev;
    told.record.inode = inode;
    told.record.path_size = (uint32_t) strlen(path);
    told.record.given_size = (uint32_t) strlen(name);
    memcpy(told.texts, path, told.record.path_size);
    memcpy(told.texts + told.record.path_size, name, told.record.given_size);
    return cbpi_execution_happened(executions, &told.record, list, list_size, true);
}

/* The script was decided about, and this is executed: its program or another file, with its arguments or others. */
static bool other_file, other_arguments;
static enum cbpi_execution_outcome outcome;

static void compare(const struct cbpi_execution *execution)
{
    struct stat status;
    char list[4 * PATH_MAX];
    on_new = NULL; /* the kernel itself is not that far, and opens the program after this */
    int size = snprintf(list, sizeof list, "%s%c-x y%c%s%cone two%c", in_folder("true"), 0, 0,
                        in_folder("script"), 0, 0);
    CHECK(stat(in_folder("true"), &status) == 0);
    CHECK(execution->inode == status.st_ino && execution->device == status.st_dev);
    list[size - 2] = other_arguments ? 'X' : list[size - 2];
    outcome = happened(execution->thread_id, other_file ? "/other" : in_folder("true"), in_folder("script"),
                       other_file ? 1 : status.st_ino, list, (uint32_t) size + 1);
}

static enum cbpi_execution_outcome outcome_with(bool is_other_file, bool is_other_list)
{
    other_file = is_other_file;
    other_arguments = is_other_list;
    on_new = compare;
    CHECK(watch(script) == 0);
    return outcome;
}

static void test_outcomes(void)
{
    CHECK(happened(1, "/x", "/x", 5, "x", 2) == CBPI_EXECUTION_UNDECIDED);
    CHECK(outcome_with(false, false) == CBPI_EXECUTION_AS_DECIDED);
    CHECK(outcome_with(true, false) == CBPI_EXECUTION_CHANGED);
    CHECK(outcome_with(false, true) == CBPI_EXECUTION_CHANGED);
}

int main(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        fputs("only root can have mounts of its own and hold executions there\n", stderr);
        return SKIPPED;
    }
    make_place();
    executions = cbpi_executions_make(NULL);
    CHECK(executions);
    test_names();
    test_failures();
    test_refusal();
    test_exchange();
    test_outcomes();
    cbpi_executions_free(executions);
    close(group);
    CHECK(umount2(folder, MNT_DETACH) == 0 && rmdir(folder) == 0);
    return 0;
}

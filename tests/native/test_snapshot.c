/* Snapshots of the running processes: what is in one, against processes made for it. */
#include "support.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const struct cbp_process_record *record_at(const struct cbp_snapshot *snapshot, uint32_t index)
{
    const unsigned char *first = (const void *) snapshot->records;
    return (const void *) (first + (size_t) index * snapshot->record_size);
}

static const struct cbp_process_record *find(const struct cbp_snapshot *snapshot, pid_t process_id)
{
    for (uint32_t i = 0; i < snapshot->count; i++)
        if (record_at(snapshot, i)->process_id == (uint32_t) process_id)
            return record_at(snapshot, i);
    return NULL;
}

/* Every text lies in the snapshot and ends with its NUL; ids rise. */
static void check_whole(const struct cbp_snapshot *snapshot)
{
    const uint32_t known_flags =
        CBP_SNAPSHOT_FLAG_IMAGE_DELETED | CBP_SNAPSHOT_FLAG_SHORT_NAME | CBP_SNAPSHOT_FLAG_ENDED;
    CHECK(snapshot->count > 0 && snapshot->record_size == sizeof(struct cbp_process_record));
    for (uint32_t i = 0; i < snapshot->count; i++) {
        const struct cbp_process_record *record = record_at(snapshot, i);
        CHECK(i == 0 || record->process_id > record_at(snapshot, i - 1)->process_id);
        CHECK(record->process_name_offset + record->process_name_size < snapshot->texts_size);
        CHECK(snapshot->texts[record->process_name_offset + record->process_name_size] == '\0');
        CHECK(record->arguments_offset + record->arguments_size < snapshot->texts_size);
        const char *arguments = snapshot->texts + record->arguments_offset;
        CHECK(arguments[record->arguments_size] == '\0');
        CHECK(record->arguments_size == 0 || arguments[record->arguments_size - 1] == '\0');
        CHECK((record->flags & ~known_flags) == 0);
    }
}

static const struct cbp_snapshot *take(uint32_t with_arguments)
{
    const struct cbp_snapshot *snapshot = NULL;
    CHECK_OK(cbp_snapshot_create(with_arguments, &snapshot));
    check_whole(snapshot);
    return snapshot;
}

/* A child that has executed this program again with one more argument, and waits for its end. */
static pid_t start_child(const char *argument)
{
    int ready[2];
    CHECK(pipe2(ready, O_CLOEXEC) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl("/proc/self/exe", "snapshot child", argument, (char *) NULL);
        _exit(127);
    }
    close(ready[1]);
    char nothing;
    CHECK(read(ready[0], &nothing, 1) == 0); /* closed by the execution */
    close(ready[0]);
    return child;
}

static void end_child(pid_t child)
{
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
}

static void check_child(size_t argument_size)
{
    char *argument = malloc(argument_size + 1);
    CHECK(argument);
    memset(argument, 'x', argument_size);
    argument[argument_size] = '\0';
    pid_t child = start_child(argument);

    const struct cbp_snapshot *snapshot = take(1);
    const struct cbp_process_record *record = find(snapshot, child);
    CHECK(record && record->parent_process_id == (uint32_t) getpid() && record->thread_count == 1);
    CHECK(record->user_id == geteuid() && record->flags == 0);
    char path[PATH_MAX];
    CHECK_OK(cbp_process_name((uint32_t) child, path, sizeof path, NULL));
    CHECK(strcmp(snapshot->texts + record->process_name_offset, path) == 0);
    const char *arguments = snapshot->texts + record->arguments_offset;
    CHECK(record->arguments_size == sizeof "snapshot child" + argument_size + 1);
    CHECK(strcmp(arguments, "snapshot child") == 0);
    CHECK(strcmp(arguments + sizeof "snapshot child", argument) == 0);
    cbp_snapshot_destroy(snapshot);

    snapshot = take(0);
    CHECK(find(snapshot, child) && find(snapshot, child)->arguments_size == 0);
    cbp_snapshot_destroy(snapshot);
    end_child(child);
    free(argument);
}

/* Reads that need several rounds, and sizes on both sides of what the first one takes. */
static void test_arguments_of_any_size(void)
{
    static const size_t sizes[] = {0, 1, 4000, 8170, 8174, 8175, 8176, 8177, 8178, 8192, 20000, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        check_child(sizes[i]);
}

static void test_ended_and_gone(void)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(0);
    siginfo_t info;
    CHECK(waitid(P_PID, (id_t) child, &info, WEXITED | WNOWAIT) == 0);
    const struct cbp_snapshot *snapshot = take(1);
    const struct cbp_process_record *record = find(snapshot, child);
    CHECK(record && record->arguments_size == 0 && record->process_name_size > 0);
    CHECK(record->flags == (CBP_SNAPSHOT_FLAG_SHORT_NAME | CBP_SNAPSHOT_FLAG_ENDED));
    CHECK(strcmp(snapshot->texts + record->process_name_offset, "test_snapshot") == 0);
    cbp_snapshot_destroy(snapshot);
    CHECK(waitpid(child, NULL, 0) == child);
    snapshot = take(1);
    CHECK(!find(snapshot, child));
    cbp_snapshot_destroy(snapshot);
}

static void *make_processes(void *stop)
{
    while (!cbp_load_u32(stop)) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        if (child > 0)
            waitpid(child, NULL, 0);
    }
    return NULL;
}

static void test_while_processes_come_and_go(void)
{
    uint32_t stop = 0;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, make_processes, &stop) == 0);
    for (int i = 0; i < 50; i++) {
        const struct cbp_snapshot *snapshot = take(1);
        CHECK(find(snapshot, getpid()) && find(snapshot, getpid())->thread_count >= 3);
        cbp_snapshot_destroy(snapshot);
    }
    cbp_store_u32(&stop, 1);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

/* Keeps this thread, and those that it starts, on one processor, or lets them use those of the set again. */
static void use_one_processor(cpu_set_t *all)
{
    cpu_set_t one;
    CHECK(sched_getaffinity(0, sizeof *all, all) == 0);
    CPU_ZERO(&one);
    CPU_SET((size_t) sched_getcpu(), &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
}

static uint32_t descriptor_count(void)
{
    uint32_t count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void check_same_record(const struct cbp_snapshot *one, const struct cbp_snapshot *other, pid_t child)
{
    const struct cbp_process_record *a = find(one, child), *b = find(other, child);
    CHECK(a && b && a->parent_process_id == b->parent_process_id && a->start_time == b->start_time);
    CHECK(a->thread_count == b->thread_count && a->flags == b->flags && a->user_id == b->user_id);
    CHECK(a->process_name_size == b->process_name_size && a->arguments_size == b->arguments_size);
    CHECK(memcmp(one->texts + a->process_name_offset, other->texts + b->process_name_offset,
                 a->process_name_size) == 0);
    CHECK(memcmp(one->texts + a->arguments_offset, other->texts + b->arguments_offset, a->arguments_size) ==
          0);
}

/* Many processes are read by several threads where there are several processors, with the records that one
 * thread reads. The threads leave the program's descriptors alone, and are in no count. */
static void test_many_processes(void)
{
    enum { CHILD_COUNT = 300 };
    pid_t children[CHILD_COUNT];
    char argument[16];
    cpu_set_t all;
    for (int i = 0; i < CHILD_COUNT; i++) {
        snprintf(argument, sizeof argument, "%d", i);
        children[i] = start_child(argument);
    }
    uint32_t begin_count = descriptor_count();
    use_one_processor(&all);
    const struct cbp_snapshot *one = take(1 | CBP_SNAPSHOT_FROM_FILES);
    CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
    const struct cbp_snapshot *other = take(1 | CBP_SNAPSHOT_FROM_FILES);
    CHECK(descriptor_count() == begin_count);
    check_same_record(one, other, getpid());
    for (int i = 0; i < CHILD_COUNT; i++)
        check_same_record(one, other, children[i]);
    cbp_snapshot_destroy(one);
    cbp_snapshot_destroy(other);
    for (int i = 0; i < CHILD_COUNT; i++)
        end_child(children[i]);
}

static void test_without_descriptors(void)
{
    cpu_set_t all;
    const struct cbp_snapshot *snapshot = NULL;
    struct rlimit limit, none;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    none = limit;
    use_one_processor(&all); /* other threads would have descriptors of their own */
    for (int spare = 0; spare < 2; spare++) {
        int fd = dup(0);
        CHECK(fd >= 0 && close(fd) == 0);
        none.rlim_cur = (rlim_t) (fd + spare); /* for none, and for the list alone */
        CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
        CHECK_CODE(CBP_ERROR_TOO_MANY_OPEN_FILES, cbp_snapshot_create(1, &snapshot));
        CHECK(!snapshot && strlen(cbp_error_detail()) > 0);
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    }
    CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
    cbp_snapshot_destroy(take(0));
}

static void test_wrong_use(void)
{
    const struct cbp_snapshot *snapshot = NULL;
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_snapshot_create(1, NULL));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_snapshot_create(8, &snapshot));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER,
               cbp_snapshot_create(CBP_SNAPSHOT_FROM_FILES | CBP_SNAPSHOT_FROM_DRIVER, &snapshot));
    CHECK(!snapshot);
    cbp_snapshot_destroy(NULL);
}

/* Either way gives this process as it is, or says in a sentence why it cannot be gone. */
static void test_ways(void)
{
    static const uint32_t ways[] = {CBP_SNAPSHOT_FROM_FILES, CBP_SNAPSHOT_FROM_DRIVER};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        const struct cbp_snapshot *snapshot = NULL;
        uint32_t error = cbp_snapshot_create(CBP_SNAPSHOT_WITH_ARGUMENTS | ways[i], &snapshot);
        if (error == 0) {
            check_whole(snapshot);
            CHECK(find(snapshot, getpid()));
        } else {
            CHECK(error == CBP_ERROR_NOT_SUPPORTED && ways[i] == CBP_SNAPSHOT_FROM_DRIVER);
            CHECK(!snapshot && strlen(cbp_error_detail()) > 0);
        }
        cbp_snapshot_destroy(snapshot);
    }
}

int main(int count, char **arguments)
{
    (void) arguments;
    alarm(110);
    if (count > 1)
        for (;;)
            pause();
    test_wrong_use();
    test_ways();
    test_arguments_of_any_size();
    test_ended_and_gone();
    test_while_processes_come_and_go();
    test_many_processes();
    test_without_descriptors();
    return 0;
}

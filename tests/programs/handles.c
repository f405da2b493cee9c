/* Does one thing to another process, by one system call, and says how that went and what became of the other:
 *
 *     handles [OPTION]... CALL [ARGUMENT]     calls and arguments: see the table in handle_calls.h
 *     handles target FILE                     is a target in memory that FILE shares, until it is ended
 *
 * The target is a child, unless an option says otherwise. Prints one line of JSON: the ids that /proc shows,
 * the call's result and errno, what it got, and for each target its fate and what has changed in it.
 * Knows nothing of cbprocess. */
#define _GNU_SOURCE
#include "handle_calls.h"

/* ---- What has become of the target ---- */

static void print_changes_of(const struct seen *before, const struct seen *after, const char *who)
{
    if (before->nice != after->nice)
        printf(", \"%s nice %d\"", who, after->nice);
    if (before->ioprio != after->ioprio)
        printf(", \"%s ioprio %d\"", who, after->ioprio >> 13);
    if (before->policy != after->policy)
        printf(", \"%s policy %d\"", who, after->policy);
    if (before->cpu_count != after->cpu_count)
        printf(", \"%s cpus %d\"", who, after->cpu_count);
}

/* ["running", changes...] */
static void print_fate(const struct target *before, const struct target *target)
{
    printf("[\"%s\"", target_fate(target));
    print_changes_of(&before->leader, &target->leader, "leader");
    print_changes_of(&before->thread, &target->thread, "thread");
    if (before->word != target->word)
        printf(", \"word %lld\"", (long long) target->word);
    if (before->core_limit != target->core_limit)
        printf(", \"core %lld\"", (long long) target->core_limit);
    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (before->signals[i] != target->signals[i])
            printf(", \"signal %d x %u\"", i, target->signals[i] - before->signals[i]);
    printf("]");
}

static void print_outcome(const struct target *before)
{
    printf("{\"first\": %d, \"creator\": %d, \"process\": %d, \"thread\": %d, \"result\": %ld, \"errno\": "
           "%d, \"got\": %ld, "
           "\"targets\": [",
           outcome.first_process_id, outcome.creator_process_id, outcome.process_id, outcome.thread_id,
           outcome.result, outcome.error, outcome.got);
    for (int i = 0; i < options.count; i++)
        printf("%s[%d, %d]", i ? ", " : "", targets[i].shown_process_id, targets[i].shown_thread_id);
    printf("], \"fates\": [");
    for (int i = 0; i < options.count && !options.gone; i++) {
        printf("%s", i ? ", " : "");
        print_fate(&before[i], &targets[i]);
    }
    printf("]}\n");
    fflush(stdout);
}

/* ---- The stage ---- */

static void *map_targets(const char *file, bool create)
{
    size_t size = sizeof(struct target) * TARGET_MAX;
    int flags = MAP_SHARED, descriptor = -1;
    if (file) {
        descriptor = open(file, O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_TRUNC : 0), 0666);
        CHECK(descriptor >= 0 && ftruncate(descriptor, (off_t) size) == 0);
    } else {
        flags |= MAP_ANONYMOUS;
    }
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, descriptor, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static void *be_own_target(void *unused)
{
    target_begin(targets);
    for (;;)
        target_look(&targets->leader);
    return unused;
}

static void make_targets(void)
{
    targets = map_targets(options.external, false);
    if (options.external) {
        pidfds[0][0] = options.external_pidfd;
        pidfds[0][1] = BAD_DESCRIPTOR;
    } else if (options.at_oneself) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, be_own_target, NULL) == 0);
        while (!targets->ready)
            usleep(1000);
        pidfds[0][0] = (int) syscall(SYS_pidfd_open, getpid(), 0);
        pidfds[0][1] = (int) syscall(SYS_pidfd_open, targets->thread_id, PIDFD_THREAD_FLAG);
    } else {
        for (int i = 0; i < options.count; i++) {
            target_fork(&targets[i], pidfds[i]);
            CHECK(i == 0 || setpgid(targets[i].process_id, targets[0].process_id) == 0);
        }
    }
    if (options.gone) {
        targets->leave = 1;
        CHECK(waitpid(targets->process_id, NULL, 0) == targets->process_id);
    }
    if (options.aim_at_thread && chosen->make == call_pidfd_send_signal && pidfds[0][1] < 0)
        exit(UNSUPPORTED);
}

static void *make_call(void *unused)
{
    static struct target before[TARGET_MAX];
    char line[16];
    shown_ids(&outcome.process_id, &outcome.thread_id);
    if (options.waits) {
        printf("ready\n");
        fflush(stdout);
        CHECK(fgets(line, sizeof line, stdin));
    }
    memcpy(before, targets, sizeof before);
    chosen->make();
    print_outcome(before);
    return unused;
}

static void act(void)
{
    pthread_t thread;
    if (chosen->make == call_kill_own_group)
        CHECK(setpgid(0, targets->process_id) == 0);
    if (options.secondary) {
        CHECK(pthread_create(&thread, NULL, make_call, NULL) == 0);
        pthread_join(thread, NULL);
    } else {
        make_call(NULL);
    }
    for (int i = 0; i < options.count && !options.external; i++)
        targets[i].leave = 1;
}

static int play(void)
{
    int status;
    int32_t thread_id;
    make_targets();
    if (strncmp(chosen->name, "kill-", 5) == 0)
        signal(number(), SIG_IGN); /* it is meant for the others */
    if (!options.by_brother) {
        act();
        return 0;
    }
    shown_ids(&outcome.creator_process_id, &thread_id);
    fflush(stdout);
    pid_t brother = fork();
    CHECK(brother >= 0);
    if (brother == 0) {
        act();
        exit(0);
    }
    pid_t ended;
    while ((ended = waitpid(brother, &status, WNOHANG)) == 0) {
        for (int i = 0; i < options.count; i++)
            targets[i].stopped = target_is_stopped(&targets[i]);
        usleep(2000);
    }
    CHECK(ended == brother);
    return WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

/* The first process of a new namespace: reaps, and ends as the one does that acts. */
static int be_first(void)
{
    int status, code = FAILED;
    int32_t thread_id;
    shown_ids(&outcome.first_process_id, &thread_id);
    pid_t process, actor = fork();
    CHECK(actor >= 0);
    if (actor == 0)
        exit(play());
    while ((process = wait(&status)) > 0)
        if (process == actor) {
            code = WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
            break;
        }
    return code;
}

/* The one user that an ordinary user may map: itself, by the number that it has outside too. */
static void map_user(uid_t user)
{
    char text[64];
    int size = snprintf(text, sizeof text, "%u %u 1", user, user);
    int map = open("/proc/self/uid_map", O_WRONLY);
    CHECK(map >= 0 && write(map, text, (size_t) size) == size && close(map) == 0);
}

static int play_in_namespace(void)
{
    int status;
    uid_t user = geteuid();
    if (unshare(CLONE_NEWPID | (user == 0 ? 0 : CLONE_NEWUSER)) != 0)
        return UNSUPPORTED;
    CHECK(prctl(PR_SET_DUMPABLE, 1) == 0); /* else nobody in it may look at anybody's memory */
    if (user != 0)
        map_user(user);
    pid_t first = fork();
    CHECK(first >= 0);
    if (first == 0)
        exit(be_first());
    CHECK(waitpid(first, &status, 0) == first);
    return WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

static int be_target(const char *file)
{
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    targets = map_targets(file, true);
    prctl(PR_SET_PTRACER, -1);
    target_begin(targets);
    printf("ready\n");
    fflush(stdout);
    target_live(targets);
}

static bool parse(int count, char **arguments)
{
    int letter;
    while ((letter = getopt(count, arguments, "+tnasgowbe:p:c:")) != -1)
        switch (letter) {
        case 't':
            options.secondary = true;
            break;
        case 'n':
            options.in_namespace = true;
            break;
        case 'a':
            options.aim_at_thread = true;
            break;
        case 's':
            options.at_oneself = true;
            break;
        case 'g':
            options.gone = true;
            break;
        case 'o':
            options.by_brother = true;
            break;
        case 'w':
            options.waits = true;
            break;
        case 'b':
            options.bad_descriptor = true;
            break;
        case 'e':
            options.external = optarg;
            break;
        case 'p':
            options.external_pidfd = atoi(optarg);
            break;
        case 'c':
            options.count = atoi(optarg);
            break;
        default:
            return false;
        }
    for (size_t i = 0; optind < count && i < sizeof calls / sizeof *calls; i++)
        if (strcmp(calls[i].name, arguments[optind]) == 0 &&
            count - optind - 1 == (calls[i].takes_argument ? 1 : 0)) {
            chosen = &calls[i];
            argument = arguments[optind + 1];
            return options.count >= 1 && options.count <= TARGET_MAX;
        }
    return false;
}

int main(int count, char **arguments)
{
    if (count == 3 && strcmp(arguments[1], "target") == 0)
        return be_target(arguments[2]);
    if (!parse(count, arguments)) {
        fprintf(stderr, "handles: unknown call or wrong arguments\n");
        return FAILED;
    }
    return options.in_namespace ? play_in_namespace() : play();
}

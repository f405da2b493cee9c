/* Knows the other guards of this machine by a file that only root can open, so that controllers are asked in
 * the order of their altitudes. Guards that hold stand in it, one entry each.
 *
 * The highest one has its marks in a fanotify group that the kernel asks first. All others are asked after
 * that; in which order among themselves, the kernel decides by where their groups lie in its memory, so it is
 * one and the same order for each execution, and not theirs. The gate asks the program that was attached last
 * first, so a guard attaches its programs again when a lower one has done so after it: there the order is
 * theirs.
 *
 * A guard that joins or leaves raises the file's generation, and waits a little until each of the others has
 * seen that and has moved its marks. */
#include "guard.h"

#include "proc_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FOLDER "/run/cbprocess"
#define FILE_NAME "guards"

enum { ENTRY_MAX = 64, LOCK_LIMIT_MS = 1000, SEEN_LIMIT_MS = 500, STEP_MS = 2, PATH_SIZE = 512 };
enum { FILE_MODE = 0600, FOLDER_MODE = 0700 };

struct entry {
    uint64_t process_id, start_time; /* start_time in ticks: an id can be used again */
    uint64_t altitude;
    uint64_t joined; /* among equal altitudes the first one is the upper */
    uint64_t gate;   /* when its gate was attached last, as a number that only grows; 0: it has none */
    uint64_t seen;   /* the generation that its marks follow */
};

struct register_file {
    uint64_t generation;
    uint64_t last_number; /* of joined and gate */
    uint64_t count;
    struct entry entries[ENTRY_MAX];
};

static struct {
    struct entry own; /* of the first process; process_id 0: it does not stand in the file */
    int news;         /* inotify */
} neighbours = {.news = -1};

/* A test may have a folder of its own, and root alone runs this. */
static const char *make_path(char room[PATH_SIZE], const char *name)
{
    const char *root = getenv("CBPROCESS_TEST_ROOT");
    (void) snprintf(room, PATH_SIZE, "%s%s%s", root ? root : "", FOLDER, name);
    return room;
}

/* A root of a test's own has no /run as yet. */
static void make_folder(void)
{
    char path[PATH_SIZE];
    make_path(path, "");
    char *slash = strrchr(path, '/');
    *slash = 0;
    (void) mkdir(path, S_IRWXU | S_IRGRP | S_IXGRP | S_IROTH | S_IXOTH);
    *slash = '/';
    (void) mkdir(path, FOLDER_MODE);
}

static void sleep_step(void)
{
    const struct timespec step = {0, STEP_MS * (long) CBP_NS_PER_MS};
    (void) nanosleep(&step, NULL);
}

static bool lock_file(int file)
{
    for (int waited_ms = 0; waited_ms < LOCK_LIMIT_MS; waited_ms += STEP_MS) {
        if (flock(file, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return false;
        sleep_step();
    }
    return false;
}

static bool is_alive(const struct entry *entry)
{
    char line[STAT_SIZE_MAX];
    struct stat_facts facts;
    return cbpd_read_stat_file((uint32_t) entry->process_id, "stat", line, &facts) && facts.state != 'Z' &&
           facts.start_time == entry->start_time;
}

static void remove_dead(struct register_file *all)
{
    uint64_t left = 0;
    if (all->count > ENTRY_MAX)
        all->count = 0; /* somebody has damaged the file */
    for (uint64_t i = 0; i < all->count; i++)
        if (is_alive(&all->entries[i]))
            all->entries[left++] = all->entries[i];
    if (left != all->count)
        all->generation++;
    all->count = left;
}

/* Opens, locks and reads the file; without the entries of guards that are gone. -1: it cannot be had, or with
 * makes false, it is not there. */
static int open_register(struct register_file *all, bool makes)
{
    char path[PATH_SIZE];
    struct stat there, status;
    for (;;) {
        if (makes)
            make_folder();
        int file = open(make_path(path, "/" FILE_NAME),
                        O_RDWR | O_CLOEXEC | O_NOFOLLOW | (makes ? O_CREAT : 0), FILE_MODE);
        if (file < 0)
            return -1;
        if (!lock_file(file) || fstat(file, &status) != 0 || status.st_uid != geteuid() ||
            (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
            close(file);
            return -1;
        }
        if (stat(path, &there) == 0 && there.st_ino == status.st_ino) {
            *all = (struct register_file){.count = 0};
            ssize_t size = pread(file, all, sizeof *all, 0);
            if (size != (ssize_t) sizeof *all)
                *all = (struct register_file){.count = 0};
            remove_dead(all);
            return file;
        }
        close(file); /* the last guard removed it meanwhile */
    }
}

/* Writes the file back, removes it if nobody stands in it, and unlocks it. */
static void close_register(int file, const struct register_file *all)
{
    char path[PATH_SIZE];
    if (all->count == 0)
        (void) unlink(make_path(path, "/" FILE_NAME));
    else
        (void) !pwrite(file, all, sizeof *all, 0);
    close(file);
    if (all->count == 0)
        (void) rmdir(make_path(path, ""));
}

static struct entry *find_own(struct register_file *all)
{
    for (uint64_t i = 0; i < all->count; i++)
        if (neighbours.own.process_id != 0 && all->entries[i].process_id == neighbours.own.process_id &&
            all->entries[i].start_time == neighbours.own.start_time)
            return &all->entries[i];
    return NULL;
}

static bool is_above(const struct entry *one, const struct entry *other)
{
    return one->altitude != other->altitude ? one->altitude > other->altitude : one->joined < other->joined;
}

static bool is_highest(const struct register_file *all, const struct entry *own)
{
    for (uint64_t i = 0; i < all->count; i++)
        if (&all->entries[i] != own && is_above(&all->entries[i], own))
            return false;
    return true;
}

/* Says whether a lower one's gate would be asked before. */
static bool gate_is_behind(const struct register_file *all, const struct entry *own)
{
    for (uint64_t i = 0; i < all->count && own->gate != 0; i++)
        if (is_above(own, &all->entries[i]) && all->entries[i].gate > own->gate)
            return true;
    return false;
}

static void watch_registry(void)
{
    char path[PATH_SIZE];
    if (neighbours.news >= 0)
        return;
    neighbours.news = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (neighbours.news >= 0)
        (void) inotify_add_watch(neighbours.news, make_path(path, "/" FILE_NAME), IN_MODIFY);
}

static bool everybody_has_seen(uint64_t generation)
{
    static struct register_file all;
    int file = open_register(&all, false);
    if (file < 0)
        return true;
    bool seen = true;
    for (uint64_t i = 0; i < all.count; i++)
        seen &= all.entries[i].seen >= generation;
    close(file);
    return seen;
}

static bool fill_own(struct entry *own)
{
    char line[STAT_SIZE_MAX];
    struct stat_facts facts;
    if (!cbpd_read_stat_file((uint32_t) getpid(), "stat", line, &facts))
        return false;
    *own = (struct entry){.process_id = (uint64_t) getpid(), .start_time = facts.start_time};
    return true;
}

/* Has the marks and the gate's programs where the file says. False: nothing of the entry changed. */
static bool follow(struct guard *self, struct register_file *all, struct entry *own)
{
    bool changed = own->seen != all->generation;
    cbpd_move_marks(self, is_highest(all, own) ? GROUP_UPPER : GROUP_LOWER);
    if (gate_is_behind(all, own) && cbpd_attach_gate_again(self) == 0) {
        own->gate = ++all->last_number;
        all->generation++; /* one that is higher has to do that as well */
        changed = true;
    }
    own->seen = all->generation;
    return changed;
}

void cbpd_look_at_neighbours(struct guard *self)
{
    static struct register_file all;
    char ignored[4096];
    while (neighbours.news >= 0 && read(neighbours.news, ignored, sizeof ignored) > 0)
        continue;
    int file = open_register(&all, false);
    struct entry *own = file < 0 ? NULL : find_own(&all);
    if (own && follow(self, &all, own))
        close_register(file, &all);
    else if (file >= 0)
        close(file);
}

/* Waits until the others' marks follow the generation; a guard that is stopped is not waited for long. Others may
 * wait for this one at the same time, so it goes on looking. */
static void wait_for_others(struct guard *self, uint64_t generation)
{
    for (int waited_ms = 0; waited_ms < SEEN_LIMIT_MS && !everybody_has_seen(generation);
         waited_ms += STEP_MS) {
        sleep_step();
        cbpd_look_at_neighbours(self);
    }
}

uint32_t cbpd_meet_neighbours(struct guard *self)
{
    static struct register_file all;
    int file = open_register(&all, true);
    if (file < 0)
        return cbpd_refuse_request(self, CBP_ERROR_BUSY,
                                   "other guards of this machine cannot be known (%s): %s",
                                   FOLDER "/" FILE_NAME, strerror(errno));
    struct entry *own = find_own(&all);
    bool is_new = own == NULL;
    if (is_new && (all.count == ENTRY_MAX || !fill_own(&neighbours.own))) {
        close(file);
        return cbpd_refuse_request(self, CBP_ERROR_NO_SYSTEM_RESOURCES,
                                   "there are too many guards on this machine");
    }
    if (is_new) {
        own = &all.entries[all.count++];
        *own = neighbours.own;
        own->joined = ++all.last_number;
    }
    if (is_new || own->altitude != self->altitude) {
        own->altitude = self->altitude;
        all.generation++;
    }
    (void) follow(self, &all, own);
    uint64_t generation = all.generation;
    close_register(file, &all);
    watch_registry();
    wait_for_others(self, generation);
    return 0;
}

uint32_t cbpd_tell_gate(struct guard *self)
{
    static struct register_file all;
    int file = open_register(&all, false);
    struct entry *own = file < 0 ? NULL : find_own(&all);
    if (file < 0)
        return 0;
    if (own) {
        own->gate = self->programs & CBP_GUARD_PROGRAM_GATE ? ++all.last_number : 0;
        own->seen = ++all.generation;
    }
    uint64_t generation = all.generation;
    close_register(file, &all);
    wait_for_others(self, generation);
    return 0;
}

void cbpd_leave_neighbours(void)
{
    static struct register_file all;
    int file = open_register(&all, false);
    if (file < 0)
        return;
    struct entry *own = find_own(&all);
    if (own) {
        *own = all.entries[--all.count];
        all.generation++;
    }
    close_register(file, &all);
    neighbours.own.process_id = 0;
}

int cbpd_neighbours_descriptor(void)
{
    return neighbours.news;
}

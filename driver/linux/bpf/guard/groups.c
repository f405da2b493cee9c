/* Owns the guard's two fanotify groups and says which files each of them hears of. The kernel asks the upper
 * group before the lower ones of this machine (neighbours.c says which one this guard uses), so marks can move
 * from one to the other: they are in both for a moment, and never in none. */
#include "guard.h"

#include "cbp_atomic.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <unistd.h>

#ifndef FAN_REPORT_TID
#define FAN_REPORT_TID 0x100
#endif

#define MOUNTS_PATH "/proc/self/mountinfo"

/* Mounts of other mount namespaces are looked for again after this time, or later if a look takes long: it asks
 * each process. */
enum { ROUND_MS = 1000, ROUND_SHARE = 100 };

static struct {
    struct holdings *held;
    uint32_t which; /* CBP_GUARD_MARKS_ */
    char *paths;    /* each with its NUL */
    size_t paths_size;
    int group;  /* which of the two has the marks */
    int mounts; /* it has news when something is mounted here; -1: not needed */
    uint64_t next_round_ns;
    int folders; /* inotify: it has news when a marked file may have been replaced */
} marks = {.mounts = -1, .folders = -1};

static int make_group(unsigned class)
{
    const unsigned flags =
        FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS | FAN_REPORT_TID;
    return fanotify_init(class | flags, O_RDONLY | O_LARGEFILE | O_CLOEXEC);
}

bool cbpd_make_groups(struct holdings *held)
{
    marks.held = held;
    held->groups[GROUP_UPPER] = make_group(FAN_CLASS_PRE_CONTENT);
    held->groups[GROUP_LOWER] = held->groups[GROUP_UPPER] < 0 ? -1 : make_group(FAN_CLASS_CONTENT);
    if (held->groups[GROUP_LOWER] >= 0)
        return true;
    if (held->groups[GROUP_UPPER] >= 0)
        close(held->groups[GROUP_UPPER]);
    held->groups[GROUP_UPPER] = -1;
    return false;
}

bool cbpd_has_marks(void)
{
    return marks.which != CBP_GUARD_MARKS_NONE;
}

void cbpd_flush_marks(int group)
{
    static const unsigned kinds[] = {0, FAN_MARK_MOUNT, FAN_MARK_FILESYSTEM};
    for (size_t i = 0; group >= 0 && i < sizeof kinds / sizeof kinds[0]; i++)
        (void) fanotify_mark(group, FAN_MARK_FLUSH | kinds[i], 0, AT_FDCWD, NULL);
}

static const char *next_path(const char *path)
{
    const char *next = path ? path + strlen(path) + 1 : marks.paths;
    return next && next < marks.paths + marks.paths_size ? next : NULL;
}

/* A file that rules name need not be there yet. */
static bool may_be_missing(int error)
{
    return marks.which == CBP_GUARD_MARKS_FILES && (error == ENOENT || error == ENOTDIR);
}

static uint32_t mark_paths(struct guard *self, int group)
{
    unsigned kind = marks.which == CBP_GUARD_MARKS_FILESYSTEMS ? FAN_MARK_FILESYSTEM : 0;
    for (const char *path = next_path(NULL); path; path = next_path(path))
        if (fanotify_mark(group, FAN_MARK_ADD | kind, FILE_EVENTS, AT_FDCWD, path) != 0 &&
            !may_be_missing(errno))
            return cbpd_refuse_request(self, CBP_ERROR_GEN_FAILURE, "cannot hold executions of %s: %s", path,
                                       strerror(errno));
    return 0;
}

static uint32_t mark_everything(struct guard *self, int group, bool all_namespaces)
{
    struct mount_round round = {.group = group, .all_namespaces = all_namespaces};
    uint64_t began_ns = cbpd_guard_time_ns();
    cbpd_mark_mounts(&round);
    if (all_namespaces) {
        uint64_t now_ns = cbpd_guard_time_ns(), pause_ns = (now_ns - began_ns) * ROUND_SHARE;
        marks.next_round_ns =
            now_ns + (pause_ns > ROUND_MS * CBP_NS_PER_MS ? pause_ns : ROUND_MS * CBP_NS_PER_MS);
        cbp_store_u64(&marks.held->shared->marks_lost, round.lost_count);
    }
    if (round.marked_count == 0)
        return cbpd_refuse_request(self, CBP_ERROR_GEN_FAILURE, "no file system can be marked");
    return 0;
}

static uint32_t mark_all(struct guard *self, int group)
{
    int descriptor = marks.held->groups[group];
    return marks.which == CBP_GUARD_MARKS_EVERYTHING ? mark_everything(self, descriptor, true)
                                                     : mark_paths(self, descriptor);
}

static void stop_watching(int *descriptor)
{
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

/* Watches the folders of the files, because another file may come to stand under a name. */
static void watch_folders(void)
{
    stop_watching(&marks.folders);
    if (marks.which != CBP_GUARD_MARKS_FILES)
        return;
    marks.folders = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    for (const char *path = next_path(NULL); path && marks.folders >= 0; path = next_path(path)) {
        char *folder = strdup(path);
        char *slash = folder ? strrchr(folder, '/') : NULL;
        if (slash) {
            slash[slash == folder] = 0;
            (void) inotify_add_watch(marks.folders, folder,
                                     IN_CREATE | IN_MOVED_TO | IN_ONLYDIR | IN_MASK_ADD);
        }
        free(folder);
    }
}

static void watch_mounts(void)
{
    if (marks.which != CBP_GUARD_MARKS_EVERYTHING)
        stop_watching(&marks.mounts);
    else if (marks.mounts < 0)
        marks.mounts = open(MOUNTS_PATH, O_RDONLY | O_CLOEXEC);
}

/* What was to be marked before. */
struct old_marks {
    uint32_t which;
    char *paths;
    size_t paths_size;
};

/* Takes away marks of another kind than is wanted now, and those of the old paths. */
static void remove_old(const struct old_marks *old)
{
    int group = marks.held->groups[marks.group];
    bool was_files = old->which == CBP_GUARD_MARKS_FILES, is_files = marks.which == CBP_GUARD_MARKS_FILES;
    unsigned kind = was_files ? 0 : FAN_MARK_FILESYSTEM;
    if (was_files != is_files || (old->which == CBP_GUARD_MARKS_EVERYTHING && marks.which != old->which))
        (void) fanotify_mark(group, FAN_MARK_FLUSH | kind, 0, AT_FDCWD, NULL);
    for (const char *path = old->paths; path < old->paths + old->paths_size; path += strlen(path) + 1)
        (void) fanotify_mark(group, FAN_MARK_REMOVE | kind, FILE_EVENTS, AT_FDCWD, path);
}

/* New marks are added before old ones go; what both lists name is marked again then. */
static uint32_t replace_marks(struct guard *self, const struct old_marks *old)
{
    uint32_t result = 0;
    if (marks.which == CBP_GUARD_MARKS_NONE) {
        for (int i = 0; i < GROUP_COUNT; i++)
            cbpd_flush_marks(marks.held->groups[i]);
        return 0;
    }
    result = mark_all(self, marks.group);
    if (old->which == CBP_GUARD_MARKS_NONE || result != 0)
        return result;
    remove_old(old);
    return mark_all(self, marks.group);
}

/* Makes this what is to be marked, and gives what was. */
static struct old_marks exchange(const struct old_marks *wanted)
{
    struct old_marks old = {marks.which, marks.paths, marks.paths_size};
    marks.which = wanted->which;
    marks.paths = wanted->paths;
    marks.paths_size = wanted->paths_size;
    watch_folders();
    watch_mounts();
    return old;
}

/* Goes back to what was marked before, which is marked still. */
static void take_back(struct guard *self, const struct old_marks *failed)
{
    char sentence[SENTENCE_SIZE];
    memcpy(sentence, self->sentence, sizeof sentence);
    remove_old(failed);
    if (cbpd_has_marks())
        (void) mark_all(self, marks.group);
    memcpy(self->sentence, sentence, sizeof sentence);
}

uint32_t cbpd_set_marks(struct guard *self, uint32_t which, const char *paths, size_t paths_size)
{
    bool has_paths = which == CBP_GUARD_MARKS_FILES || which == CBP_GUARD_MARKS_FILESYSTEMS;
    if (which != CBP_GUARD_MARKS_NONE && marks.held->groups[GROUP_UPPER] < 0)
        return cbpd_refuse_request(self, CBP_ERROR_NOT_SUPPORTED,
                                   "the kernel cannot hold executions (fanotify)");
    struct old_marks wanted = {which, malloc(paths_size + 1), has_paths ? paths_size : 0};
    if (!wanted.paths)
        return cbpd_refuse_request_os(self, ENOMEM, "cannot keep the paths");
    memcpy(wanted.paths, paths, paths_size);
    struct old_marks old = exchange(&wanted);
    uint32_t result = replace_marks(self, &old);
    if (result != 0) {
        wanted = exchange(&old);
        take_back(self, &wanted);
        old = wanted;
    }
    free(old.paths);
    return result;
}

void cbpd_mark_news(struct guard *self)
{
    char ignored[4096];
    while (marks.folders >= 0 && read(marks.folders, ignored, sizeof ignored) > 0)
        continue;
    if (marks.which == CBP_GUARD_MARKS_EVERYTHING)
        (void) mark_everything(self, marks.held->groups[marks.group],
                               cbpd_guard_time_ns() >= marks.next_round_ns);
    else if (cbpd_has_marks())
        (void) mark_paths(self, marks.held->groups[marks.group]);
}

void cbpd_move_marks(struct guard *self, int group)
{
    int old = marks.group;
    if (group == old || marks.held->groups[GROUP_UPPER] < 0)
        return;
    if (cbpd_has_marks() && mark_all(self, group) != 0)
        return; /* they stay where they are */
    marks.group = group;
    cbpd_flush_marks(marks.held->groups[old]);
}

size_t cbpd_watch_news(struct pollfd *descriptors, size_t room, int *timeout_ms)
{
    const struct pollfd watched[] = {{.fd = marks.mounts, .events = POLLPRI},
                                     {.fd = marks.folders, .events = POLLIN}};
    size_t count = sizeof watched / sizeof watched[0];
    if (room < count)
        return 0;
    memcpy(descriptors, watched, sizeof watched);
    *timeout_ms = -1;
    if (marks.which == CBP_GUARD_MARKS_EVERYTHING) {
        uint64_t now_ns = cbpd_guard_time_ns();
        *timeout_ms =
            now_ns >= marks.next_round_ns ? 0 : (int) ((marks.next_round_ns - now_ns) / CBP_NS_PER_MS + 1);
    }
    return count;
}

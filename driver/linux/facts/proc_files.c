/* Reads files of /proc; see proc_files.h. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cbp_time.h"
#include "deleted.h"
#include "proc_files.h"

enum { FOLDER_SIZE_MAX = 16 /* "/proc/" and ten digits */ };

/* Writes "/proc/ID" so that it ends before that place, and gives its start. */
static char *put_folder(char *start, uint32_t id)
{
    static const char folder[] = "/proc/";
    do
        *--start = (char) ('0' + id % 10);
    while ((id /= 10) != 0);
    start -= sizeof folder - 1;
    memcpy(start, folder, sizeof folder - 1);
    return start;
}

const char *cbpd_proc_name(char room[PROC_NAME_SIZE], uint32_t id, const char *rest)
{
    memcpy(room + FOLDER_SIZE_MAX, rest, strlen(rest) + 1);
    return put_folder(room + FOLDER_SIZE_MAX, id);
}

bool cbpd_read_program_identity(uint32_t tid, struct file_identity *identity, int64_t *changed_ns)
{
    struct statx facts;
    char room[PROC_NAME_SIZE];
    const char *link = cbpd_proc_name(room, tid, "/exe");
    if (statx(AT_FDCWD, link, AT_STATX_DONT_SYNC, STATX_INO | STATX_CTIME, &facts) != 0)
        return false;
    if (changed_ns)
        *changed_ns = facts.stx_ctime.tv_sec * (int64_t) CBP_NS_PER_S + facts.stx_ctime.tv_nsec;
    identity->device = makedev(facts.stx_dev_major, facts.stx_dev_minor);
    identity->inode = facts.stx_ino;
    return true;
}

int cbpd_open_proc(uint32_t id, const char *name, int flags)
{
    char path[96];
    path[FOLDER_SIZE_MAX] = '/';
    memcpy(path + FOLDER_SIZE_MAX + 1, name, strlen(name) + 1);
    return open(put_folder(path + FOLDER_SIZE_MAX, id), flags | O_CLOEXEC);
}

static size_t read_and_close(int fd, char *buffer, size_t size)
{
    ssize_t length = fd >= 0 ? read(fd, buffer, size - 1) : 0;
    if (fd >= 0)
        close(fd);
    buffer[length > 0 ? length : 0] = 0;
    return length > 0 ? (size_t) length : 0;
}

size_t cbpd_read_file(const char *path, char *buffer, size_t size)
{
    return read_and_close(open(path, O_RDONLY | O_CLOEXEC), buffer, size);
}

size_t cbpd_read_proc_file(uint32_t id, const char *name, char *buffer, size_t size)
{
    return read_and_close(cbpd_open_proc(id, name, O_RDONLY), buffer, size);
}

bool cbpd_open_lines(struct cbpd_lines *reader, uint32_t id, const char *name, size_t size_max)
{
    reader->fd = cbpd_open_proc(id, name, O_RDONLY);
    reader->start = reader->size = 0;
    reader->budget = size_max;
    reader->is_cut = false;
    return reader->fd >= 0;
}

static bool read_more(struct cbpd_lines *reader)
{
    memmove(reader->bytes, reader->bytes + reader->start, reader->size);
    reader->start = 0;
    size_t room = sizeof reader->bytes - reader->size;
    ssize_t got = room < reader->budget ? read(reader->fd, reader->bytes + reader->size, room) : -1;
    reader->is_cut = got < 0;
    if (got <= 0)
        return false;
    reader->size += (size_t) got;
    reader->budget -= (size_t) got;
    return true;
}

char *cbpd_next_line(struct cbpd_lines *reader)
{
    for (;;) {
        char *line = reader->bytes + reader->start;
        char *end = memchr(line, '\n', reader->size);
        if (end) {
            size_t length = (size_t) (end - line) + 1;
            *end = 0;
            reader->start += length;
            reader->size -= length;
            return line;
        }
        if (reader->size == sizeof reader->bytes) {
            reader->bytes[sizeof reader->bytes - 1] = ' ';
            reader->start = sizeof reader->bytes - 1;
            reader->size = 1;
        }
        if (!read_more(reader))
            return NULL;
    }
}

bool cbpd_has_label(const char *line, const char *label, const char **text)
{
    size_t size = strlen(label);
    if (strncmp(line, label, size) != 0)
        return false;
    *text = line + size;
    return true;
}

uint32_t cbpd_living_thread(uint32_t pid)
{
    char path[64], target[1];
    uint32_t found = pid;
    snprintf(path, sizeof path, "/proc/%u/exe", pid);
    if (readlink(path, target, sizeof target) >= 0 || errno != ENOENT)
        return pid;
    snprintf(path, sizeof path, "/proc/%u/task", pid);
    DIR *folder = opendir(path);
    const struct dirent *entry;
    while (found == pid && folder && (entry = readdir(folder))) {
        uint32_t tid = (uint32_t) strtoul(entry->d_name, NULL, 10);
        snprintf(path, sizeof path, "/proc/%u/task/%u/exe", pid, tid);
        if (tid != 0 && readlink(path, target, sizeof target) > 0)
            found = tid;
    }
    if (folder)
        closedir(folder);
    return found;
}

size_t cbpd_read_program_path(uint32_t pid, char *path, size_t size, uint32_t *tid, bool *is_gone)
{
    char room[PROC_NAME_SIZE], rest[40];
    const char *link = cbpd_proc_name(room, pid, "/exe");
    ssize_t got = readlink(link, path, size);
    *tid = got < 0 && errno == ENOENT ? cbpd_living_thread(pid) : pid;
    if (*tid != pid) {
        snprintf(rest, sizeof rest, "/task/%u/exe", *tid);
        link = cbpd_proc_name(room, pid, rest);
        got = readlink(link, path, size);
    }
    size_t path_size = got > 0 ? (size_t) got : 0;
    *is_gone = path_size < size && cbpd_take_off_deleted(link, *tid, path, &path_size);
    return path_size;
}

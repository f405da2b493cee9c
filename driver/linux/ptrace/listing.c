/* Lists ids from /proc. A folder's list is made as a whole and read afterwards: a tree can make listing last
 * by holding the folder's lock, so it is made like cbpd_look_now()'s looks. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "beside.h"
#include "tracer.h"

enum { FIRST_CAPACITY = 1024 };

struct listing_look {
    uint32_t pid;
    enum knowledge knowledge;
    struct id_list list;
    uint32_t capacity;
};

static bool add_id(struct listing_look *look, uint32_t id)
{
    struct id_list *list = &look->list;
    if (list->count == look->capacity) {
        uint32_t capacity = look->capacity == 0 ? FIRST_CAPACITY : 2 * look->capacity;
        uint32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (!ids)
            return false;
        list->ids = ids;
        look->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return true;
}

/* Reads the ids. False: not all could be read. A process that ends meanwhile has no more threads. */
static bool read_ids(DIR *folder, struct listing_look *look)
{
    struct dirent *entry;
    while (errno = 0, (entry = readdir(folder)) != NULL)
        if (isdigit((unsigned char) entry->d_name[0]) &&
            !add_id(look, (uint32_t) strtoul(entry->d_name, NULL, 10)))
            return false;
    return errno == 0 || (look->pid != 0 && errno == ENOENT);
}

static void look_for_ids(void *block)
{
    struct listing_look *look = block;
    char path[64] = "/proc";
    if (look->pid != 0)
        snprintf(path, sizeof path, "/proc/%u/task", look->pid);
    DIR *folder = opendir(path);
    if (!folder) {
        bool is_ours_to_blame = errno == ENOMEM || errno == EMFILE || errno == ENFILE;
        look->knowledge = look->pid == 0 || is_ours_to_blame ? NOT_KNOWN : ABSENT;
        return;
    }
    look->knowledge = read_ids(folder, look) ? KNOWN : NOT_KNOWN;
    closedir(folder);
}

static void release(void *block)
{
    free(((struct listing_look *) block)->list.ids);
}

static enum knowledge list_folder(struct tracer *self, uint32_t pid, struct id_list *list)
{
    struct listing_look look = {.pid = pid};
    bool is_done = cbpd_look_now_and_release(served_tree(self), look_for_ids, release, &look, sizeof look);
    *list = look.list;
    if (is_done && look.knowledge == KNOWN)
        return KNOWN;
    cbpd_free_id_list(list);
    return is_done ? look.knowledge : NOT_KNOWN;
}

bool cbpd_list_processes(struct tracer *self, struct id_list *list)
{
    return list_folder(self, 0, list) == KNOWN;
}

enum knowledge cbpd_list_threads(struct tracer *self, uint32_t pid, struct id_list *list)
{
    return list_folder(self, pid, list);
}

void cbpd_free_id_list(struct id_list *list)
{
    free(list->ids);
    *list = (struct id_list){NULL, 0};
}

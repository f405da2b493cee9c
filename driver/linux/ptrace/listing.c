/* Lists ids from /proc. A folder's list is made as a whole and read afterwards: a tree can make listing last
 * by holding the folder's lock, so it is made like cbpd_look_now()'s looks. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tracer.h"

enum { FIRST_CAPACITY = 1024 };

struct listing_look {
    uint32_t pid;
    struct id_list list;
};

bool cbpd_add_id(struct id_list *list, uint32_t id)
{
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity == 0 ? FIRST_CAPACITY : 2 * list->capacity;
        uint32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (!ids)
            return false;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return true;
}

/* Reads the ids. False: not all could be read. A process that ends meanwhile has no more threads. */
static bool read_ids(DIR *folder, struct listing_look *look)
{
    struct dirent *entry;
    while (errno = 0, (entry = readdir(folder)))
        if (isdigit((unsigned char) entry->d_name[0]) &&
            !cbpd_add_id(&look->list, (uint32_t) strtoul(entry->d_name, NULL, 10)))
            return false;
    return errno == 0 || (look->pid != ALL_PROCESSES && errno == ENOENT);
}

static enum knowledge look_for_ids(void *block)
{
    struct listing_look *look = block;
    char path[64] = "/proc";
    if (look->pid != ALL_PROCESSES)
        snprintf(path, sizeof path, "/proc/%u/task", look->pid);
    DIR *folder = opendir(path);
    if (!folder) {
        bool is_ours_to_blame = errno == ENOMEM || errno == EMFILE || errno == ENFILE;
        return look->pid == ALL_PROCESSES || is_ours_to_blame ? NOT_KNOWN : ABSENT;
    }
    bool is_read = read_ids(folder, look);
    closedir(folder);
    return is_read ? KNOWN : NOT_KNOWN;
}

static void release(void *block)
{
    free(((struct listing_look *) block)->list.ids);
}

enum knowledge cbpd_list_ids(struct tracer *self, uint32_t pid, struct id_list *list)
{
    struct listing_look look = {.pid = pid};
    enum knowledge knowledge = cbpd_look_now(served_tree(self), look_for_ids, release, &look, sizeof look);
    *list = look.list;
    if (knowledge != KNOWN)
        cbpd_free_id_list(list);
    return knowledge;
}

void cbpd_free_id_list(struct id_list *list)
{
    free(list->ids);
    *list = (struct id_list){.ids = NULL};
}

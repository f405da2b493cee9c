/* Implements images.h. The file of a script may be gone by now, so its path is made of names alone: links in it
 * are not followed. */
#include "images.h"

#include <limits.h>
#include <string.h>

/* Appends the parts of a path, without "." and what ".." takes back. Gives the new size; 0: too long. */
static uint32_t append_parts(char *path, uint32_t size, const char *parts, uint32_t parts_size)
{
    for (uint32_t at = 0; at < parts_size;) {
        uint32_t end = at;
        while (end < parts_size && parts[end] != '/')
            end++;
        uint32_t length = end - at;
        if (length == 2 && parts[at] == '.' && parts[at + 1] == '.') {
            while (size > 0 && path[--size] != '/')
                continue;
        } else if (length > 0 && !(length == 1 && parts[at] == '.')) {
            if (size + length + 1 > PATH_MAX)
                return 0;
            path[size++] = '/';
            memcpy(path + size, parts + at, length);
            size += length;
        }
        at = end + 1;
    }
    return size;
}

/* Gives the path of a script; 0: it is not known. */
static uint32_t script_path(const struct cbpi_image_texts *texts, char *path)
{
    uint32_t size = 0;
    if (texts->given_size == 0 || (texts->given[0] != '/' && texts->folder_size == 0))
        return 0;
    if (texts->given[0] != '/')
        size = append_parts(path, 0, texts->folder, texts->folder_size);
    return append_parts(path, size, texts->given, texts->given_size);
}

struct cbpd_image *cbpi_image_of_texts(struct cbpi_machine *machine, const struct cbpi_image_texts *texts)
{
    char path[PATH_MAX];
    struct cbpd_image_file files[2] = {{.path = ""}, {.path = ""}};
    uint32_t count = texts->is_script ? 2 : 1;
    struct cbpd_image_file *executable = &files[count - 1];
    bool is_vague = texts->path_size == 0;
    files[0].given = texts->given;
    files[0].given_size = texts->given_size;
    if (texts->is_script) {
        files[0].path = path;
        files[0].path_size = script_path(texts, path);
        executable->given = texts->path;
        executable->given_size = texts->path_size;
        is_vague |= files[0].path_size == 0;
    }
    executable->path = texts->path;
    executable->path_size = texts->path_size;
    executable->is_deleted = texts->is_deleted;
    executable->device = texts->device;
    executable->inode = texts->inode;
    return cbpd_make_image(&machine->policy, files, count, is_vague);
}

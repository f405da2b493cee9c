/* Makes images of what was read about a program. Knows no stops and no rules. */
#include <errno.h>
#include <string.h>

#include "tracer.h"

struct cbpd_image *cbpd_image_of_chain(struct tracer *self, const struct reading *reading)
{
    const struct chain *chain = &reading->chain;
    struct cbpd_image_file files[CHAIN_FILE_MAX];
    for (uint32_t i = 0; i < chain->file_count; i++) {
        const struct chain_file *file = &chain->files[i];
        files[i] = (struct cbpd_image_file){.path = chain->names.bytes + file->path_at,
                                            .path_size = file->path_size,
                                            .given = chain->names.bytes + file->given_at,
                                            .given_size = file->given_size,
                                            .device = file->device,
                                            .inode = file->inode,
                                            .is_deleted = file->is_deleted};
    }
    return chain->file_count > 0
               ? cbpd_make_image(&self->helper.policy, files, chain->file_count, reading->is_vague)
               : NULL;
}

struct cbpd_image *cbpd_image_of_reading(struct tracer *self, const struct reading *reading)
{
    static const struct cbpd_image_file unknown = {.path = "", .given = ""};
    return reading ? cbpd_image_of_chain(self, reading)
                   : cbpd_make_image(&self->helper.policy, &unknown, 1, true);
}

static enum knowledge look_at_running(void *block)
{
    struct reading *reading = block;
    reading->place.tid = cbpd_living_thread(reading->place.pid);
    bool has_given =
        !reading->is_short && cbpd_read_execfn(&reading->reader.window, reading->place.tid, &reading->path);
    cbpd_read_running(reading, has_given ? reading->path.bytes : "");
    return KNOWN;
}

static void release_running(void *block)
{
    cbpd_free_reading(block);
}

/* If the program's memory or files do not answer, at least the program that runs is told. */
struct cbpd_image *cbpd_image_of_running(struct tracer *self, uint32_t pid)
{
    static struct reading reading;
    bool is_done = false, is_lacking = false;
    for (int is_short = 0; is_short <= 1 && !is_done && !is_lacking; is_short++) {
        memset(&reading, 0, sizeof reading);
        reading.place.pid = pid;
        reading.is_short = is_short != 0;
        is_done = cbpd_look_now(served_tree(self), look_at_running, release_running, &reading,
                                sizeof reading) == KNOWN;
        is_lacking = !is_done && errno == ENOMEM;
    }
    struct cbpd_image *image = is_lacking ? NULL : cbpd_image_of_reading(self, is_done ? &reading : NULL);
    cbpd_free_reading(&reading);
    return image;
}

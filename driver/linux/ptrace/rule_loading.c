/* Loads rules: the watching thread (watching.c) copies the core's block from its memory file. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tracer.h"

enum { BLOCK_ALIGNMENT = 4096 }; /* the sections of a block are laid out from a page's beginning */

static struct cbpd_loading loading;
static int block_fd;

void cbpd_begin_loading_rules(const struct cbp_rules *request, int fd)
{
    block_fd = fd;
    cbpd_begin_loading(&loading, request);
}

bool cbpd_is_loading_rules(void)
{
    return !cbpd_is_in_state(&loading, CBPD_LOADING_IDLE);
}

static bool read_all(int fd, char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(fd, bytes + done, size - done, (off_t) done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        done += (size_t) got;
    }
    return true;
}

/* Copies the block, because the core could still write to the file. */
static uint32_t copy_block(int fd, uint64_t size, void **block)
{
    struct stat status;
    if (fd < 0 || size == 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
        (uint64_t) status.st_size < size)
        return CBP_ERROR_INVALID_DATA;
    void *copy = aligned_alloc(BLOCK_ALIGNMENT, ((size_t) size | (BLOCK_ALIGNMENT - 1)) + 1);
    if (!copy)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    if (!read_all(fd, copy, (size_t) size)) {
        free(copy);
        return CBP_ERROR_INVALID_DATA;
    }
    *block = copy;
    return 0;
}

bool cbpd_load_wanted_rules(struct tracer *self)
{
    void *block = NULL;
    if (!cbpd_is_in_state(&loading, CBPD_LOADING_WANTED))
        return false;
    uint32_t status = copy_block(block_fd, loading.request.block_size, &block);
    if (block_fd >= 0)
        close(block_fd);
    cbpd_validate_rules(&loading, self->helper.policy.host, status, block);
    return true;
}

bool cbpd_finish_loading_rules(struct tracer *self, struct cbp_message_header *request, uint32_t *status,
                               uint64_t *value)
{
    if (!cbpd_is_in_state(&loading, CBPD_LOADING_DONE))
        return false;
    *request = loading.request.header;
    cbpd_begin_attaching();
    *status = cbpd_finish_loading(&self->helper, &loading, value);
    cbpd_end_attaching(self);
    return true;
}

/* Rules on their way from the core into force. The tracer takes the request over, the watching thread of
 * control.c copies the block out of its memory file and validates it, the tracer puts it in force and
 * replies. One request at a time, whose owner is the one that its state names. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cbp_atomic.h"
#include "tracer.h"

enum loading_state { LOADING_IDLE, LOADING_WANTED /* the watching thread's */, LOADING_DONE };

enum { BLOCK_ALIGNMENT = 4096 }; /* the block's own sections are laid out for a page's beginning */

static struct {
    uint32_t state; /* atomic */
    struct cbp_rules request;
    int fd;
    uint32_t status;
    struct cbpd_rule_set *set; /* if status is 0 */
} loading;

void cbpd_begin_loading_rules(const struct cbp_rules *request, int fd)
{
    loading.request = *request;
    loading.fd = fd;
    loading.set = NULL;
    cbp_store_u32(&loading.state, LOADING_WANTED);
}

bool cbpd_is_loading_rules(void)
{
    return cbp_load_u32(&loading.state) != LOADING_IDLE;
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

/* A copy, because the core could still write to the file. */
static uint32_t copy_block(int fd, uint64_t size, void **block)
{
    struct stat status;
    if (fd < 0 || size == 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
        (uint64_t) status.st_size < size)
        return CBP_ERROR_INVALID_DATA;
    void *copy = aligned_alloc(BLOCK_ALIGNMENT, ((size_t) size | (BLOCK_ALIGNMENT - 1)) + 1);
    if (copy == NULL)
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
    void *block;
    if (cbp_load_u32(&loading.state) != LOADING_WANTED)
        return false;
    loading.status = copy_block(loading.fd, loading.request.block_size, &block);
    if (loading.status == 0)
        loading.status = cbpd_make_rule_set(self->helper.policy.host, block,
                                            (size_t) loading.request.block_size, &loading.set);
    if (loading.fd >= 0)
        close(loading.fd);
    cbp_store_u32(&loading.state, LOADING_DONE);
    return true;
}

bool cbpd_finish_loading_rules(struct tracer *self, struct cbp_rules *request, uint32_t *status,
                               uint64_t *value)
{
    if (cbp_load_u32(&loading.state) != LOADING_DONE)
        return false;
    *request = loading.request;
    *status = loading.status;
    if (*status == 0) {
        cbpd_begin_attaching();
        *status = cbpd_serve_rules(&self->helper, request, loading.set, value);
        cbpd_end_attaching(self);
    }
    cbp_store_u32(&loading.state, LOADING_IDLE);
    return true;
}

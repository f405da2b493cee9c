/* Rules on their way from the core into force. The debugger thread takes the request over, a thread of the
 * system's pool copies the block out of its section and validates it, because thousands of rules take longer
 * than a stopped process should wait; the debugger thread puts it in force and replies. One request at a
 * time. */
#include <stdlib.h>
#include <string.h>

#include "debugger.h"

static struct {
    bool is_busy; /* the debugger thread's alone */
    HANDLE done;  /* an event: from here on all of this is the debugger thread's again */
    struct cbp_rules request;
    uint32_t status;
    struct cbpd_rule_set *set; /* if status is 0 */
} loading;

bool cbpd_prepare_rule_loading(void)
{
    loading.done = CreateEventW(NULL, FALSE, FALSE, NULL);
    return loading.done != NULL;
}

/* What a section does not have, or only reserves, is not in the first region of its view. */
bool cbpd_view_holds(const void *view, uint64_t size)
{
    MEMORY_BASIC_INFORMATION region;
    return VirtualQuery(view, &region, sizeof region) == sizeof region && region.State == MEM_COMMIT &&
           region.RegionSize >= size;
}

/* A copy, because the core could still write to the section. */
static uint32_t copy_view(const void *view, uint64_t size, void **block)
{
    if (size == 0 || !cbpd_view_holds(view, size))
        return CBP_ERROR_INVALID_DATA;
    void *copy = malloc((size_t) size);
    if (copy == NULL)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    memcpy(copy, view, (size_t) size);
    *block = copy;
    return 0;
}

/* The section's handle is ours to close; what is no section is not ours. */
static uint32_t copy_block(HANDLE section, uint64_t size, void **block)
{
    const void *view = MapViewOfFile(section, FILE_MAP_READ, 0, 0, 0);
    if (view == NULL)
        return CBP_ERROR_INVALID_DATA;
    uint32_t error = copy_view(view, size, block);
    (void) UnmapViewOfFile(view);
    CloseHandle(section);
    return error;
}

static DWORD WINAPI load(void *argument)
{
    const struct debugger *self = argument;
    const struct cbp_rules *request = &loading.request;
    HANDLE section = (HANDLE) (uintptr_t) request->section_handle;
    void *block = NULL;
    loading.status = copy_block(section, request->block_size, &block);
    if (loading.status == 0)
        loading.status =
            cbpd_make_rule_set(self->helper.policy.host, block, (size_t) request->block_size, &loading.set);
    (void) SetEvent(loading.done);
    return 0;
}

void cbpd_begin_loading_rules(struct debugger *self, const struct cbp_rules *request)
{
    loading.request = *request;
    loading.set = NULL;
    loading.is_busy = true;
    if (!QueueUserWorkItem(load, self, WT_EXECUTEDEFAULT))
        (void) load(self); /* without another thread: here, before anything else */
}

bool cbpd_is_loading_rules(void)
{
    return loading.is_busy;
}

HANDLE cbpd_rules_loaded_event(void)
{
    return loading.done;
}

bool cbpd_finish_loading_rules(struct debugger *self, struct cbp_rules *request, uint32_t *status,
                               uint64_t *value)
{
    if (!loading.is_busy || WaitForSingleObject(loading.done, 0) != WAIT_OBJECT_0)
        return false;
    *request = loading.request;
    *status = loading.status;
    if (*status == 0)
        *status = cbpd_serve_rules(&self->helper, request, loading.set, value);
    loading.is_busy = false;
    return true;
}

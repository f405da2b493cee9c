/* Loads rules: a thread of the system's pool copies the core's block from its section. Knows no processes. */
#include <stdlib.h>
#include <string.h>

#include "debugger.h"

static struct cbpd_loading loading;
static HANDLE loaded; /* an event */

bool cbpd_prepare_rule_loading(void)
{
    loaded = CreateEventW(NULL, FALSE, FALSE, NULL);
    return loaded;
}

/* The first region of a view does not have what the section lacks or only reserves. */
bool cbpd_view_holds(const void *view, uint64_t size)
{
    MEMORY_BASIC_INFORMATION region;
    return VirtualQuery(view, &region, sizeof region) == sizeof region && region.State == MEM_COMMIT &&
           region.RegionSize >= size;
}

/* Copies the block, because the core could still write to the section. */
static uint32_t copy_view(const void *view, uint64_t size, void **block)
{
    if (size == 0 || !cbpd_view_holds(view, size))
        return CBP_ERROR_INVALID_DATA;
    void *copy = malloc((size_t) size);
    if (!copy)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    memcpy(copy, view, (size_t) size);
    *block = copy;
    return 0;
}

/* Copies the block and closes the section's handle. A handle of anything else is not closed. */
static uint32_t copy_block(HANDLE section, uint64_t size, void **block)
{
    const void *view = MapViewOfFile(section, FILE_MAP_READ, 0, 0, 0);
    if (!view)
        return CBP_ERROR_INVALID_DATA;
    uint32_t error = copy_view(view, size, block);
    (void) UnmapViewOfFile(view);
    CloseHandle(section);
    return error;
}

static DWORD WINAPI load(void *argument)
{
    const struct debugger *self = argument;
    HANDLE section = (HANDLE) (uintptr_t) loading.request.section_handle;
    void *block = NULL;
    uint32_t status = copy_block(section, loading.request.block_size, &block);
    cbpd_validate_rules(&loading, self->helper.policy.host, status, block);
    (void) SetEvent(loaded);
    return 0;
}

void cbpd_begin_loading_rules(struct debugger *self, const struct cbp_rules *request)
{
    (void) ResetEvent(loaded);
    cbpd_begin_loading(&loading, request);
    if (!QueueUserWorkItem(load, self, WT_EXECUTEDEFAULT))
        (void) load(self); /* without another thread it is done here, before anything else */
}

bool cbpd_is_loading_rules(void)
{
    return !cbpd_is_in_state(&loading, CBPD_LOADING_IDLE);
}

HANDLE cbpd_rules_loaded_event(void)
{
    return loaded;
}

bool cbpd_finish_loading_rules(struct debugger *self, struct cbp_message_header *request, uint32_t *status,
                               uint64_t *value)
{
    if (!cbpd_is_in_state(&loading, CBPD_LOADING_DONE))
        return false;
    *request = loading.request.header;
    *status = cbpd_finish_loading(&self->helper, &loading, value);
    return true;
}

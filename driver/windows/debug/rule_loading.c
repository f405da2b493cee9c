/* Loads rules: a thread of the system's pool copies the core's block from its section. Knows no processes. */
#include <stdlib.h>
#include <string.h>

#include "debugger.h"

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

/* A handle of anything else than a section is not closed. */
uint32_t cbpd_copy_rules(struct cbpd_helper *helper, void **block)
{
    HANDLE section = (HANDLE) (uintptr_t) helper->loading.request.section_handle;
    const void *view = MapViewOfFile(section, FILE_MAP_READ, 0, 0, 0);
    if (!view)
        return CBP_ERROR_INVALID_DATA;
    uint32_t error = copy_view(view, helper->loading.request.block_size, block);
    (void) UnmapViewOfFile(view);
    CloseHandle(section);
    return error;
}

static DWORD WINAPI load(void *self)
{
    (void) cbpd_load_wanted_rules(&((struct debugger *) self)->helper);
    (void) SetEvent(loaded);
    return 0;
}

void cbpd_begin_loading_rules(struct debugger *self, const struct cbp_rules *request)
{
    (void) ResetEvent(loaded);
    cbpd_begin_loading(&self->helper, request);
    if (!QueueUserWorkItem(load, self, WT_EXECUTEDEFAULT))
        (void) load(self); /* without another thread it is done here, before anything else */
}

HANDLE cbpd_rules_loaded_event(void)
{
    return loaded;
}

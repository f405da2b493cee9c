/* Makes snapshots of the running processes: what a walk over them gives, in one block of records and one of
 * texts. Knows no session. */
#include "core.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

struct building {
    struct cbp_process_record *records;
    uint32_t count;
    uint64_t capacity;
    char *texts;
    uint64_t texts_size;
    uint64_t texts_capacity;
};

static uint32_t no_memory(void)
{
    return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a snapshot of the running processes");
}

/* Appends a text and a NUL. There is room. */
static uint64_t put_text(struct building *building, const char *text, size_t size)
{
    uint64_t offset = building->texts_size;
    if (size > 0)
        memcpy(building->texts + offset, text, size);
    building->texts[offset + size] = '\0';
    building->texts_size += size + 1;
    return offset;
}

static uint32_t add_process(void *context, const struct cbpi_process_facts *facts)
{
    struct building *building = context;
    uint64_t texts_size = building->texts_size + facts->name_size + facts->arguments_size + 2;
    struct cbp_process_record *records =
        cbpi_grow(building->records, sizeof *records, (uint64_t) building->count + 1, &building->capacity);
    if (!records)
        return no_memory();
    building->records = records;
    char *texts = cbpi_grow(building->texts, 1, texts_size, &building->texts_capacity);
    if (!texts)
        return no_memory();
    building->texts = texts;
    building->records[building->count++] = (struct cbp_process_record){
        .process_id = facts->process_id,
        .parent_process_id = facts->parent_process_id,
        .start_time = facts->start_time,
        .thread_count = facts->thread_count,
        .process_name_size = (uint32_t) facts->name_size,
        .process_name_offset = put_text(building, facts->name, facts->name_size),
        .arguments_offset = put_text(building, facts->arguments, facts->arguments_size),
        .arguments_size = (uint32_t) facts->arguments_size,
        .flags = facts->flags,
        .user_id = facts->user_id,
    };
    return 0;
}

static uint32_t visit(uint32_t options, struct building *building)
{
    bool with_arguments = options & CBP_SNAPSHOT_WITH_ARGUMENTS;
    bool is_asked_for = options & CBP_SNAPSHOT_FROM_DRIVER;
    if (!(options & CBP_SNAPSHOT_FROM_FILES)) {
        uint32_t error = cbpi_driver_list_processes(with_arguments, is_asked_for, add_process, building);
        if (error != CBP_ERROR_NOT_SUPPORTED || is_asked_for)
            return error;
    }
    return cbpi_processes_visit(with_arguments, add_process, building);
}

uint32_t cbp_snapshot_create(uint32_t options, const struct cbp_snapshot **snapshot)
{
    const uint32_t sources = CBP_SNAPSHOT_FROM_FILES | CBP_SNAPSHOT_FROM_DRIVER;
    struct building building = {0};
    struct cbp_snapshot *made = NULL;
    if (!snapshot || (options & ~(CBP_SNAPSHOT_WITH_ARGUMENTS | sources)) || (options & sources) == sources)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER,
                         "snapshot must not be NULL; options are SNAPSHOT_WITH_ARGUMENTS and one FROM bit");
    uint32_t error = visit(options, &building);
    if (error == 0) {
        made = malloc(sizeof *made);
        error = made ? 0 : no_memory();
    }
    if (error != 0) {
        free(building.records);
        free(building.texts);
        return error;
    }
    *made = (struct cbp_snapshot){
        .count = building.count,
        .record_size = sizeof *building.records,
        .records = building.records,
        .texts = building.texts,
        .texts_size = building.texts_size,
    };
    *snapshot = made;
    return 0;
}

void cbp_snapshot_destroy(const struct cbp_snapshot *snapshot)
{
    if (!snapshot)
        return;
    free((void *) (uintptr_t) snapshot->records);
    free((void *) (uintptr_t) snapshot->texts);
    free((void *) (uintptr_t) snapshot);
}

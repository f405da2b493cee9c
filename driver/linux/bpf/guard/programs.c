/* Loads the programs, finds what they can do on this kernel, and attaches and detaches them. Knows the names of the
 * protocol's maps, and nothing of what programs do. */
#include "guard.h"
#include "objects.h"

#include "cbp_atomic.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { RING_SIZE = 32 << 20, RING_SIZE_MIN = 1 << 20 };

static int attach_iterator(const char *name)
{
    struct cbpd_object *object = cbpd_object(TASK_LISTS);
    struct bpf_program *program = cbpd_find_program(object->loaded, name);
    if (!program || cbpd_libbpf()->bpf_program__fd(program) < 0 || object->link_count >= LINK_MAX)
        return -1;
    struct bpf_link *link = cbpd_libbpf()->bpf_program__attach(program);
    if (!link)
        return -1;
    object->links[object->link_count++] = link;
    return cbpd_libbpf()->bpf_link__fd(link);
}

#define LIST_PROCESSES "list_processes"
#define LIST_COMMAND_LINES "list_command_lines"

uint32_t cbpd_load_task_lists(struct guard *self, int links[CBP_GUARD_TASKS_FD_COUNT])
{
    uint32_t result = cbpd_check_machine(self);
    if (result == 0)
        result = cbpd_open_objects(self);
    if (result != 0)
        return result;
    int error = cbpd_load_object(TASK_LISTS, NULL, 0);
    if (error != 0)
        error = cbpd_load_object(TASK_LISTS, LIST_COMMAND_LINES, 0);
    if (error != 0)
        return cbpd_refuse_object(self, TASK_LISTS, error);
    links[CBP_GUARD_TASKS_FD_PROCESSES] = attach_iterator(LIST_PROCESSES);
    links[CBP_GUARD_TASKS_FD_COMMAND_LINES] = attach_iterator(LIST_COMMAND_LINES);
    return 0;
}

/* The kernel may not give as much memory as a large ring needs. */
static int load_processes(void)
{
    int error = ENOMEM;
    for (uint32_t size = RING_SIZE; size >= RING_SIZE_MIN && error != 0; size /= 2) {
        error = cbpd_load_object(PROCESSES, NULL, size);
        if (error != ENOMEM && error != EPERM && error != E2BIG)
            break;
    }
    return error;
}

/* Kernels for AArch64 may take programs of security hooks and have no way to call them: those before 6.4, and some
 * that are built without tracing. There one is attached for a moment, and all are loaded for that. */
static bool can_attach_lsm(void)
{
#if defined(__aarch64__)
    if (cbpd_load_object(LSM, NULL, 0) != 0)
        return false;
    struct bpf_program *first = cbpd_libbpf()->bpf_object__next_program(cbpd_object(LSM)->loaded, NULL);
    struct bpf_link *link = first ? cbpd_libbpf()->bpf_program__attach(first) : NULL;
    return link && cbpd_libbpf()->bpf_link__destroy(link) == 0;
#else
    return true;
#endif
}

/* Says whether calls on others can be refused in security hooks, and chooses the object: the one with the gate's
 * part where there is a gate. */
static bool can_use_lsm(bool has_gate, bool has_copies)
{
    if (!cbpd_bpf_lsm_is_active())
        return false;
    if (has_gate) {
        cbpd_object(LSM)->file = has_copies ? "lsmgate7.bpf.o" : "lsmgate.bpf.o";
        if (cbpd_can_load(LSM, "judge_ptrace"))
            return can_attach_lsm();
        cbpd_object(LSM)->file = "lsm.bpf.o";
    }
    return cbpd_can_load(LSM, "judge_ptrace") && can_attach_lsm();
}

static uint32_t find_abilities(struct guard *self)
{
    uint32_t abilities = CBP_GUARD_CAN_OBSERVE;
    bool has_gate = self->holdings.gate.fuse >= 0 && self->holdings.slots && cbpd_can_load(GATE, "hold_exit");
    bool has_lsm = can_use_lsm(has_gate, self->holdings.settings->has_copies != 0);
    if (self->holdings.gate.fuse >= 0 && !has_gate)
        self->no_gate = "its programs are missing, or this kernel refuses them";
    if (has_lsm)
        abilities |= CBP_GUARD_CAN_SEE_HANDLES | CBP_GUARD_CAN_ENFORCE_HANDLES;
    if (cbpd_has_object(HANDLES))
        abilities |= CBP_GUARD_CAN_SEE_HANDLES;
    if (has_gate)
        abilities |= CBP_GUARD_CAN_GATE;
    if (has_lsm && strcmp(cbpd_object(LSM)->file, "lsm.bpf.o") != 0)
        abilities |= CBP_GUARD_CAN_GATE_HANDLES;
    if (self->holdings.groups[GROUP_UPPER] >= 0)
        abilities |= CBP_GUARD_CAN_HOLD_FILES;
    return abilities;
}

uint32_t cbpd_load_programs(struct guard *self)
{
    struct holdings *held = &self->holdings;
    uint32_t result = cbpd_open_objects(self);
    if (result != 0)
        return result;
    int error = load_processes();
    if (error != 0)
        return cbpd_refuse_object(self, PROCESSES, error);
    held->slots = cbpd_map_memory("slots", (size_t) CBP_MACHINE_SLOT_COUNT * CBP_MACHINE_SLOT_SIZE);
    held->settings = cbpd_map_memory("settings", sizeof *held->settings);
    if (!held->settings)
        return cbpd_refuse_request(self, CBP_ERROR_FS_DRIVER_REQUIRED, "%s has no map of the settings",
                                   cbpd_object(PROCESSES)->file);
    held->settings->controller_process_id = held->controller_process_id;
    held->settings->guard_process_id = (uint32_t) getpid();
    held->settings->has_copies = cbpd_kernel_is(KERNEL_OF_COPIES, 0);
    if (cbpd_has_object(TASK_LISTS) && cbpd_load_object(TASK_LISTS, LIST_COMMAND_LINES, 0) == 0)
        self->tasks_link = attach_iterator(LIST_PROCESSES);
    if (cbpd_has_object(LOOK))
        (void) cbpd_load_object(LOOK, NULL, 0); /* old kernels do not take it, and the core has another way */
    self->abilities = find_abilities(self);
    return 0;
}

int cbpd_program_descriptor(enum cbp_guard_descriptor which)
{
    switch (which) {
    case CBP_GUARD_FD_RECORDS:
        return cbpd_map_descriptor("records");
    case CBP_GUARD_FD_TASKS:
        return cbpd_map_descriptor("tasks");
    case CBP_GUARD_FD_DECIDED:
        return cbpd_map_descriptor("decided");
    case CBP_GUARD_FD_SETTINGS:
        return cbpd_map_descriptor("settings");
    case CBP_GUARD_FD_SLOTS:
        return cbpd_map_descriptor("slots");
    case CBP_GUARD_FD_LOOKS:
        return cbpd_object(LOOK)->loaded ? cbpd_map_descriptor("looks") : -1;
    case CBP_GUARD_FD_LOOK: {
        struct bpf_program *look =
            cbpd_object(LOOK)->loaded ? cbpd_find_program(cbpd_object(LOOK)->loaded, "look") : NULL;
        return look ? cbpd_libbpf()->bpf_program__fd(look) : -1;
    }
    default:
        return -1;
    }
}

static void destroy_links(struct bpf_link **links, int count)
{
    for (int i = 0; i < count; i++)
        (void) cbpd_libbpf()->bpf_link__destroy(links[i]);
}

static void detach(enum object_name name)
{
    struct cbpd_object *object = cbpd_object(name);
    destroy_links(object->links, object->link_count);
    object->link_count = 0;
}

/* Attaches all programs of an object, or none. */
static uint32_t attach(struct guard *self, enum object_name name)
{
    struct cbpd_object *object = cbpd_object(name);
    struct bpf_link *links[LINK_MAX];
    int count = 0, error = cbpd_load_object(name, NULL, 0);
    if (error != 0)
        return cbpd_refuse_object(self, name, error);
    struct bpf_program *program = NULL;
    while ((program = cbpd_libbpf()->bpf_object__next_program(object->loaded, program))) {
        if (cbpd_libbpf()->bpf_program__fd(program) < 0)
            continue; /* it was not to be loaded on this kernel */
        cbpd_forget_warnings();
        struct bpf_link *link = count < LINK_MAX ? cbpd_libbpf()->bpf_program__attach(program) : NULL;
        if (!link) {
            error = errno;
            destroy_links(links, count);
            return cbpd_refuse_request(
                self, CBP_ERROR_NOT_SUPPORTED, "the program %s of %s cannot be attached: %s\n%s",
                cbpd_libbpf()->bpf_program__name(program), object->file, strerror(error), cbpd_warnings());
        }
        links[count++] = link;
    }
    destroy_links(object->links, object->link_count);
    memcpy(object->links, links, sizeof links);
    object->link_count = count;
    return 0;
}

static enum object_name handles_object(const struct guard *self)
{
    return self->abilities & CBP_GUARD_CAN_ENFORCE_HANDLES ? LSM : HANDLES;
}

void cbpd_publish_second(struct guard *self)
{
    bool is_gate = (self->programs & CBP_GUARD_PROGRAM_GATE) != 0;
    cbp_store_u32(&self->holdings.settings->gate_process_id, is_gate ? self->second_process_id : 0);
}

/* Attaches or detaches one group, so that its bit is as wanted. */
static uint32_t set_group(struct guard *self, uint32_t bit, enum object_name name, uint32_t wanted)
{
    uint32_t result = 0;
    if ((wanted & bit) == (self->programs & bit))
        return 0;
    if (wanted & bit) {
        result = attach(self, name);
    } else {
        if (name == GATE)
            cbp_store_u32(&self->holdings.settings->gate_process_id, 0); /* its programs say no more HELD */
        detach(name);
    }
    if (result == 0)
        self->programs ^= bit;
    cbpd_publish_second(self);
    return result;
}

uint32_t cbpd_attach_programs(struct guard *self, uint32_t programs)
{
    const uint32_t all = CBP_GUARD_PROGRAM_PROCESSES | CBP_GUARD_PROGRAM_HANDLES | CBP_GUARD_PROGRAM_GATE;
    if ((programs & ~all) != 0 || !self->holdings.settings)
        return cbpd_refuse_request(self, CBP_ERROR_INVALID_PARAMETER, "there are no programs %#x", programs);
    if ((programs & CBP_GUARD_PROGRAM_GATE) && !(self->abilities & CBP_GUARD_CAN_GATE))
        return cbpd_refuse_request(self, CBP_ERROR_NOT_SUPPORTED, "there is no gate: %s", self->no_gate);
    uint32_t result = set_group(self, CBP_GUARD_PROGRAM_PROCESSES, PROCESSES, programs);
    if (result == 0)
        result = set_group(self, CBP_GUARD_PROGRAM_HANDLES, handles_object(self), programs);
    if (result == 0)
        result = set_group(self, CBP_GUARD_PROGRAM_GATE, GATE, programs);
    cbp_store_u32(&self->holdings.settings->is_on, self->programs != 0);
    return result;
}

uint32_t cbpd_attach_gate_again(struct guard *self)
{
    return self->programs & CBP_GUARD_PROGRAM_GATE ? attach(self, GATE) : 0;
}

void cbpd_detach_all(struct guard *self)
{
    if (self->holdings.settings)
        cbp_store_u32(&self->holdings.settings->is_on, 0);
    for (int i = 0; i < OBJECT_COUNT; i++)
        detach((enum object_name) i);
    self->programs = 0;
}

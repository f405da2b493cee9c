/* Loads the BPF objects that lie beside the guard, and attaches and detaches their programs. Maps that have
 * one name are one map, that of processes.bpf.o. Knows the names of the protocol's maps, and nothing of what
 * programs do. */
#include "guard.h"
#include "libbpf.h"

#include "cbp_atomic.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LINK_MAX = 64, RING_SIZE = 32 << 20, RING_SIZE_MIN = 1 << 20, LOG_SIZE = 3000 };
enum { TASKS_MIN = 1 << 16, TASKS_MAX = 1 << 20 };
enum {
    KERNEL_OF_COPIES = 7
}; /* from this version on tracepoints are preemptible, and programs need copies */

enum object_name { PROCESSES, HANDLES, LSM, GATE, TASK_LISTS, LOOK, OBJECT_COUNT };

struct object {
    const char *file;
    struct bpf_object *loaded; /* NULL: not yet */
    struct bpf_link *links[LINK_MAX];
    int link_count;
};

static struct object objects[OBJECT_COUNT] = {
    [PROCESSES] = {.file = "processes.bpf.o"}, /* see choose_objects() */
    [HANDLES] = {.file = "handles.bpf.o"},     [LSM] = {.file = "lsm.bpf.o"},
    [GATE] = {.file = "gate.bpf.o"},           [TASK_LISTS] = {.file = "tasks.bpf.o"},
    [LOOK] = {.file = "look.bpf.o"},
};

static const struct libbpf *libbpf;
static char folder[PATH_MAX];
static char log_text[LOG_SIZE]; /* the end of what libbpf has warned of */
static size_t log_used;

static int keep_warning(int level, const char *format, va_list arguments)
{
    char line[LOG_SIZE / 2];
    int length = level == 0 ? vsnprintf(line, sizeof line, format, arguments) : 0;
    if (length <= 0)
        return 0;
    size_t size = (size_t) length < sizeof line ? (size_t) length : sizeof line - 1;
    if (log_used + size >= sizeof log_text) {
        size_t lost = log_used + size - (sizeof log_text - 1);
        lost = lost < log_used ? lost : log_used;
        memmove(log_text, log_text + lost, log_used - lost);
        log_used -= lost;
    }
    memcpy(log_text + log_used, line, size);
    log_used += size;
    log_text[log_used] = 0;
    return 0;
}

static void forget_warnings(void)
{
    log_used = 0;
    log_text[0] = 0;
}

static bool find_folder(void)
{
    ssize_t size = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (size <= 0)
        return false;
    folder[size] = 0;
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
    return slash != NULL;
}

/* Chooses the objects for this kernel. */
static void choose_objects(void)
{
    if (!cbpd_kernel_is(5, 17)) { /* it has no bpf_loop() */
        objects[PROCESSES].file = "processes58.bpf.o";
        objects[HANDLES].file = "handles58.bpf.o";
        objects[TASK_LISTS].file = "tasks58.bpf.o";
    }
    if (cbpd_kernel_is(KERNEL_OF_COPIES, 0))
        objects[GATE].file = "gate7.bpf.o";
}

static uint32_t open_library(struct guard *self)
{
    char reason[512];
    if (libbpf)
        return 0;
    if (!find_folder())
        return cbpd_refuse_request_os(self, errno, "cannot find the guard's own folder");
    libbpf = cbpd_open_libbpf(folder, reason, sizeof reason);
    if (!libbpf)
        return cbpd_refuse_request(self, CBP_ERROR_FS_DRIVER_REQUIRED, "%s", reason);
    if (libbpf->libbpf_major_version() < 1)
        return cbpd_refuse_request(self, CBP_ERROR_FS_DRIVER_REQUIRED, "libbpf is too old: 1.0 is needed");
    libbpf->libbpf_set_print(keep_warning);
    choose_objects();
    return 0;
}

static bool object_path(enum object_name name, char *path, size_t size)
{
    int length = snprintf(path, size, "%s/%s", folder, objects[name].file);
    return length > 0 && (size_t) length < size;
}

static bool has_object(enum object_name name)
{
    char path[PATH_MAX];
    return object_path(name, path, sizeof path) && access(path, R_OK) == 0;
}

/* Takes the maps of processes.bpf.o in place of its own. A compiler's maps have a dot in their names. */
static int share_maps(struct bpf_object *object)
{
    struct bpf_object *owner = objects[PROCESSES].loaded;
    struct bpf_map *map = NULL;
    while (owner && (map = libbpf->bpf_object__next_map(object, map))) {
        const char *name = libbpf->bpf_map__name(map);
        struct bpf_map *shared = strchr(name, '.') ? NULL : libbpf->bpf_object__find_map_by_name(owner, name);
        if (shared && libbpf->bpf_map__reuse_fd(map, libbpf->bpf_map__fd(shared)) != 0)
            return errno;
    }
    return 0;
}

static struct bpf_program *find_program(const struct bpf_object *object, const char *name)
{
    struct bpf_program *program = NULL;
    while ((program = libbpf->bpf_object__next_program(object, program)))
        if (strcmp(libbpf->bpf_program__name(program), name) == 0)
            break;
    return program;
}

/* Programs whose names end in a digit are copies of others. */
static bool is_copy(const char *name)
{
    size_t size = strlen(name);
    return size > 2 && name[size - 2] == '_' && name[size - 1] >= '2' && name[size - 1] <= '9';
}

/* Leaves out the program of that name, and copies on kernels that need none. */
static int choose_programs(const struct bpf_object *object, const char *without)
{
    bool needs_copies = cbpd_kernel_is(KERNEL_OF_COPIES, 0);
    struct bpf_program *program = NULL;
    while ((program = libbpf->bpf_object__next_program(object, program))) {
        const char *name = libbpf->bpf_program__name(program);
        bool left_out = (without && strcmp(name, without) == 0) || (!needs_copies && is_copy(name));
        if (left_out && libbpf->bpf_program__set_autoload(program, false) != 0)
            return errno;
    }
    return 0;
}

static uint32_t read_number(const char *path)
{
    FILE *file = fopen(path, "re");
    uint32_t number = 0;
    if (!file)
        return 0;
    if (fscanf(file, "%u", &number) != 1)
        number = 0;
    (void) fclose(file);
    return number;
}

/* The table of processes has room for as many as this machine can have. */
static uint32_t task_count(void)
{
    uint32_t threads = read_number("/proc/sys/kernel/threads-max");
    uint32_t ids = read_number("/proc/sys/kernel/pid_max");
    uint32_t count = threads < ids ? threads : ids;
    return count < TASKS_MIN ? TASKS_MIN : count > TASKS_MAX ? TASKS_MAX : count;
}

static int set_size(const struct bpf_object *object, const char *name, uint32_t size)
{
    struct bpf_map *map = libbpf->bpf_object__find_map_by_name(object, name);
    return map && libbpf->bpf_map__set_max_entries(map, size) != 0 ? errno : 0;
}

/* Loads an object once, without the program of that name if it is not NULL. The sizes of maps are set for a
 * ring_size that is not 0. */
static int load(enum object_name name, const char *without, uint32_t ring_size)
{
    char path[PATH_MAX];
    if (objects[name].loaded)
        return 0;
    if (!object_path(name, path, sizeof path))
        return ENAMETOOLONG;
    forget_warnings();
    struct bpf_object *object = libbpf->bpf_object__open_file(path, NULL);
    if (!object)
        return errno;
    int error = share_maps(object);
    if (error == 0)
        error = choose_programs(object, without);
    if (error == 0 && ring_size > 0)
        error = set_size(object, "records", ring_size);
    if (error == 0 && ring_size > 0)
        error = set_size(object, "tasks", task_count());
    if (error == 0 && libbpf->bpf_object__load(object) != 0)
        error = errno != 0 ? errno : EINVAL;
    if (error == 0)
        objects[name].loaded = object;
    else
        libbpf->bpf_object__close(object);
    return error;
}

static uint32_t refuse_object(struct guard *self, enum object_name name, int error)
{
    if (!has_object(name))
        return cbpd_refuse_request(self, CBP_ERROR_FS_DRIVER_REQUIRED, "%s/%s is missing", folder,
                                   objects[name].file);
    uint32_t code = error == ENOMEM                     ? CBP_ERROR_NOT_ENOUGH_MEMORY
                    : error == EPERM || error == EACCES ? CBP_ERROR_ACCESS_DENIED
                                                        : CBP_ERROR_NOT_SUPPORTED;
    return cbpd_refuse_request(self, code, "the kernel does not take %s: %s\n%s", objects[name].file,
                               strerror(error), log_text);
}

static int map_descriptor(const char *name)
{
    for (int i = 0; i < OBJECT_COUNT; i++) {
        struct bpf_object *object = objects[i].loaded;
        struct bpf_map *map = object ? libbpf->bpf_object__find_map_by_name(object, name) : NULL;
        if (map)
            return libbpf->bpf_map__fd(map);
    }
    return -1;
}

static void *map_memory(const char *name, size_t size)
{
    int descriptor = map_descriptor(name);
    if (descriptor < 0)
        return NULL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static int attach_iterator(const char *name)
{
    struct object *object = &objects[TASK_LISTS];
    struct bpf_program *program = find_program(object->loaded, name);
    if (!program || libbpf->bpf_program__fd(program) < 0 || object->link_count >= LINK_MAX)
        return -1;
    struct bpf_link *link = libbpf->bpf_program__attach(program);
    if (!link)
        return -1;
    object->links[object->link_count++] = link;
    return libbpf->bpf_link__fd(link);
}

#define LIST_PROCESSES "list_processes"
#define LIST_COMMAND_LINES "list_command_lines"

uint32_t cbpd_load_task_lists(struct guard *self, int links[CBP_GUARD_TASKS_FD_COUNT])
{
    uint32_t result = cbpd_check_machine(self);
    if (result == 0)
        result = open_library(self);
    if (result != 0)
        return result;
    int error = load(TASK_LISTS, NULL, 0);
    if (error != 0)
        error = load(TASK_LISTS, LIST_COMMAND_LINES, 0);
    if (error != 0)
        return refuse_object(self, TASK_LISTS, error);
    links[CBP_GUARD_TASKS_FD_PROCESSES] = attach_iterator(LIST_PROCESSES);
    links[CBP_GUARD_TASKS_FD_COMMAND_LINES] = attach_iterator(LIST_COMMAND_LINES);
    return 0;
}

/* The kernel may not give as much memory as a large ring needs. */
static int load_processes(void)
{
    int error = ENOMEM;
    for (uint32_t size = RING_SIZE; size >= RING_SIZE_MIN && error != 0; size /= 2) {
        error = load(PROCESSES, NULL, size);
        if (error != ENOMEM && error != EPERM && error != E2BIG)
            break;
    }
    return error;
}

/* Says whether the object can be used here. It is loaded for that: a kernel may refuse programs of a kind that
 * it offers. */
static bool can_load(enum object_name name)
{
    return has_object(name) && load(name, NULL, 0) == 0;
}

/* Loads the programs in security hooks: with the gate's part where there is a gate. */
static bool load_lsm(bool has_gate, bool has_copies)
{
    if (!cbpd_bpf_lsm_is_active())
        return false;
    if (has_gate) {
        objects[LSM].file = has_copies ? "lsmgate7.bpf.o" : "lsmgate.bpf.o";
        if (can_load(LSM))
            return true;
        objects[LSM].file = "lsm.bpf.o";
    }
    return can_load(LSM);
}

/* Says whether the programs of security hooks can be called. Kernels for AArch64 may take them and have no way to
 * do that: those before 6.4, and some that are built without tracing. */
static bool can_attach_lsm(void)
{
#if defined(__aarch64__)
    struct bpf_program *first = libbpf->bpf_object__next_program(objects[LSM].loaded, NULL);
    struct bpf_link *link = first ? libbpf->bpf_program__attach(first) : NULL;
    return link && libbpf->bpf_link__destroy(link) == 0;
#else
    return true;
#endif
}

static uint32_t find_abilities(struct guard *self)
{
    uint32_t abilities = CBP_GUARD_CAN_OBSERVE;
    bool has_gate = self->holdings.gate.fuse >= 0 && self->holdings.slots && can_load(GATE);
    bool has_lsm = load_lsm(has_gate, self->holdings.settings->has_copies != 0) && can_attach_lsm();
    if (self->holdings.gate.fuse >= 0 && !has_gate)
        self->no_gate = "its programs are missing, or this kernel refuses them";
    if (has_lsm)
        abilities |= CBP_GUARD_CAN_SEE_HANDLES | CBP_GUARD_CAN_ENFORCE_HANDLES;
    if (has_object(HANDLES))
        abilities |= CBP_GUARD_CAN_SEE_HANDLES;
    if (has_gate)
        abilities |= CBP_GUARD_CAN_GATE;
    if (has_lsm && strcmp(objects[LSM].file, "lsm.bpf.o") != 0)
        abilities |= CBP_GUARD_CAN_GATE_HANDLES;
    if (self->holdings.groups[GROUP_UPPER] >= 0)
        abilities |= CBP_GUARD_CAN_HOLD_FILES;
    return abilities;
}

uint32_t cbpd_load_programs(struct guard *self)
{
    struct holdings *held = &self->holdings;
    uint32_t result = open_library(self);
    if (result != 0)
        return result;
    int error = load_processes();
    if (error != 0)
        return refuse_object(self, PROCESSES, error);
    held->slots = map_memory("slots", (size_t) CBP_MACHINE_SLOT_COUNT * CBP_MACHINE_SLOT_SIZE);
    held->settings = map_memory("settings", sizeof *held->settings);
    if (!held->settings)
        return cbpd_refuse_request(self, CBP_ERROR_FS_DRIVER_REQUIRED, "%s has no map of the settings",
                                   objects[PROCESSES].file);
    held->settings->controller_process_id = held->controller_process_id;
    held->settings->guard_process_id = (uint32_t) getpid();
    held->settings->has_copies = cbpd_kernel_is(KERNEL_OF_COPIES, 0);
    if (has_object(TASK_LISTS) && load(TASK_LISTS, LIST_COMMAND_LINES, 0) == 0)
        self->tasks_link = attach_iterator(LIST_PROCESSES);
    if (has_object(LOOK))
        (void) load(LOOK, NULL, 0); /* old kernels do not take it, and the core has another way */
    self->abilities = find_abilities(self);
    return 0;
}

int cbpd_program_descriptor(enum cbp_guard_descriptor which)
{
    switch (which) {
    case CBP_GUARD_FD_RECORDS:
        return map_descriptor("records");
    case CBP_GUARD_FD_TASKS:
        return map_descriptor("tasks");
    case CBP_GUARD_FD_DECIDED:
        return map_descriptor("decided");
    case CBP_GUARD_FD_SETTINGS:
        return map_descriptor("settings");
    case CBP_GUARD_FD_SLOTS:
        return map_descriptor("slots");
    case CBP_GUARD_FD_LOOKS:
        return objects[LOOK].loaded ? map_descriptor("looks") : -1;
    case CBP_GUARD_FD_LOOK: {
        struct bpf_program *look = objects[LOOK].loaded ? find_program(objects[LOOK].loaded, "look") : NULL;
        return look ? libbpf->bpf_program__fd(look) : -1;
    }
    default:
        return -1;
    }
}

static void destroy_links(struct bpf_link **links, int count)
{
    for (int i = 0; i < count; i++)
        (void) libbpf->bpf_link__destroy(links[i]);
}

static void detach(enum object_name name)
{
    struct object *object = &objects[name];
    destroy_links(object->links, object->link_count);
    object->link_count = 0;
}

/* Attaches all programs of an object, or none. */
static uint32_t attach(struct guard *self, enum object_name name)
{
    struct object *object = &objects[name];
    struct bpf_link *links[LINK_MAX];
    int count = 0, error = load(name, NULL, 0);
    if (error != 0)
        return refuse_object(self, name, error);
    struct bpf_program *program = NULL;
    while ((program = libbpf->bpf_object__next_program(object->loaded, program))) {
        if (libbpf->bpf_program__fd(program) < 0)
            continue; /* it was not to be loaded on this kernel */
        forget_warnings();
        struct bpf_link *link = count < LINK_MAX ? libbpf->bpf_program__attach(program) : NULL;
        if (!link) {
            error = errno;
            destroy_links(links, count);
            return cbpd_refuse_request(
                self, CBP_ERROR_NOT_SUPPORTED, "the program %s of %s cannot be attached: %s\n%s",
                libbpf->bpf_program__name(program), object->file, strerror(error), log_text);
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

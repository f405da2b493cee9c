/* Loads the BPF objects that lie beside the guard. Maps that have one name are one map, that of processes.bpf.o.
 * Knows which objects there are and which kernels take them, and nothing of what programs do. See objects.h. */
#include "objects.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LOG_SIZE = 3000, TASKS_MIN = 1 << 16, TASKS_MAX = 1 << 20 };

static struct cbpd_object objects[OBJECT_COUNT] = {
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

void cbpd_forget_warnings(void)
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
    if (cbpd_kernel_is(KERNEL_OF_COPIES, 0)) {
        objects[PROCESSES].file = "processes7.bpf.o";
        objects[GATE].file = "gate7.bpf.o";
    }
}

uint32_t cbpd_open_objects(struct guard *self)
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

bool cbpd_has_object(enum object_name name)
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

struct bpf_program *cbpd_find_program(const struct bpf_object *object, const char *name)
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

/* Which programs of an object are loaded; NULL: all. Copies are left out on kernels that need none. */
struct choice {
    const char *without, *alone;
};

static int choose_programs(const struct bpf_object *object, const struct choice *choice)
{
    bool needs_copies = cbpd_kernel_is(KERNEL_OF_COPIES, 0);
    struct bpf_program *program = NULL;
    while ((program = libbpf->bpf_object__next_program(object, program))) {
        const char *name = libbpf->bpf_program__name(program);
        bool left_out = (choice->without && strcmp(name, choice->without) == 0) ||
                        (choice->alone && strcmp(name, choice->alone) != 0) ||
                        (!needs_copies && is_copy(name));
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

/* Loads an object, which is the caller's then. The sizes of maps are set for a ring_size that is not 0. */
static int open_and_load(enum object_name name, const struct choice *choice, uint32_t ring_size,
                         struct bpf_object **loaded)
{
    char path[PATH_MAX];
    if (!object_path(name, path, sizeof path))
        return ENAMETOOLONG;
    cbpd_forget_warnings();
    struct bpf_object *object = libbpf->bpf_object__open_file(path, NULL);
    if (!object)
        return errno;
    int error = share_maps(object);
    if (error == 0)
        error = choose_programs(object, choice);
    if (error == 0 && ring_size > 0)
        error = set_size(object, "records", ring_size);
    if (error == 0 && ring_size > 0)
        error = set_size(object, "tasks", task_count());
    if (error == 0 && libbpf->bpf_object__load(object) != 0)
        error = errno != 0 ? errno : EINVAL;
    if (error == 0)
        *loaded = object;
    else
        libbpf->bpf_object__close(object);
    return error;
}

/* Loads an object once, without the program of that name if it is not NULL. */
int cbpd_load_object(enum object_name name, const char *without, uint32_t ring_size)
{
    const struct choice choice = {.without = without};
    return objects[name].loaded ? 0 : open_and_load(name, &choice, ring_size, &objects[name].loaded);
}

uint32_t cbpd_refuse_object(struct guard *self, enum object_name name, int error)
{
    if (!cbpd_has_object(name))
        return cbpd_refuse_request(self, CBP_ERROR_FS_DRIVER_REQUIRED, "%s/%s is missing", folder,
                                   objects[name].file);
    uint32_t code = error == ENOMEM                     ? CBP_ERROR_NOT_ENOUGH_MEMORY
                    : error == EPERM || error == EACCES ? CBP_ERROR_ACCESS_DENIED
                                                        : CBP_ERROR_NOT_SUPPORTED;
    return cbpd_refuse_request(self, code, "the kernel does not take %s: %s\n%s", objects[name].file,
                               strerror(error), log_text);
}

int cbpd_map_descriptor(const char *name)
{
    for (int i = 0; i < OBJECT_COUNT; i++) {
        struct bpf_object *object = objects[i].loaded;
        struct bpf_map *map = object ? libbpf->bpf_object__find_map_by_name(object, name) : NULL;
        if (map)
            return libbpf->bpf_map__fd(map);
    }
    return -1;
}

void *cbpd_map_memory(const char *name, size_t size)
{
    int descriptor = cbpd_map_descriptor(name);
    if (descriptor < 0)
        return NULL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Says whether the kernel takes this program of an object, the most demanding one. The others are of its kind, and
 * are loaded when they are wanted: that takes long, and most controllers do not want them. */
bool cbpd_can_load(enum object_name name, const char *program)
{
    const struct choice choice = {.alone = program};
    struct bpf_object *object = NULL;
    if (!cbpd_has_object(name) || open_and_load(name, &choice, 0, &object) != 0)
        return false;
    bool has_program = cbpd_find_program(object, program) != NULL;
    libbpf->bpf_object__close(object);
    return has_program;
}

const struct libbpf *cbpd_libbpf(void)
{
    return libbpf;
}

struct cbpd_object *cbpd_object(enum object_name name)
{
    return &objects[name];
}

const char *cbpd_warnings(void)
{
    return log_text;
}

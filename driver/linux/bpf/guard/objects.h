/* Declares the BPF objects of the guard: files beside it, which libbpf opens and loads. For programs.c alone. */
#ifndef CBPD_OBJECTS_H
#define CBPD_OBJECTS_H

#include "guard.h"
#include "libbpf.h"

/* From this version on tracepoints are preemptible, and programs need copies. */
enum { KERNEL_OF_COPIES = 7 };

enum object_name { PROCESSES, HANDLES, LSM, GATE, TASK_LISTS, LOOK, OBJECT_COUNT };

enum { LINK_MAX = 64 };

struct cbpd_object {
    const char *file;
    struct bpf_object *loaded; /* NULL: not yet */
    struct bpf_link *links[LINK_MAX];
    int link_count;
};

/* Opens libbpf, and chooses the files for this kernel. To be called first; a second call does nothing.
 * CBP_ERROR_FS_DRIVER_REQUIRED: there is no libbpf, or too old a one. */
uint32_t cbpd_open_objects(struct guard *self);
const struct libbpf *cbpd_libbpf(void);
struct cbpd_object *cbpd_object(enum object_name name);
bool cbpd_has_object(enum object_name name);

/* Loads an object once, without the program of that name if it is not NULL. The sizes of maps are set for a
 * ring_size that is not 0. Gives 0 or errno. */
int cbpd_load_object(enum object_name name, const char *without, uint32_t ring_size);
bool cbpd_can_load(enum object_name name, const char *program);
/* Refuses the request because of what loading gave. */
uint32_t cbpd_refuse_object(struct guard *self, enum object_name name, int error);

struct bpf_program *cbpd_find_program(const struct bpf_object *object,
                                      const char *name); /* NULL: there is none */
/* Give the map of that name of whichever object has it. -1, NULL: none has, or it cannot be mapped. */
int cbpd_map_descriptor(const char *name);
void *cbpd_map_memory(const char *name, size_t size);

/* What libbpf has warned of since it was forgotten last: the end of it. */
void cbpd_forget_warnings(void);
const char *cbpd_warnings(void);

#endif

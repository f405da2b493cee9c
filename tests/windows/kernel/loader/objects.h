/* States what objects.c, handles.c and callbacks.c know of an object: its type and who references it. */
#ifndef LOADER_OBJECTS_H
#define LOADER_OBJECTS_H

#include "loader.h"

/* This is the first member of each object. */
struct nt_object {
    uint64_t magic;
    struct nt_object *next; /* all objects */
    void *type;
    int32_t kernel_references, driver_references;
};

void object_init(struct nt_object *object, void *type); /* with one reference of the kernel's */
struct nt_object *object_check(void *address, const char *function);
void object_kernel_takes(struct nt_object *object);
void object_kernel_gives_back(struct nt_object *object);

/* Gives what stands for a device among the objects. NULL: the address is no device. loading.c */
struct nt_object *device_as_object(void *address);

/* ---- handles.c ---- */
void handles_check_closed(void);                    /* at unload: the driver has closed its own */
void handles_close_all(struct nt_process *process); /* it has ended */

#endif

/* Installs the bpf driver for products, and says where it lies. The driver of a product is a copy of the guard
 * and its BPF objects in a folder that is root's alone. */
#ifndef CBPI_INSTALLATION_BPF_H
#define CBPI_INSTALLATION_BPF_H

#include "installation.h"

extern const struct cbpi_installation_ops cbpi_bpf_installation_ops;

/* Names the first of the capabilities CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN that this process has not; NULL:
 * it has what it takes. */
const char *cbpi_bpf_missing_capability(void);

/* Says whether "auto" is this driver for that product: it has installed it, and this process has the
 * capabilities. */
bool cbpi_bpf_is_automatic(const char *product_guid);

/* Says what the driver lacks that prepare() of this thread has found, or the one that came with the library: its
 * files, or libbpf. The sentence is valid until this thread's next failure; NULL: it lacks nothing. */
const char *cbpi_bpf_missing_file(void);

/* Gives the folder that the last prepare() of this thread has found, for cbpi_guard_start(). */
const char *cbpi_bpf_guard_folder(void);

#endif

/* Reads and writes BPF maps by their descriptors. Knows nothing of what is in them. */
#ifndef CBPI_BPF_MAP_H
#define CBPI_BPF_MAP_H

#include <stdbool.h>
#include <stdint.h>

enum cbpi_map_write { CBPI_MAP_ANY = 0, CBPI_MAP_NEW = 1, CBPI_MAP_EXISTING = 2 };

/* Gives the value of the key. False: it has none. */
bool cbpi_map_read(int map, const void *key, void *value);
/* Sets the value, if there is none yet (NEW) or one already (EXISTING). False: errno says why not. */
bool cbpi_map_write(int map, const void *key, const void *value, enum cbpi_map_write how);

#endif

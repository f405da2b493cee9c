/* Keeps in the registry which products have installed the driver, below the key of its service. So several
 * products share one driver, and it goes with the last one. Knows nothing of files. */
#ifndef CBPI_KERNEL_PRODUCT_GUIDS_H
#define CBPI_KERNEL_PRODUCT_GUIDS_H

#include "paths.h"

/* Says whether that product is registered. */
bool cbpi_product_is_registered(const char *guid);

/* Registers it; *is_new says that it was not. */
uint32_t cbpi_product_register(const char *guid, bool *is_new);
uint32_t cbpi_product_unregister(const char *guid);

/* Gives how many products are registered. */
uint32_t cbpi_product_count(uint32_t *count);

/* Says whether the machine has to be restarted until the driver that was installed runs. The system forgets
 * this by itself at its next start. */
bool cbpi_product_awaits_restart(void);
uint32_t cbpi_product_await_restart(void);
void cbpi_product_forget_restart(void);

/* The name of the driver's catalog among the system's; "" for none. */
void cbpi_product_catalog(struct cbpi_path *name);
uint32_t cbpi_product_set_catalog(const WCHAR *name);

/* Removes all that the functions here have written. */
void cbpi_product_forget_all(void);

#endif

/* Speaks with the system's service manager about the driver's service. Knows nothing of files and products. */
#ifndef CBPI_KERNEL_DRIVER_SERVICE_H
#define CBPI_KERNEL_DRIVER_SERVICE_H

#include "paths.h"

#define CBPI_DRIVER_SERVICE L"cbprocess"
#define CBPI_DRIVER_GROUP L"FSFilter Activity Monitor" /* altitudes are of this range; see kernel.h */
#define CBPI_DRIVER_SERVICE_KEY L"SYSTEM\\CurrentControlSet\\Services\\cbprocess"

/* It is opened, and closed with cbpi_driver_service_close() also where that failed. */
struct cbpi_driver_service {
    SC_HANDLE manager;
    SC_HANDLE service; /* NULL: there is none */
    DWORD start_type;  /* of a service that there is: as it was when it was opened, as is the next */
    WCHAR binary[MAX_PATH];
    bool is_created, is_changed; /* here */
};

/* Opens the manager and the service for changes. CBP_ERROR_PRIVILEGE_NOT_HELD without administrative rights;
 * CBP_ERROR_ALREADY_EXISTS if another product has a service of that name. */
uint32_t cbpi_driver_service_open(struct cbpi_driver_service *service);

/* Opens the service for questions, which need no rights. It may not be there. */
uint32_t cbpi_driver_service_look(struct cbpi_driver_service *service);

/* Opens the service to load its driver. CBP_ERROR_ACCESS_DENIED without administrative rights. */
uint32_t cbpi_driver_service_open_to_start(struct cbpi_driver_service *service);
void cbpi_driver_service_close(struct cbpi_driver_service *service);

/* Gives dwCurrentState of SERVICE_STATUS; 0 without a service. */
DWORD cbpi_driver_service_state(const struct cbpi_driver_service *service);

/* Gives the path of the file that the service loads. False if it has none that can be understood. */
bool cbpi_driver_service_file(const struct cbpi_driver_service *service, struct cbpi_path *path);

/* Creates the service for that file, or sets its file, and its start type unless that is to be kept. An older
 * one that waits for a restart of the machine to be gone is CBP_ERROR_BUSY. */
uint32_t cbpi_driver_service_set(struct cbpi_driver_service *service, const WCHAR *file,
                                 bool keeps_start_type);

/* Takes that back. */
void cbpi_driver_service_undo(struct cbpi_driver_service *service);

/* Loads the driver. One that is disabled stays as it is. CBP_ERROR_INVALID_IMAGE_HASH if the system refuses
 * its signature. */
uint32_t cbpi_driver_service_start(const struct cbpi_driver_service *service);

/* Unloads the driver. False if it is in use, or does not end within its time. */
bool cbpi_driver_service_stop(const struct cbpi_driver_service *service);

/* Deletes the service; *is_pending says that only a restart of the machine completes that. */
uint32_t cbpi_driver_service_delete(struct cbpi_driver_service *service, bool *is_pending);

#endif

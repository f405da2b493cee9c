/* Is a part of cbprocess.h, whose conventions hold: drivers and their installation, and the machine. Nothing here
 * needs a session. */
#ifndef CBP_DRIVERS_H
#define CBP_DRIVERS_H

#include "cbp_api.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Drivers ------------------------------------------------------------------------------------------ */

/* Says what a driver of this name could do on this machine now. *capabilities gets CAP_ bits, 0 if it cannot
 * run; reason (size bytes, NUL-terminated, cut if too small) gets a sentence about what is missing, or "".
 * CBP_ERROR_INVALID_PARAMETER if there is no such name. Starts nothing. */
CBP_API uint32_t CBP_CALL cbp_driver_probe(const char *driver, uint32_t *capabilities, char *reason,
                                           uint64_t size);

/* The next four calls need no session, and work in any thread that is not in a handler (there
 * CBP_ERROR_POSSIBLE_DEADLOCK). product_guid is a GUID in braces, the application's own; driver as above.
 * CBP_ERROR_INVALID_PARAMETER for what is no GUID, driver or flag. */

/* Gives the MODULE_STATUS_ of a driver: MODULE_STATUS_RUNNING for one that needs no installation (the tree
 * drivers, simulated), MODULE_STATUS_NOT_PRESENT for one that this build or this machine lacks. */
CBP_API uint32_t CBP_CALL cbp_driver_status(const char *product_guid, const char *driver, uint32_t *status);

/* Gives the version of a driver, four words of 16 bits, the major number highest; 0 if it is not installed. A
 * driver that needs no installation has the library's version. */
CBP_API uint32_t CBP_CALL cbp_driver_version(const char *product_guid, const char *driver, uint64_t *version);

/* These calls install or update a driver from the package at package_path, into target_folder (NULL or "":
 * the usual place), and remove it again; flags are INSTALL_ bits, or UNINSTALL_ bits. *must_reboot is 1 if
 * only a restart of the machine completes it. The kernel driver's package is a .cab file; the bpf driver's is
 * a folder with its files, and with NULL or "" the one that came with the library. The versions of the bpf
 * driver lie side by side: a product keeps the old ones until INSTALL_REMOVE_OLD_VERSIONS or
 * UNINSTALL_VERSION_PREVIOUS, and a filter uses the one of its library, or else the newest. With the GUID
 * {00000000-0000-0000-0000-000000000000} it needs no installation, and runs from the library's own folder. For
 * a driver that needs no installation nothing is done, the
 * paths are not looked at and no privilege is needed. Products share a driver; it goes with the last one.
 * After an error everything is as it was. CBP_ERROR_NOT_SUPPORTED for a driver that is not part of this
 * build. Of a driver that is installed: CBP_ERROR_PRIVILEGE_NOT_HELD without administrative rights, before
 * anything is touched; CBP_ERROR_FILE_NOT_FOUND and CBP_ERROR_PATH_NOT_FOUND for the package and the folder,
 * CBP_ERROR_FILE_NOT_FOUND too if this product has not installed the driver that it uninstalls;
 * CBP_ERROR_BAD_FORMAT for a file that is no package, or one for another machine; CBP_ERROR_INVALID_DATA for
 * a damaged one; CBP_ERROR_INVALID_IMAGE_HASH if its signature is missing or does not hold here;
 * CBP_ERROR_ALREADY_EXISTS if another product has a service of the driver's name; CBP_ERROR_BUSY while
 * another program installs it, or a restart has to complete that it was uninstalled;
 * CBP_ERROR_INVALID_PARAMETER without a package, or without a flag that says what is to be uninstalled. */
CBP_API uint32_t CBP_CALL cbp_driver_install(const char *product_guid, const char *driver,
                                             const char *package_path, const char *target_folder,
                                             uint32_t flags, uint32_t *must_reboot);
CBP_API uint32_t CBP_CALL cbp_driver_uninstall(const char *product_guid, const char *driver,
                                               const char *package_path, const char *target_folder,
                                               uint32_t flags, uint32_t *must_reboot);

/* ---- The machine -------------------------------------------------------------------------------------- */

/* Shuts the machine down, or restarts it if reboot is 1. A prompt that is not empty is shown to its users for
 * timeout_s seconds before; with NULL or "" it begins at once. force asks that programs be ended without
 * being asked. *initiated is 1 once the system has taken the request, and 0 if it refused it: the privilege
 * is missing, or no program can do it. On Linux shutdown(8) is asked: it counts in minutes (timeout_s is
 * rounded up), and ends all programs with SIGTERM and then SIGKILL whatever force says.
 * CBP_ERROR_POSSIBLE_DEADLOCK in a handler; CBP_ERROR_INVALID_PARAMETER for force or reboot above 1. */
CBP_API uint32_t CBP_CALL cbp_system_shutdown(const char *prompt, uint32_t timeout_s, uint32_t force,
                                              uint32_t reboot, uint32_t *initiated);

#ifdef __cplusplus
}
#endif

#endif

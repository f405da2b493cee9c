/* Implements product_guids.h. A product is a key with its GUID as the name; names of keys ignore case. */
#include "product_guids.h"

#include "cbprocess.h"
#include "driver_service.h"
#include "errors.h"
#include "os_error.h"

#include <wchar.h>

#define PRODUCTS_KEY CBPI_DRIVER_SERVICE_KEY L"\\Products"
#define RESTART_KEY CBPI_DRIVER_SERVICE_KEY L"\\AwaitsRestart"
#define CATALOG_VALUE L"Catalog"
#define VERSION_VALUE L"Version"
#define GUID_SIZE 38u

static void product_key(const char *guid, WCHAR key[MAX_PATH])
{
    size_t size = wcslen(PRODUCTS_KEY);
    wmemcpy(key, PRODUCTS_KEY L"\\", size + 1);
    for (size_t i = 0; i <= GUID_SIZE; i++)
        key[size + 1 + i] = (WCHAR) guid[i];
}

static bool has_key(const WCHAR *name)
{
    HKEY key;
    if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, name, 0, KEY_QUERY_VALUE, &key) != ERROR_SUCCESS)
        return false;
    RegCloseKey(key);
    return true;
}

static uint32_t fail_key(LSTATUS status)
{
    return cbpi_fail_os((uint32_t) status, "the registry's key of the driver cannot be used");
}

bool cbpi_product_is_registered(const char *guid)
{
    WCHAR name[MAX_PATH];
    product_key(guid, name);
    return has_key(name);
}

uint32_t cbpi_product_register(const char *guid, bool *is_new)
{
    WCHAR name[MAX_PATH];
    HKEY key;
    DWORD disposition;
    product_key(guid, name);
    LSTATUS status = RegCreateKeyExW(HKEY_LOCAL_MACHINE, name, 0, NULL, REG_OPTION_NON_VOLATILE,
                                     KEY_SET_VALUE, NULL, &key, &disposition);
    if (status != ERROR_SUCCESS)
        return fail_key(status);
    *is_new = disposition == REG_CREATED_NEW_KEY;
    /* For people who look: which version of the library has registered it. */
    static const WCHAR version[] = L"" CBP_VERSION;
    status = RegSetValueExW(key, VERSION_VALUE, 0, REG_SZ, (const BYTE *) version, sizeof version);
    RegCloseKey(key);
    if (status == ERROR_SUCCESS)
        return 0;
    if (*is_new)
        cbpi_product_unregister(guid);
    *is_new = false;
    return fail_key(status);
}

uint32_t cbpi_product_unregister(const char *guid)
{
    WCHAR name[MAX_PATH];
    product_key(guid, name);
    LSTATUS status = RegDeleteTreeW(HKEY_LOCAL_MACHINE, name);
    return status == ERROR_SUCCESS || status == ERROR_FILE_NOT_FOUND ? 0 : fail_key(status);
}

uint32_t cbpi_product_count(uint32_t *count)
{
    HKEY key;
    DWORD found = 0;
    LSTATUS status = RegOpenKeyExW(HKEY_LOCAL_MACHINE, PRODUCTS_KEY, 0, KEY_READ, &key);
    if (status == ERROR_SUCCESS) {
        status = RegQueryInfoKeyW(key, NULL, NULL, NULL, &found, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        RegCloseKey(key);
    }
    if (status != ERROR_SUCCESS && status != ERROR_FILE_NOT_FOUND)
        return fail_key(status);
    *count = found;
    return 0;
}

bool cbpi_product_awaits_restart(void)
{
    return has_key(RESTART_KEY);
}

uint32_t cbpi_product_await_restart(void)
{
    HKEY key;
    LSTATUS status = RegCreateKeyExW(HKEY_LOCAL_MACHINE, RESTART_KEY, 0, NULL, REG_OPTION_VOLATILE,
                                     KEY_SET_VALUE, NULL, &key, NULL);
    if (status != ERROR_SUCCESS)
        return fail_key(status);
    RegCloseKey(key);
    return 0;
}

void cbpi_product_forget_restart(void)
{
    RegDeleteTreeW(HKEY_LOCAL_MACHINE, RESTART_KEY);
}

void cbpi_product_catalog(struct cbpi_path *name)
{
    DWORD size = sizeof name->text;
    if (RegGetValueW(HKEY_LOCAL_MACHINE, CBPI_DRIVER_SERVICE_KEY, CATALOG_VALUE, RRF_RT_REG_SZ, NULL,
                     name->text, &size) != ERROR_SUCCESS)
        name->text[0] = 0;
}

uint32_t cbpi_product_set_catalog(const WCHAR *name)
{
    LSTATUS status = *name ? RegSetKeyValueW(HKEY_LOCAL_MACHINE, CBPI_DRIVER_SERVICE_KEY, CATALOG_VALUE,
                                             REG_SZ, name, (DWORD) ((wcslen(name) + 1) * sizeof *name))
                           : RegDeleteKeyValueW(HKEY_LOCAL_MACHINE, CBPI_DRIVER_SERVICE_KEY, CATALOG_VALUE);
    return status == ERROR_SUCCESS || (!*name && status == ERROR_FILE_NOT_FOUND) ? 0 : fail_key(status);
}

void cbpi_product_forget_all(void)
{
    RegDeleteTreeW(HKEY_LOCAL_MACHINE, PRODUCTS_KEY);
    RegDeleteTreeW(HKEY_LOCAL_MACHINE, RESTART_KEY);
    RegDeleteKeyValueW(HKEY_LOCAL_MACHINE, CBPI_DRIVER_SERVICE_KEY, CATALOG_VALUE);
}

/* Implements signature.h with WinVerifyTrust and the system's database of catalogs. */
#include "signature.h"

#include "cbprocess.h"
#include "errors.h"
#include "os_error.h"

#include <wintrust.h>

#include <mscat.h>
#include <softpub.h>
#include <stdio.h>

/* Documented with NtQuerySystemInformation. */
#define SYSTEM_CODE_INTEGRITY_INFORMATION 103
#define CODE_INTEGRITY_ENABLED 0x01u
#define CODE_INTEGRITY_TEST_SIGN 0x02u

#define HASH_SIZE_MAX 64u

/* The system's header of it and those of other files here declare some functions twice. */
__declspec(dllimport) LONG WINAPI NtQuerySystemInformation(int kind, void *data, ULONG size, ULONG *written);

struct code_integrity {
    ULONG size;
    ULONG options;
};

/* These are found at run time: the system has them since Windows 8, and import libraries may lack them. */
typedef BOOL(WINAPI *acquire_function)(HCATADMIN *, const GUID *, const WCHAR *, const void *, DWORD);
typedef BOOL(WINAPI *hash_function)(HCATADMIN, HANDLE, DWORD *, BYTE *, DWORD);

static const GUID driver_catalogs = {
    0xf750e6c3, 0x38ee, 0x11d1, {0x85, 0xe5, 0x00, 0xc0, 0x4f, 0xc2, 0x95, 0xee}};

/* ---- What the machine demands ---- */

enum demand { DEMAND_TRUSTED, DEMAND_ANY_SIGNER, DEMAND_NOTHING };

static enum demand demand_of_machine(void)
{
    struct code_integrity found = {.size = sizeof found};
    if (NtQuerySystemInformation(SYSTEM_CODE_INTEGRITY_INFORMATION, &found, sizeof found, NULL) < 0)
        return DEMAND_TRUSTED;
    if (!(found.options & CODE_INTEGRITY_ENABLED))
        return DEMAND_NOTHING;
    return found.options & CODE_INTEGRITY_TEST_SIGN ? DEMAND_ANY_SIGNER : DEMAND_TRUSTED;
}

/* ---- What the files have ---- */

enum standing { TRUSTED, UNKNOWN_SIGNER, UNSIGNED, BROKEN };

static enum standing standing_of(LONG result)
{
    switch ((HRESULT) result) {
    case S_OK:
        return TRUSTED;
    case CERT_E_UNTRUSTEDROOT:
    case CERT_E_UNTRUSTEDTESTROOT:
    case CERT_E_CHAINING:
        return UNKNOWN_SIGNER;
    case TRUST_E_NOSIGNATURE:
    case TRUST_E_SUBJECT_FORM_UNKNOWN:
    case TRUST_E_PROVIDER_UNKNOWN:
    case TRUST_E_NO_SIGNER_CERT:
    case CRYPT_E_NO_SIGNER:
    case CRYPT_E_FILE_ERROR:
        return UNSIGNED;
    default:
        return BROKEN; /* the file was changed, or the signer has expired or lost its trust */
    }
}

static enum standing verify(WINTRUST_DATA *data)
{
    GUID action = WINTRUST_ACTION_GENERIC_VERIFY_V2;
    data->cbStruct = sizeof *data;
    data->dwUIChoice = WTD_UI_NONE;
    data->fdwRevocationChecks = WTD_REVOKE_NONE; /* a machine without a network installs drivers, too */
    data->dwProvFlags = WTD_CACHE_ONLY_URL_RETRIEVAL;
    data->dwStateAction = WTD_STATEACTION_VERIFY;
    LONG result = WinVerifyTrust((HWND) INVALID_HANDLE_VALUE, &action, data);
    data->dwStateAction = WTD_STATEACTION_CLOSE;
    WinVerifyTrust((HWND) INVALID_HANDLE_VALUE, &action, data);
    return standing_of(result);
}

static enum standing verify_file(const WCHAR *path)
{
    WINTRUST_FILE_INFO file = {.cbStruct = sizeof file, .pcwszFilePath = path};
    WINTRUST_DATA data = {.dwUnionChoice = WTD_CHOICE_FILE};
    data.pFile = &file;
    return verify(&data);
}

/* Computes the hash that a catalog lists a driver by. */
static bool hash_driver(HANDLE file, BYTE *hash, DWORD *size)
{
    HMODULE library = GetModuleHandleW(L"wintrust.dll");
    acquire_function acquire =
        (acquire_function) (void *) GetProcAddress(library, "CryptCATAdminAcquireContext2");
    hash_function compute =
        (hash_function) (void *) GetProcAddress(library, "CryptCATAdminCalcHashFromFileHandle2");
    HCATADMIN catalogs = NULL;
    if (!acquire || !compute || !acquire(&catalogs, &driver_catalogs, L"SHA256", NULL, 0))
        return false;
    bool is_done = compute(catalogs, file, size, hash, 0);
    CryptCATAdminReleaseContext(catalogs, 0);
    return is_done;
}

/* Says how the catalog stands that lists the driver; UNSIGNED if it does not. */
static enum standing verify_by_catalog(const WCHAR *driver, const WCHAR *catalog)
{
    BYTE hash[HASH_SIZE_MAX];
    WCHAR tag[2 * HASH_SIZE_MAX + 1];
    DWORD size = sizeof hash;
    enum standing standing = UNSIGNED;
    HANDLE file = CreateFileW(driver, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return UNSIGNED;
    if (hash_driver(file, hash, &size)) {
        for (DWORD i = 0; i < size; i++)
            swprintf(tag + 2u * i, 3, L"%02X", hash[i]);
        WINTRUST_CATALOG_INFO info = {.cbStruct = sizeof info,
                                      .pcwszCatalogFilePath = catalog,
                                      .pcwszMemberTag = tag,
                                      .pcwszMemberFilePath = driver,
                                      .hMemberFile = file,
                                      .pbCalculatedFileHash = hash,
                                      .cbCalculatedFileHash = size};
        WINTRUST_DATA data = {.dwUnionChoice = WTD_CHOICE_CATALOG};
        data.pCatalog = &info;
        standing = verify(&data);
    }
    CloseHandle(file);
    return standing;
}

static bool is_enough(enum demand demand, enum standing standing)
{
    return standing == TRUSTED || (standing == UNKNOWN_SIGNER && demand != DEMAND_TRUSTED) ||
           (standing == UNSIGNED && demand == DEMAND_NOTHING);
}

uint32_t cbpi_signature_check(const WCHAR *driver, const WCHAR *catalog, bool *is_catalog_signed)
{
    enum demand demand = demand_of_machine();
    enum standing of_catalog = verify_file(catalog), of_driver = verify_file(driver);
    if (of_driver == UNSIGNED && (of_catalog == TRUSTED || of_catalog == UNKNOWN_SIGNER))
        of_driver = verify_by_catalog(driver, catalog);
    *is_catalog_signed = of_catalog != UNSIGNED && is_enough(demand, of_catalog);
    if (is_enough(demand, of_driver) && of_catalog != BROKEN)
        return 0;
    if (of_driver == BROKEN || of_catalog == BROKEN)
        return cbpi_fail(CBP_ERROR_INVALID_IMAGE_HASH,
                         "the package was changed after it was signed, or its signer is not valid any more");
    if (of_driver == UNSIGNED)
        return cbpi_fail(CBP_ERROR_INVALID_IMAGE_HASH,
                         "the package is signed by nobody, and this machine demands a signature "
                         "(production-signing.md)");
    return cbpi_fail(CBP_ERROR_INVALID_IMAGE_HASH, "the package's signer is unknown to this machine");
}

/* ---- The system's catalogs ---- */

static bool has_catalog(HCATADMIN catalogs, WCHAR *name)
{
    CATALOG_INFO info = {.cbStruct = sizeof info};
    struct cbpi_path path;
    if (!CryptCATAdminResolveCatalogPath(catalogs, name, &info, 0))
        return false;
    wcsncpy(path.text, info.wszCatalogFile, MAX_PATH - 1);
    path.text[MAX_PATH - 1] = 0;
    return cbpi_path_exists(&path);
}

uint32_t cbpi_catalog_add(const WCHAR *catalog, const WCHAR *name, bool *is_new)
{
    struct cbpi_path file, title;
    HCATADMIN catalogs = NULL;
    uint32_t error = 0;
    /* The functions' parameters are not constant. */
    wcscpy(file.text, catalog);
    wcscpy(title.text, name);
    if (!CryptCATAdminAcquireContext(&catalogs, &driver_catalogs, 0))
        return cbpi_fail_os(GetLastError(), "the system's catalogs cannot be opened");
    *is_new = !has_catalog(catalogs, title.text);
    HCATINFO added = CryptCATAdminAddCatalog(catalogs, file.text, title.text, 0);
    if (added)
        CryptCATAdminReleaseCatalogContext(catalogs, added, 0);
    else
        error = cbpi_fail_os(GetLastError(), "the driver's catalog cannot be added to the system's");
    CryptCATAdminReleaseContext(catalogs, 0);
    return error;
}

void cbpi_catalog_remove(const WCHAR *name)
{
    HCATADMIN catalogs = NULL;
    if (!CryptCATAdminAcquireContext(&catalogs, &driver_catalogs, 0))
        return;
    CryptCATAdminRemoveCatalog(catalogs, name, 0);
    CryptCATAdminReleaseContext(catalogs, 0);
}

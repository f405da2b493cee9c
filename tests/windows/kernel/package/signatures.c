/* Checks which signatures are enough on which machine: the answers of the system about both files and about itself
 * are scripted, and what has to follow from them is a table. Runs under Wine, which has no test mode. */
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <wintrust.h>

#include <mscat.h>
#include <softpub.h>
#include <stdbool.h>
#include <stdio.h>

#include "cbprocess.h"
#include "errors.h"
#include "os_error.h"
#include "signature.h"

static LONG of_driver, of_catalog, of_member;
static ULONG integrity;
static bool integrity_is_unknown;

static LONG scripted_trust(HWND window, GUID *action, void *data)
{
    const WINTRUST_DATA *asked = data;
    (void) window;
    (void) action;
    if (asked->dwStateAction != WTD_STATEACTION_VERIFY)
        return 0;
    if (asked->dwUnionChoice == WTD_CHOICE_CATALOG)
        return of_member;
    return wcsstr(asked->pFile->pcwszFilePath, L".cat") ? of_catalog : of_driver;
}

static LONG scripted_integrity(int kind, void *data, ULONG size, ULONG *written)
{
    (void) written;
    if (integrity_is_unknown || kind != 103 || size != 8)
        return -1;
    ((ULONG *) data)[1] = integrity;
    return 0;
}

static BOOL WINAPI scripted_acquire(HCATADMIN *context, const GUID *system, const WCHAR *hash,
                                    const void *policy, DWORD flags)
{
    (void) system;
    (void) policy;
    (void) flags;
    *context = (HCATADMIN) 1;
    return wcscmp(hash, L"SHA256") == 0;
}

static BOOL WINAPI scripted_hash(HCATADMIN context, HANDLE file, DWORD *size, BYTE *hash, DWORD flags)
{
    (void) context;
    (void) file;
    (void) flags;
    memset(hash, 0xab, 32);
    *size = 32;
    return TRUE;
}

static FARPROC scripted_address(HMODULE library, const char *name)
{
    (void) library;
    return strcmp(name, "CryptCATAdminAcquireContext2") == 0 ? (FARPROC) (void *) scripted_acquire
                                                             : (FARPROC) (void *) scripted_hash;
}

#define WinVerifyTrust scripted_trust
#define NtQuerySystemInformation scripted_integrity
#define GetProcAddress scripted_address
#define CryptCATAdminReleaseContext(context, flags) ((void) (context))
/* The source declares the system's function as imported, and here it is a function of this file. */
#undef __declspec
#define __declspec(kind) static
#include "signature.c"

enum { NORMAL = 1, TEST_MODE = 3, NO_CHECKS = 0 };
#define GOOD 0
#define STRANGER CERT_E_UNTRUSTEDROOT
#define NONE TRUST_E_NOSIGNATURE
#define CHANGED TRUST_E_BAD_DIGEST
#define EXPIRED CERT_E_EXPIRED

/* is_taken is for these machines: one that checks, one in test mode, one that checks nothing. */
static const struct row {
    LONG driver, catalog, member;
    bool is_taken[3];
    bool is_catalog_used[3];
} rows[] = {
    {GOOD, NONE, NONE, {true, true, true}, {false, false, false}},
    {GOOD, GOOD, GOOD, {true, true, true}, {true, true, true}},
    {GOOD, STRANGER, GOOD, {true, true, true}, {false, true, true}},
    {GOOD, CHANGED, GOOD, {false, false, false}, {false, false, false}},
    {STRANGER, STRANGER, STRANGER, {false, true, true}, {false, true, true}},
    {STRANGER, NONE, NONE, {false, true, true}, {false, false, false}},
    {STRANGER, GOOD, GOOD, {false, true, true}, {true, true, true}},
    {NONE, GOOD, GOOD, {true, true, true}, {true, true, true}},
    {NONE, GOOD, NONE, {false, false, true}, {true, true, true}},
    {NONE, GOOD, CHANGED, {false, false, false}, {true, true, true}},
    {NONE, STRANGER, STRANGER, {false, true, true}, {false, true, true}},
    {NONE, NONE, GOOD, {false, false, true}, {false, false, false}},
    {CHANGED, GOOD, GOOD, {false, false, false}, {true, true, true}},
    {EXPIRED, NONE, NONE, {false, false, false}, {false, false, false}},
};

int main(void)
{
    static const ULONG machines[] = {NORMAL, TEST_MODE, NO_CHECKS};
    int failures = 0, count = 0;
    WCHAR driver[MAX_PATH];
    GetModuleFileNameW(NULL, driver, MAX_PATH); /* some file that is there */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (unsigned machine = 0; machine < 4; machine++) {
            /* A machine that does not tell is taken for one that checks. */
            unsigned expected = machine % 3;
            bool is_used = false;
            integrity_is_unknown = machine == 3;
            integrity = machines[expected];
            of_driver = rows[i].driver;
            of_catalog = rows[i].catalog;
            of_member = rows[i].member;
            uint32_t error = cbpi_signature_check(driver, L"C:\\cbprocess.cat", &is_used);
            bool is_taken = error == 0;
            count++;
            if (is_taken == rows[i].is_taken[expected] &&
                (is_taken || error == CBP_ERROR_INVALID_IMAGE_HASH) &&
                (!is_taken || is_used == rows[i].is_catalog_used[expected]))
                continue;
            failures++;
            printf("FAILED: row %u, machine %u: error %u, catalog %d\n", (unsigned) i, machine,
                   (unsigned) error, is_used);
        }
    }
    printf("%d combinations, %d failures\n", count, failures);
    return failures != 0;
}

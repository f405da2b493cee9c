/* Tells what a program that looks for a debugger would find, one number a line behind its name. Ends with
 * status 7. */
#include <stdio.h>
#include <windows.h>

__declspec(dllimport) LONG NTAPI
    NtQueryInformationProcess(HANDLE process, int kind, void *data, ULONG size, ULONG *written);

enum { DEBUG_PORT = 7 };

#ifdef _WIN64
#define ENVIRONMENT_BLOCK() __readgsqword(0x60)
#define GLOBAL_FLAG_OFFSET 0xbc
#else
#define ENVIRONMENT_BLOCK() __readfsdword(0x30)
#define GLOBAL_FLAG_OFFSET 0x68
#endif
#define HEAP_DEBUG_FLAGS 0x70u /* tail and free checks, and validation of parameters */

int main(void)
{
    const unsigned char *block = (const unsigned char *) (UINT_PTR) ENVIRONMENT_BLOCK();
    unsigned global_flag = *(const unsigned *) (const void *) (block + GLOBAL_FLAG_OFFSET);
    BOOL is_remote = FALSE;
    DWORD_PTR port = 0;
    CheckRemoteDebuggerPresent(GetCurrentProcess(), &is_remote);
    NtQueryInformationProcess(GetCurrentProcess(), DEBUG_PORT, &port, sizeof port, NULL);
    printf("bits %u\n", (unsigned) (8 * sizeof(void *)));
    printf("IsDebuggerPresent %d\n", IsDebuggerPresent() != 0);
    printf("BeingDebugged %u\n", (unsigned) block[2]);
    printf("NtGlobalFlag %u\n", global_flag & HEAP_DEBUG_FLAGS);
    printf("CheckRemoteDebuggerPresent %d\n", is_remote != 0);
    printf("ProcessDebugPort %d\n", port != 0);
    return 7;
}

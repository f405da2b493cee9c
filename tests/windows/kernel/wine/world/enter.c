/* Runs a program in the world of world.dll, which is in this program's folder: enter.exe PROGRAM [ARGUMENT]...
 * Ends with its status; 125: cbpfire.sys or world.dll is not there, 127: the program could not be started. */
#include <windows.h>

static WCHAR *after_first(WCHAR *line)
{
    WCHAR end = *line == L'"' ? L'"' : L' ';
    for (line++; *line && *line != end; line++)
        continue;
    while (*line == L'"' || *line == L' ')
        line++;
    return line;
}

int main(void)
{
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION made;
    DWORD status = 127;
    /* Handles that the program is to write to pass through as they are. */
    GetStartupInfoW(&startup);
    if (!LoadLibraryW(L"world.dll"))
        return 125;
    if (!CreateProcessW(NULL, after_first(GetCommandLineW()), NULL, NULL, TRUE, 0, NULL, NULL, &startup,
                        &made))
        return 127;
    WaitForSingleObject(made.hProcess, INFINITE);
    GetExitCodeProcess(made.hProcess, &status);
    return (int) status;
}

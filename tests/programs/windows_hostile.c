/* A program that means harm, or merely has faults: what it tries is its first argument, the program it tries
 * it with the second.
 *
 * debug    creates it for a debugger of its own, which serves every event, and prints its exit status
 * orphan   creates it suspended, lets it run and ends in the same moment
 * short    executes it by its abbreviated name and prints the exit status
 * close    closes a handle that is none and one that must not be closed, where the system raises exceptions
 *          of that under a debugger (Wine: if the process itself has the debugger's mark), and prints how
 * raise    raises the exceptions of the last itself, and prints which of them its handler has seen
 * storm    sends a debugger as many events as it can until its standard input ends
 * present  prints IsDebuggerPresent() whenever it gets a line */
#include <stdio.h>
#include <string.h>
#include <windows.h>

#define INVALID_HANDLE_EXCEPTION 0xc0000008u
#define NOT_CLOSABLE_EXCEPTION 0xc0000235u

static unsigned seen_count;

static int start(const char *program, DWORD flags, PROCESS_INFORMATION *made)
{
    STARTUPINFOA startup = {.cb = sizeof startup};
    return CreateProcessA(program, NULL, NULL, NULL, TRUE, flags, NULL, NULL, &startup, made);
}

static void print_end(HANDLE process)
{
    DWORD status = 0;
    WaitForSingleObject(process, 10000);
    GetExitCodeProcess(process, &status);
    printf("%lu\n", status);
}

static void debug(const char *program)
{
    PROCESS_INFORMATION made;
    DEBUG_EVENT event;
    if (!start(program, DEBUG_PROCESS, &made)) {
        printf("not created\n"); /* it was ended so early */
        return;
    }
    while (WaitForDebugEvent(&event, 10000)) {
        ContinueDebugEvent(event.dwProcessId, event.dwThreadId, DBG_CONTINUE);
        if (event.dwDebugEventCode == EXIT_PROCESS_DEBUG_EVENT)
            break;
    }
    print_end(made.hProcess);
}

static void orphan(const char *program)
{
    PROCESS_INFORMATION made;
    if (!start(program, CREATE_SUSPENDED, &made))
        return;
    ResumeThread(made.hThread);
    TerminateProcess(GetCurrentProcess(), 5);
}

static void by_short_name(const char *program)
{
    char name[MAX_PATH] = "";
    PROCESS_INFORMATION made;
    GetShortPathNameA(program, name, sizeof name);
    if (strcmp(name, program) != 0 && start(name, 0, &made))
        print_end(made.hProcess);
    else
        printf("no other name\n");
}

static LONG WINAPI see(EXCEPTION_POINTERS *pointers)
{
    DWORD code = pointers->ExceptionRecord->ExceptionCode;
    if (code != INVALID_HANDLE_EXCEPTION && code != NOT_CLOSABLE_EXCEPTION)
        return EXCEPTION_CONTINUE_SEARCH;
    seen_count++;
    return EXCEPTION_CONTINUE_EXECUTION;
}

static void close_wrong(void)
{
    HANDLE event = CreateEventA(NULL, FALSE, FALSE, NULL);
    unsigned char *block = (unsigned char *) __readgsqword(0x60);
    AddVectoredExceptionHandler(1, see);
    SetHandleInformation(event, HANDLE_FLAG_PROTECT_FROM_CLOSE, HANDLE_FLAG_PROTECT_FROM_CLOSE);
    block[2] = 1; /* the debugger's mark */
    for (int i = 0; i < 2; i++) {
        SetLastError(0);
        BOOL done = CloseHandle(i == 0 ? (HANDLE) 0x99998 : event);
        printf("%d %lu\n", done, GetLastError());
    }
    printf("%u\n", seen_count);
}

static void raise_wrong(void)
{
    AddVectoredExceptionHandler(1, see);
    RaiseException(INVALID_HANDLE_EXCEPTION, 0, 0, NULL);
    RaiseException(NOT_CLOSABLE_EXCEPTION, 0, 0, NULL);
    printf("%u\n", seen_count);
}

static DWORD WINAPI send_events(void *unused)
{
    while (unused == NULL)
        OutputDebugStringA("storm");
    return 0;
}

static void storm(void)
{
    for (int i = 0; i < 4; i++)
        CreateThread(NULL, 0, send_events, NULL, 0, NULL);
    printf("ready\n");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    ExitProcess(0);
}

static void present(void)
{
    char line[16];
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        printf("%d\n", IsDebuggerPresent() != 0);
        fflush(stdout);
    }
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "", *program = count > 2 ? arguments[2] : "";
    if (strcmp(what, "debug") == 0)
        debug(program);
    else if (strcmp(what, "orphan") == 0)
        orphan(program);
    else if (strcmp(what, "short") == 0)
        by_short_name(program);
    else if (strcmp(what, "close") == 0)
        close_wrong();
    else if (strcmp(what, "raise") == 0)
        raise_wrong();
    else if (strcmp(what, "storm") == 0)
        storm();
    else if (strcmp(what, "present") == 0)
        present();
    return 0;
}

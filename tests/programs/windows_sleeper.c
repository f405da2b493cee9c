/* Sleeps for longer than any test waits, under a name of its own; then ends with status 0. */
#include <windows.h>

int main(void)
{
    Sleep(60000);
    return 0;
}

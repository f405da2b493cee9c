/* What the actor of the contract suite executes on Windows under many names: ends at once with status 0, or, with
 * the argument "lasting", when it is ended. */
#include <string.h>
#include <windows.h>

int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "lasting") == 0)
        Sleep(INFINITE);
    return 0;
}

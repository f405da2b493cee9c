/* Ends with the exit status that its first argument names: status [CODE [IGNORED...]], 0 by default.
 * The smallest program that the tests execute under other names. */
#include <stdlib.h>

int main(int count, char **arguments)
{
    return count > 1 ? atoi(arguments[1]) : 0;
}

/* Prints the real and the effective user id it runs with, for the test of setuid programs. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    printf("%u %u\n", (unsigned) getuid(), (unsigned) geteuid());
    return 0;
}

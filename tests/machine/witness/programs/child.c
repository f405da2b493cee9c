/* Ends at once, with the status that the number it is given has. */
#include <stdlib.h>

int main(int argc, char **argv)
{
    return argc == 2 ? (int) (atol(argv[1]) % 251) : 255;
}

/* What the actor of the contract suite executes on Windows under many names: ends at once with status 0. */
int main(void)
{
    return 0;
}

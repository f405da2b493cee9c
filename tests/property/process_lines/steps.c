/* Counts the steps of code that is compiled with -fsanitize-coverage=trace-pc: its basic blocks. Must not be
 * compiled so itself. */
#include <stdint.h>

uint64_t lines_steps;

void __sanitizer_cov_trace_pc(void);

void __sanitizer_cov_trace_pc(void)
{
    lines_steps++;
}

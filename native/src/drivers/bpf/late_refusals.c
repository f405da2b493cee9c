/* Ends processes whose program was refused when nothing held it any more: a file in memory or of a file system
 * without a mark, where there is no gate. */
#include "machine.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

bool cbpi_machine_refuses_late(const struct cbpi_machine *machine)
{
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++)
        if (machine->sessions[place] && machine->sessions[place]->hold_paths[0])
            return false;
    return true;
}

void cbpi_machine_end_refused(uint32_t process_id, uint64_t start_time)
{
    uint64_t found;
    /* The descriptor is the process's: its id may be another one's once it has ended. */
    int process = (int) syscall(SYS_pidfd_open, process_id, 0);
    if (process < 0)
        return;
    if (cbpi_process_start_time(process_id, &found) == 0 && found == start_time)
        (void) syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0);
    close(process);
}

/* Implements abilities.h. */
#include "abilities.h"

#include "cbp_constants.h"
#include "cbp_machine.h"

#define SEES                                                                                                 \
    (uint32_t)(CBP_CAP_SEE_PROCESS_CREATION | CBP_CAP_SEE_PROCESS_TERMINATION |                              \
               CBP_CAP_SEE_THREAD_CREATION | CBP_CAP_SEE_THREAD_TERMINATION | CBP_CAP_WHOLE_MACHINE |        \
               CBP_CAP_DECIDE_BY_RULE | CBP_CAP_OWN_REQUESTS)
#define HOLDS_BY_GATE                                                                                        \
    (uint32_t)(CBP_CAP_HOLD_PROCESS_CREATION | CBP_CAP_KILL_PROCESS_CREATION |                               \
               CBP_CAP_HOLD_PROCESS_TERMINATION | CBP_CAP_HOLD_THREAD_CREATION |                             \
               CBP_CAP_HOLD_THREAD_TERMINATION)
#define STRIPS (uint32_t)(CBP_CAP_STRIP_PROCESS_HANDLE | CBP_CAP_STRIP_THREAD_HANDLE)

uint32_t cbpi_bpf_capabilities_of(uint32_t abilities)
{
    uint32_t capabilities = SEES;
    if (abilities & CBP_GUARD_CAN_SEE_HANDLES)
        capabilities |= CBP_CAP_SEE_PROCESS_HANDLE | CBP_CAP_SEE_THREAD_HANDLE;
    if (abilities & CBP_GUARD_CAN_ENFORCE_HANDLES)
        capabilities |= STRIPS;
    if (abilities & CBP_GUARD_CAN_GATE)
        capabilities |= HOLDS_BY_GATE;
    if (abilities & CBP_GUARD_CAN_HOLD_FILES)
        capabilities |= CBP_CAP_HOLD_PROCESS_CREATION | CBP_CAP_REFUSE_PROCESS_CREATION;
    if (abilities & CBP_GUARD_CAN_GATE_HANDLES)
        capabilities |= CBP_CAP_HOLD_PROCESS_HANDLE | CBP_CAP_HOLD_THREAD_HANDLE;
    return capabilities;
}

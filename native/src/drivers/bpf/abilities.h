/* Says what a guard's abilities mean for its controller. */
#ifndef CBPI_BPF_ABILITIES_H
#define CBPI_BPF_ABILITIES_H

#include <stdint.h>

/* Gives the CAP_ bits of a guard with these abilities (CBP_GUARD_CAN_). */
uint32_t cbpi_bpf_capabilities_of(uint32_t abilities);

#endif

/* Says what this machine lets the bpf driver do. */
#ifndef CBPI_PROBE_BPF_H
#define CBPI_PROBE_BPF_H

#include <stdint.h>

/* Gives the CAP_ bits; 0, and a sentence, if the driver cannot run. Else the sentence says what is missing. */
uint32_t cbpi_bpf_probe(char *reason, uint64_t size);
/* Gives the CAP_ bits of a guard with these abilities (CBP_GUARD_CAN_). */
uint32_t cbpi_bpf_capabilities_of(uint32_t abilities);

#endif

/* Says what this machine lets the bpf driver do. */
#ifndef CBPI_PROBE_BPF_H
#define CBPI_PROBE_BPF_H

#include <stdint.h>

/* Gives the CAP_ bits; 0, and a sentence, if the driver cannot run. Else the sentence says what is missing. */
uint32_t cbpi_bpf_probe(char *reason, uint64_t size);

#endif

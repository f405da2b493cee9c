/* States the contract test of the functions of NT, which runs against the shim, the loader and Wine. It has two
 * halves: a driver, which checks what it is given (nt_contract.c and nt_contract_device.c), and calls from
 * outside (nt_calls.c), which a host for each of the three carries to the driver's device. */
#ifndef NT_CONTRACT_H
#define NT_CONTRACT_H

#include <stdint.h>

#define CONTRACT_DEVICE "\\Device\\CBContract"
#define CONTRACT_LINK "\\DosDevices\\CBContract"
#define CONTRACT_PATH "\\\\.\\CBContract" /* for CreateFile */

/* Codes of METHOD_BUFFERED. Those of the first group need no access, the last one needs both. */
#define CONTRACT_CODE(function, access) (0x8c0cu << 16 | (access) << 14 | (uint32_t) (function) << 2)
#define CONTRACT_ECHO CONTRACT_CODE(0x801, 0u) /* output: the input, as far as there is room */
#define CONTRACT_PEND CONTRACT_CODE(0x802, 0u) /* pended, with a cancel routine, until it is released */
#define CONTRACT_RELEASE                                                                                     \
    CONTRACT_CODE(0x803, 0u)                    /* completes the oldest pended one: STATUS_SUCCESS, 4 bytes */
#define CONTRACT_WARN CONTRACT_CODE(0x804, 0u)  /* STATUS_BUFFER_OVERFLOW, with 4 bytes */
#define CONTRACT_FAIL CONTRACT_CODE(0x805, 0u)  /* STATUS_INVALID_PARAMETER, and it says 4 bytes */
#define CONTRACT_COUNT CONTRACT_CODE(0x806, 0u) /* output: contract_counts */
#define CONTRACT_NAME                                                                                        \
    CONTRACT_CODE(0x808, 0u) /* input: a number; output: that failure of the driver's half */
#define CONTRACT_BOTH CONTRACT_CODE(0x807, 3u) /* like ECHO */

/* What the driver's device has seen. */
struct contract_counts {
    uint32_t creates, cleanups, closes, cancels;
    uint32_t null_buffers;     /* requests without any buffer whose SystemBuffer was NULL */
    uint32_t bad_threads;      /* requests of a thread that is not the current one */
    uint32_t bad_levels;       /* cancel routines that were called with a wrong CancelIrql */
    uint32_t checks, failures; /* of the driver's half */
    uint32_t is_wine;          /* which sends no cleanup, and always has a system buffer */
};

enum { CONTRACT_NAME_SIZE = 60, CONTRACT_NAMES = 32 };

/* A host carries calls to the device. */
struct contract_host {
    void *(*open)(void); /* with read and write access; NULL: it cannot be opened */
    void (*close)(void *file);
    void *(*start)(void *file, uint32_t code, const void *input, uint32_t input_size, void *output,
                   uint32_t output_size);
    /* Waits so many ms. 0: the request is pended still. Else *status and *information are its own. */
    int (*wait)(void *call, uint32_t ms, uint32_t *status, uint32_t *information);
    void (*cancel)(void *call);
    void (*release)(void *call);   /* it is completed */
    void (*say)(const char *what); /* that does not hold */
};

/* Gives the number of checks that do not hold; *checks gets the number of all. */
uint32_t contract_calls(const struct contract_host *host, uint32_t *checks);

#endif

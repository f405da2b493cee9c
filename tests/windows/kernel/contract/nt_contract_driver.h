/* Offers the contract test's driver to its own files. */
#ifndef NT_CONTRACT_DRIVER_H
#define NT_CONTRACT_DRIVER_H

#include "nt_contract.h"
#include "system.h" /* the kernel's declarations, as the driver itself has them */

extern uint32_t contract_checks, contract_failures;

#define CONTRACT_CHECK(condition, what)                                                                      \
    do {                                                                                                     \
        contract_checks++;                                                                                   \
        if (!(condition)) {                                                                                  \
            contract_failures++;                                                                             \
            DbgPrint("contract: %s does not hold (line %u)\n", what, (unsigned) __LINE__);                   \
        }                                                                                                    \
    } while (0)

NTSTATUS contract_device_create(PDRIVER_OBJECT driver);

#endif

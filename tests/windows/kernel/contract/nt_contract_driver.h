/* Offers the contract test's driver to its own files. */
#ifndef NT_CONTRACT_DRIVER_H
#define NT_CONTRACT_DRIVER_H

#include "nt_contract.h"
#include "system.h" /* the kernel's declarations, as the driver itself has them */

extern uint32_t contract_checks, contract_failures;
extern const char *contract_names[CONTRACT_NAMES]; /* of failures */

#define CONTRACT_CHECK(condition, what)                                                                      \
    do {                                                                                                     \
        contract_checks++;                                                                                   \
        if (!(condition)) {                                                                                  \
            contract_names[contract_failures++ % CONTRACT_NAMES] = what;                                     \
            DbgPrint("contract: %s does not hold (line %u)\n", what, (unsigned) __LINE__);                   \
        }                                                                                                    \
    } while (0)

extern bool contract_is_wine; /* which has only names for some functions */

NTSTATUS contract_device_create(PDRIVER_OBJECT driver);

#endif

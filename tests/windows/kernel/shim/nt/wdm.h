/* Is <wdm.h> of the shim, which has one header for all. */
#include "ntifs.h"

/* Is the NT header of the shim: what the driver's source includes as <ntifs.h>, for gcc and clang on Linux.
 * It is written from Microsoft's documentation and has only what a driver like this one uses. The functions
 * are in the folder above. Compile with -fshort-wchar and -fms-extensions. */
#ifndef SHIM_NTIFS_H
#define SHIM_NTIFS_H

#include "nt_base.h"

#include "nt_executive.h"
#include "nt_io.h"
#include "nt_objects.h"

#endif

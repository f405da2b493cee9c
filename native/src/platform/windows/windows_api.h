/* The system's header, once, with what this library needs of it and nothing more; and texts of the system. */
#ifndef CBPI_WINDOWS_API_H
#define CBPI_WINDOWS_API_H

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include "cbp_wtf8.h"

#endif

/* Offers what several files do with texts of the system. Includes, once, the system's header and what is read
 * of processes. */
#ifndef CBPI_WINDOWS_API_H
#define CBPI_WINDOWS_API_H

#include "cbp_wtf8.h"
#include "process_facts.h"

#define CBPI_PATH_UNITS_MAX 32768u

/* Gives the text as UTF-16 with a NUL, in memory that the caller frees. CBP_ERROR_NOT_ENOUGH_MEMORY,
 * CBP_ERROR_INVALID_PARAMETER if it is not UTF-8. */
uint32_t cbpi_wide_text(const char *text, WCHAR **wide);

/* Gives count units of a text by the buffer rules of cbpi_copy_text(). */
uint32_t cbpi_copy_wide_text(const WCHAR *units, size_t count, char *buffer, uint64_t size, uint64_t *needed);

#endif

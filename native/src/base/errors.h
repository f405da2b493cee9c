/* Declares how every function of the library fails, and how texts are given out to a caller's buffer. */
#ifndef CBPI_ERRORS_H
#define CBPI_ERRORS_H

#include "cbp_compiler.h"
#include "cbprocess.h"

/* Makes the sentence of cbp_error_detail() for this thread and gives code. */
CBP_PRINTF(2, 3)
uint32_t cbpi_fail(uint32_t code, const char *format, ...);

/* Sets what cbp_failed_execution() gives in this thread. */
void cbpi_set_failed_execution(uint64_t sequence, uint32_t os_error);

/* Gives out size bytes of text by the buffer rules of cbp_session_get_config(). */
uint32_t cbpi_copy_text(const char *text, size_t text_size, char *buffer, uint64_t size, uint64_t *needed);

#endif

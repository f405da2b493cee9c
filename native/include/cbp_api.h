/* Declares how public functions and structures are declared. The other public headers include it; it knows
 * none of them. */
#ifndef CBP_API_H
#define CBP_API_H

#include "cbp_constants.h"

#if defined(_WIN32)
#if defined(CBP_BUILDING)
#define CBP_API __declspec(dllexport)
#else
#define CBP_API __declspec(dllimport)
#endif
#define CBP_CALL __cdecl
#else
#define CBP_API __attribute__((visibility("default")))
#define CBP_CALL
#endif

/* Makes a structure's member from its row in a CBP_FIELDS_ list. */
#define CBP_EVENT_MEMBER_(S, type, name) type name;

#endif

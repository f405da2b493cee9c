/* Says how many nanoseconds the units have that deadlines and limits are told in. */
#ifndef CBP_TIME_H
#define CBP_TIME_H

#include <stdint.h>

#define CBP_NS_PER_MS UINT64_C(1000000)
#define CBP_NS_PER_S UINT64_C(1000000000)

#endif

/* getdents64(2) gives this for each name in a folder. C libraries call it differently, or do not have it. */
#ifndef CBPD_FOLDER_ENTRY_H
#define CBPD_FOLDER_ENTRY_H

#include <stdint.h>

struct folder_entry {
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

#endif

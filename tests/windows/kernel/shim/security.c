/* Is security identifiers, access lists and security descriptors, in the layouts that Microsoft documents. */
#include "shim.h"

static ULONG size_of_sid(const SID *sid)
{
    return (ULONG) offsetof(SID, SubAuthority) + sid->SubAuthorityCount * (ULONG) sizeof(ULONG);
}

/* Documented: up to APC_LEVEL for these functions; the list has at least the size of its header. */
NTSTATUS RtlCreateAcl(PACL acl, ULONG size, ULONG revision)
{
    shim_irql_at_most("RtlCreateAcl", APC_LEVEL);
    if (size < sizeof *acl)
        return STATUS_BUFFER_TOO_SMALL;
    if (revision != ACL_REVISION || size > 0xffff)
        return STATUS_INVALID_PARAMETER;
    *acl = (ACL){.AclRevision = (UCHAR) revision, .AclSize = (USHORT) (size & ~3u)};
    return STATUS_SUCCESS;
}

static ULONG used_size(const ACL *acl)
{
    ULONG size = sizeof *acl;
    for (uint32_t i = 0; i < acl->AceCount; i++)
        size += ((const ACE_HEADER *) ((const char *) acl + size))->AceSize;
    return size;
}

/* Documented: STATUS_ALLOTTED_SPACE_EXCEEDED if the list has no room. */
NTSTATUS RtlAddAccessAllowedAce(PACL acl, ULONG revision, ACCESS_MASK access, PSID sid)
{
    shim_irql_at_most("RtlAddAccessAllowedAce", APC_LEVEL);
    ULONG used = used_size(acl), size = (ULONG) offsetof(ACCESS_ALLOWED_ACE, SidStart) + size_of_sid(sid);
    if (revision != ACL_REVISION)
        return STATUS_UNKNOWN_REVISION;
    if (used + size > acl->AclSize)
        return STATUS_ALLOTTED_SPACE_EXCEEDED;
    ACCESS_ALLOWED_ACE *ace = (ACCESS_ALLOWED_ACE *) ((char *) acl + used);
    ace->Header = (ACE_HEADER){.AceType = ACCESS_ALLOWED_ACE_TYPE, .AceSize = (USHORT) size};
    ace->Mask = access;
    memcpy(&ace->SidStart, sid, size_of_sid(sid));
    acl->AceCount++;
    return STATUS_SUCCESS;
}

NTSTATUS RtlCreateSecurityDescriptor(PSECURITY_DESCRIPTOR memory, ULONG revision)
{
    shim_irql_at_most("RtlCreateSecurityDescriptor", APC_LEVEL);
    if (revision != SECURITY_DESCRIPTOR_REVISION)
        return STATUS_UNKNOWN_REVISION;
    *(SECURITY_DESCRIPTOR *) memory = (SECURITY_DESCRIPTOR){.Revision = (UCHAR) revision};
    return STATUS_SUCCESS;
}

NTSTATUS RtlSetDaclSecurityDescriptor(PSECURITY_DESCRIPTOR memory, BOOLEAN present, PACL dacl,
                                      BOOLEAN defaulted)
{
    SECURITY_DESCRIPTOR *descriptor = memory;
    (void) defaulted;
    if (descriptor->Revision != SECURITY_DESCRIPTOR_REVISION)
        return STATUS_UNKNOWN_REVISION;
    descriptor->Control = (SECURITY_DESCRIPTOR_CONTROL) (present ? descriptor->Control | SE_DACL_PRESENT
                                                                 : descriptor->Control & ~SE_DACL_PRESENT);
    descriptor->Dacl = present ? dacl : NULL;
    return STATUS_SUCCESS;
}

/* ---- What a list grants ---- */

/* S-1-5-18 is SYSTEM, S-1-5-32-544 administrators, S-1-1-0 everyone. SYSTEM is an administrator, too. */
static bool sid_covers(const SID *sid, enum shim_account account)
{
    bool is_nt = sid->IdentifierAuthority.Value[5] == 5;
    if (!is_nt)
        return sid->IdentifierAuthority.Value[5] == 1;
    if (sid->SubAuthorityCount == 1 && sid->SubAuthority[0] == SECURITY_LOCAL_SYSTEM_RID)
        return account == SHIM_SYSTEM_ACCOUNT;
    if (sid->SubAuthorityCount == 2 && sid->SubAuthority[0] == SECURITY_BUILTIN_DOMAIN_RID &&
        sid->SubAuthority[1] == DOMAIN_ALIAS_RID_ADMINS)
        return account != SHIM_USER;
    return sid->SubAuthorityCount == 1; /* some group of all users, such as S-1-5-11 */
}

bool shim_dacl_grants(const struct shim_device *device, enum shim_account account, uint32_t access)
{
    if (!device->has_dacl)
        return true; /* the default of a device lets everybody read and write */
    const ACL *acl = (const ACL *) (const void *) device->dacl;
    uint32_t granted = 0;
    size_t at = sizeof *acl;
    for (uint32_t i = 0; i < acl->AceCount; i++) {
        const ACCESS_ALLOWED_ACE *ace = (const void *) (device->dacl + at);
        if (ace->Header.AceType == ACCESS_ALLOWED_ACE_TYPE &&
            sid_covers((const SID *) &ace->SidStart, account))
            granted |= (ace->Mask & GENERIC_ALL) != 0 ? FILE_ALL_ACCESS : ace->Mask;
        at += ace->Header.AceSize;
    }
    return (access & ~granted) == 0;
}

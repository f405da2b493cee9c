/* Tests how the driver writes the system's names: drive letters, names of networks, and texts that are no
 * Unicode. */
#include "actor.h"
#include "kernel.h"
#include "test.h"

enum { UNITS_MAX = 32767 };

static UNICODE_STRING text_of_units(const WCHAR *units, size_t count)
{
    USHORT size = (USHORT) (count * sizeof(WCHAR));
    return (UNICODE_STRING){size, size, (PWCHAR) (uintptr_t) units};
}

/* Begins with two drives, of which one device's name begins like the other's. */
static struct cbpd_drives *begin(void)
{
    machine_start();
    shim_link_drive(L"\\??\\D:", L"\\Device\\HarddiskVolume1");
    shim_link_drive(L"\\??\\E:", L"\\Device\\HarddiskVolume10");
    struct cbpd_drives *drives = cbpd_drives_read();
    CHECK(drives);
    return drives;
}

static void end(struct cbpd_drives *drives)
{
    cbpd_pool_free(drives);
    shim_link_drive(L"\\??\\D:", NULL);
    shim_link_drive(L"\\??\\E:", NULL);
    machine_stop();
}

static void check_name(const struct cbpd_drives *drives, const UNICODE_STRING *path, const char *expected,
                       size_t size)
{
    uint32_t got;
    char *name = cbpd_name_of_path(drives, path, &got);
    CHECK(name);
    CHECK_EQ(got, size);
    CHECK(memcmp(name, expected, size) == 0);
    cbpd_pool_free(name);
}

TEST(paths_have_the_letters_of_their_drives)
{
    static const struct {
        const wchar_t *path;
        const char *expected;
    } rows[] = {
        {L"\\Device\\HarddiskVolume2\\a\\b.exe", "C:\\a\\b.exe"},
        {L"\\device\\harddiskvolume2\\a", "C:\\a"},
        {L"\\Device\\HarddiskVolume1\\a", "D:\\a"},
        {L"\\Device\\HarddiskVolume10\\a", "E:\\a"},
        {L"\\Device\\HarddiskVolume2", "C:"},
        {L"\\Device\\HarddiskVolume20\\a", "\\Device\\HarddiskVolume20\\a"},
        {L"\\Device\\HarddiskVolume", "\\Device\\HarddiskVolume"},
        {L"\\??\\c:\\a", "c:\\a"},
        {L"\\??\\UNC\\host\\share\\a", "\\\\host\\share\\a"},
        {L"\\??\\unc\\host", "\\\\host"},
        {L"\\??\\UNC", "UNC"},
        {L"\\Device\\Mup\\host\\share\\a", "\\\\host\\share\\a"},
        {L"\\Device\\Mup\\;LanmanRedirector\\;Z:0000000000012345\\host\\share\\a", "\\\\host\\share\\a"},
        {L"\\Device\\Mup\\;Lanman", "\\"},
        {L"\\SystemRoot\\a.exe", "\\SystemRoot\\a.exe"},
        {L"a.exe", "a.exe"},
        {L"", ""},
    };
    struct cbpd_drives *drives = begin();
    for (size_t i = 0; i < ARRAYSIZE(rows); i++) {
        size_t count = 0;
        while (rows[i].path[count] != 0)
            count++;
        UNICODE_STRING path = text_of_units(rows[i].path, count);
        check_name(drives, &path, rows[i].expected, strlen(rows[i].expected));
    }
    UNICODE_STRING nothing = {0, 0, NULL};
    check_name(drives, &nothing, "", 0);
    end(drives);
}

TEST(half_a_pair_of_surrogates_is_kept_and_a_nul_ends_a_path)
{
    const WCHAR half[] = {'a', 0xd83d, 'b'}, pair[] = {0xd83d, 0xde00}, with_nul[] = {'a', 0, 'b'};
    struct cbpd_drives *drives = begin();
    UNICODE_STRING path = text_of_units(half, ARRAYSIZE(half));
    check_name(drives, &path, "a\xed\xa0\xbd\x62", 5);
    path = text_of_units(pair, ARRAYSIZE(pair));
    check_name(drives, &path, "\xf0\x9f\x98\x80", 4);
    path = text_of_units(with_nul, ARRAYSIZE(with_nul));
    check_name(drives, &path, "a", 1);
    uint32_t size;
    char *text = cbpd_name_of_text(&path, &size); /* a command line may have one */
    CHECK_EQ(size, 3);
    CHECK(memcmp(text, "a\0b", 3) == 0);
    cbpd_pool_free(text);
    end(drives);
}

TEST(the_longest_text_has_room)
{
    static WCHAR units[UNITS_MAX];
    uint32_t size;
    struct cbpd_drives *drives = begin();
    for (size_t i = 0; i < UNITS_MAX; i++)
        units[i] = 0x4e00; /* three bytes */
    UNICODE_STRING text = text_of_units(units, UNITS_MAX);
    char *name = cbpd_name_of_path(drives, &text, &size);
    CHECK_EQ(size, 3 * UNITS_MAX);
    cbpd_pool_free(name);
    /* Rules find the end of it: it is a name, too. */
    memcpy(units, L"\\Device\\HarddiskVolume2\\", 24 * sizeof(WCHAR));
    memcpy(units + UNITS_MAX - 9, L"\\evil.exe", 9 * sizeof(WCHAR));
    name = cbpd_name_of_path(drives, &text, &size);
    CHECK(memcmp(name, "C:\\\xe4\xb8\x80", 6) == 0);
    CHECK(memcmp(name + size - 9, "\\evil.exe", 9) == 0);
    cbpd_pool_free(name);
    end(drives);
}

/* A drive that cannot be read for want of memory makes paths without a letter unknown. */
TEST(a_path_is_whole_or_unknown_whatever_fails)
{
    uint64_t made = 0;
    UNICODE_STRING path = text_of_units(L"\\Device\\HarddiskVolume2\\a", 25);
    cbpd_pool_free(begin());
    for (uint64_t nth = 0, faults = 1; faults > 0; nth++) {
        uint32_t size;
        shim_fail_at(SHIM_FAULT_ALL, nth, 1);
        struct cbpd_drives *drives = cbpd_drives_read();
        char *name = drives ? cbpd_name_of_path(drives, &path, &size) : NULL;
        faults = shim_faults_made();
        shim_fail_at(0, 0, 0);
        CHECK(!name || (size == 4 && memcmp(name, "C:\\a", 4) == 0));
        CHECK(name || faults > 0);
        cbpd_pool_free(name);
        cbpd_pool_free(drives);
        made += faults;
    }
    CHECK(made > 26);
    end(NULL);
}

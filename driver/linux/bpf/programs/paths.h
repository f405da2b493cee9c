/* Writes the path of a file or folder as d_path() in the kernel would for a reader in the first mount namespace,
 * from the end to the beginning. Knows dentries and mounts only. No lock is held, so a path that is renamed
 * meanwhile may be a mixture. */
#ifndef CBP_PATHS_H
#define CBP_PATHS_H

#include "kernel.h"

/* A program whose pointers the verifier knows may read members without a call, and says so in these macros. */
#ifndef LOAD
#define LOAD(place) READ(place)
#define AS_MOUNT(pointer) ((struct mount *) (pointer))
#endif

#define PATH_SIZE_MAX 4096u
#define PATH_NAME_MAX 255u
#define PATH_STEP_MAX 96 /* names and mounts on the way up */

/* The path begins at text[begin] and ends at text[PATH_SIZE_MAX]. */
struct path_buffer {
    char text[PATH_SIZE_MAX + PATH_NAME_MAX + 1];
    uint64_t begin;
};

INLINE struct mount *mount_of(struct vfsmount *mnt)
{
    return AS_MOUNT((char *) mnt - __builtin_preserve_field_info(((struct mount *) 0)->mnt, 0));
}

/* Puts '/' and a name in front of the path. False: there is no room. */
INLINE bool prepend_name(struct path_buffer *buffer, struct dentry *dentry)
{
    uint64_t size = LOAD(dentry->d_name.len);
    char *name = LOAD(dentry->d_name.name);
    if (size > PATH_NAME_MAX || size + 1 > buffer->begin)
        return false;
    uint64_t begin = buffer->begin - size - 1;
    OPAQUE(begin);
    begin &= PATH_SIZE_MAX - 1;
    buffer->text[begin] = '/';
    OPAQUE(size);
    size &= PATH_NAME_MAX;
    bpf_probe_read_kernel(&buffer->text[begin + 1], (uint32_t) size, name);
    buffer->begin = begin;
    return true;
}

/* What a walk from a file up to the top of its mount namespace has come to. */
struct path_walk {
    struct path_buffer *buffer;
    struct mount *mount;
    struct dentry *root, *dentry; /* root is that of the mount */
    bool is_at_top, has_no_room;
};

/* Goes up by one name or one mount. Gives 1 at the end. */
static long walk_up(uint32_t step, struct path_walk *walk)
{
    struct dentry *dentry = walk->dentry;
    (void) step;
    if (dentry == walk->root) {
        struct mount *above = LOAD(walk->mount->mnt_parent);
        walk->is_at_top = above == walk->mount || !above;
        if (walk->is_at_top)
            return 1;
        walk->dentry = LOAD(walk->mount->mnt_mountpoint);
        walk->mount = above;
        walk->root = LOAD(above->mnt.mnt_root);
        return 0;
    }
    struct dentry *parent = LOAD(dentry->d_parent);
    walk->is_at_top = parent == dentry || !parent;
    if (walk->is_at_top)
        return 1;
    walk->has_no_room = !prepend_name(walk->buffer, dentry);
    walk->dentry = parent;
    return walk->has_no_room;
}

/* Writes the path into the buffer. False: it has more names than can be followed, or is too long. */
INLINE bool write_path(struct path_buffer *buffer, struct vfsmount *mnt, struct dentry *dentry)
{
    struct path_walk walk = {
        .buffer = buffer, .mount = mount_of(mnt), .root = LOAD(mnt->mnt_root), .dentry = dentry};
    buffer->begin = PATH_SIZE_MAX;
    REPEAT(PATH_STEP_MAX, walk_up, &walk);
    if (!walk.is_at_top)
        return false;
    if (buffer->begin != PATH_SIZE_MAX)
        return true;
    char *name = LOAD(walk.dentry->d_name.name);
    if (READ(*name) != '/') /* a file without a place, as a memfd, is its own root and has a name */
        return prepend_name(buffer, walk.dentry);
    buffer->begin = PATH_SIZE_MAX - 1;
    buffer->text[PATH_SIZE_MAX - 1] = '/';
    return true;
}

#endif

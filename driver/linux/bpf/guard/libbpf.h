/* Declares the functions of libbpf that the guard calls, and finds them. They are those of the stable 1.x
 * interface, as its documentation gives them: structures are opaque, NULL or a negative result is a failure
 * with errno. Nothing is linked against libbpf, so a machine without it loses this driver alone. */
#ifndef CBPD_LIBBPF_H
#define CBPD_LIBBPF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bpf_object;
struct bpf_program;
struct bpf_map;
struct bpf_link;

typedef int bpf_print_function(int level, const char *format, va_list arguments); /* level 0: a warning */

/* X(result, name, parameters) */
#define LIBBPF_FUNCTIONS(X)                                                                                  \
    X(uint32_t, libbpf_major_version, (void) )                                                               \
    X(bpf_print_function *, libbpf_set_print, (bpf_print_function * print))                                  \
    X(struct bpf_object *, bpf_object__open_file, (const char *path, const void *options))                   \
    X(int, bpf_object__load, (struct bpf_object * object))                                                   \
    X(void, bpf_object__close, (struct bpf_object * object))                                                 \
    X(struct bpf_program *, bpf_object__next_program,                                                        \
      (const struct bpf_object *object, struct bpf_program *after))                                          \
    X(struct bpf_map *, bpf_object__next_map,                                                                \
      (const struct bpf_object *object, const struct bpf_map *after))                                        \
    X(struct bpf_map *, bpf_object__find_map_by_name, (const struct bpf_object *object, const char *name))   \
    X(const char *, bpf_map__name, (const struct bpf_map *map))                                              \
    X(int, bpf_map__fd, (const struct bpf_map *map))                                                         \
    X(uint32_t, bpf_map__max_entries, (const struct bpf_map *map))                                           \
    X(int, bpf_map__set_max_entries, (struct bpf_map * map, uint32_t count))                                 \
    X(int, bpf_map__reuse_fd, (struct bpf_map * map, int descriptor))                                        \
    X(const char *, bpf_program__name, (const struct bpf_program *program))                                  \
    X(int, bpf_program__fd, (const struct bpf_program *program))                                             \
    X(int, bpf_program__set_autoload, (struct bpf_program * program, bool loads))                            \
    X(struct bpf_link *, bpf_program__attach, (const struct bpf_program *program))                           \
    X(int, bpf_link__fd, (const struct bpf_link *link))                                                      \
    X(int, bpf_link__destroy, (struct bpf_link * link))

struct libbpf {
#define X(result, name, parameters) result(*name) parameters;
    LIBBPF_FUNCTIONS(X)
#undef X
};

/* Opens the library: the one that lies in the folder, with what it needs, else the system's. NULL: reason has
 * a sentence. The result stays valid. */
const struct libbpf *cbpd_open_libbpf(const char *folder, char *reason, size_t reason_size);

#endif
